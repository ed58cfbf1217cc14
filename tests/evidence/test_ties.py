"""Every relation, on planted examples whose relation follows from how they were made."""

from collections import Counter
from itertools import groupby

import numpy as np
import pyarrow as pa
import pytest
from rapidfuzz.distance.Levenshtein import distance

from whence.evidence.relations import RELATIONS, is_visible
from whence.evidence.ties import Relater, Tie
from whence.records import Behavior, Corpus, Query, Term
from whence.testbed import behaviors, corpus, inert
from whence.testbed.passages import text as passage_text
from whence.testbed.plan import generate
from whence.testbed.tables import tokenizer

SIZE = "mini"
PER_GROUP = 12


def query_of(behavior: Behavior) -> Query:
    encode = tokenizer().encode
    prompt = behavior.prompt_ids or tuple(encode(behavior.prompt).ids)
    whole = encode(behavior.prompt + behavior.completion).ids
    completion = behavior.completion_ids or tuple(whole[len(prompt) :])
    term = Term((*prompt, *completion), len(prompt), 1.0)
    return Query(behavior.id, (term,), behavior.prompt + behavior.completion)


@pytest.fixture(scope="module")
def relater() -> Relater:
    asked = behaviors(SIZE)
    return Relater(corpus(SIZE), asked, [query_of(behavior) for behavior in asked])


@pytest.fixture(scope="module")
def by_label() -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row, labels in enumerate(corpus(SIZE).table.column("labels").to_pylist()):
        for label in labels or ():
            found.setdefault(label, []).append(row)
    return found


def spans(text: str) -> list[tuple[int, int]]:
    """The first and last (exclusive) token of each word, which encode as in the whole text."""
    encoded = tokenizer().encode(text)
    # A token may begin with the space before its word.
    lasts = [end - 1 for _, end in encoded.offsets]
    word_of = np.searchsorted(
        np.cumsum([len(word) + 1 for word in text.split(" ")]), lasts, side="right"
    )
    return [
        (places[0], places[-1] + 1)
        for _, group in groupby(range(len(word_of)), key=lambda i: word_of[i])
        if (places := list(group))
    ]


