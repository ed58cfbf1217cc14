"""Reader of datasets on the Hugging Face Hub.

`datasets` downloads and decodes; since version 4 it runs no code that comes with a dataset. When
streaming, only what is read is fetched.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from whence.corpus.documents import needed_columns
from whence.errors import CorpusError
from whence.remote import explain, quiet
from whence.settings import CorpusSettings


class HubRows(NamedTuple):
    """The rows of a Hub dataset, and how many there are where that is known beforehand."""

    rows: Iterator[dict[str, object]]
    num_rows: int | None


def read_hub(settings: CorpusSettings) -> HubRows:
    """Opens one split of a Hub dataset, downloaded whole or streamed.

    Raises:
        CorpusError: The dataset, configuration, split, revision or column does not exist, the Hub
            cannot be reached, or a file of the dataset is broken.
    """
    import datasets

    try:
        with quiet():
            dataset = datasets.load_dataset(
                settings.source,
                settings.config,
                split=settings.split,
                revision=settings.revision,
                streaming=settings.stream,
            )
    except Exception as error:
        raise _explain(error, settings) from error
    if names := dataset.column_names:
        dataset = dataset.select_columns(needed_columns(names, settings))
    num_rows = dataset.num_rows if isinstance(dataset, datasets.Dataset) else None
    return HubRows(_rows(dataset, settings), num_rows)


def dataset_commit(settings: CorpusSettings) -> str:
    """Finds the commit that a Hub dataset's revision stands for now; empty where it is unknown.

    It is unknown without a connection, where a dataset can still be read from the cache, and where
    the Hub refuses; then reading it says why.
    """
    from huggingface_hub import dataset_info

    try:
        return str(dataset_info(settings.source, revision=settings.revision).sha)
    except Exception:
        return ""


def _rows(dataset: Any, settings: CorpusSettings) -> Iterator[dict[str, object]]:
    try:
        yield from dataset
    except Exception as error:
        raise _explain(error, settings) from error


def _explain(error: Exception, settings: CorpusSettings) -> Exception:
    if isinstance(error, ValueError) and (
        "config" in str(error).lower() or "split" in str(error).lower()
    ):
        first, *rest = [line.strip() for line in str(error).splitlines() if line.strip()]
        return CorpusError(
            f"The dataset {settings.source!r} has no config {settings.config!r} with a split "
            f"{settings.split!r}: {' '.join([first, *rest[:1]])}",
            "Set `config` and `split` to what the dataset has.",
        )
    return explain(
        error,
        what="dataset",
        name=settings.source,
        revision=settings.revision,
        as_error=CorpusError,
    )
