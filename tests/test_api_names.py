"""The package's public names can be listed before any of them is loaded."""

import subprocess
import sys

import whence


def test_the_names_of_the_api_can_be_completed() -> None:
    code = "import sys, whence; print(*dir(whence)); assert 'whence.api' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == sorted(whence.__all__)
