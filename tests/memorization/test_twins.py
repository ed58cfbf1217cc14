"""Twins differ in what their arms remove and in nothing else, and their effects are differences."""

import copy
import itertools
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.memorization.planted import LENGTH, NUM_FAMILIES, World, copies_of
from tests.methods.conftest import fit

from whence.errors import CorpusError, SettingsError
from whence.memorization import twins as room
from whence.memorization.copies import CLASSES
from whence.memorization.twin_design import (
    REMOVED,
    TwinSettings,
    copies_of_targets,
    families_with_copies,
    make_design,
    twin_targets,
)
from whence.memorization.twin_effects import CONTRASTS, family_effects, twin_effects
from whence.memorization.twins import Start, Twins, twins_stage
from whence.statistics import mean_estimate
from whence.training import Recipe, TrainingState, learning_rate, train

RECIPE = Recipe(batch_size=4, peak_learning_rate=4e-3, warmup_steps=5)
TOTAL = 120
SETTINGS = TwinSettings(num_steps=40, max_exact=4, max_near=3, num_orders=2, seed=3)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def start(world: World) -> Start:
    """The state after 20 steps on unrelated passages."""
    model = fit([[1, 2]], steps=0)
    rest = [row for row, (family, _) in enumerate(world.owners) if family < 0]
    states: list[TrainingState] = []
    train(
        model.model,
        [world.corpus.input_ids(row) for row in rest[:80]],
        recipe=RECIPE,
        checkpoint_steps=(20,),
        on_checkpoint=lambda state: states.append(copy.deepcopy(state)),
    )
    return Start("tiny", lambda: (model, states[0]), 20, RECIPE, TOTAL)


def design(world: World, order: int = 0, settings: TwinSettings = SETTINGS, **kwargs):
    return make_design(
        world.corpus,
        world.copies,
        world.targets,
        settings=settings,
        batch_size=RECIPE.batch_size,
        order=order,
        **kwargs,
    )


def test_every_run_has_as_many_passages_and_none_twice(world: World) -> None:
    for order in range(2):
        found = design(world, order)
        for run in range(len(found.arms)):
            rows = found.rows(run)
            assert len(set(rows)) == len(rows) == 40 * 4


def test_each_family_has_each_arm_once_and_no_run_is_one_arm(world: World) -> None:
    found = design(world)
    for family in range(NUM_FAMILIES):
        assert {found.arm(family, run) for run in range(5)} == set(range(5))
    for run in range(5):
        assert len({found.arm(family, run) for family in range(NUM_FAMILIES)}) == 5


@pytest.mark.parametrize("with_others", [True, False])
def test_an_arm_removes_its_part_of_its_family_and_nothing_else(world: World, with_others) -> None:
    found = design(world, settings=SETTINGS.model_copy(update={"with_others": with_others}))
    assert len(found.arms) == 4 + with_others
    for run in range(len(found.arms)):
        present = [world.owners[row] for row in found.rows(run)]
        for family, counts in enumerate(found.counts):
            removed = REMOVED[found.arms[found.arm(family, run)]]
            for part, num in zip(("exact", "near"), counts, strict=True):
                expected = 0 if part in removed else num
                assert present.count((family, part)) == expected, (run, family, part)
    assert found.counts == ((4, 3),) * NUM_FAMILIES


def test_what_replaces_a_passage_stands_at_its_place_and_copies_nothing(world: World) -> None:
    found = design(world)
    for run in range(5):
        for slot, row in zip(found.slots, found.rows(run), strict=True):
            assert row in (slot.row, slot.stand_in)
            if row != slot.row:
                assert slot.family >= 0
                assert world.owners[row][0] < 0


def test_as_many_unrelated_passages_are_removed_as_copies(world: World) -> None:
    found = design(world)
    for family in range(NUM_FAMILIES):
        others = [s for s in found.slots if (s.family, s.part) == (family, "others")]
        assert len(others) == sum(found.counts[family])
        assert all(world.owners[s.row][0] < 0 for s in others)


def test_a_stand_in_is_the_unrelated_passage_of_nearest_length(world: World) -> None:
    # With one family and one removed passage there is nothing else to draw before it.
    settings = TwinSettings(num_steps=2, max_exact=1, max_near=1, min_copies=1, with_others=False)
    found = make_design(
        world.corpus, world.copies, {"one": 0}, settings=settings, batch_size=4, order=0
    )
    free = [row for row, (family, _) in enumerate(world.owners) if family < 0]
    nearest = min(abs(int(world.corpus.lengths[row]) - LENGTH) for row in free)
    for slot in found.slots:
        if slot.family == 0:
            assert abs(int(world.corpus.lengths[slot.stand_in]) - LENGTH) == nearest


