"""What do the rows of a Parquet file hold?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whence.corpus.documents import needed_columns
from whence.errors import CorpusError
from whence.settings import CorpusSettings

_BATCH_ROWS = 512


def read_parquet(path: Path, settings: CorpusSettings) -> Iterator[dict[str, Any]]:
    """Reads the rows of one file, and of its columns only those that a corpus needs.

    Raises:
        CorpusError: The file is not whole Parquet, or lacks a column that the settings name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            columns = needed_columns(file.schema_arrow.names, settings)
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorpusError(
            f"{path} is not a whole Parquet file ({_first_line(error)}).",
            "Download or write the file again.",
        ) from None


def num_parquet_rows(path: Path) -> int | None:
    """Counts the rows from the file's footer; None where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError):
        return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
