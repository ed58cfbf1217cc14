"""Approximate search of an index with FAISS, with measured recall.

FAISS sorts the rows once into cells around centers, with a byte per entry. A query searches only
the cells whose centers are nearest to it, and the best rows found there are read again and
multiplied exactly: what is found has its true score, and what is missed is missed. How often that
happens is measured when the cells are made, against exact search, with some of the index's own rows
as queries; the number of searched cells doubles until `TARGET_RECALL` is reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from whence.artifacts import building, is_current, read_manifest, write_json
from whence.errors import IndexFormatError, SettingsError
from whence.gradients.index.format import Index
from whence.gradients.index.manifest import GRADIENTS
from whence.gradients.index.search import multiply_rows, row_blocks, row_norms
from whence.gradients.index.stored import asked_rows
from whence.progress import SILENT, Progress
from whence.records import LoadedModel, Query

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy.typing import NDArray

# Below, exact search takes a tenth of a second.
MIN_ROWS = 20_000
FILE = "cells.faiss"
RECALL_AT, TARGET_RECALL, NUM_PROBES = 10, 0.95, 32
# FAISS wants 39 rows for each center.
ROWS_PER_CENTER = 40
# How many candidates are read again for each requested row.
NUM_CANDIDATES = 8


class Nearest(NamedTuple):
    """The rows with the highest scores among those looked at, best first; at most as many as asked.

    Scores are exact: cosines, or inner products in nats², as the cells are.
    """

    rows: "list[Int[np.ndarray, ' found']]"
    scores: "list[Float[np.ndarray, ' found']]"


class Search(NamedTuple):
    """What a search of some queries finds; see `search_cells`."""

    best: Nearest
    worst: Nearest
    recall: float
    num_scored: int


@dataclass(frozen=True)
class Cells:
    """An index's rows in cells. `recall` was measured at `RECALL_AT`, with `num_probed` cells."""

    index: Index
    searcher: Any
    unit_norm: bool
    num_probed: int
    recall: float

    def nearest(self, asked: "Float[np.ndarray, 'queries numbers']", *, k: int) -> Nearest:
        """Finds the rows with the highest scores for each query.

        Args:
            asked: The queries' gradients in the index's coordinates.
            k: How many rows to find for each.

        Cost:
            Of all cells `num_probed` are read, and `NUM_CANDIDATES` · k rows of `gradients.bin`.
        """
        self.searcher.nprobe = self.num_probed
        asked = np.ascontiguousarray(_scaled(asked, self.unit_norm), dtype=np.float32)
        _, candidates = self.searcher.search(asked, NUM_CANDIDATES * k)
        rows, scores = [], []
        for query, found in zip(asked, candidates, strict=True):
            places = np.sort(found[found >= 0])
            read = np.asarray(self.index.gradients[places], dtype=np.float32)
            values = _scaled(read, self.unit_norm) @ query
            best = np.argsort(-values, kind="stable")[:k]
            rows.append(places[best])
            scores.append(values[best])
        return Nearest(rows, scores)


def open_cells(index: Index, *, unit_norm: bool, progress: Progress = SILENT) -> Cells:
    """Opens the cells of an index, and makes them the first time.

    Args:
        index: The index; its cells are kept in its directory.
        unit_norm: Search by cosine, and not by inner product.
        progress: Reports progress.

    Raises:
        SettingsError: FAISS is not installed.
        ArtifactError: The index's directory cannot be written.

    Cost:
        The first time two readings of `gradients.bin`, and memory for a byte per number of it;
        later the cells are mapped from the disk.
    """
    if index.layout is not None:
        raise IndexFormatError(
            f"{index.label} has factorized rows, which an approximate search does not read.",
            "Search exactly, which reads fewer bytes of factorized rows.",
        )
    faiss = _require_faiss()
    directory = index.path / f"cells-{'cosine' if unit_norm else 'dot'}"
    state = (index.path / GRADIENTS).stat()
    inputs = {
        "gradients": [state.st_size, state.st_mtime_ns],
        "unit_norm": unit_norm,
        "target_recall": TARGET_RECALL,
        "faiss": faiss.__version__,
    }
    if not is_current(directory, kind="cells", inputs=inputs):
        with building(directory, kind="cells", inputs=inputs) as partial:
            searcher = _sort_into_cells(faiss, index, unit_norm, progress)
            made = _tuned(Cells(index, searcher, unit_norm, 1, 0.0))
            faiss.write_index(searcher, str(partial / FILE))
            write_json(
                partial / "details.json", {"num_probed": made.num_probed, "recall": made.recall}
            )
    return _read_cells(faiss, index, directory, unit_norm=unit_norm)


