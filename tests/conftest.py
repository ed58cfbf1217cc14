"""What every test may rely on: no network beyond loopback, type-checked shapes, the data folder."""

import os
import shutil
import socket
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: object) -> None:
    host = address[0] if isinstance(address, tuple) else None
    if self.family != socket.AF_UNIX and host not in ("127.0.0.1", "::1", "localhost"):
        raise AssertionError(f"a test tried to reach {address}")
    _connect(self, address)  # pyright: ignore[reportArgumentType]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", _loopback_only)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of public test data that `WHENCE_DATA` names."""
    folder = os.environ.get("WHENCE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("WHENCE_DATA does not name the folder of public test data")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fitted tiny model, its corpus, behaviors and study; read only."""
    from tests.tiny import write_tiny

    folder = tmp_path_factory.mktemp("tiny")
    write_tiny(folder)
    return folder


@pytest.fixture
def tiny(tiny_files: Path, tmp_path: Path) -> Path:
    """A copy of the tiny study's folder that a test may break."""
    return Path(shutil.copytree(tiny_files, tmp_path / "tiny"))
