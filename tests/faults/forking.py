"""Runs commands in forks of a process that has imported all they need: a crash is contained.

A disk of any size can be put under a command: a tmpfs in a mount namespace of the fork's own.
"""

import ctypes
import functools
import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000
_PRIVATE, _RECURSIVE, _REMOUNT = 1 << 18, 16384, 32


class Done(NamedTuple):
    """How a command ended: its exit code (minus the signal that killed it) and what it printed."""

    code: int
    stdout: str
    stderr: str


@functools.cache
def _context() -> multiprocessing.context.ForkServerContext:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.preload"])
    return context


def whence(*arguments: str, folder: Path, timeout: float = 120) -> Done:
    """Runs a command of the command line in a folder."""
    return call(command, arguments, folder=folder, timeout=timeout)


def call(what: Callable[..., None], *arguments: object, folder: Path, timeout: float = 120) -> Done:
    """Runs a function of a module in a folder; a traceback is exit code 1."""
    with tempfile.TemporaryDirectory() as place:
        outputs = [Path(place, name) for name in ("stdout", "stderr")]
        process = _context().Process(target=_run, args=(what, arguments, folder, outputs))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
        stdout, stderr = (path.read_text("utf-8", "replace") for path in outputs)
        return Done(process.exitcode or 0, stdout, stderr)


def fork(what: Callable[..., None], *arguments: object, folder: Path) -> Done:
    """Does the same as `call` within such a fork, whose disk it shares."""
    with tempfile.TemporaryDirectory() as place:
        outputs = [Path(place, name) for name in ("stdout", "stderr")]
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _run(what, arguments, folder, outputs)
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        stdout, stderr = (path.read_text("utf-8", "replace") for path in outputs)
        return Done(code, stdout, stderr)


def _run(what: Callable[..., None], arguments: tuple, folder: Path, outputs: list[Path]) -> None:
    for number, path in enumerate(outputs, start=1):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        os.dup2(opened, number)
        os.close(opened)
    for stream in ("stdout", "stderr"):
        number = 1 if stream == "stdout" else 2
        setattr(sys, stream, os.fdopen(os.dup(number), "w", encoding="utf-8", errors="replace"))
    os.chdir(folder)
    what(*arguments)


def command(arguments: tuple[str, ...]) -> None:
    """Runs a command of the command line in this process."""
    from whence.cli import main

    sys.argv = ["whence", *arguments]
    main()


def mount(place: Path, *, pages: int, inodes: int = 0, again: bool = False) -> None:
    """Puts a disk of some pages of memory under a directory, or changes the size of that disk.

    Args:
        place: The directory.
        pages: Its size in pages of 4 KiB.
        inodes: How many files and directories it can hold, itself included; 0 for any number.
        again: It is mounted already.

    Raises:
        OSError: The system does not permit it.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def check(returned: int) -> None:
        if returned != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    if not again:
        users, groups = os.getuid(), os.getgid()
        check(libc.unshare(_NEW_MOUNTS | (_NEW_USERS if users else 0)))
        if users:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {users} 1")
            Path("/proc/self/gid_map").write_text(f"0 {groups} 1")
        check(libc.mount(b"none", b"/", None, _PRIVATE | _RECURSIVE, None))
    options = f"size={pages * 4096},nr_inodes={inodes}".encode()
    flags = _REMOUNT if again else 0
    check(libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", flags, options))
