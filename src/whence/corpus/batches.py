"""Batches of table rows, a few megabytes each, whatever a file's own batches hold."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 512
BATCH_BYTES = 8 << 20


def rows_of(batch: "pa.RecordBatch") -> Iterator[dict[str, object]]:
    """Turns an Arrow batch into rows, a few megabytes of Python objects at a time."""
    per_row = max(1, batch.get_total_buffer_size() // max(1, batch.num_rows))
    per_row += sum(_longest_entry(column) for column in batch.columns)
    step = max(1, min(BATCH_ROWS, BATCH_BYTES // per_row))
    for first in range(0, batch.num_rows, step):
        yield from batch.slice(first, step).to_pylist()


def _longest_entry(column: "pa.Array") -> int:
    """Bytes of the longest entry of a dictionary, which any number of rows may name."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not isinstance(column, pa.DictionaryArray) or not pa.types.is_string(column.type.value_type):
        return 0
    return pc.max(pc.binary_length(column.dictionary)).as_py() or 0  # pyright: ignore
