"""Which training examples are most responsible for a behavior of a language model?

The names below are the Python API; see `whence.api`. Importing `whence` loads none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whence.api import (
        AttributionSettings,
        Behavior,
        CorpusSettings,
        Hits,
        IndexSettings,
        ModelSettings,
        build_index,
        load_behaviors,
        load_corpus,
        load_model,
        open_index,
        query,
        run,
        run_study,
        verify,
    )

__all__ = [
    "AttributionSettings",
    "Behavior",
    "CorpusSettings",
    "Hits",
    "IndexSettings",
    "ModelSettings",
    "build_index",
    "load_behaviors",
    "load_corpus",
    "load_model",
    "open_index",
    "query",
    "run",
    "run_study",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'whence' has no attribute {name!r}")
    return getattr(import_module("whence.api"), name)
