"""Methods on stored rows, against small dense computations in float64."""

from dataclasses import replace

import numpy as np
import pytest

from whence.errors import GradientError, SettingsError
from whence.methods import FINAL, MethodInputs, Readings, Rows, View, score
from whence.methods import rows as module
from whence.methods.mixture import Spectrum, mixing_weight
from whence.methods.requests import read_both
from whence.methods.rows import GradientRows
from whence.progress import SILENT
from whence.settings import AttributionSettings, TrackstarSettings, TrakSettings

SIZES = {"a": 3, "b": 5}


def _power(matrix: np.ndarray, exponent: float, damping: float) -> np.ndarray:
    """By the singular value decomposition of the damped matrix, for symmetric ones."""
    left, values, right = np.linalg.svd(
        matrix + damping * np.trace(matrix) / len(matrix) * np.eye(len(matrix))
    )
    return left @ np.diag(values**exponent) @ right


@pytest.fixture
def case(lab, planted):
    """Twelve examples, of which number 4 has no gradient, and four queries in eight numbers."""
    generator = np.random.default_rng(3)
    examples = generator.normal(size=(12, 8)) * [1, 2, 3, 1, 1, 5, 1, 1]
    examples[4] = 0
    asked = generator.normal(size=(4, 8))
    documents = [generator.integers(1, 80, size=9).tolist() for _ in range(12)]
    corpus = lab.corpus_of(documents, [f"e{i}" for i in range(12)])
    queries = tuple(
        lab.query_of(f"q{i}", generator.integers(1, 80, size=6).tolist(), num_prompt_tokens=2)
        for i in range(4)
    )
    rows = GradientRows(
        examples.astype(np.float32), asked.astype(np.float32), SIZES, {"projection_dim": 2}
    )
    settings = AttributionSettings(reference_behaviors="others.toml")
    return MethodInputs(queries, corpus, planted.model, {Rows(): rows}, settings)


def _dense(inputs: MethodInputs) -> tuple[np.ndarray, np.ndarray]:
    found = inputs.results[Rows()]
    return found.queries.astype(np.float64), found.examples.astype(np.float64)


def _blocks(matrix: np.ndarray) -> list[np.ndarray]:
    return [matrix[:3, :3], matrix[3:, 3:]]


def _joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.block([[first, np.zeros((3, 5))], [np.zeros((5, 3)), second]])


def _with(inputs: MethodInputs, **changes: object) -> MethodInputs:
    chosen = TrackstarSettings(**changes)
    return replace(inputs, settings=inputs.settings.model_copy(update={"trackstar": chosen}))


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("piece", [1, 5 * 8 * 8, 64 << 20])
def test_trackstar_whitens_both_sides_and_takes_the_cosine(case, monkeypatch, piece) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", piece)
    asked, examples = _dense(case)
    root = _joined(*(_power(block, -0.5, 0.1) for block in _blocks(examples.T @ examples / 11)))
    values = score("trackstar", case).values
    np.testing.assert_allclose(values, _cosines(asked @ root, examples @ root), rtol=1e-5)
    assert np.isnan(values[:, 4]).all()


