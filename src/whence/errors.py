"""Error classes: what was wrong, and what the user should do about it.

Every class says in one sentence what was wrong, with the value, and in one sentence what to do.
The command line prints both and exits with code 2; nothing else is printed.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

_SHOWN = 200


class WhenceError(Exception):
    """A mistake in the input, or a limit of the machine, that the user can act on.

    Args:
        problem: One sentence that says what was wrong, with the value.
        remedy: One sentence that says what to do.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy


class SettingsError(WhenceError):
    """A settings file that cannot be read, or a setting that is unknown or out of range."""


class BehaviorError(WhenceError):
    """A behavior that cannot be measured as it is written."""


class CorpusError(WhenceError):
    """A corpus that cannot be read, or that is empty, ambiguous or broken."""


class ModelError(WhenceError):
    """A model or tokenizer that cannot be loaded, or that does not fit the other inputs."""


class IndexFormatError(WhenceError):
    """An index that is truncated, unfinished, or was made by something incompatible."""


class GradientError(WhenceError):
    """A gradient that is NaN, infinite, or zero where a direction is needed."""


class ArtifactError(WhenceError):
    """A directory that cannot be written, is in use, or is not what its manifest says."""


class MissingEngineError(WhenceError):
    """Bergson cannot be imported, so nothing that needs gradients can run."""


def shown(path: Path | str) -> str:
    """Writes a path into a message: shortened where it is very long, and always printable."""
    # Surrogates that stand for no byte of a name have no bytes either.
    text = re.sub("[\ud800-\udc7f\udd00-\udfff]", "\ufffd", str(path))
    text = os.fsencode(text).decode("utf-8", "replace")
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}…{text[-_SHOWN // 4 :]}"


def did_you_mean(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """Writes the remedy for a name that does not exist.

    Args:
        name: What the user wrote.
        known: The names that exist.
        otherwise: The remedy where none of them is like it.

    Returns:
        A question that names the closest one, or `otherwise`.

    Example:
        >>> did_you_mean("tempratur", ["temperature", "seed"], otherwise="Check the name.")
        'Did you mean `temperature`?'
    """
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean `{close[0]}`?" if close else otherwise
