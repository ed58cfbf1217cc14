"""Checks of the machine and of installed packages."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from whence.artifacts import versions


class Check(NamedTuple):
    """One thing that was looked for, what was found, and what to do if it is missing."""

    name: str
    ok: bool
    found: str
    remedy: str


def examine() -> list[Check]:
    """Looks at packages, processor, memory, disk and the Hub's address; reaches no network."""
    found = versions()
    checks = [
        Check("Python", sys.version_info >= (3, 11), found["python"], "3.11 or newer"),
        *(_package(name, found) for name in ("torch", "transformers", "bm25s")),
        _engine(),
        _device(),
        _memory(),
        _disk(),
        Check("Hub", True, os.environ.get("HF_ENDPOINT", "https://huggingface.co"), ""),
    ]
    extra = find_spec("sentence_transformers") is not None
    checks.append(
        Check(
            "Sentence embeddings",
            True,
            "installed" if extra else "not installed (optional)",
            "" if extra else "pip install 'whence[embeddings]'",
        )
    )
    return checks


def _package(name: str, found: dict[str, str]) -> Check:
    ok = name in found
    return Check(name, ok, found.get(name, "missing"), "" if ok else f"pip install {name}")


def _engine() -> Check:
    from whence.errors import MissingEngineError
    from whence.gradients import engine_version, require_engine

    try:
        require_engine()
    except MissingEngineError as error:
        return Check("Bergson", False, error.problem, error.remedy)
    return Check("Bergson", True, engine_version() or "unknown version", "")


def _device() -> Check:
    import torch

    threads = f"{torch.get_num_threads()} CPU threads"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Check("Device", True, ", ".join([threads, *gpus]), "")


def free_memory() -> int | None:
    """Reads how many bytes of memory processes can still take; None where the system hides it."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return None
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def _memory() -> Check:
    free = free_memory()
    if free is None:
        return Check("Free memory", True, "unknown on this system", "")
    return Check(
        "Free memory",
        free > 3e9,
        f"{free / 1e9:.1f} GB",
        "" if free > 3e9 else "the demo needs 3 GB",
    )


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    return Check(
        "Free disk here",
        free > 2e9,
        f"{free / 1e9:.0f} GB",
        "" if free > 2e9 else "free some space",
    )
