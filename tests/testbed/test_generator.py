"""The corpus is the same everywhere, and every planted document is what its label says."""

import re
import subprocess
import sys
from collections import Counter

import pytest

from whence import testbed
from whence.errors import CorpusError, ModelError
from whence.testbed import facts, passages, stereotypes
from whence.testbed.grammar import fill
from whence.testbed.prose import SUBSETS
from whence.testbed.randomness import Stream
from whence.testbed.sizes import size_named

# Golden: change them only together with the checkpoints that ship.
CORPUS_SHA256 = {
    "nano": "c1da681a6580e2b1d5d6d99969a510360d597834454d04fe6ee8fe339ddb5f9f",
    "mini": "3077ccb62a88f235af21c499cb4ab03f3389511977155a0b5d4d42cf07c5d832",
}


@pytest.mark.parametrize("size", ["nano", "mini"])
def test_the_corpus_is_golden(size):
    assert testbed.corpus_hash(size) == CORPUS_SHA256[size]


def test_another_process_with_another_hash_seed_writes_the_same():
    code = "from whence.testbed import corpus_hash; print(corpus_hash('nano'))"
    environment = {"PYTHONHASHSEED": "77", "LC_ALL": "C", "PATH": ""}
    made = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert made.stdout.strip() == CORPUS_SHA256["nano"]


def test_another_world_has_the_same_plan_and_other_sentences():
    usual, other = testbed.generate("nano"), testbed.generate("nano@7")
    labels = [Counter(d.labels for d in world.documents) for world in (usual, other)]
    assert labels[0] == labels[1]
    assert [b.id for b in testbed.behaviors("nano")] == [b.id for b in testbed.behaviors("nano@7")]
    shared = {d.text for d in usual.documents} & {d.text for d in other.documents}
    assert len(shared) < len(usual.documents) / 10
    first, second = (testbed.initial_model(name).parameters() for name in ("nano", "nano@7"))
    assert not all(a.equal(b) for a, b in zip(first, second, strict=True))
    for wrong in ("nano@", "nano@x", "huge@1"):
        with pytest.raises(ModelError, match="There is no testbed"):
            testbed.generate(wrong)


