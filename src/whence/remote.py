"""Errors of the Hugging Face Hub as one sentence.

Download libraries report HTTP errors; a user wants to know whether the name is wrong, the
revision is wrong, a permission is missing, or the Hub cannot be reached.
"""

import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from whence.errors import WhenceError

E = TypeVar("E", bound=WhenceError)

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_LONGEST = 96
_NOISY = ("transformers", "huggingface_hub", "datasets", "httpx", "httpx2", "fsspec", "filelock")
_UNREACHABLE = ("LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError")


def is_repository_id(name: str) -> bool:
    """Tells whether a name has the form of a Hub id, such as `EleutherAI/pythia-14m`."""
    return (
        len(name) <= _LONGEST
        and _REPOSITORY.fullmatch(name) is not None
        and ".." not in name
        and "--" not in name
        and not name.endswith(("-", "."))
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the download libraries' bars and notices from the terminal, then restores them.

    Only errors are logged meanwhile. The levels and switches that the host had set come back,
    so a program that uses whence keeps its own logging.
    """
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    with ExitStack() as stack:
        for is_on, off, on in _progress_bars():
            if is_on():
                _unwarned(off)
                stack.callback(_unwarned, on)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(logging.ERROR)
            stack.callback(logger.setLevel, level)
        yield


def explain(
    error: BaseException,
    *,
    what: str,
    name: str,
    revision: str | None,
    as_error: type[E],
) -> E:
    """Puts a failed download or a broken file into one sentence and one remedy.

    Args:
        error: What the library raised; its causes are looked at too.
        what: What was requested, such as "model" or "dataset".
        name: Its Hub id or folder.
        revision: The requested revision.
        as_error: The class of the room that asked.

    Returns:
        The error to raise, `from` the given one where its traceback helps.
    """
    causes = list(_causes(error))
    kinds = {base.__name__ for cause in causes for base in type(cause).__mro__}
    at = f" at revision {revision!r}" if revision else ""
    # datasets drops the cause of this error and keeps only its words.
    is_gated = any("is a gated dataset" in str(cause) for cause in causes)
    if is_gated or "GatedRepoError" in kinds:
        return as_error(
            f"The {what} {name!r} is on the Hub, but you have no permission to read it.",
            "Accept its terms on its page, and set HF_TOKEN to a token of that account.",
        )
    if "RevisionNotFoundError" in kinds:
        return as_error(
            f"The {what} {name!r} has no revision {revision!r}.",
            "See the branches on its page; Pythia's checkpoints are called like `step143000`.",
        )
    if kinds & {"RepositoryNotFoundError", "DatasetNotFoundError"}:
        return as_error(
            f"There is no {what} {name!r} on the Hub, nor a file or folder of that name here.",
            "Check the spelling; for a private one set HF_TOKEN.",
        )
    # The class of the HTTP library differs between releases of huggingface_hub, its package not.
    from_network = any(
        type(cause).__module__.split(".")[0] in ("httpx", "httpx2", "requests", "urllib3")
        for cause in causes
    )
    if kinds & set(_UNREACHABLE) or (from_network and "HfHubHTTPError" not in kinds):
        return as_error(
            f"The Hub at {_endpoint()} cannot be reached, and the {what} {name!r}{at} is not in "
            "the local cache.",
            "Check the connection and HF_ENDPOINT, or name a local folder instead.",
        )
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror and cause.filename is not None:
            return as_error(
                f"The {what} {name!r}{at} cannot be fetched, because {cause.filename} cannot be "
                f"used ({cause.strerror}).",
                "Check HF_HOME and the room on its disk.",
            )
    return as_error(
        f"The {what} {name!r}{at} cannot be read ({_first_line(error)}).",
        "Check that its files are whole, or download it again.",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0].rstrip(".:") if lines else type(error).__name__
    return text if len(text) <= 300 else text[:300] + "…"


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


_Switch = tuple[Callable[[], bool], Callable[[], object], Callable[[], object]]


def _unwarned(switch: Callable[[], object]) -> None:
    # Where an environment variable decides, a switch only warns that it has no effect.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        switch()


def _progress_bars() -> Iterator[_Switch]:
    # A library that nobody has imported yet has no bars; importing it here would cost seconds.
    if "huggingface_hub" in sys.modules:
        from huggingface_hub import utils as hub

        yield (
            lambda: not hub.are_progress_bars_disabled(),
            hub.disable_progress_bars,
            hub.enable_progress_bars,
        )
    if "transformers" in sys.modules:
        from transformers.utils import logging as bars

        yield bars.is_progress_bar_enabled, bars.disable_progress_bar, bars.enable_progress_bar
    if "datasets" in sys.modules:
        from datasets.utils import (
            are_progress_bars_disabled,
            disable_progress_bars,
            enable_progress_bars,
        )

        yield lambda: not are_progress_bars_disabled(), disable_progress_bars, enable_progress_bars
