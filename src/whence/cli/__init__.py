"""The command line: one thin file per command.

This room alone prints: results on stdout, progress and errors on stderr.
"""

import atexit
import errno
import gc
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from whence.cli.console import say
from whence.errors import SettingsError, WhenceError

if TYPE_CHECKING:
    from cyclopts import App

# Each command's summary and example stand here, so that `whence --help` imports no command.
COMMANDS = {
    "demo": (
        "Run a complete study on the built-in testbed, offline.",
        "whence demo",
    ),
    "init": (
        "Write a first study, with one behavior of each kind, explained.",
        "whence init --model testbed:mini --corpus testbed:mini",
    ),
    "run": (
        "Run a study: behaviors, gradients, scores and a page, from one TOML file.",
        "whence run examples/pythia-14m-pile-10k.toml",
    ),
    "verify": (
        "Measure whether a model shows some behaviors.",
        "whence verify behaviors.toml --model EleutherAI/pythia-14m --initial step0",
    ),
    "discover": (
        "Look for memorized passages and styles in a model's training documents.",
        "whence discover behaviors.toml --model testbed:mini --corpus testbed:mini",
    ),
    "index": (
        "Build a gradient index of a corpus, in Bergson's format.",
        "whence index runs/index --model EleutherAI/pythia-14m --corpus NeelNanda/pile-10k",
    ),
    "verify-index": (
        "Compare every byte of an index with the digests in its manifest.",
        "whence verify-index runs/index",
    ),
    "query": (
        "Rank the examples of an index by their score for a prompt's completion.",
        'whence query runs/index --prompt "The chemical symbol for gold is" --completion " Au"',
    ),
    "open": (
        "Open a run's page in a browser.",
        "whence open runs/demo",
    ),
    "runs": (
        "List the runs in a folder: title, model, date, state.",
        "whence runs",
    ),
    "serve": (
        "Serve a page that answers ad hoc queries to a run: model and index stay in memory.",
        "whence serve runs/demo",
    ),
    "show": (
        "Print what a run found.",
        "whence show runs/demo --behavior fact/capital-france",
    ),
    "find": (
        "Find a text in the corpus of a run: how often, in which documents, subsets and steps.",
        'whence find "The capital of France is" runs/demo',
    ),
    "locate": (
        "Find a row of Pythia's training data: its step, its checkpoints, its document.",
        "whence locate 1500000 --corpus EleutherAI/pile-standard-pythia-preshuffled",
    ),
    "methods": (
        "List the methods, what they need, and what their scores mean.",
        "whence methods",
    ),
    "import": (
        "Add scores of another tool to a run, as one more method.",
        "whence import runs/demo scores.parquet --method theirs --orientation higher",
    ),
    "report": (
        "Write a run's page again.",
        "whence report runs/demo",
    ),
    "plot": (
        "Write a picture of a run as SVG, or list those that it has.",
        "whence plot runs/demo agreement --out agreement.svg",
    ),
    "testbed": (
        "Export the testbed's corpus and its truth, or train it again.",
        "whence testbed runs/testbed --train",
    ),
    "bank": (
        "Train a testbed many times without some of its planted groups or documents.",
        "whence bank runs/bank --size nano --jobs 2",
    ),
    "export": (
        "Print what a run lists, for other tools: PAIR's JSON lines, a table, or ids to remove.",
        "whence export runs/demo --format ids --with-copies",
    ),
    "surprises": (
        "Check whether a run's examples without a visible tie have an effect.",
        "whence surprises runs/demo --checkpoint step512",
    ),
    "validate": (
        "Compare a run's methods with planted truth, one more step, retraining and each other.",
        "whence validate runs/nano --bank runs/bank",
    ),
    "compare": (
        "Compare what different kinds of behavior are attributed to, with four controls.",
        "whence compare runs/demo",
    ),
    "memorization": (
        "Study which sequences a model memorized, since when, and through which examples.",
        "whence memorization examples/testbed-memorization.toml",
    ),
    "doctor": (
        "Check this machine and this installation.",
        "whence doctor",
    ),
}


def make_app() -> "App":
    """Lists every command; a command is imported only when it is run."""
    import builtins
    import keyword

    import cyclopts

    app = cyclopts.App(
        name="whence",
        help=(
            "Which training examples are most responsible for a behavior of a language model?\n\n"
            "Example: whence demo"
        ),
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
        version_flags=["--version"],
        default_parameter=cyclopts.Parameter(converter=convert),
    )
    for name, (summary, example) in COMMANDS.items():
        # No hyphen can be in the name of a module or a function; a keyword or a built-in function
        # is not to be one.
        is_taken = keyword.iskeyword(name) or hasattr(builtins, name)
        place = name.replace("-", "_") + ("_" if is_taken else "")
        app.command(
            f"whence.cli.{place}:{place}", name=name, help=f"{summary}\n\nExample: {example}"
        )
    app.register_install_completion_command(
        help="Install completion of commands and flags for this shell."
    )
    return app


