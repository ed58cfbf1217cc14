"""Factorized rows are the best approximations of their rank, and give exact products of them."""

import json

import numpy as np
import pytest
import torch

from whence.errors import GradientError, IndexFormatError, SettingsError
from whence.gradients import build_index, merge_index, open_index, stored_products
from whence.gradients.index import approximate
from whence.gradients.index import build as building
from whence.gradients.index.agreement import compare_rows
from whence.gradients.index.factors import (
    Layout,
    expand,
    factor_norms,
    factor_products,
    factorize,
)
from whence.gradients.index.search import multiply_rows
from whence.gradients.index.verify import verify_index
from whence.settings import IndexSettings, parse

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
LENGTHS = [9, 2, 40, 1, 17, 0, 30, 5, 5, 44, 3, 22]
SHAPES = {"a": (4, 4), "b": (3, 7), "c": (6, 2)}


def build(model, corpus, place, *, rank=None, dim=4, storage="float32", **how):
    settings = IndexSettings(projection_dim=dim, rank=rank, storage=storage, token_batch_size=48)
    return build_index(model, corpus, place, settings, **how)


@pytest.fixture
def corpus(lab):
    sequences = lab.random_sequences(LENGTHS)
    return lab.corpus_of([*sequences, sequences[2]])


@pytest.fixture
def queries(lab):
    a, b = lab.random_sequences([12, 20], seed=7)
    return (
        lab.query_of("plain", (a, 9, 1.0)),
        lab.query_of("contrast", (b, 15, 1.0), (a, 8, -1.0)),
    )


def random_rows(count=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(count, a * b, generator=generator) for name, (a, b) in SHAPES.items()}


def best_approximation(matrix, rank):
    """By numpy's singular value decomposition, one matrix at a time, in float64."""
    left, values, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    values[rank:] = 0
    return (left * values) @ right


@pytest.mark.parametrize("rank", [1, 2, 3, 9])
def test_factors_are_the_best_approximation_of_their_rank(rank):
    rows, layout = random_rows(), Layout.of(SHAPES, rank)
    found = factorize(rows, layout)
    assert found.shape[1] == sum(min(rank, a, b) * (a + b) for a, b in SHAPES.values())
    expected = [
        np.stack([best_approximation(row.reshape(shape), rank).ravel() for row in rows[n].numpy()])
        for n, shape in SHAPES.items()
    ]
    np.testing.assert_allclose(expand(found, layout), np.concatenate(expected, axis=1), atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 60, 160_000])
@pytest.mark.parametrize("rank", [1, 2, 9])
def test_products_and_lengths_are_those_of_the_expanded_rows(rank, chunk, monkeypatch):
    monkeypatch.setattr("whence.gradients.index.factors.CHUNK", chunk)
    layout = Layout.of(SHAPES, rank)
    rows = factorize(random_rows(), layout)
    queries = torch.randn(3, sum(a * b for a, b in SHAPES.values()))
    wide = expand(rows, layout).double().numpy()
    found = factor_products(rows, queries, layout)
    np.testing.assert_allclose(found, wide @ queries.double().numpy().T, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(factor_norms(rows, layout), np.linalg.norm(wide, axis=1), rtol=1e-5)


def test_a_gradient_of_zero_has_factors_of_zero():
    rows = {name: torch.zeros(2, a * b) for name, (a, b) in SHAPES.items()}
    layout = Layout.of(SHAPES, 2)
    assert not factorize(rows, layout).any()
    assert not factor_norms(factorize(rows, layout), layout).any()


def test_full_rank_gives_the_scores_of_whole_rows(lab, family, corpus, queries, tmp_path):
    model = lab.tiny(family)
    whole = build(model, corpus, tmp_path / "whole")
    full = build(model, corpus, tmp_path / "full", rank=4)
    a, b = (stored_products(index, model, queries) for index in (whole, full))
    scale = np.abs(a.dots).max()
    np.testing.assert_allclose(b.dots, a.dots, rtol=1e-4, atol=1e-5 * scale)
    np.testing.assert_allclose(b.example_norms, a.example_norms, rtol=1e-4)
    assert full.agreement["spearman"] == pytest.approx(1, abs=1e-6)
    assert full.agreement["kept_share"] == pytest.approx(1, abs=1e-5)
    assert whole.agreement is None


@pytest.mark.parametrize("dim", [8, None])
def test_lower_ranks_give_the_scores_of_the_best_approximation(lab, corpus, queries, tmp_path, dim):
    model = lab.tiny("neox")
    whole = build(model, corpus, tmp_path / "whole", dim=dim)
    low = build(model, corpus, tmp_path / "low", rank=2, dim=dim)
    assert low.rank == 2
    assert low.width < whole.width
    start, parts = 0, []
    for name, size in whole.grad_sizes.items():
        module = low.layout.modules[name]
        rows = np.asarray(whole.gradients[:, start : start + size])
        shape = (module.outputs, module.inputs)
        parts.append([best_approximation(row.reshape(shape), 2).ravel() for row in rows])
        start += size
    expected = np.concatenate([np.array(part) for part in parts], axis=1)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(low.gradients), expected, atol=1e-4 * scale)
    asked = np.random.default_rng(0).normal(size=(3, expected.shape[1]))
    found = multiply_rows(low, asked)
    np.testing.assert_allclose(
        found.dots, asked @ expected.T, rtol=1e-3, atol=1e-3 * np.abs(found.dots).max()
    )
    products = stored_products(low, model, queries)
    assert products.settings["rank"] == 2
    assert 0 < low.agreement["kept_share"] < 1
    assert low.agreement["spearman"] < 1


