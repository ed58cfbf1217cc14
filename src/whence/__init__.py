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
        attribute,
        build_index,
        check_surprises,
        compare,
        discover,
        export,
        export_table,
        export_testbed,
        find,
        hits,
        import_scores,
        list_methods,
        list_runs,
        load_behaviors,
        load_corpus,
        load_evidence,
        load_memorization,
        load_model,
        locate,
        make_bank,
        open_index,
        open_search,
        query,
        run,
        run_study,
        serve,
        show,
        study_memorization,
        validate,
        verify,
        verify_index,
        write_plot,
        write_report,
    )

__all__ = [
    "AttributionSettings",
    "Behavior",
    "CorpusSettings",
    "Hits",
    "IndexSettings",
    "ModelSettings",
    "attribute",
    "build_index",
    "check_surprises",
    "compare",
    "discover",
    "export",
    "export_table",
    "export_testbed",
    "find",
    "hits",
    "import_scores",
    "list_methods",
    "list_runs",
    "load_behaviors",
    "load_corpus",
    "load_evidence",
    "load_memorization",
    "load_model",
    "locate",
    "make_bank",
    "open_index",
    "open_search",
    "query",
    "run",
    "run_study",
    "serve",
    "show",
    "study_memorization",
    "validate",
    "verify",
    "verify_index",
    "write_plot",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'whence' has no attribute {name!r}")
    return getattr(import_module("whence.api"), name)


def __dir__() -> list[str]:
    return __all__