def test_a_piece_of_rows_is_bounded_by_its_bytes(monkeypatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", 8 * 10 * 3 + 7)
    values = np.arange(80, dtype=np.float32).reshape(8, 10)
    pieces = list(GradientRows(values, values, {"a": 10}).pieces())
    assert [len(piece) for _, piece in pieces] == [3, 3, 2]
    np.testing.assert_array_equal(np.concatenate([piece for _, piece in pieces]), values)


def test_each_switch_of_the_ladder_is_one_setting(case) -> None:
    asked, examples = _dense(case)
    dots = np.where(examples.any(1), asked @ examples.T, np.nan)
    plain = score("trackstar", _with(case, whiten=False, unit_norm=False)).values
    np.testing.assert_allclose(plain, dots, rtol=1e-5)
    normed = score("trackstar", _with(case, whiten=False)).values
    np.testing.assert_allclose(normed, _cosines(asked, examples), rtol=1e-5)
    inverse = _joined(*(_power(b, -1, 0.3) for b in _blocks(examples.T @ examples / 11)))
    whitened = score("trackstar", _with(case, unit_norm=False, damping=0.3)).values
    np.testing.assert_allclose(
        whitened, np.where(examples.any(1), asked @ inverse @ examples.T, np.nan), rtol=1e-5
    )
    corrected = GradientRows(case.results[Rows()].queries, case.results[Rows()].queries, SIZES)
    short = replace(case, corpus=replace(case.corpus, table=case.corpus.table.slice(0, 4)))
    adam = replace(short, results={Rows(View("final", "adam")): corrected})
    found = score("trackstar", _with(adam, correction="adam", whiten=False)).values
    np.testing.assert_allclose(found, _cosines(asked, asked), rtol=1e-5)


def test_the_references_are_mixed_in_where_the_spectra_cross(case) -> None:
    inputs = replace(_with(case, mixing="crossing"), references=frozenset({"q2", "q3"}))
    asked, examples = _dense(case)
    trained, evaluated = examples.T @ examples / 11, asked[2:].T @ asked[2:] / 2
    spectra = [
        np.sort(np.concatenate([np.linalg.eigvalsh(b) for b in _blocks(m)]))[::-1]
        for m in (evaluated, trained)
    ]
    # round(.015 * 8) is 0, and the first place is the least.
    weight = spectra[1][0] / (spectra[0][0] + spectra[1][0])
    mixed = weight * evaluated + (1 - weight) * trained
    root = _joined(*(_power(block, -0.5, 0.1) for block in _blocks(mixed)))
    found = score("trackstar", inputs)
    expected = _cosines(asked[:2] @ root, examples @ root)
    np.testing.assert_allclose(found.values, expected, rtol=1e-5)
    assert found.query_ids == ("q0", "q1")
    assert found.settings["mixing_weight"] == pytest.approx(weight)
    fixed = score("trackstar", _with(inputs, mixing=weight)).values
    np.testing.assert_allclose(fixed, found.values, rtol=1e-6)
    none = score("trackstar", _with(inputs, mixing=0.0)).values
    np.testing.assert_allclose(none, score("trackstar", _with(inputs)).values, rtol=1e-6)


def test_the_crossing_place_grows_with_the_space() -> None:
    values = np.arange(400, 0, -1.0)
    weight = mixing_weight(Spectrum(values, 400, 0.0), Spectrum(values**2, 400, 0.0), share=0.015)
    assert weight == pytest.approx(395**2 / (395 + 395**2))  # the sixth of 400


def test_nothing_scored_is_in_the_references_curvature(case) -> None:
    inputs = replace(_with(case, mixing="crossing"), references=frozenset({"q2", "q3"}))
    before = score("trackstar", inputs).values
    rows = case.results[Rows()]
    asked = rows.queries.copy()
    asked[1] *= 100
    changed = replace(inputs, results={Rows(): replace(rows, queries=asked)})
    np.testing.assert_allclose(score("trackstar", changed).values, before, rtol=1e-5)


def test_influence_is_the_damped_inverse_between_two_gradients(case) -> None:
    asked, examples = _dense(case)
    inverse = _joined(*(_power(b, -1, 0.1) for b in _blocks(examples.T @ examples / 11)))
    expected = np.where(examples.any(1), asked @ inverse @ examples.T, np.nan)
    np.testing.assert_allclose(score("influence", case).values, expected, rtol=1e-5)


def _doubt(model, tokens: list[int], first: int) -> float:
    import torch

    ids = torch.tensor([tokens])
    with torch.no_grad():
        chances = model.model(ids).logits[0, :-1].softmax(-1)
    right = chances[range(len(tokens) - 1), ids[0, 1:]]
    return 1 - right[first - 1 :].mean().item()


def _trak_parts(case: MethodInputs, view: View, model) -> tuple[np.ndarray, np.ndarray]:
    """One model's linear part, and how unsure it is of each example."""
    rows = case.results[Rows(view)]
    asked, examples = rows.queries.astype(np.float64), rows.examples.astype(np.float64)
    seen = np.array([_doubt(model, case.corpus.input_ids(row), 1) for row in range(12)])
    wanted = np.array([_doubt(model, list(q.terms[0].input_ids), 2) for q in case.queries])
    features = examples / seen[:, None]
    blocks = [_power(b, -1, 0.1) for b in _blocks(features.T @ features / 11)]
    size = np.abs(np.concatenate([block.flatten() for block in blocks])).mean()
    return (asked / wanted[:, None]) @ _joined(*blocks) @ features.T / size, seen


def test_trak_weights_by_what_is_not_yet_certain(case, planted) -> None:
    linear, seen = _trak_parts(case, FINAL, planted.model)
    expected = np.where(case.results[Rows()].examples.any(1), linear * seen, np.nan)
    found = score("trak", case)
    np.testing.assert_allclose(found.values, expected, rtol=1e-4)
    assert found.settings["num_models"] == 1


def test_trak_averages_over_models_before_it_weights(case, planted) -> None:
    member, rows = View("member1"), case.results[Rows()]
    other = replace(
        rows, examples=rows.examples[::-1].copy(), queries=rows.queries * 3, settings={"model": "b"}
    )
    table = TrakSettings(ensemble=("elsewhere",))
    settings = case.settings.model_copy(update={"trak": table})
    models = {FINAL: planted.model, member: planted.models[View(20)]}
    results = {
        Rows(): rows,
        Rows(member): other,
        Readings(member): read_both(
            models[member], case.corpus, case.queries, settings=case.index, progress=SILENT
        ),
    }
    inputs = replace(case, settings=settings, results=results)
    parts = [_trak_parts(inputs, view, model) for view, model in models.items()]
    expected = np.mean([p[0] for p in parts], axis=0) * np.mean([p[1] for p in parts], axis=0)
    expected[:, [4, 7]] = np.nan
    found = score("trak", inputs)
    np.testing.assert_allclose(found.values, expected, rtol=1e-4)
    assert found.settings["num_models"] == 2
    with pytest.raises(SettingsError, match=r"needs rows \(member1"):
        score("trak", replace(inputs, results={Rows(): rows}))


def test_without_curvature_or_references_it_is_said(case) -> None:
    inputs = _with(case, mixing="crossing")
    with pytest.raises(SettingsError, match="reference behaviors are all among those scored"):
        score("trackstar", inputs)
    alone = replace(
        inputs, settings=inputs.settings.model_copy(update={"reference_behaviors": None})
    )
    with pytest.raises(SettingsError, match="needs queries that are not scored"):
        score("trackstar", alone)
    rows = case.results[Rows()]
    flat = rows.examples.copy()
    flat[:, :3] = 0
    with pytest.raises(GradientError, match="3 of 3 directions"):
        score("influence", replace(case, results={Rows(): replace(rows, examples=flat)}))
    with pytest.raises(GradientError, match="No example has a gradient"):
        score("influence", replace(case, results={Rows(): replace(rows, examples=0 * flat)}))


def test_a_mixing_weight_is_a_share() -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        TrackstarSettings(mixing=1.5)