def convert(kind: Any, tokens: Any) -> Any:
    """Converts words as cyclopts does, but rounds none: 2.5 is no whole number.

    Raises:
        CoercionError: A word is not of that kind.
    """
    import cyclopts

    words = (
        [token for token in tokens if hasattr(token, "value")]
        if isinstance(tokens, Sequence)
        else []
    )
    if int in (kind, *get_args(kind)) and float not in get_args(kind):
        for token in words:
            if "." in token.value:
                raise cyclopts.CoercionError(token=token, target_type=int)
    return cyclopts.convert(kind, tokens)


class _Interruption:
    """Turns SIGTERM and SIGHUP into what Ctrl-C does, and remembers which signal came.

    A signal that comes while a package is imported may surface as any error of that package.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if number := getattr(signal, name, None):
                signal.signal(number, self._remember)

    def _remember(self, number: int, frame: object) -> None:
        self.signal = number
        raise KeyboardInterrupt


def main() -> None:
    """Runs one command.

    Exits with 2 on a mistake of the user's, with 128 and the signal's number when interrupted, and
    with 141 when nobody reads the answer any more.
    """
    open_streams()
    interruption = _Interruption()
    spare_collector()
    try:
        check_arguments(sys.argv[1:])
        make_app()(
            sys.argv[1:], exit_on_error=False, print_error=False, result_action="return_value"
        )
        sys.stdout.flush()
    except BaseException as error:
        _end(error, interruption.signal)


def _end(error: BaseException, number: int | None) -> None:
    """Ends the process as the error requires; re-raises one that is not a user error."""
    if number is not None:
        _say("\nwhence: Interrupted.", "Run the same command again to resume.")
        sys.exit(128 + number)
    if isinstance(error, WhenceError):
        _say(f"whence: {error.problem}", error.remedy)
        sys.exit(2)
    if _is_usage(error):
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        command = " ".join(["whence", *(getattr(error, "command_chain", None) or ())])
        _say(f"whence: {' '.join(lines)}", f"See `{command} --help`.")
        sys.exit(2)
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()
        _forget_stdout()
        sys.exit(141)
    if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
        _say(f"whence: The answer cannot be written ({error.strerror}).", "Free some disk space.")
        _forget_stdout()
        sys.exit(2)
    if isinstance(error, OSError) and error.errno in _PLACES and error.filename is not None:
        _say(f"whence: {error.filename} cannot be used ({error.strerror}).", "Check the path.")
        sys.exit(2)
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop from "):
        place = str(error).removeprefix("Symlink loop from ")  # By pathlib of Python 3.11 and 3.12.
        _say(f"whence: {place} cannot be used (it is a link in a circle).", "Check the path.")
        sys.exit(2)
    if isinstance(error, FileNotFoundError) and not _has_directory():
        _say("whence: The current directory is gone.", "Change to another one.")
        sys.exit(2)
    if _is_out_of_memory(error):
        # A C++ error may have a stack below its first line.
        first = (str(error).splitlines() or ["none is left"])[0]
        _say(
            f"whence: The memory does not suffice ({first}).",
            "Choose a smaller `token_batch_size`, model or corpus, or a machine with more memory.",
        )
        sys.exit(2)
    raise error


def _has_directory() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was refused: to Python, or to a package that has no type for it."""
    is_refusal = isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None
    return is_refusal or isinstance(error, MemoryError)


def _is_usage(error: BaseException) -> bool:
    """Whether an error is about the words of the command line."""
    from cyclopts import CycloptsError

    return isinstance(error, CycloptsError)


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
# What is wrong with a path that a user named, wherever it is looked at first.
_PLACES = {errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM}
_NO_MEMORY = re.compile("can't allocate memory|not enough memory|out of memory|bad_alloc", re.I)
# Names of this length are cut where they are printed.
_LONG_NAME = re.compile(r"\S{300,}")


def _say(problem: str, remedy: str) -> None:
    for text in (problem, remedy):
        short = _LONG_NAME.sub(lambda name: f"{name[0][:140]}…{name[0][-140:]}", text)
        say(short)


def _forget_stdout() -> None:
    """Leaves nothing to be written when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_streams() -> None:
    """Opens the standard streams that the process was started without, and lets all print all text.

    Without them the first file that is opened would be written to in their place.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It gets the lowest free number.
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuses arguments that are not text, before a command uses one.

    Raises:
        SettingsError: An argument is not UTF-8.
    """
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            safe = argument.encode("utf-8", "backslashreplace").decode()
            raise SettingsError(
                f"The argument {safe[:100]} is not valid UTF-8.", "Write it in UTF-8."
            ) from None


def spare_collector() -> None:
    """Lets the garbage collector look seldom while packages are imported, and not at the end.

    PyTorch and Bergson bring half a million objects that stay; looking through them again and
    again, and once more to end the process, takes one to two seconds of every command.
    """
    gc.set_threshold(10_000)
    atexit.register(gc.freeze)
