"""Reader of Parquet files.

Row groups are read in batches of a few megabytes, whatever their size. Strings stay in the file's
dictionaries until a row is read, so that a text which stands in a million rows is not a million
copies.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from whence.corpus.batches import BATCH_BYTES, BATCH_ROWS, rows_of
from whence.corpus.documents import needed_columns
from whence.corpus.paths import shown
from whence.errors import CorpusError
from whence.settings import CorpusSettings

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_BUFFER_BYTES = 1 << 20


def read_parquet(path: Path, settings: CorpusSettings) -> Iterator[dict[str, object]]:
    """Reads the rows of one file, and of its columns only those that a corpus needs.

    Raises:
        CorpusError: The file is not whole Parquet, or lacks a column that the settings name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            columns = needed_columns(file.schema_arrow.names, settings)
            kinds = {name: file.schema_arrow.field(name).type for name in columns}
            groups = _group_sizes(file.metadata)
        texts = [n for n, kind in kinds.items() if pa.types.is_string(kind)]
        with pq.ParquetFile(path, read_dictionary=texts, buffer_size=_BUFFER_BYTES) as file:
            for group, num_rows in enumerate(groups):
                for batch in file.iter_batches(num_rows, row_groups=[group], columns=columns):
                    yield from rows_of(batch)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorpusError(
            f"{shown(path)} is not a whole Parquet file ({_first_line(error)}).",
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


def _group_sizes(metadata: "pq.FileMetaData") -> list[int]:
    """Chooses for each row group how many rows are read at once, from its bytes per row."""
    found = []
    # Of whole groups: Arrow ends the process where it reads a broken record of one column.
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        per_row = max(1, group.total_byte_size // max(1, group.num_rows))
        found.append(max(1, min(BATCH_ROWS, BATCH_BYTES // per_row)))
    return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
