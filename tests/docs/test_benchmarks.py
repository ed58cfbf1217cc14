"""Every benchmark still finds what it uses of the package, and explains itself."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
# Packages that only one benchmark needs, which names them.
PEERS = {"another_tool": "dattri"}


@pytest.fixture
def benchmarks(monkeypatch):
    """The folder of benchmarks first on the path, as when one of them is run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in NAMES:
        sys.modules.pop(name, None)


def test_there_are_benchmarks():
    assert {"index", "gpu", "windows"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_benchmark_is_imported(benchmarks, name):
    if name in PEERS:
        pytest.importorskip(PEERS[name], reason=f"{PEERS[name]} is only compared with")
    found = importlib.import_module(name)
    assert Path(str(found.__file__)).parent == FOLDER
    assert found.__doc__, "its first line is the question that it answers"


def _inner_imports(path: Path) -> list[tuple[str, str]]:
    import ast

    tree = ast.parse(path.read_text())
    return [
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("whence")
        for alias in node.names
    ]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_benchmark_imports_of_the_package_is_there(name):
    for module, what in _inner_imports(FOLDER / f"{name}.py"):
        found = importlib.import_module(module)
        if not hasattr(found, what):
            importlib.import_module(f"{module}.{what}")


@pytest.mark.parametrize("name", ["gpu", "bfloat16"])
def test_help_is_printed_without_a_device(name):
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), "--help"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout
