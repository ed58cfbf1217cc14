"""Which calls does a notebook need? Everything that the commands do, in a few names.

`import whence` gives these names and loads nothing heavy until one of them is used.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, Hits, LoadedModel, Verification
from whence.runs import opening
from whence.runs.indexing import query_index
from whence.runs.study import RunResult, run_study
from whence.settings import (
    AttributionSettings,
    CorpusSettings,
    IndexSettings,
    ModelSettings,
    VerifySettings,
)

if TYPE_CHECKING:
    from whence.gradients import Index

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


def load_model(name: str, *, revision: str | None = None) -> LoadedModel:
    """Loads a causal language model with its tokenizer.

    Args:
        name: A Hub id, a folder, or `testbed:mini`.
        revision: A checkpoint, such as `step143000`.

    Raises:
        ModelError: It cannot be loaded, or its tokenizer does not fit.

    Example:
        >>> load_model("testbed:mini").context_length
        1024
    """
    return opening.open_model(ModelSettings(name=name, revision=revision))


def load_corpus(
    source: str,
    model: LoadedModel,
    *,
    settings: CorpusSettings | None = None,
    progress: Progress = SILENT,
) -> Corpus:
    """Reads training documents in the model's tokens.

    Args:
        source: A Hub dataset, a file or folder, or `testbed:mini`.
        model: The model whose tokenizer and context length apply.
        settings: Columns, split, caps; `source` in them is overruled.
        progress: Is told how far the work is.

    Raises:
        CorpusError: It cannot be read, or is empty, ambiguous or broken.
    """
    chosen = (settings or CorpusSettings(source=source)).model_copy(update={"source": source})
    return opening.open_corpus(chosen, model, progress=progress)


def load_behaviors(source: str | Path) -> tuple[Behavior, ...]:
    """Reads behaviors from a TOML file or from `testbed:mini`.

    Raises:
        WhenceError: The file cannot be read, or a behavior in it is wrong.
    """
    from whence.settings import BehaviorFile

    return opening.open_behaviors(BehaviorFile(file=str(source)))


def verify(
    behaviors: Sequence[Behavior],
    model: LoadedModel,
    *,
    initial: LoadedModel | None = None,
    settings: VerifySettings | None = None,
    texts_by_subset: Mapping[str, Sequence[str]] | None = None,
    progress: Progress = SILENT,
) -> tuple[Verification, ...]:
    """Measures whether the model shows each behavior.

    Args:
        behaviors: What the model may do.
        model: The model.
        initial: Its step-0 weights, to compare with.
        settings: Samples, judges, confidence.
        texts_by_subset: Documents by subset, from which the judge of style is trained.
        progress: Is told how far the work is.

    Returns:
        One verdict per behavior, with the measurements behind it.
    """
    from whence.behaviors import verify as measure

    return measure(
        behaviors,
        model,
        settings=settings or VerifySettings(),
        initial=initial,
        texts_by_subset=texts_by_subset,
        progress=progress,
    )


def build_index(
    model: LoadedModel,
    corpus: Corpus,
    directory: str | Path,
    settings: IndexSettings | None = None,
    *,
    progress: Progress = SILENT,
) -> "Index":
    """Builds a gradient index in Bergson's format; an interrupted build goes on where it stopped.

    Args:
        model: The model whose gradients are stored.
        corpus: The examples.
        directory: The index's place.
        settings: Modules, projection, types, disk budget.
        progress: Shows how far the work is.

    Raises:
        WhenceError: The disk budget is too small, a gradient is not finite, or Bergson is missing.
    """
    from whence.runs.indexing import index_corpus

    chosen = settings or IndexSettings()
    index = index_corpus(Path(directory), model, corpus, chosen, progress=progress)
    assert index is not None, "only a share of an index can leave it unfinished"
    return index


def open_index(directory: str | Path) -> "Index":
    """Opens an index that `build_index`, `whence index` or `bergson build` made.

    Raises:
        IndexFormatError: It is truncated, unfinished, or was made by something incompatible.
    """
    from whence.gradients import open_index as open_directory

    return open_directory(Path(directory))


def query(
    index: "Index",
    model: LoadedModel,
    behavior: Behavior,
    *,
    method: str = "gradient_cosine",
    contrast: bool = False,
    approximate: bool = False,
    k: int = 10,
    progress: Progress = SILENT,
) -> Hits:
    """Searches an index for the examples tied to a behavior.

    Args:
        index: The index.
        model: The model it was made with.
        behavior: The prompt and the completion whose loss is attributed.
        method: `gradient_cosine` or `gradient_dot`.
        contrast: Attribute the log-odds of the completion against the first alternative.
        approximate: Search with FAISS where the index is large.
        k: How many proponents, and how many opponents, at most.
        progress: Is told how far the work is.

    Returns:
        Proponents, which have a positive score, best first, and opponents, which have a negative
        one, most negative first; fewer than `k` where there are fewer. A higher score means that a
        small step of training on the example lowers the query's loss.

    Raises:
        WhenceError: The index does not fit the model, the behavior gives no gradient, or `k` is
            less than 1.
    """
    return query_index(
        index,
        model,
        behavior,
        method=method,
        contrast=contrast,
        approximate=approximate,
        k=k,
        progress=progress,
    )


def run(study: str | Path, directory: str | Path, *, progress: Progress = SILENT) -> RunResult:
    """Runs the study in a TOML file, from behaviors to page.

    Raises:
        WhenceError: Some input is wrong; nothing that looks finished is left behind.
    """
    from whence.settings import load_study

    path = Path(study)
    return run_study(
        load_study(path), Path(directory), base=path.parent, source=path, progress=progress
    )
