"""Truncated curvature, against whole matrices that are decomposed in float64."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from whence.errors import GradientError, SettingsError
from whence.methods import MethodInputs, Rows, score
from whence.methods.curvature import Block, second_moments
from whence.methods.mixture import RowCurvature, Spectrum, check_crossing, mixing_weight
from whence.methods.rows import GradientRows
from whence.methods.trackstar import CROSSING_SHARE
from whence.methods.truncated import Reference, truncated_blocks
from whence.settings import (
    AttributionSettings,
    InfluenceSettings,
    TrackstarSettings,
    parse,
)

SIZES = {"a": 30, "b": 50}
EXAMPLES, QUERIES = 90, 4


def _rows(spectra, *, seed: int = 0) -> GradientRows:
    """Rows whose second moments have these eigenvalues, by module, but for float32."""
    generator = np.random.default_rng(seed)
    count = max(2 * len(spectrum) for spectrum in spectra.values())
    blocks = []
    for spectrum in spectra.values():
        side = np.linalg.qr(generator.normal(size=(count, len(spectrum))))[0]
        directions = np.linalg.qr(generator.normal(size=(len(spectrum), len(spectrum))))[0]
        blocks.append(np.sqrt(count) * side * np.sqrt(spectrum) @ directions.T)
    examples = np.concatenate(blocks, axis=1).astype(np.float32)
    sizes = {name: len(spectrum) for name, spectrum in spectra.items()}
    queries = generator.normal(size=(QUERIES, examples.shape[1])).astype(np.float32)
    return GradientRows(examples, queries, sizes)


def _decaying(size: int) -> np.ndarray:
    return 1 / np.arange(1, size + 1)


@pytest.fixture
def case(lab, planted) -> MethodInputs:
    """Examples, of which number 4 has no gradient, and four queries in 80 numbers."""
    generator = np.random.default_rng(3)
    scale = np.concatenate([_decaying(size) for size in SIZES.values()])
    examples = (generator.normal(size=(EXAMPLES, 80)) * scale).astype(np.float32)
    examples[4] = 0
    asked = (generator.normal(size=(QUERIES, 80)) * scale).astype(np.float32)
    documents = [generator.integers(1, 80, size=9).tolist() for _ in range(EXAMPLES)]
    queries = tuple(
        lab.query_of(f"q{i}", generator.integers(1, 80, size=6).tolist(), num_prompt_tokens=2)
        for i in range(QUERIES)
    )
    return MethodInputs(
        queries,
        lab.corpus_of(documents, [f"e{i}" for i in range(EXAMPLES)]),
        planted.model,
        {Rows(): GradientRows(examples, asked, SIZES)},
        AttributionSettings(reference_behaviors="others.toml"),
        references=frozenset({"q2", "q3"}),
    )


def _trackstar(inputs: MethodInputs, **changes: object) -> MethodInputs:
    chosen = TrackstarSettings.model_validate(changes)
    return replace(inputs, settings=inputs.settings.model_copy(update={"trackstar": chosen}))


def _influence(inputs: MethodInputs, **changes: object) -> MethodInputs:
    chosen = InfluenceSettings.model_validate(changes)
    return replace(inputs, settings=inputs.settings.model_copy(update={"influence": chosen}))


@pytest.mark.parametrize("rank", [50, 51, 2**31 - 1])
@pytest.mark.parametrize("mixing", ["none", "crossing", 0.3])
def test_a_rank_of_all_columns_is_the_whole_matrix(case, rank, mixing) -> None:
    whole = score("trackstar", _trackstar(case, mixing=mixing))
    found = score("trackstar", _trackstar(case, mixing=mixing, curvature_rank=rank))
    np.testing.assert_array_equal(found.values, whole.values)
    assert found.settings["mixing_weight"] == whole.settings["mixing_weight"]
    assert found.settings["curvature_share"] == 1
    influence = score("influence", _influence(case, curvature_rank=rank))
    np.testing.assert_array_equal(influence.values, score("influence", case).values)


def test_one_module_may_be_whole_and_another_truncated(case) -> None:
    curvature = RowCurvature(case.results[Rows()], 30)
    assert curvature.truncated == ("b",)
    assert set(curvature.moments) == {"a"}
    found = score("influence", _influence(case, curvature_rank=30))
    whole = score("influence", case)
    assert 0.99 < curvature.decompose().share < 1
    defined = ~np.isnan(whole.values)
    assert np.corrcoef(found.values[defined], whole.values[defined])[0, 1] > 0.99


@pytest.mark.parametrize("exponent", [-1, -0.5, 0.5])
@pytest.mark.parametrize("damping", [0, 0.1])
def test_a_power_is_exact_where_the_other_eigenvalues_are_equal(exponent, damping) -> None:
    spectrum = np.concatenate([[90, 70, 65, 40, 30], np.full(45, 0.5)])
    rows = _rows({"a": spectrum, "b": spectrum[:20]})
    blocks = truncated_blocks(rows, ["a", "b"], rank=5)
    for name, columns in rows.columns.items():
        examples = rows.examples[:, columns].astype(np.float64)
        moment = examples.T @ examples / len(examples)
        whole = Block(*np.linalg.eigh(moment)).power(exponent, damping=damping)
        found = blocks[name].power(exponent, damping=damping)
        part = rows.queries[:, columns].astype(np.float64)
        # Rounding to float32 leaves the other eigenvalues nearly equal.
        np.testing.assert_allclose(found.apply(part), whole.apply(part), rtol=1e-5, atol=1e-5)
        assert blocks[name].rest == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("exponent", [-1, -0.5])
def test_with_no_more_examples_than_eigenvalues_nothing_is_lost(exponent) -> None:
    generator = np.random.default_rng(0)
    examples = generator.normal(size=(12, 50)).astype(np.float32)
    rows = GradientRows(examples, examples[:3], {"a": 50})
    exact = examples.astype(np.float64)
    whole = Block(*np.linalg.eigh(exact.T @ exact / 12)).power(exponent, damping=0.1)
    found = RowCurvature(rows, 12).decompose().power(exponent, damping=0.1)["a"]
    asked = generator.normal(size=(4, 50))
    np.testing.assert_allclose(found.apply(asked), whole.apply(asked), rtol=1e-9, atol=1e-9)


def test_the_largest_eigenvalues_are_those_of_the_whole_matrix() -> None:
    """To 1e-4 in the first half of a spectrum that falls as 1/i, and to 2 % in all of it."""
    rows = _rows({"a": _decaying(300), "b": _decaying(100) ** 2})
    blocks = truncated_blocks(rows, ["a", "b"], rank=16)
    for name, moment in second_moments(rows).items():
        values = np.linalg.eigvalsh(moment)[::-1]
        block = blocks[name]
        np.testing.assert_allclose(block.values[:8], values[:8], rtol=1e-4)
        np.testing.assert_allclose(block.values, values[:16], rtol=0.02)
        assert block.trace == pytest.approx(values.sum(), rel=1e-6)
        assert block.kept + block.rest * (len(values) - 16) == pytest.approx(values.sum(), rel=1e-6)
        np.testing.assert_allclose(block.vectors.T @ block.vectors, np.eye(16), atol=1e-10)


def test_no_score_varies_from_call_to_call_or_with_the_pieces(case, monkeypatch) -> None:
    inputs = _trackstar(case, curvature_rank=3)
    once, twice = (score("trackstar", inputs).values for _ in range(2))
    np.testing.assert_array_equal(once, twice)
    monkeypatch.setattr("whence.methods.rows.PIECE_BYTES", 7 * 8 * 80)
    np.testing.assert_allclose(score("trackstar", inputs).values, once, rtol=1e-4, atol=1e-6)


def test_no_matrix_of_all_columns_is_made() -> None:
    """Of 60,000 columns it would have 29 GB."""
    size, generator = 60_000, np.random.default_rng(0)
    examples = generator.normal(size=(6, size)).astype(np.float32)
    rows = GradientRows(examples, examples[:2], {"a": size})
    tracemalloc.start()
    power = RowCurvature(rows, 4).decompose(Reference(rows.queries, 0.2)).power(-1, damping=0.1)
    power["a"].apply(examples)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


def test_the_references_are_mixed_in_without_their_matrix(case) -> None:
    rows = case.results[Rows()]
    asked = rows.queries[2:].astype(np.float64)
    moments = second_moments(rows)
    found = RowCurvature(rows, 12).decompose(Reference(rows.queries[2:], 0.6)).blocks
    for name, columns in rows.columns.items():
        evaluated = asked[:, columns].T @ asked[:, columns] / 2
        values, vectors = np.linalg.eigh(0.6 * evaluated + 0.4 * moments[name])
        block = found[name]
        assert block.trace == pytest.approx(values.sum(), rel=1e-5)
        np.testing.assert_allclose(block.values[:6], values[::-1][:6], rtol=1e-3)
        assert abs(block.vectors[:, 0] @ vectors[:, -1]) == pytest.approx(1, abs=1e-3)


def test_a_mixture_of_references_alone_has_their_curvature(case) -> None:
    rows = case.results[Rows()]
    found = RowCurvature(rows, 12).decompose(Reference(rows.queries, 1.0)).blocks
    for name, columns in rows.columns.items():
        part = rows.queries[:, columns].astype(np.float64)
        expected = np.linalg.eigvalsh(part @ part.T / QUERIES)[::-1]
        np.testing.assert_allclose(found[name].values[:QUERIES], expected, rtol=1e-6)
        assert found[name].kept == pytest.approx(found[name].trace, rel=1e-12)


def test_the_crossing_of_truncated_spectra_is_that_of_whole_ones(case) -> None:
    # Of 80 eigenvalues the first: both modules keep more than it.
    whole = score("trackstar", _trackstar(case, mixing="crossing"))
    found = score("trackstar", _trackstar(case, mixing="crossing", curvature_rank=8))
    assert found.settings["mixing_weight"] == pytest.approx(
        whole.settings["mixing_weight"], rel=1e-5
    )
    assert not np.array_equal(found.values, whole.values)


def test_a_crossing_beyond_the_kept_eigenvalues_is_refused(case, monkeypatch) -> None:
    monkeypatch.setattr("whence.methods.trackstar.CROSSING_SHARE", 0.15)
    with pytest.raises(
        GradientError, match=r"eigenvalue 12 of 80.*Raise `trackstar.curvature_rank`.*`trackstar\.m"
    ):
        score("trackstar", _trackstar(case, mixing="crossing", curvature_rank=3))
    score("trackstar", _trackstar(case, mixing=0.5, curvature_rank=3))
    whole = score("trackstar", _trackstar(case, mixing="crossing"))
    found = score("trackstar", _trackstar(case, mixing="crossing", curvature_rank=20))
    assert found.settings["mixing_weight"] == pytest.approx(
        whole.settings["mixing_weight"], rel=1e-3
    )


@pytest.mark.parametrize(("rank", "is_enough"), [(15, False), (16, True), (1024, True)])
def test_a_crossing_beyond_all_kept_eigenvalues_is_refused_before_the_rows(
    rank: int, is_enough: bool
) -> None:
    # 0.015 of 1,024 numbers is the place 15.36 for each module.
    sizes = dict.fromkeys("abcd", 1024)
    how = {"share": CROSSING_SHARE, "num_examples": 2000}
    check_crossing(sizes, None, **how)
    check_crossing(sizes, rank, share=CROSSING_SHARE, num_examples=rank)
    if is_enough:
        check_crossing(sizes, rank, **how)
        return
    with pytest.raises(SettingsError, match=r"60 of 4,096 .* place 61\.\s+Raise it to 61"):
        check_crossing(sizes, rank, **how)


def test_a_place_is_known_only_where_no_left_out_eigenvalue_may_stand_before_it() -> None:
    # Two modules keep (9, 4) and (3, 2); one of those left out of the first may be above 3.
    spectrum = Spectrum(np.array([9.0, 4.0, 3.0, 2.0]), 10, 4.0)
    assert [spectrum.at(1), spectrum.at(2)] == [9, 4]
    for place in (3, 4, 5):
        with pytest.raises(GradientError, match="truncated"):
            spectrum.at(place)
    exhausted = Spectrum(np.array([9.0, 0.0]), 10, 0.0)
    assert [exhausted.at(2), exhausted.at(7)] == [0, 0]
    assert mixing_weight(exhausted, spectrum, share=0.2) == 1


def test_what_has_no_gradient_is_undefined_or_refused_as_by_the_whole_matrix(case) -> None:
    for name, inputs in (
        ("influence", _influence(case, curvature_rank=3)),
        ("trackstar", _trackstar(case, curvature_rank=3)),
    ):
        values = score(name, inputs).values
        assert np.isnan(values[:, 4]).all()
        assert np.isfinite(np.delete(values, 4, axis=1)).all()
        rows = case.results[Rows()]
        flat = rows.examples.copy()
        flat[:, :30] = 0
        with pytest.raises(GradientError, match="30 of 30 directions"):
            score(name, replace(inputs, results={Rows(): replace(rows, examples=flat)}))
        with pytest.raises(GradientError, match="No example has a gradient"):
            score(name, replace(inputs, results={Rows(): replace(rows, examples=0 * flat)}))


def test_without_damping_what_has_no_curvature_is_not_inverted() -> None:
    rows = _rows({"a": np.array([4.0, 3.0, *np.zeros(18)])})
    block = truncated_blocks(rows, ["a"], rank=2)["a"]
    assert block.rest < 1e-6
    exact = GradientRows(np.eye(20, dtype=np.float32)[:3], rows.queries, {"a": 20})
    empty = truncated_blocks(exact, ["a"], rank=3)["a"]
    assert empty.rest == 0
    with pytest.raises(GradientError, match="17 of 20 directions"):
        empty.power(-1, damping=0)
    assert np.isfinite(empty.power(-1, damping=0.1).apply(rows.queries)).all()


def test_settings_without_a_rank_keep_the_key_that_they_had_before() -> None:
    assert InfluenceSettings().model_dump(mode="json") == {"damping": 0.1}
    assert TrackstarSettings().model_dump(mode="json") == {
        "correction": "none",
        "whiten": True,
        "mixing": "none",
        "unit_norm": True,
        "damping": 0.1,
    }
    table = AttributionSettings().model_dump(mode="json")
    assert table["influence"] == {"damping": 0.1}
    assert "curvature_rank" not in table["trackstar"]
    chosen = InfluenceSettings(curvature_rank=8)
    assert chosen.model_dump(mode="json") == {"damping": 0.1, "curvature_rank": 8}
    assert InfluenceSettings.model_validate_json(chosen.model_dump_json()) == chosen


@pytest.mark.parametrize("kind", [TrackstarSettings, InfluenceSettings])
@pytest.mark.parametrize("rank", [0, -1, 2**31])
def test_a_rank_that_makes_no_sense_is_refused(kind, rank) -> None:
    with pytest.raises(SettingsError, match="curvature_rank"):
        parse(kind, {"curvature_rank": rank}, where="The test")


def test_scores_state_the_rank_and_the_share_of_the_trace(case) -> None:
    for name, inputs in (
        ("influence", _influence(case, curvature_rank=3)),
        ("trackstar", _trackstar(case, curvature_rank=3)),
    ):
        told = score(name, inputs).settings
        assert told["curvature_rank"] == 3
        moments = second_moments(case.results[Rows()])
        spectra = [np.linalg.eigvalsh(moment)[::-1] for moment in moments.values()]
        share = sum(s[:3].sum() for s in spectra) / sum(s.sum() for s in spectra)
        assert told["curvature_share"] == pytest.approx(share, rel=1e-3)
        without = score(name, case).settings
        assert not {"curvature_rank", "curvature_share"} & set(without)