def test_the_pool_is_where_unrelated_passages_come_from(world: World) -> None:
    rest = [row for row, (family, _) in enumerate(world.owners) if family < 0]
    pool = [*rest[:280], 0, 1, 2]
    found = design(world, pool=pool)
    used = {row for slot in found.slots for row in (slot.row, slot.stand_in)}
    assert {row for row in used if world.owners[row][0] < 0} <= set(pool)


def test_the_targets_own_example_is_always_there(world: World) -> None:
    settings = SETTINGS.model_copy(update={"max_exact": 1, "min_copies": 1})
    for order in range(6):
        found = design(world, order, settings)
        exact = {slot.family: slot.row for slot in found.slots if slot.part == "exact"}
        assert [exact[f] for f in range(NUM_FAMILIES)] == world.windows.rows.tolist()


def test_orders_differ_and_repeat_with_their_seed(world: World) -> None:
    assert design(world, 0) == design(world, 0)
    assert design(world, 0) != design(world, 1)
    assert design(world, 0) != design(world, 0, SETTINGS.model_copy(update={"seed": 4}))


def test_a_passage_that_copies_two_targets_is_in_neither() -> None:
    pairs = [(0, 0, "self"), (0, 1, "exact"), (0, 2, "near"), (1, 2, "exact"), (1, 5, "self")]
    found = copies_of_targets(copies_of(2, pairs), {"a": 0, "b": 1}, SETTINGS)
    assert found.by_family == {"a": ((0, 1), ()), "b": ((5,), ())}
    assert found.shared == (2,)


def test_what_a_family_left_out_shares_belongs_to_the_other() -> None:
    pairs = [(0, row, "exact") for row in range(4)] + [(0, row, "near") for row in range(4, 7)]
    pairs += [(1, row, "exact") for row in range(3)] + [(2, 20, "self")]
    found = families_with_copies(copies_of(3, pairs), {"a": 0, "b": 1, "c": 2}, SETTINGS)
    assert found.by_family == {"a": ((0, 1, 2, 3), (4, 5, 6))}
    assert found.shared == ()


def test_copies_of_the_continuation_alone_go_where_the_settings_say() -> None:
    pairs = [(0, 0, "self"), (0, 1, "continuation"), (0, 2, "near"), (0, 3, "weak-near")]
    found = copies_of(1, pairs)
    assert copies_of_targets(found, {"a": 0}, SETTINGS).by_family["a"] == ((0, 1), (2,))
    other = TwinSettings(
        exact_classes=("self", "exact"), near_classes=("continuation", "near", "weak-near")
    )
    assert copies_of_targets(found, {"a": 0}, other).by_family["a"] == ((0,), (1, 2, 3))


def test_targets_have_the_most_copies_of_both_classes() -> None:
    rng = np.random.default_rng(5)
    families = [f"f{i}" for i in rng.integers(0, 5, 30)]
    # No two families have an example in common.
    pairs = [
        (window, 5 * row + int(families[window][1]), CLASSES[rng.integers(5)])
        for window in range(30)
        for row in rng.choice(40, rng.integers(0, 25), replace=False).tolist()
    ]
    found = copies_of(30, pairs)
    chosen = twin_targets(found, families, SETTINGS)
    assert list(chosen) == list(dict.fromkeys(families))
    for family in set(families):
        members = [w for w in range(30) if families[w] == family]

        def worth(window: int) -> tuple[int, int]:
            exact = min(4, len(found.of(window, ("self", "exact", "continuation"))))
            return min(exact, 3, len(found.of(window, ("near",)))), exact

        assert worth(chosen[family]) == max(map(worth, members))
        assert chosen[family] == next(w for w in members if worth(w) == worth(chosen[family]))


def test_targets_of_two_families_stand_in_different_examples_where_they_can() -> None:
    # Families a and b share documents 0 to 7; window 1 of a also has copies of its own.
    shared = [*[(row, "exact") for row in range(4)], *[(row, "near") for row in range(4, 8)]]
    pairs = [(window, row, name) for window in (0, 2) for row, name in shared]
    pairs += [(1, row, "exact") for row in (20, 21, 22)]
    pairs += [(1, row, "near") for row in (23, 24, 25)]
    found = copies_of(3, pairs)
    chosen = twin_targets(found, ["a", "a", "b"], SETTINGS)
    assert chosen == {"a": 1, "b": 2}
    taking_part = copies_of_targets(found, chosen, SETTINGS)
    assert not taking_part.shared
    assert min(len(rows) for parts in taking_part.by_family.values() for rows in parts) >= 3


def test_two_families_have_arms_equally_far_apart_in_one_order_only(world: World) -> None:
    gaps = {
        (design(world, order).arm(0, 0) - design(world, order).arm(1, 0)) % 5 for order in range(8)
    }
    assert len(gaps) > 2