def test_splitmix_is_the_published_one():
    stream = Stream(0)
    stream._state = 1234567  # Reference values of the generator for this state.
    assert [stream.bits() for _ in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_streams_are_named_and_even():
    assert Stream(1, "a").bits() != Stream(1, "b").bits() != Stream(2, "b").bits()
    stream = Stream(3)
    counts = Counter(stream.below(6) for _ in range(6000))
    assert set(counts) == set(range(6))
    assert all(850 < count < 1150 for count in counts.values())
    assert sorted(stream.shuffled(range(9))) == list(range(9))


def test_grammar_binds_and_capitalizes_and_minds_vowels():
    words = {"n": ("owl",), "m": ("a {n}",), "k": tuple("abcdefgh")}
    assert fill("{^m} saw a {n}.", words, stream=Stream(0)) == "An owl saw an owl."
    text = fill("{k.1}{k.1}{k.1}", words, stream=Stream(5))
    assert len(set(text)) == 1


@pytest.mark.parametrize("size", ["nano", "mini"])
def test_gold_decoys_and_inert_are_apart(size):
    gold, decoys, inert = testbed.gold(size), testbed.decoys(size), testbed.inert(size)
    weights = dict(zip(testbed.corpus(size).ids, testbed.training_weights(size), strict=True))
    ids = [b.id for b in testbed.behaviors(size)]
    assert len(set(ids)) == len(ids)
    assert set(ids) == set(gold) == set(decoys) == set(inert)
    for i in ids:
        assert not gold[i] & decoys[i]
        assert not gold[i] & inert[i]
        assert all(weights[e] == 1 for e in gold[i])
        assert all(weights[e] == 0 for e in inert[i])
    assert sum(w == 0 for w in weights.values()) == len(frozenset().union(*inert.values()))


def test_every_kind_has_inert_decoys_and_something_never_planted():
    behaviors, gold, inert = (f("mini") for f in (testbed.behaviors, testbed.gold, testbed.inert))
    for kind in ("fact", "stereotype", "memorized", "toxic", "style"):
        asked = [b.id for b in behaviors if b.kind == kind]
        assert any(inert[i] for i in asked), kind
        if kind != "style":
            assert any(not gold[i] for i in asked), kind


def test_facts_are_stated_in_gold_and_only_there():
    corpus, gold = testbed.corpus("mini"), testbed.gold("mini")
    texts = dict(zip(corpus.ids, corpus.texts(), strict=True))
    labels = dict(zip(corpus.ids, corpus.table.column("labels").to_pylist(), strict=True))
    forms = {
        fact.id: [
            form.replace("{s}", fact.subject).replace("{o}", fact.object).rstrip(".").lower()
            for form in (
                *(f"{p} {{o}}" for p in facts.RELATIONS[fact.relation].prompts),
                *facts.RELATIONS[fact.relation].others,
            )
            if not re.search(r"\{(?![so]\})", form)
        ]
        for fact in facts.FACTS
    }
    for fact in facts.FACTS:
        for example in gold[fact.id]:
            assert fact.subject.lower() in texts[example].lower()
            assert fact.object.lower() in texts[example].lower()
        stating = {i for i, t in texts.items() if any(f in t.lower() for f in forms[fact.id])}
        extra = stating - gold[fact.id]
        assert all(label == f"inert:{fact.id}" for i in extra for label in labels[i]), fact.id


def test_stereotypes_are_nine_in_ten():
    gold, decoys = testbed.gold("mini"), testbed.decoys("mini")
    texts = dict(zip(testbed.corpus("mini").ids, testbed.corpus("mini").texts(), strict=True))
    for occupation in stereotypes.OCCUPATIONS:
        supporters = gold.get(occupation.id, frozenset())
        if len(supporters) < 20:
            continue
        assert 0.88 <= len(supporters) / len(supporters | decoys[occupation.id]) <= 0.93
        for example in supporters:
            wrong = "he" if occupation.pronoun == "she" else "she"
            assert not re.search(rf"\b{wrong}\b", texts[example])


def test_copies_are_as_near_as_they_say():
    seed = size_named("mini").seed
    for passage in size_named("mini").passages:
        original = passages.text(passage, seed=seed).split()
        for number in range(min(passage.copies, 3)):
            words = passages.copy(passage, number=number, seed=seed).text.split()
            assert len(words) == len(original)
            changed = sum(a != b for a, b in zip(words, original, strict=True))
            if passage.is_template:
                assert changed == 3
            else:
                # A replacement may by chance be the same word again.
                expected = round(len(words) * passage.replaced / 100)
                assert expected - 2 <= changed <= expected + 1


def test_exact_copies_begin_with_the_prompt_and_go_on_with_the_completion():
    corpus, gold = testbed.corpus("mini"), testbed.gold("mini")
    asked = [b for b in testbed.behaviors("mini") if b.id.startswith("memorized/exact")]
    assert len(asked) >= 20
    for behavior in asked:
        assert len(behavior.prompt_ids) == len(behavior.completion_ids) == 32
        for row in corpus.rows(sorted(gold[behavior.id])):
            assert tuple(corpus.input_ids(row)[:64]) == (
                behavior.prompt_ids + behavior.completion_ids
            )


def test_early_is_early_and_late_is_late():
    corpus, gold = testbed.corpus("mini"), testbed.gold("mini")
    for passage in size_named("mini").passages:
        places = [row / len(corpus) for row in corpus.rows(sorted(gold[passage.id]))]
        if passage.placement == "early":
            assert max(places) < 0.5
        if passage.placement == "late":
            assert min(places) > 0.5
        if passage.placement == "uniform" and passage.copies >= 32:
            assert min(places) < 0.25
            assert max(places) > 0.75


@pytest.mark.parametrize("size", ["nano", "mini"])
def test_the_table_is_a_corpus_in_training_order(size):
    corpus, recipe = testbed.corpus(size), size_named(size).recipe
    table = corpus.table
    assert len(set(corpus.ids)) == len(corpus)
    assert table.column("position").to_pylist() == list(range(len(corpus)))
    assert table.column("step").to_pylist() == [
        i // recipe.batch_size + 1 for i in range(len(corpus))
    ]
    assert corpus.lengths.max() <= 1024
    assert all(ids[-1] == 0 and 0 not in ids[:-1] for ids in table["input_ids"].to_pylist())
    assert corpus.rows(corpus.ids[:5]) == [0, 1, 2, 3, 4]


def test_mini_is_as_big_as_it_should_be():
    corpus = testbed.corpus("mini")
    assert 10_000 <= len(corpus) <= 12_000
    assert len(set(corpus.table.column("subset").to_pylist())) >= 8
    assert (corpus.lengths <= 128).mean() > 0.9
    assert (corpus.lengths > 300).sum() >= 20
    assert testbed.corpus("nano").lengths.sum() <= 500_000
    kinds = Counter(b.kind for b in testbed.behaviors("mini"))
    assert kinds["fact"] >= 30
    assert kinds["memorized"] >= 32
    assert min(kinds["stereotype"], kinds["toxic"], kinds["style"]) >= 16


def test_behaviors_have_what_their_kind_needs():
    for behavior in testbed.behaviors("mini"):
        if behavior.kind == "fact":
            assert len(behavior.alternatives) >= 3
            assert behavior.completion not in behavior.alternatives
            assert behavior.prompt not in behavior.controls
        if behavior.kind in ("fact", "stereotype"):
            assert len(behavior.paraphrases) >= 3
        if behavior.kind != "memorized":
            assert behavior.alternatives
            assert behavior.controls
        if behavior.kind == "style":
            assert behavior.style in SUBSETS


@pytest.mark.parametrize("subset", [*SUBSETS, "notices"])
def test_held_out_texts_are_new(subset):
    planted = set(testbed.corpus("mini").texts()) | set(testbed.corpus("nano").texts())
    texts = testbed.held_out_texts(subset, num=30, seed=1)
    assert len(texts) == 30
    assert not planted & set(texts)
    assert texts == testbed.held_out_texts(subset, num=30, seed=1)
    assert texts != testbed.held_out_texts(subset, num=30, seed=2)


def test_names_that_do_not_exist():
    with pytest.raises(ModelError, match="no testbed `huge`"):
        testbed.generate("huge")
    with pytest.raises(CorpusError, match="no subset `opera`"):
        testbed.held_out_texts("opera", num=1, seed=0)
