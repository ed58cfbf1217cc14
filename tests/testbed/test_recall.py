"""The world that is made for memorization holds the doses, placements and copies that it promises.

Its model is not trained here: a miniature of the plan is.
"""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch

from whence import testbed
from whence.testbed import checkpoints, passages, sizes
from whence.testbed.passages import NUM_COMPLETION_TOKENS, NUM_PROMPT_TOKENS, Passage
from whence.testbed.sizes import size_named
from whence.testbed.tables import tokenizer

PASSAGES = {p.id: p for p in size_named("recall").passages}
SHARED = 13
# Golden, as the worlds of test_generator.py: figures in docs/testbed.md are about this corpus.
CORPUS_SHA256 = "d150751eb3d2d7cbb7917b462faf94c18b2223cd20ac74a9e0106c71bc11433b"


@pytest.fixture(scope="module")
def labels() -> dict[str, tuple[str, ...]]:
    return {
        i: tuple(found)
        for i, found in zip(
            testbed.corpus("recall").ids,
            testbed.corpus("recall").table.column("labels").to_pylist(),
            strict=True,
        )
    }


def test_the_corpus_is_golden():
    assert testbed.corpus_hash("recall") == CORPUS_SHA256


def test_every_family_is_a_behavior_and_nothing_else_is():
    behaviors = testbed.behaviors("recall")
    assert [b.id for b in behaviors] == list(PASSAGES)
    for behavior in behaviors:
        assert behavior.kind == "memorized"
        assert len(behavior.prompt_ids) == NUM_PROMPT_TOKENS
        assert len(behavior.completion_ids) == NUM_COMPLETION_TOKENS


def test_there_are_thirty_families_early_and_late_and_uniform_at_equal_doses():
    doses = defaultdict(Counter)
    for p in PASSAGES.values():
        plain = not (p.is_template or p.lead_words or (p.replaced and not p.near_copies))
        if plain and p.num_documents == 48:
            doses[p.placement][p.copies, p.near_copies, p.replaced] += 1
    assert sum(doses["early"].values()) >= 30
    assert doses["early"] == doses["late"] == doses["uniform"]


def test_doses_edit_distances_and_mixtures_have_several_families_each():
    plain = [p for p in PASSAGES.values() if p.name.startswith("exact-")]
    doses = Counter(p.copies for p in plain)
    assert {0, 1, 2, 4, 8, 16, 32, 64} <= set(doses)
    assert min(doses.values()) >= 6
    near = Counter(p.replaced for p in PASSAGES.values() if p.replaced and not p.near_copies)
    assert set(near) == {5, 10, 20, 30, 50, 75}
    assert min(near.values()) >= 6
    mixed = Counter(p.placement for p in PASSAGES.values() if p.near_copies)
    assert min(mixed[placement] for placement in ("early", "late", "uniform")) >= 12


def test_labels_count_the_copies_and_gold_is_all_of_them(labels):
    counts = Counter(label for found in labels.values() for label in found)
    gold, inert = testbed.gold("recall"), testbed.inert("recall")
    for p in PASSAGES.values():
        assert counts[p.label] == p.copies
        assert counts[p.near_label] == p.near_copies or not p.near_copies
        assert len(gold[p.id]) == p.num_documents
        assert {label for i in gold[p.id] for label in labels[i]} <= {p.label, p.near_label}
        assert len(inert[p.id]) == counts[f"inert:{p.id}"]
    assert sum(bool(ids) for ids in inert.values()) == 8
    weights = testbed.training_weights("recall")
    assert (weights == 0).sum() == sum(map(len, inert.values()))


@pytest.mark.parametrize("world", ["recall", "recall@1"])
def test_distinct_families_share_no_13_tokens(world):
    owner: dict[tuple[int, ...], str] = {}
    for p in size_named(world).passages:
        ids = tokenizer().encode(passages.text(p, seed=size_named(world).seed)).ids
        for start in range(len(ids) - SHARED + 1):
            gram = tuple(ids[start : start + SHARED])
            assert owner.setdefault(gram, p.id) == p.id


def test_copies_of_distinct_families_share_no_13_tokens():
    owner: dict[tuple[int, ...], str] = {}
    corpus = testbed.corpus("recall")
    tokens = dict(zip(corpus.ids, corpus.table.column("input_ids").to_pylist(), strict=True))
    for family, rows in testbed.gold("recall").items():
        lead = PASSAGES[family].lead_words
        for ids in (tokens[i] for i in rows):
            start = ids.index(tokenizer().token_to_id("Ċ")) + 1 if lead else 0
            for place in range(start, len(ids) - SHARED + 1):
                gram = tuple(ids[place : place + SHARED])
                assert owner.setdefault(gram, family) == family