def test_a_class_is_not_both_exact_and_near() -> None:
    with pytest.raises(ValueError, match="`continuation` is among both"):
        TwinSettings(near_classes=("near", "continuation"))


def test_what_does_not_fit_is_refused(world: World) -> None:
    with pytest.raises(SettingsError, match="98 passages that may be removed, but 24 steps of 4"):
        design(world, settings=SETTINGS.model_copy(update={"num_steps": 24}))
    with pytest.raises(CorpusError, match="more than the 100 passages"):
        rest = [row for row, (family, _) in enumerate(world.owners) if family < 0]
        design(world, pool=rest[:100])
    with pytest.raises(CorpusError, match="None of 7 families has 5 exact"):
        design(world, settings=SETTINGS.model_copy(update={"min_copies": 5}))


@pytest.fixture(scope="module")
def twins(world: World, start: Start, tmp_path_factory) -> Twins:
    stage = stage_of(world, start)
    place = tmp_path_factory.mktemp("twins") / "twins"
    stage.make_in(place)
    assert stage.is_current_in(place)
    return stage.read(place)


def test_families_and_examples_that_take_no_part_are_named(world, start, tmp_path) -> None:
    kept = [
        (window, row, CLASSES[number])
        for window, row, number in zip(
            world.copies.windows.tolist(),
            world.copies.rows.tolist(),
            world.copies.classes.tolist(),
            strict=True,
        )
        if window < 2 or CLASSES[number] != "near"
    ]
    shared = world.copies.of(0, ("near",)).tolist()[0]
    stage = twins_stage(
        start,
        world.corpus,
        world.windows,
        copies_of(NUM_FAMILIES, [*kept, (1, shared, "near")]),
        {"alone": 4, "one": 0, "two": 1},
        settings=SETTINGS.model_copy(update={"num_steps": 8, "num_orders": 1}),
    )
    stage.make_in(tmp_path / "twins")
    found = stage.read(tmp_path / "twins")
    assert found.families == ("one", "two")
    assert found.window_ids == ("w0", "w1")
    assert found.left_out == ("alone",)
    assert found.num_shared == 1
    assert found.counts.tolist() == [[4, 3]] * 2
    assert (found.step, found.num_steps) == (20, 8)
    assert not np.isnan(found.log_probs_nats).any()


def stage_of(world: World, start: Start, **kwargs):
    return twins_stage(
        start,
        world.corpus,
        world.windows,
        world.copies,
        world.targets,
        **{"settings": SETTINGS, **kwargs},
    )


def test_a_run_is_plain_training_on_its_passages(world: World, start: Start, twins: Twins) -> None:
    found = design(world, order=1)
    loaded, state = start.open()
    model = copy.deepcopy(loaded.model)
    # The whole order, with anything in the place of what was seen before.
    rows = [0] * (20 * RECIPE.batch_size) + list(found.rows(2))
    train(
        model,
        world.corpus.table.column("input_ids").to_pylist(),
        recipe=RECIPE,
        order=rows,
        resume=state,
        schedule=lambda step: learning_rate(RECIPE, step, total_steps=TOTAL),
    )
    for family in range(NUM_FAMILIES):
        ids = torch.tensor([world.windows.tokens[family].tolist()])
        with torch.no_grad():
            scores = model(input_ids=ids).logits[0, 7:-1].log_softmax(-1)
        log_prob = float(scores.gather(1, ids[0, 8:, None]).mean())
        arm = found.arm(family, 2)
        assert twins.log_probs_nats[1, family, arm] == pytest.approx(log_prob, abs=1e-5)
        share = (scores.argmax(-1) == ids[0, 8:]).double().mean()
        assert twins.matches[1, family, arm] == pytest.approx(float(share))


def test_copies_help_and_unrelated_passages_do_not(twins: Twins) -> None:
    effects = twin_effects(twins)
    for name in ("removing exact", "removing both", "exact alone", "near alone"):
        estimate = effects.named(name).estimate
        assert estimate.interval is not None
        assert estimate.interval.low > 0, name
    both, others = (effects.named(f"removing {what}").estimate for what in ("both", "others"))
    assert others.interval is not None
    assert others.interval.low < 0 < others.interval.high
    assert both.value is not None
    assert both.value > 5 * abs(others.value or 0)
    assert twins.start_nats.mean() < twins.log_probs_nats[:, :, 0].mean()


class _StopError(Exception):
    pass


class _StopAfter:
    """Progress that ends the process, so to speak, when so many runs are made."""

    def __init__(self, num: int) -> None:
        self.left = num

    @contextmanager
    def task(self, name, *, total, unit):
        yield self

    def advance(self, amount: float = 1.0) -> None:
        self.left -= 1
        if not self.left:
            raise _StopError

    def note(self, message: str) -> None:
        pass


