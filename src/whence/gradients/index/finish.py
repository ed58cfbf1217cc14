"""What an index holds beside its rows, and whether a finished index is the one that is wanted.

Examples, losses, lengths of rows and details are written after the rows. An index is current if
its rows come from the same inputs. Where only what is known of the examples has changed (subset,
position, labels), or where the model lies, these are written anew and the rows are kept.
"""

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whence.artifacts import (
    building,
    damage,
    exclusive,
    fingerprint,
    is_current,
    read_manifest,
    write_json,
)
from whence.corpus.examples import schema
from whence.corpus.store import RECORD, TABLE, read_corpus, save_corpus
from whence.errors import ArtifactError, CorpusError, IndexFormatError
from whence.gradients.index.engine import engine_version
from whence.gradients.index.factors import Layout, stored_width
from whence.gradients.index.format import Index
from whence.gradients.index.manifest import KIND, model_label, model_place
from whence.gradients.index.opening import open_index
from whence.gradients.index.search import save_norms
from whence.progress import Progress
from whence.records import Corpus, LoadedModel
from whence.settings import IndexSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DETAILS = "details.json"
_EXAMPLES = {TABLE, RECORD}


def index_inputs(
    model: LoadedModel,
    corpus: Corpus,
    settings: IndexSettings,
    modules: Sequence[str],
    *,
    correction: str | None = None,
) -> dict[str, object]:
    """Lists what determines an index's rows, from which its key is made."""
    return {
        **settings.key(),
        "model": model.fingerprint,
        "corpus": corpus.fingerprint,
        "modules": sorted(modules),
        "correction": correction,
        "bergson": engine_version(),
    }


def finish_index(
    partial: Path,
    directory: Path,
    model: LoadedModel,
    corpus: Corpus,
    *,
    losses: "NDArray[np.float32]",
    grad_sizes: Mapping[str, int],
    dtype: str,
    details: Mapping[str, object],
    layout: Layout | None = None,
) -> None:
    """Writes what stands beside the rows of an index whose rows are written.

    Args:
        partial: The directory of the index that is being built.
        directory: The place that it will have.
        model: The model.
        corpus: The examples.
        losses: The examples' losses in nats; NaN for an example without one.
        grad_sizes: Numbers per module, in the order of the columns.
        dtype: The type of the rows.
        details: What else the manifest shall say.
        layout: The columns of factorized rows.
    """
    save_corpus(corpus, partial)
    _save_dataset(corpus, losses, partial)
    width = stored_width(layout, grad_sizes)
    save_norms(partial, num_rows=len(corpus), width=width, dtype=dtype, layout=layout)
    stated = {
        "num_examples": len(corpus),
        # Pairs, because a mapping's order is not kept.
        "columns": list(grad_sizes.items()),
        "dtype": dtype,
    }
    write_json(partial / DETAILS, _about(model, directory) | stated | dict(details))


def open_current(
    directory: Path,
    model: LoadedModel,
    corpus: Corpus,
    inputs: Mapping[str, object],
    progress: Progress,
) -> Index | None:
    """Opens the index that was made from the same inputs; None where none is whole.

    Its examples, and where its model lies, are written anew where they have changed since.
    """
    place = Path(os.path.realpath(directory))
    if not is_current(place, kind=KIND, inputs=inputs):
        return None
    try:
        index = open_index(directory, model=model)
    except IndexFormatError as error:
        progress.note(f"{error.problem} It is built again.")
        return None
    if _is_up_to_date(index, model, corpus):
        return index
    with exclusive(place, wait=True):
        if not stands(place, inputs, ignored=_EXAMPLES):
            return None
        progress.note("The examples' texts or origins have changed: they are written anew.")
        _renew(place, model, corpus, inputs)
    return open_index(directory, model=model)


def stands(directory: Path, inputs: Mapping[str, object], *, ignored: Collection[str] = ()) -> bool:
    """Whether an index made from these inputs stands there, whole to the last byte.

    Unlike `is_current` it may be called while the caller holds the index's lock.

    Args:
        directory: The index.
        inputs: What determines it.
        ignored: Files that need not be whole.
    """
    try:
        manifest = read_manifest(directory)
    except ArtifactError:
        return False
    if manifest.key != fingerprint(KIND, dict(inputs)) or manifest.files is None:
        return False
    files = {name: file for name, file in manifest.files.items() if name not in ignored}
    return damage(directory, files, whole=True) is None


def _is_up_to_date(index: Index, model: LoadedModel, corpus: Corpus) -> bool:
    assert index.manifest is not None
    if index.manifest.details.model != model_place(model, Path(os.path.realpath(index.path))):
        return False
    try:
        stored = read_corpus(index.path)
    except CorpusError:
        return False
    same = ("name", "description", "num_empty", "searched_fraction")
    return all(getattr(stored, name) == getattr(corpus, name) for name in same) and (
        stored.table.equals(corpus.table.select(schema().names).cast(schema()))
    )


def _renew(place: Path, model: LoadedModel, corpus: Corpus, inputs: Mapping[str, object]) -> None:
    """Makes the same index with other examples' texts; the caller holds the lock."""
    old = read_manifest(place)
    made = {"versions": old.versions, "started": old.started, "seconds": old.seconds}
    with building(place, kind=KIND, inputs=inputs, is_locked=True) as partial:
        for name in set(old.files or ()) - _EXAMPLES:
            _link(place / name, partial / name)
        save_corpus(corpus, partial)
        details = {"rows_made": made} | dict(old.details) | _about(model, place)
        write_json(partial / DETAILS, details)


def _link(source: Path, target: Path) -> None:
    """Gives a file a second name, or copies it where the file system has no second names."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def _about(model: LoadedModel, directory: Path) -> dict[str, object]:
    place = model_place(model, Path(os.path.realpath(directory)))
    return {"model_name": model_label(model), "model": place and place.model_dump()}


def _save_dataset(corpus: Corpus, losses: "NDArray[np.float32]", directory: Path) -> None:
    """Writes `data.hf`, from which Bergson's readers take what belongs to each row."""
    import pyarrow as pa
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar

    table = pa.table({"id": list(corpus.ids), "length": corpus.lengths, "loss": losses})
    disable_progress_bar()
    try:
        Dataset(table).save_to_disk(str(directory / "data.hf"))
    finally:
        enable_progress_bar()
