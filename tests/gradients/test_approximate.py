"""What is found in cells has its true score, and what is missed is measured."""

import sys

import numpy as np
import pytest

from whence.errors import SettingsError
from whence.gradients import build_index, stored_products
from whence.gradients.index import approximate
from whence.gradients.index.approximate import open_cells, search_cells
from whence.gradients.index.format import Index
from whence.gradients.index.manifest import GRADIENTS
from whence.settings import IndexSettings

WIDTH = 24


@pytest.fixture
def index(tmp_path):
    """Six hundred rows around thirty centers, of unequal lengths; the first two are zero."""
    generator = np.random.default_rng(0)
    centers = generator.normal(size=(30, WIDTH))
    rows = np.repeat(centers, 20, axis=0) + 0.3 * generator.normal(size=(600, WIDTH))
    rows *= generator.uniform(0.5, 2, size=(600, 1))
    rows = generator.permutation(rows).astype(np.float32)
    rows[:2] = 0
    return write(tmp_path, rows)


def write(directory, rows):
    (directory / GRADIENTS).write_bytes(rows.tobytes())
    return Index(directory, {"rows": rows.shape[1]}, len(rows), "float32", {}, "sum", None)


def scores(asked, rows, *, unit_norm):
    """Every score in float64; none for a row of zeros."""
    asked, rows = asked.astype(np.float64), np.asarray(rows, np.float64)
    values = asked @ rows.T
    norms = np.linalg.norm(rows, axis=1)
    if unit_norm:
        values = values / np.linalg.norm(asked, axis=1)[:, None] / np.maximum(norms, 1e-30)
    return np.where(norms > 0, values, -np.inf)


@pytest.mark.parametrize("unit_norm", [True, False])
def test_what_is_found_is_scored_exactly_and_the_recall_is_the_measured_one(index, unit_norm):
    cells = open_cells(index, unit_norm=unit_norm)
    assert cells.recall >= approximate.TARGET_RECALL
    probes = np.unique(np.linspace(0, 599, approximate.NUM_PROBES).astype(int))[1:]
    asked = np.array(index.gradients[probes])
    truth = scores(asked, index.gradients, unit_norm=unit_norm)
    found = cells.nearest(asked, k=11)
    hits = 0
    for n, probe in enumerate(probes):
        rows, values = found.rows[n], found.scores[n]
        assert (np.diff(values) <= 0).all()
        expected = truth[n, rows]
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)
        truth[n, probe] = -np.inf
        best = np.argsort(-truth[n], kind="stable")[:10]
        hits += len(np.intersect1d(best, rows[rows != probe]))
    assert cells.recall == pytest.approx(hits / 10 / len(probes))


def test_fewer_cells_are_looked_into_than_there_are_and_more_where_too_little_is_found(
    index, monkeypatch
):
    cells = open_cells(index, unit_norm=True)
    assert 1 <= cells.num_probed < cells.searcher.nlist
    monkeypatch.setattr(approximate, "TARGET_RECALL", 2.0)
    all_of_them = open_cells(index, unit_norm=True)
    assert all_of_them.num_probed == all_of_them.searcher.nlist
    assert all_of_them.recall > 0.99


def test_a_row_of_zeros_is_never_found(index):
    cells = open_cells(index, unit_norm=True)
    every = cells.nearest(np.ones((1, WIDTH)), k=600)
    assert not {0, 1} & set(every.rows[0].tolist())


def test_cells_are_made_once_and_anew_for_other_rows(index, monkeypatch):
    open_cells(index, unit_norm=True)
    sort = approximate._sort_into_cells
    monkeypatch.setattr(approximate, "_sort_into_cells", None)
    assert open_cells(index, unit_norm=True).num_probed >= 1
    changed = write(index.path, np.array(index.gradients)[::-1])
    with pytest.raises(TypeError):
        open_cells(changed, unit_norm=True)
    monkeypatch.setattr(approximate, "_sort_into_cells", sort)
    asked = np.array(changed.gradients[3:4])
    assert open_cells(changed, unit_norm=True).nearest(asked, k=1).rows[0].tolist() == [3]


def test_without_faiss_the_remedy_is_said_and_nothing_is_written(index, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(SettingsError, match="faiss-cpu") as caught:
        open_cells(index, unit_norm=True)
    assert "whence[faiss]" in caught.value.remedy
    assert [path.name for path in index.path.iterdir()] == [GRADIENTS]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("unit_norm", [True, False])
def test_proponents_and_opponents_are_those_of_exact_search(lab, tmp_path, unit_norm):
    model = lab.tiny("neox")
    corpus = lab.corpus_of(lab.random_sequences([9, 2, 40, 1, 17, 0, 30, 5] * 4))
    index = build_index(
        model,
        corpus,
        tmp_path / "index",
        IndexSettings(projection_dim=4, token_batch_size=96),
    )
    query = lab.query_of("q", (lab.random_sequences([12], seed=7)[0], 9, 1.0))
    best, worst, recall, _ = search_cells(index, model, (query,), k=3, unit_norm=unit_norm)
    products = stored_products(index, model, (query,))
    values = products.dots[0]
    if unit_norm:
        values = values / products.query_norms[0] / np.maximum(products.example_norms, 1e-30)
    order = np.argsort(values[products.example_norms > 0])
    order = np.flatnonzero(products.example_norms > 0)[order]
    assert recall >= 0.95
    for found, expected in ((best, order[::-1][:3]), (worst, order[:3])):
        assert found.rows[0].tolist() == expected.tolist()
        np.testing.assert_allclose(found.scores[0], values[expected], rtol=1e-4)