def test_an_interrupted_stage_goes_on_with_the_run_it_was_in(
    world: World, start: Start, twins: Twins, tmp_path, monkeypatch
) -> None:
    place = tmp_path / "twins"
    with pytest.raises(_StopError):
        stage_of(world, start, progress=_StopAfter(7)).make_in(place)
    assert not place.exists()
    trained: list[int] = []

    def counting(*args, **kwargs):
        trained.append(1)
        return train(*args, **kwargs)

    monkeypatch.setattr(room, "train", counting)
    stage = stage_of(world, start)
    stage.make_in(place)
    assert len(trained) == 2 * 5 - 7
    resumed = stage.read(place)
    assert np.array_equal(resumed.log_probs_nats, twins.log_probs_nats)
    assert np.array_equal(resumed.matches, twins.matches)


def test_the_key_depends_on_all_that_determines_the_numbers(world: World, start: Start) -> None:
    key = stage_of(world, start).key
    assert stage_of(world, start).key == key
    others = [
        stage_of(world, start._replace(key="other")),
        stage_of(world, start._replace(step=21)),
        stage_of(world, start._replace(total_steps=TOTAL + 1)),
        stage_of(world, start._replace(recipe=RECIPE.model_copy(update={"beta1": 0.5}))),
        stage_of(world, start, settings=SETTINGS.model_copy(update={"seed": 9})),
        stage_of(world, start, pool=range(2, len(world.corpus))),
    ]
    keys = [stage.key for stage in others]
    assert len({key, *keys}) == 1 + len(others)


def made_twins(num_families: int, seed: int = 0) -> Twins:
    rng = np.random.default_rng(seed)
    return Twins(
        families=tuple(f"f{i}" for i in range(num_families)),
        window_ids=tuple(f"w{i}" for i in range(num_families)),
        arms=tuple(REMOVED),
        counts=rng.integers(3, 9, (num_families, 2)),
        left_out=(),
        num_shared=0,
        step=1,
        num_steps=2,
        start_nats=rng.normal(size=num_families),
        log_probs_nats=rng.normal(-3, 1, (3, num_families, 5)),
        matches=rng.random((3, num_families, 5)),
    )


@pytest.mark.parametrize("outcome", ["log_probs_nats", "matches"])
def test_effects_are_differences_of_means_over_families(outcome) -> None:
    made = made_twins(9)
    values = getattr(made, outcome).mean(axis=0)
    effects = twin_effects(made, outcome=outcome)
    full, exact, near, both, others = values.T
    expected = {
        "removing exact": full - exact,
        "removing near": full - near,
        "removing both": full - both,
        "exact alone": near - both,
        "near alone": exact - both,
        "exact minus near": (near - both) - (exact - both),
        "interaction": (full - exact) - (near - both),
        "removing others": full - others,
    }
    assert set(expected) == set(CONTRASTS)
    for name, differences in expected.items():
        found = effects.named(name)
        oracle = mean_estimate(differences.tolist())
        assert found.estimate.value == pytest.approx(oracle.value)
        assert found.estimate.interval == pytest.approx(oracle.interval)
        assert np.mean(found.per_order) == pytest.approx(oracle.value)
        by_order = family_effects(made, name, outcome=outcome)
        assert by_order.mean(axis=1).tolist() == pytest.approx(found.per_order)
        ranks = by_order.argsort(axis=1).argsort(axis=1)
        pairs = [np.corrcoef(a, b)[0, 1] for a, b in itertools.combinations(ranks, 2)]
        assert found.agreement == pytest.approx(np.mean(pairs))
    per_copy = [(exact - both) / made.counts[:, 1], (near - both) / made.counts[:, 0]]
    ratio = per_copy[0].mean() / per_copy[1].mean()
    assert effects.near_in_exact.value == pytest.approx(ratio)
    shapley = (full - exact + near - both).mean() / 2
    assert effects.exact_share.value == pytest.approx(shapley / (full - both).mean())


def test_five_families_have_no_interval_and_one_order_no_agreement() -> None:
    few = twin_effects(made_twins(5))
    assert all(effect.estimate.interval is None for effect in few.effects)
    assert few.near_in_exact.interval is None
    many = made_twins(6)
    one = replace(many, log_probs_nats=many.log_probs_nats[:1])
    assert all(effect.estimate.interval is not None for effect in twin_effects(one).effects)
    assert all(effect.agreement is None for effect in twin_effects(one).effects)


def test_a_design_without_the_control_has_no_effect_of_it() -> None:
    made = made_twins(6)
    made = replace(made, arms=made.arms[:4], log_probs_nats=made.log_probs_nats[:, :, :4])
    names = [effect.name for effect in twin_effects(made).effects]
    assert names == [name for name in CONTRASTS if name != "removing others"]