def _read_cells(faiss: Any, index: Index, directory: Path, *, unit_norm: bool) -> Cells:
    try:
        details = read_manifest(directory).details
        num_probed, recall = int(details["num_probed"]), float(details["recall"])
        searcher = faiss.read_index(str(directory / FILE), faiss.IO_FLAG_MMAP)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise IndexFormatError(
            f"{directory} cannot be read ({type(error).__name__}: {reason}).",
            "Remove it: the next approximate search makes it again.",
        ) from None
    return Cells(index, searcher, unit_norm, num_probed, recall)


def search_cells(
    index: Index,
    model: LoadedModel,
    queries: Sequence[Query],
    *,
    k: int,
    unit_norm: bool,
    progress: Progress = SILENT,
) -> Search:
    """Finds the rows with the highest and with the lowest scores in the cells of an index.

    Returns:
        The rows with the highest scores, best first, whatever their sign; those with the lowest,
        lowest first; the recall that was measured; and how many examples have a score at all,
        since a gradient of zero is in no cell.

    Raises:
        WhenceError: As of `open_cells` and `asked_rows`.
    """
    cells = open_cells(index, unit_norm=unit_norm, progress=progress)
    asked, _ = asked_rows(index, model, queries)
    worst = cells.nearest(-asked, k=k)
    opposed = Nearest(worst.rows, [-scores for scores in worst.scores])
    best = cells.nearest(asked, k=k)
    return Search(best, opposed, cells.recall, int(cells.searcher.ntotal))


def _sort_into_cells(faiss: Any, index: Index, unit_norm: bool, progress: Progress) -> Any:
    """Trains the centers on rows at equal distances, and puts every row that is not zero in."""
    width = sum(index.grad_sizes.values())
    num_cells = max(1, round(index.num_examples**0.5))
    step = max(1, index.num_examples // (ROWS_PER_CENTER * num_cells))
    sample = _scaled(np.asarray(index.gradients[::step], dtype=np.float32), unit_norm)
    searcher = faiss.index_factory(width, f"IVF{num_cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    searcher.train(np.ascontiguousarray(sample[sample.any(axis=1)]))
    with progress.task("Cells", total=index.num_examples, unit="examples") as task:
        for part, rows in row_blocks(
            index.path, num_rows=index.num_examples, width=width, dtype=index.dtype
        ):
            kept = np.flatnonzero(row_norms(rows) > 0)
            scaled = _scaled(rows.numpy()[kept], unit_norm)
            searcher.add_with_ids(np.ascontiguousarray(scaled), part.start + kept)
            task.advance(len(rows))
    return searcher


def _tuned(cells: Cells) -> Cells:
    """Doubles the number of searched cells until recall suffices; returns the recall."""
    probes = _probes(cells.index)
    exact = _exact_neighbors(cells, probes)
    while True:
        found = cells.nearest(cells.index.gradients[probes], k=RECALL_AT + 1)
        hits = [
            len(np.intersect1d(truth, rows[rows != probe]))
            for truth, rows, probe in zip(exact, found.rows, probes, strict=True)
        ]
        recall = sum(hits) / max(1, sum(len(truth) for truth in exact))
        cells = replace(cells, recall=recall)
        if recall >= TARGET_RECALL or cells.num_probed >= cells.searcher.nlist:
            return cells
        cells = replace(cells, num_probed=min(2 * cells.num_probed, cells.searcher.nlist))


def _probes(index: Index) -> "NDArray[np.int64]":
    """Chooses rows at equal distances that stand for queries."""
    places = np.linspace(0, index.num_examples - 1, NUM_PROBES).astype(np.int64)
    places = np.unique(places)
    return places[np.asarray(index.gradients[places], dtype=np.float32).any(axis=1)]


def _exact_neighbors(cells: Cells, probes: "NDArray[np.int64]") -> "list[NDArray[np.int64]]":
    """Finds the best rows for each probe, itself left out, by reading all."""
    asked = np.asarray(cells.index.gradients[probes], dtype=np.float32)
    found = multiply_rows(cells.index, asked)
    values = found.dots / np.maximum(found.norms, 1e-30) if cells.unit_norm else found.dots
    values = np.where(found.norms > 0, values, -np.inf)
    values[np.arange(len(probes)), probes] = -np.inf
    best = np.argsort(-values, axis=1, kind="stable")[:, :RECALL_AT]
    return [row[values[n, row] > -np.inf] for n, row in enumerate(best)]


def _scaled(
    rows: "Float[np.ndarray, 'rows numbers']", unit_norm: bool
) -> "Float[np.ndarray, 'rows numbers']":
    """Scales rows to unit norm where cosines are searched; a row of zeros stays one."""
    rows = np.asarray(rows, dtype=np.float32)
    if not unit_norm:
        return rows
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return (rows / np.where(norms > 0, norms, 1)).astype(np.float32)


def _require_faiss() -> Any:
    try:
        return import_module("faiss")
    except ImportError as error:
        raise SettingsError(
            f"Approximate search needs the package faiss-cpu, which cannot be imported ({error}).",
            "Install `whence[faiss]`, or search exactly.",
        ) from error
