"""What every test may rely on: no network beyond loopback, type-checked shapes, the data folder."""

import atexit
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hub_server import LoopbackHub

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# huggingface_hub reads these when it is imported, so they are set before any test module is.
_HUB = LoopbackHub()
_HUB.start()
_HF_HOME = tempfile.mkdtemp(prefix="whence-test-hub-")
atexit.register(shutil.rmtree, _HF_HOME, ignore_errors=True)
os.environ["HF_ENDPOINT"] = _HUB.url
os.environ["HF_HOME"] = _HF_HOME
for _name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN"):
    os.environ.pop(_name, None)

# What commands keep between calls, such as a testbed that was trained.
os.environ["WHENCE_CACHE"] = tempfile.mkdtemp(prefix="whence-test-cache-")
atexit.register(shutil.rmtree, os.environ["WHENCE_CACHE"], ignore_errors=True)

_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: object) -> None:
    host = address[0] if isinstance(address, tuple) else None
    if self.family != socket.AF_UNIX and host not in ("127.0.0.1", "::1", "localhost"):
        raise AssertionError(f"a test tried to reach {address}")
    _connect(self, address)  # pyright: ignore[reportArgumentType]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", _loopback_only)


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """An empty Hugging Face Hub on the loopback address, to which `HF_ENDPOINT` points.

    What is downloaded stays in a cache for the whole session: use repository names of your own.
    """
    _HUB.clear()
    yield _HUB
    _HUB.clear()


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
