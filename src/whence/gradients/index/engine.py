"""Importing Bergson: its version, and no side effects on the host.

Importing Bergson takes seconds, resets the root logger to print to stdout and sets an environment
variable; nothing outside this room imports it, and inside it only through `require_engine`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from whence.errors import MissingEngineError

SUPPORTED_VERSION = "2.5.1"


def engine_version() -> str | None:
    """Names the installed version of Bergson without importing it; None where there is none."""
    try:
        return version("bergson")
    except PackageNotFoundError:
        return None


def require_engine() -> ModuleType:
    """Imports Bergson and leaves the host's logging as it was.

    Returns:
        The package `bergson`.

    Raises:
        MissingEngineError: It cannot be imported; the message carries the import's own words.
    """
    try:
        with _logging_restored():
            return import_module("bergson")
    except Exception as error:  # a broken torchaudio fails with OSError or RuntimeError
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise MissingEngineError(
            f"Bergson cannot be imported ({reason}).",
            f"Install `bergson=={SUPPORTED_VERSION}` with `torch==2.11.*`, `torchvision==0.26.*` "
            "and `torchaudio==2.11.*`, or choose methods that need no gradients.",
        ) from error


@contextmanager
def _logging_restored() -> Iterator[None]:
    """Undoes `logging.basicConfig(force=True)`, which closes the host's handlers as well.

    The handlers are removed meanwhile, because a handler that was closed cannot be
    reopened. What imported packages warn about meanwhile, such as kernels that are not needed
    here, is not logged.
    """
    root, httpx = logging.getLogger(), logging.getLogger("httpx")
    handlers, level, httpx_level = root.handlers[:], root.level, httpx.level
    root.handlers[:] = []
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        root.handlers[:] = handlers
        root.setLevel(level)
        httpx.setLevel(httpx_level)