def test_near_copies_beside_exact_ones_are_near_and_exact_ones_exact(labels):
    corpus = testbed.corpus("recall")
    texts = dict(zip(corpus.ids, corpus.texts(), strict=True))
    seed = size_named("recall").seed
    for p in (p for p in PASSAGES.values() if p.near_copies):
        original = passages.text(p, seed=seed).split()
        for i in testbed.gold("recall")[p.id]:
            changed = sum(a != b for a, b in zip(texts[i].split(), original, strict=True))
            expected = round(len(original) * p.replaced / 100) if p.near_label in labels[i] else 0
            assert expected - 2 <= changed <= expected + 1


def test_slots_of_a_template_stand_in_the_prompt_or_in_the_completion():
    gold, corpus = testbed.gold("recall"), testbed.corpus("recall")
    end = NUM_PROMPT_TOKENS + NUM_COMPLETION_TOKENS
    for behavior in testbed.behaviors("recall"):
        p = PASSAGES[behavior.id]
        if not p.is_template:
            continue
        rows = corpus.rows(sorted(gold[p.id]))
        copies = np.array([corpus.input_ids(row)[:end] for row in rows])
        asked = np.array(behavior.prompt_ids + behavior.completion_ids)
        assert (copies == asked).all(axis=1).any()
        differ = (copies != asked).any(axis=0)
        if p.slots == "completion":
            assert not differ[:NUM_PROMPT_TOKENS].any()
            assert differ[NUM_PROMPT_TOKENS:].any()
        else:
            assert differ[:NUM_PROMPT_TOKENS].any()


def test_a_lead_is_new_for_every_copy_and_leaves_the_passage_as_it_is():
    gold, corpus = testbed.gold("recall"), testbed.corpus("recall")
    newline = tokenizer().token_to_id("Ċ")
    for behavior in testbed.behaviors("recall"):
        p = PASSAGES[behavior.id]
        if not p.lead_words:
            continue
        window = [*behavior.prompt_ids, *behavior.completion_ids]
        leads = set()
        for row in corpus.rows(sorted(gold[p.id])):
            ids = corpus.input_ids(row)
            start = ids.index(newline) + 1
            assert ids[start : start + len(window)] == window
            assert p.lead_words <= start <= 2 * p.lead_words
            leads.add(tuple(ids[:start]))
        assert len(leads) == p.copies


def test_early_is_early_and_late_is_late():
    corpus, gold = testbed.corpus("recall"), testbed.gold("recall")
    for p in PASSAGES.values():
        places = [row / len(corpus) for row in corpus.rows(sorted(gold[p.id]))]
        if p.placement == "early":
            assert max(places) < 0.45
        if p.placement == "late":
            assert min(places) > 0.55
        if p.placement == "rehearsed":
            # Half of them early, and of the other half those that fall there as well.
            assert 0.5 <= np.mean(np.array(places) < 0.45) <= 0.85
            assert max(places) > 0.65


def test_checkpoints_are_dense_enough_to_time_an_onset():
    steps = testbed.all_steps("recall")
    gaps = np.diff([s for s in steps if s >= 512]) / steps[-1]
    assert gaps.max() <= 0.04


def test_a_miniature_learns_what_it_sees_often_by_its_end(monkeypatch):
    tiny = replace(
        size_named("recall"),
        name="recall-tiny",
        hidden_size=32,
        background={"news": 60},
        passages=(
            Passage("exact-000-a", 0),
            Passage("exact-060-a", 60),
            Passage("mixed-030-a", 30, replaced=10, near_copies=30),
        ),
        inert=replace(size_named("recall").inert, passages={"exact-000-a": 4}),
    )
    monkeypatch.setitem(sizes._SIZES, "recall-tiny", tiny)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    model = testbed.retrained_model(testbed.RetrainingSettings(size="recall-tiny"), dropped=())
    asked = testbed.behaviors("recall-tiny")
    windows = [[*b.prompt_ids, *b.completion_ids] for b in asked]
    losses = dict(
        zip(tiny.passages, checkpoints.document_losses(model.model, windows), strict=True)
    )
    torch.set_num_threads(before)
    never, exact, mixed = losses.values()
    assert exact < never - 0.3
    assert mixed < never - 0.3
