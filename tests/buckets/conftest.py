"""An S3 server on the loopback address, for tests that speak its protocol."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of an S3 server that runs in this process."""
    moto = pytest.importorskip("moto.server", reason="moto, flask or flask-cors is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The file system of an S3 server with one bucket, `lab`, and an empty cache of copies."""
    import requests
    import s3fs

    requests.post(f"{server}/moto-api/reset", timeout=10)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("WHENCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    # One session of credentials serves all tests that do not change them.
    system = s3fs.S3FileSystem()
    system.mkdir("lab")
    return system


@pytest.fixture
def sessions(s3: Any) -> Iterator[Callable[[], None]]:
    """Forgets the credentials and endpoint that were read from the environment, now and at last."""
    yield type(s3).clear_instance_cache
    type(s3).clear_instance_cache()
