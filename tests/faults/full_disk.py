"""A command on a disk that is full after some pages or files, and again once there is room."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.faults.forking import Done, call, fork, mount
from tests.faults.killing import contents

DISK = "disk"
BEFORE = "before"
_PAGES = _FILES = 1 << 16
Room = Literal["pages", "files"]


@dataclass(frozen=True)
class Trial:
    """What came of a command on a disk with some room.

    Attributes:
        full: How it ended on the full disk, twice.
        left: The files, with digests, that the full disk holds under names that are not hidden.
        room: How it ended once there was room.
        files: All files, with digests, that the disk then holds.
    """

    full: tuple[Done, Done]
    left: dict[str, str]
    room: Done
    files: dict[str, str]


def try_full(
    what: Callable[..., None],
    *arguments: object,
    folder: Path,
    room: Room = "pages",
    number: int | None = None,
) -> Trial:
    """Runs something in a folder whose `disk` is a disk with little room, which holds `before`.

    Args:
        what: A function of a module, and its arguments.
        arguments: See above.
        folder: Where it runs. What is in its folder `before` is on the disk at the start.
        room: What the disk has little of: pages of 4 KiB, or files and directories.
        number: How many; None for as many as it needs.

    Raises:
        OSError: The system does not permit a disk of one's own.
    """
    (folder / DISK).mkdir(exist_ok=True)
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    done = call(_try, what, arguments, folder, room, number, folder=folder, timeout=600)
    if not report.is_file():
        raise OSError(done.stderr)
    found = json.loads(report.read_text())
    full, again, last = (Done(*value) for value in found["done"])
    return Trial((full, again), found["left"], last, found["files"])


def _try(
    what: Callable[..., None], arguments: tuple, folder: Path, room: Room, number: int | None
) -> None:
    disk = folder / DISK
    mount(disk, pages=_PAGES, inodes=_FILES)
    if (folder / BEFORE).is_dir():
        shutil.copytree(folder / BEFORE, disk, dirs_exist_ok=True)
    state = os.statvfs(disk)
    pages = state.f_blocks - state.f_bfree
    files = state.f_files - state.f_ffree
    done = []
    left = {}
    if number is not None and room == "pages":
        mount(disk, pages=max(1, pages + number), inodes=_FILES, again=True)
    elif number is not None:
        mount(disk, pages=_PAGES, inodes=files + number, again=True)
    for _ in range(2):
        done.append(fork(what, *arguments, folder=folder))
        left = contents(disk, hidden=False)
    mount(disk, pages=_PAGES, inodes=_FILES, again=True)
    done.append(fork(what, *arguments, folder=folder))
    report = {"done": done, "left": left, "files": contents(disk)}
    (folder / "report.json").write_text(json.dumps(report))
