"""Checks of user-named files and folders before they are opened.

Everything that a user may name as a file or folder is looked at here before it is opened, so that a
pipe is not waited for, and a link in a circle, a name that is too long or a missing permission is
one sentence.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from whence.errors import CorpusError, WhenceError, shown

Place = Literal["file", "folder"]
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_OTHERS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def find_place(path: Path | str, *, as_error: type[WhenceError] = CorpusError) -> Place | None:
    """Finds out whether a path is a file or a folder that may be read; None where nothing is there.

    Args:
        path: What the user named.
        as_error: The class of what is raised.

    Raises:
        WhenceError: It is a pipe, a socket or a device, a link in a circle, too long, or may not be
            read; of the class `as_error`.
    """
    with one_sentence(path, as_error=as_error):
        try:
            mode = Path(path).stat().st_mode
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        except ValueError:  # a NUL in the name
            return None
        for is_kind, kind in _OTHERS:
            if is_kind(mode):
                raise as_error(
                    f"{shown(path)} is {kind}, and not a file or a folder.",
                    "Write what it gives into a file, and name that.",
                )
        wanted = os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)
        if not os.access(path, wanted):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return "folder" if stat.S_ISDIR(mode) else "file"


@contextmanager
def one_sentence(path: Path | str, *, as_error: type[WhenceError] = CorpusError) -> Iterator[None]:
    """Puts an operating system's error about a path into one sentence and one remedy.

    Raises:
        WhenceError: The operating system refused; of the class `as_error`.
    """
    try:
        yield
    except OSError as error:
        problem, remedy = _explain(error)
        raise as_error(f"{shown(path)} {problem}.", remedy) from None


def natural_order(path: Path) -> tuple[list[str | int], str]:
    """Orders file names as a person counts: `part-2` before `part-10`."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if at % 2 else part for at, part in enumerate(parts)], path.name


def _explain(error: OSError) -> tuple[str, str]:
    if error.errno == errno.ELOOP:
        return "is a link that leads in a circle", "Name the file or folder itself."
    if error.errno == errno.ENAMETOOLONG:
        return "is longer than the file system allows a name to be", "Check the path."
    if error.errno in (errno.EACCES, errno.EPERM):
        return "may not be read by this user", "Change its permissions, or those of its folders."
    if error.errno in _ABSENT:
        return "is not there", "Check the path."
    return f"cannot be read ({error.strerror or error})", "Check the file."