def expected(original: str, copy: str) -> set[str]:
    """The relations that a copy may have, from where its words differ from the original's.

    Two where the similarity is within a few tokens of a threshold.
    """
    words, others = original.split(" "), copy.split(" ")
    assert len(words) == len(others)
    sizes, new_sizes = spans(original), spans(copy)
    ids, new_ids = tokenizer().encode(original).ids, tokenizer().encode(copy).ids
    assert len(sizes) == len(words)
    changed = [w for w in range(len(words)) if words[w] != others[w] and sizes[w][0] < 64]
    tokens = {t for w in changed for t in range(*sizes[w]) if t < 64}
    kept_runs = groupby(range(64), key=lambda token: token not in tokens)
    runs = [len(list(group)) for is_kept, group in kept_runs if is_kept]
    run = max(runs, default=0)
    has_completion = not any(t >= 32 for t in tokens)
    blocks = [(ids[slice(*sizes[w])], new_ids[slice(*new_sizes[w])]) for w in changed]
    edits = sum(distance(old, new) for old, new in blocks)
    kept = sum(not tokens & set(range(start, start + 5)) for start in range(60)) / 60
    num_words = sum(start < 64 for start, _ in sizes)
    # The query's last word may be cut, so that one word more differs.
    same_words = 1 - len(changed) / num_words
    found = set()
    # Replaced words may begin or end alike, so that a run goes on; and where many are replaced, an
    # alignment across them saves an edit for about every sixth one.
    for slack in (0, 3 + len(changed) // 6):
        if run + min(slack, 3) >= 50:
            found.add("exact")
        elif has_completion:
            found.add("continuation")
        elif max(1 - (edits - slack) / 64, same_words + (min(slack, 2) - 1) / num_words) >= 0.8:
            found.add("near")
        elif (
            max(1 - (edits - slack) / 64, same_words + (min(slack, 2) - 1) / num_words) >= 0.5
            or kept + min(slack, 3) / 60 >= 0.3
        ):
            found.add("weak-near")
        else:
            found.add("noise")
    return found


def test_copies_have_the_relation_that_follows_from_their_replaced_words(relater, by_label):
    plan = generate(SIZE).size
    texts = corpus(SIZE).texts()
    checked, open_ones, wrong = Counter(), 0, []
    for passage in plan.passages:
        if passage.is_template or not passage.copies:
            continue
        rows = by_label[passage.label][: 48 if passage.replaced else PER_GROUP]
        original = passage_text(passage, seed=plan.seed)
        for row, tie in zip(rows, relater.ties(passage.id, rows), strict=True):
            allowed = expected(original, texts[row])
            open_ones += len(allowed) > 1
            if len(allowed) == 1:
                checked[tie.relation] += 1
            if tie.relation not in allowed:
                wrong.append((passage.id, row, tie.relation, allowed))
    assert wrong == []
    assert checked["exact"] > 150
    assert min(checked[name] for name in ("continuation", "near", "weak-near", "noise")) >= 8
    assert open_ones <= 0.15 * checked.total()


def test_templated_copies_are_copies_of_the_completion_with_a_flag(relater, by_label):
    plan = generate(SIZE).size
    texts = corpus(SIZE).texts()
    for passage in (p for p in plan.passages if p.is_template):
        asked = query_of(relater.subjects[passage.id].behavior).text
        for tie, row in zip(
            relater.ties(passage.id, by_label[passage.label]), by_label[passage.label], strict=True
        ):
            is_itself = texts[row].startswith(asked)
            assert tie.relation == ("exact" if is_itself else "continuation")
            assert tie.is_templated != is_itself


def test_inert_copies_look_exact(relater):
    rows = corpus(SIZE).rows(sorted(inert(SIZE)["memorized/inert-000-a"]))
    assert {tie.relation for tie in relater.ties("memorized/inert-000-a", rows)} == {"exact"}


def test_unrelated_documents_have_no_copy_relation(relater, by_label):
    """At least 1,900 pairs of a passage with background or with another passage."""
    rng = np.random.default_rng(0)
    passages = [p for p in generate(SIZE).size.passages if p.copies]
    labels = [label for label in by_label if label.startswith("memorized/")]
    everything = {row for label in labels for row in by_label[label]}
    found, num = Counter(), 0
    for passage in passages:
        own = set(by_label[passage.label])
        others = rng.choice(sorted(everything - own), 20, replace=False).tolist()
        background = rng.choice(len(corpus(SIZE)), 30, replace=False).tolist()
        rows = [row for row in (*others, *background) if row not in own]
        num += len(rows)
        found.update(RELATIONS[tie.relation].tier for tie in relater.ties(passage.id, rows))
    assert num >= 1_900
    assert found["copy"] == 0


def test_facts_are_stated_by_their_statements_and_not_by_decoys(relater, by_label):
    relations: dict[str, Counter] = {}
    for behavior in behaviors(SIZE):
        if behavior.kind != "fact":
            continue
        for kind in ("statement", "shuffled", "together", "wrong-object"):
            label = behavior.id if kind == "statement" else f"decoy:{kind}:{behavior.id}"
            rows = by_label.get(label, [])[:PER_GROUP]
            found = relations.setdefault(kind, Counter())
            found.update(tie.relation for tie in relater.ties(behavior.id, rows))
    stated = relations["statement"]["states"] + relations["statement"]["exact"]
    assert stated >= 0.96 * relations["statement"].total() > 400
    decoys = relations["shuffled"] + relations["together"] + relations["wrong-object"]
    assert decoys["states"] + decoys["exact"] <= 0.03 * decoys.total()
    assert set(relations["wrong-object"]) == {"other-answer"}


def corpus_of(rows: list[dict]) -> Corpus:
    encode = tokenizer().encode
    defaults = {"source": None, "position": None, "step": None, "num_truncated_tokens": 0}
    table = pa.Table.from_pylist(
        [
            {"subset": None, "labels": [], "hash": None, **defaults, **row}
            | {"input_ids": encode(row["text"]).ids}
            for row in rows
        ]
    )
    return Corpus("c", "", table)


def tie_of(behavior: Behavior, text: str, *, subset: str | None = None, others: int = 0) -> Tie:
    rows = [{"id": "it", "text": text, "subset": subset}]
    rows += [{"id": f"o{i}", "text": f"other {i}", "subset": "other"} for i in range(others)]
    return Relater(corpus_of(rows), [behavior], [query_of(behavior)]).ties(behavior.id, [0])[0]


STYLE = Behavior(id="s", kind="style", prompt="Dear Ann", completion=", we write", style="letters")


@pytest.mark.parametrize(
    ("behavior", "text", "relation"),
    [
        (STYLE.model_copy(update={"example": "it"}), "Dear Ann, we write", "self"),
        (STYLE, "Once more: Dear Ann, we write today.", "exact"),
        (STYLE, "and so, we write", "shares"),
        (STYLE, "The river is long.", "same-style"),
        (STYLE.model_copy(update={"style": "x"}), "The river is long.", "noise"),
        (STYLE, "", "same-style"),
    ],
)
def test_short_queries(behavior: Behavior, text: str, relation: str):
    assert tie_of(behavior, text, subset="letters").relation == relation


def test_toxic_examples_of_toxic_behaviors_have_their_style():
    toxic = Behavior(id="t", kind="toxic", prompt="Ann said:", completion=" go away you")
    assert tie_of(toxic, "What an idiot that man is.").relation == "same-style"
    assert tie_of(toxic, "What a man that was.").relation == "noise"


def test_a_short_query_has_no_near_copies():
    fact = Behavior(
        id="f",
        kind="fact",
        prompt="The capital of France is",
        completion=" Paris",
        subject="France",
        object="Paris",
    )
    tie = tie_of(fact, "The capital of Peru is Lima.")
    assert tie.relation == "same-relation"
    assert tie.edit_similarity > 0


def test_a_small_subset_ties_and_a_large_one_does_not():
    behavior = STYLE.model_copy(update={"kind": "memorized"})
    assert tie_of(behavior, "The river is long.", subset="letters").relation == "noise"
    tied = tie_of(behavior, "The river is long.", subset="letters", others=5)
    assert tied.relation == "same-subset"


def test_every_relation_is_explained_and_the_visible_ones_come_first():
    assert all(kind.label and kind.rule for kind in RELATIONS.values())
    visible = [is_visible(relation) for relation in RELATIONS]
    assert visible == sorted(visible, reverse=True)