def test_curvature_and_whitened_products_are_those_of_the_expanded_rows(lab, corpus, tmp_path):
    from whence.methods.curvature import damped_power, second_moments
    from whence.methods.mixture import RowCurvature
    from whence.methods.rows import GradientRows, products

    index = build(lab.tiny("neox"), corpus, tmp_path / "index", rank=1)
    asked = np.random.default_rng(0).normal(size=(2, sum(index.grad_sizes.values())))
    found = []
    for examples in (index.gradients, np.asarray(index.gradients)):
        rows = GradientRows(examples, asked, dict(index.grad_sizes))
        roots = damped_power(second_moments(rows), -0.5, damping=0.1)
        found.append(products(rows, queries=roots, examples=roots))
        truncated = RowCurvature(rows, 3).decompose().power(-0.5, damping=0.1)
        found.append(products(rows, queries=truncated, examples=truncated))
    for expanded, whole in zip(found[:2], found[2:], strict=True):
        np.testing.assert_allclose(expanded.dots, whole.dots, rtol=1e-9)
        np.testing.assert_allclose(expanded.example_norms, whole.example_norms, rtol=1e-9)


@pytest.mark.parametrize("block", [1, 500, 2**26])
def test_blocks_of_any_size_give_the_same_products(lab, corpus, tmp_path, block, monkeypatch):
    index = build(lab.tiny("neox"), corpus, tmp_path / "index", rank=1)
    asked = np.random.default_rng(0).normal(size=(2, sum(index.grad_sizes.values())))
    expected = asked @ np.asarray(index.gradients, dtype=np.float64).T
    monkeypatch.setattr("whence.gradients.index.search.BLOCK_BYTES", block)
    found = multiply_rows(index, asked)
    np.testing.assert_allclose(found.dots, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_factors_may_be_stored_in_half_the_bytes(lab, corpus, tmp_path, storage):
    model = lab.tiny("neox")
    whole = build(model, corpus, tmp_path / "whole", rank=2)
    half = build(model, corpus, tmp_path / "half", rank=2, storage=storage)
    sizes = [(index.path / "factors.bin").stat().st_size for index in (whole, half)]
    assert sizes[0] == 2 * sizes[1]
    a, b = (np.asarray(index.gradients) for index in (whole, half))
    np.testing.assert_allclose(b, a, atol=0.02 * np.abs(a).max())


def test_shards_of_factorized_rows_are_merged_to_the_same_bytes(lab, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "BLOCK_TOKENS", 1)
    model, place = lab.tiny("neox"), tmp_path / "index"
    whole = build(model, corpus, tmp_path / "whole", rank=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(building._Build, "finish", _never)
        assert build(model, corpus, place, rank=1, shard=(1, 2)) is None
        with pytest.raises(AssertionError):
            build(model, corpus, place, rank=1, shard=(0, 2))
    settings = IndexSettings(projection_dim=4, rank=1, token_batch_size=48)
    monkeypatch.setattr(building, "write_blocks", _never)
    merged = merge_index(model, corpus, place, settings)
    names = ("factors.bin", "factors.json", "norms.npy")
    assert all((whole.path / n).read_bytes() == (merged.path / n).read_bytes() for n in names)


def _never(*_args, **_how):
    raise AssertionError("nothing is to be computed here")


def test_an_interrupted_build_of_factorized_rows_resumes(lab, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "BLOCK_TOKENS", 1)
    model = lab.tiny("neox")
    with pytest.raises(KeyboardInterrupt):
        build(model, corpus, tmp_path / "index", rank=1, progress=lab.Interrupting(3))
    rest = lab.Interrupting(1000)
    resumed = build(model, corpus, tmp_path / "index", rank=1, progress=rest)
    whole = build(model, corpus, tmp_path / "whole", rank=1)
    assert resumed.gradients[:].tobytes() == whole.gradients[:].tobytes()
    assert 0 < rest.totals[0] < sum(n for n in LENGTHS if n > 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"num_rows": 13', '"num_rows": 14'), "bytes instead of"),
        (lambda text: text.replace('"float32"', '"float16"'), "bytes instead of"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "cannot be read"),
        (lambda text: "{}", "cannot be read"),
        (lambda text: text[: len(text) // 2], "cannot be read"),
    ],
)
def test_a_damaged_description_is_refused_in_one_sentence(
    lab, corpus, tmp_path, monkeypatch, change, message
):
    index = build(lab.tiny("neox"), corpus, tmp_path / "index", rank=1)
    path = index.path / "factors.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(IndexFormatError, match=r"factors\.json"):
        open_index(index.path)
    assert verify_index(index.path).damage
    monkeypatch.setattr("whence.gradients.index.opening.damage", lambda *_args: None)
    with pytest.raises(IndexFormatError, match=message):
        open_index(index.path)


def test_another_rank_than_the_manifests_is_refused(lab, corpus, tmp_path, monkeypatch):
    index = build(lab.tiny("neox"), corpus, tmp_path / "index", rank=1)
    path = index.path / "factors.json"
    values = json.loads(path.read_text())
    values["modules"][0][3] = 2
    path.write_text(json.dumps(values))
    monkeypatch.setattr("whence.gradients.index.opening.damage", lambda *_args: None)
    monkeypatch.setattr("whence.gradients.index.opening.check_size", lambda _index: None)
    with pytest.raises(IndexFormatError, match="does not have the rank"):
        open_index(index.path)


def test_verify_index_finds_a_changed_byte(lab, corpus, tmp_path, monkeypatch):
    index = build(lab.tiny("neox"), corpus, tmp_path / "index", rank=1)
    assert verify_index(index.path).damage == ()
    path = index.path / "factors.bin"
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    assert "factors.bin was changed" in verify_index(index.path).damage[0]


def test_a_row_too_large_for_its_type_names_the_example(lab, tmp_path):
    model = lab.tiny("neox")
    with torch.no_grad():
        model.model.base_model.final_layer_norm.weight.mul_(1e9)
    corpus = lab.corpus_of(lab.random_sequences([30, 40]))
    with pytest.raises(GradientError, match=r"example `e\d` is too large for float16"):
        build(model, corpus, tmp_path / "index", rank=1, storage="float16")


def test_an_approximate_search_of_factorized_rows_is_refused(lab, corpus, tmp_path):
    index = build(lab.tiny("neox"), corpus, tmp_path / "index", rank=1)
    with pytest.raises(IndexFormatError, match="factorized rows"):
        approximate.open_cells(index, unit_norm=True)


def test_bergsons_own_build_has_no_rank():
    values = {"rank": 2, "fsdp": True, "collector": "bergson"}
    with pytest.raises(SettingsError, match="no `rank 2`"):
        parse(IndexSettings, values, where="The test")


def test_whole_rows_keep_the_key_that_they_had_before_there_were_ranks():
    assert "rank" not in IndexSettings().key()
    assert IndexSettings(rank=1).key()["rank"] == 1


def test_agreement_is_that_of_ranks_and_leaves_out_rows_of_zero():
    rows = np.random.default_rng(0).normal(size=(6, 5))
    rows[2] = 0
    same = compare_rows(rows, 3 * rows)
    assert same.num_examples == 5
    assert same.spearman == pytest.approx(1)
    assert same.kept_share == pytest.approx(9)
    assert compare_rows(rows[:3], rows[:3]).spearman is None
