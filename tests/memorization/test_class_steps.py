"""Steps on examples of each class are plain tail-patches, averaged within and over families."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from tests.memorization.planted import NUM_FAMILIES, World, copies_of
from tests.methods.conftest import corpus_of, fit
from tests.validation.conftest import _tokenizer

from whence.errors import CorpusError
from whence.memorization.class_steps import (
    ClassSteps,
    ClassStepSettings,
    choose_examples,
    class_differences,
    class_means,
    class_steps_stage,
    rows_by_class,
    step_on_classes,
)
from whence.memorization.windows import Windows
from whence.records import LoadedModel
from whence.statistics import mean_estimate
from whence.validation import Request, StepSettings, tail_patches

STEP = StepSettings(learning_rate=1e-3)
SETTINGS = ClassStepSettings(step=STEP, num_examples=2, seed=1)
FAMILIES = [f"family {n}" for n in range(NUM_FAMILIES)]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(world: World) -> LoadedModel:
    rest = [row for row, (family, _) in enumerate(world.owners) if family < 0]
    return replace(
        fit([world.corpus.input_ids(row) for row in rest[:30]], steps=30), tokenizer=_tokenizer()
    )


@pytest.fixture(scope="module")
def rows(world: World) -> dict[int, dict[str, list[int]]]:
    """All but the third window; the fourth has no topical example."""
    rest = [row for row, (family, _) in enumerate(world.owners) if family < 0]
    places = [place for place in range(NUM_FAMILIES) if place != 2]
    topical = {place: rest[10 * place : 10 * place + 3] for place in places if place != 3}
    return rows_by_class(world.copies, places, topical=topical, rest=rest[200:240])


@pytest.fixture(scope="module")
def found(world: World, model: LoadedModel, rows) -> ClassSteps:
    return step_on_classes(
        model, world.corpus, world.windows, rows, FAMILIES, step=7, settings=SETTINGS
    )


def test_every_cell_is_the_mean_of_its_own_tail_patches(world, model, rows, found) -> None:
    chosen = choose_examples(world.corpus, world.windows, rows, settings=SETTINGS)
    assert found.classes == (
        "self",
        "exact",
        "continuation",
        "near",
        "weak-near",
        "topical",
        "rest",
    )
    queries = world.windows.queries(model.tokenizer)
    for number, place in enumerate(rows):
        assert found.window_ids[number] == world.windows.ids[place]
        assert found.families[number] == FAMILIES[place]
        for column, name in enumerate(found.classes):
            own = chosen[place].get(name, ())
            assert found.num_examples[number, column] == len(own)
            cells = (found.log_prob_change_nats, found.log_odds_change_nats, found.mean_num_tokens)
            if not own:
                assert all(math.isnan(cell[number, column]) for cell in cells)
                continue
            patches = [
                tail_patches(
                    model,
                    world.corpus,
                    queries,
                    [Request("one", (row,), (world.windows.ids[place],))],
                    steps=(STEP,),
                )[0]
                for row in own
            ]
            expected = (
                np.mean([patch.log_prob_change_nats for patch in patches]),
                np.mean([patch.log_odds_change_nats for patch in patches]),
                np.mean([len(world.corpus.input_ids(row)) for row in own]),
            )
            values = [cell[number, column] for cell in cells]
            assert values == pytest.approx(expected, abs=1e-5)
            assert found.before_nats[number] == pytest.approx(patches[0].log_prob_before_nats)


def test_a_copy_teaches_more_than_a_near_copy_and_that_more_than_the_rest(found) -> None:
    means = class_means(found)
    mean = {name: one.value for name, one in means.items() if one.value is not None}
    assert mean["exact"] > mean["near"] > mean["rest"] + 0.1
    assert "continuation" in means
    assert "continuation" not in mean
    by_pair = {(d.first, d.second): d.estimate for d in class_differences(found)}
    assert set(by_pair) == {("exact", "near"), ("near", "rest"), ("topical", "rest")}
    near = by_pair["near", "rest"].interval
    assert near is not None
    assert near.low > 0
    assert by_pair["near", "rest"].n == 6
    # The fourth window has no topical example, and five families are too few for an interval.
    assert by_pair["topical", "rest"].n == 5
    assert by_pair["topical", "rest"].interval is None


def test_chosen_examples_are_those_nearest_in_length_to_the_windows_own() -> None:
    rng = np.random.default_rng(0)
    lengths = [8, *rng.integers(1, 20, 59).tolist()]
    corpus = corpus_of([[5] * n for n in lengths], [f"d{i}" for i in range(60)])
    windows = Windows(
        ("known", "unknown"),
        np.full((2, 14), 5),
        7,
        np.array([0, -1]),
        np.zeros(2, dtype=np.int64),
    )
    candidates = rng.choice(np.arange(1, 60), 40, replace=False).tolist()
    rows = {0: {"near": candidates, "exact": []}, 1: {"near": candidates}}
    found = choose_examples(
        corpus, windows, rows, settings=ClassStepSettings(num_examples=4, seed=3)
    )
    assert found[0]["exact"] == ()
    for place, like in ((0, 8), (1, 14)):
        chosen = found[place]["near"]
        distances = sorted(abs(lengths[row] - like) for row in candidates if lengths[row] > 1)
        assert sorted(abs(lengths[row] - like) for row in chosen) == distances[:4]
        assert set(chosen) <= set(candidates)
    other = choose_examples(
        corpus, windows, rows, settings=ClassStepSettings(num_examples=4, seed=4)
    )
    assert other != found


def test_what_copies_a_window_is_neither_topical_nor_rest() -> None:
    copies = copies_of(2, [(0, 1, "self"), (0, 4, "weak-near"), (1, 5, "exact"), (1, 6, "near")])
    found = rows_by_class(copies, [1, 0], topical={0: [4, 7, 8], 1: [6]}, rest=[1, 5, 7, 9])
    assert list(found) == [1, 0]
    assert found[0]["topical"] == [7, 8]
    assert found[0]["rest"] == [5, 9]
    assert found[1]["topical"] == []
    assert found[1]["rest"] == [1, 7, 9]
    assert found[1]["exact"] == [5]
    assert found[0]["exact"] == []


def test_a_mean_is_over_families_of_means_over_their_windows() -> None:
    rng = np.random.default_rng(2)
    families = tuple(f"f{i}" for i in rng.integers(0, 8, 30))
    values = rng.normal(size=(30, 3))
    values[rng.random((30, 3)) < 0.2] = np.nan
    made = ClassSteps(
        3,
        ("near", "rest", "exact"),
        tuple(f"w{i}" for i in range(30)),
        families,
        np.ones((30, 3), dtype=np.int64),
        np.ones((30, 3)),
        np.zeros(30),
        values,
        -2 * values,
    )

    def oracle(numbers):
        means = [
            float(
                np.mean([n for n, f in zip(numbers, families, strict=True) if f == one and n == n])
            )
            for one in sorted(set(families))
        ]
        return mean_estimate(means)

    means = class_means(made, change="log_odds_change_nats")
    for column, name in enumerate(made.classes):
        expected = oracle(-2 * values[:, column])
        assert means[name].value == pytest.approx(expected.value)
        assert means[name].interval == pytest.approx(expected.interval)
        assert means[name].n == 8
    (difference, other) = class_differences(made)
    assert (difference.first, difference.second) == ("exact", "near")
    assert difference.estimate.value == pytest.approx(oracle(values[:, 2] - values[:, 0]).value)
    assert other.estimate.value == pytest.approx(oracle(values[:, 0] - values[:, 1]).value)


def test_a_kept_table_is_read_back_and_its_key_knows_what_was_stepped_on(
    world, model, rows, found, tmp_path
) -> None:
    def stage(open_model=pytest.fail, chosen=rows, step=7, settings=SETTINGS):
        return class_steps_stage(
            "tiny",
            open_model,
            world.corpus,
            world.windows,
            chosen,
            FAMILIES,
            step=step,
            settings=settings,
        )

    stage(lambda: model).make_in(tmp_path / "steps")
    assert stage().is_current_in(tmp_path / "steps")
    read = stage().read(tmp_path / "steps")
    for field in fields(found):
        a, b = getattr(read, field.name), getattr(found, field.name)
        same = np.array_equal(a, b, equal_nan=True) if isinstance(b, np.ndarray) else a == b
        assert same, field.name
    fewer = {place: own | {"rest": own["rest"][:5]} for place, own in rows.items()}
    others = [
        stage(chosen=fewer),
        stage(step=8),
        stage(settings=ClassStepSettings(num_examples=2, seed=1)),
    ]
    assert len({stage().key, *(one.key for one in others)}) == 4


def test_windows_without_any_example_are_refused(world, model) -> None:
    with pytest.raises(CorpusError, match="None of 1 windows"):
        step_on_classes(model, world.corpus, world.windows, {0: {"near": []}}, FAMILIES, step=1)
