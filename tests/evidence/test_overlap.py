"""Shared runs of words are the maximal common ones, marked at the right characters."""

import itertools
import random
import time
import unicodedata

import pytest

from whence.evidence.overlap import STOP_WORDS, shared_spans, word_shares, words


def marked(query: str, document: str, **options) -> list[str]:
    return [document[s.start : s.end] for s in shared_spans(query, document, **options)]


def longest_by_brute_force(query: list[str], document: list[str]) -> int:
    return max(
        (
            n
            for i in range(len(query))
            for n in range(1, len(query) - i + 1)
            for j in range(len(document) - n + 1)
            if query[i : i + n] == document[j : j + n]
        ),
        default=0,
    )


def test_marks_the_shared_run_and_not_the_stop_words_alone():
    assert marked(
        "The capital of France is Paris", "It is Paris, the Capital of FRANCE, that he saw."
    ) == ["is Paris", "the Capital of FRANCE"]
    assert marked("It is the one", "the one is it") == []


def test_stop_words_can_be_marked_when_asked():
    assert marked("she", "Then she left.", stop_words=()) == ["she"]


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_brute_force_on_what_is_shared(seed: int):
    rng = random.Random(seed)
    letters = "pqrstu"[: rng.randint(2, 6)]
    query = rng.choices(letters, k=rng.randint(1, 14))
    document = rng.choices(letters, k=rng.randint(1, 40))
    text = " ".join(document)
    spans = shared_spans(" ".join(query), text, max_per_document=1000)

    covered = {i for s in spans for i in range(s.start // 2, s.start // 2 + s.num_words)}
    assert covered == {i for i, word in enumerate(document) if word in query}
    assert max((s.num_words for s in spans), default=0) == longest_by_brute_force(query, document)
    joined = " ".join(query)
    assert all(text[s.start : s.end] in joined for s in spans)
    assert all(a.end < b.start for a, b in itertools.pairwise(spans))


def test_the_runs_that_carry_most_are_kept():
    query = "amber basil cedar quartz"
    document = "cedar x amber basil cedar x quartz x basil"
    assert marked(query, document, max_per_document=1) == ["amber basil cedar"]
    shares = {"amber": 0.2, "basil": 0.2, "cedar": 0.2, "quartz": 0.0001, "x": 0.9}
    assert marked(query, document, max_per_document=1, shares=shares) == ["quartz"]


def test_a_word_that_most_documents_have_counts_as_a_stop_word():
    corpus = ["whale ship sea", "whale boat", "storm"]
    assert marked("whale storm", "storm whale", shares=word_shares(corpus), common=0.5) == ["storm"]
    assert len(marked("whale storm", "storm whale", shares=word_shares(corpus), common=0.7)) == 2
    assert word_shares(corpus)["whale"] == pytest.approx(2 / 3)
    assert word_shares(corpus)["storm"] == pytest.approx(1 / 3)
    assert word_shares([]) == {}


@pytest.mark.parametrize(
    ("query", "document", "expected"),
    [
        ("Die STRASSE", "eine Straße", ["Straße"]),
        ("caf\u00e9 noir", "CAFE\u0301 NOIR!", ["CAFE\u0301 NOIR"]),
        ("don't panic", "Don’t panic", ["Don’t panic"]),
        ("हिन्दी भाषा", "वह हिन्दी भाषा", ["हिन्दी भाषा"]),
        ("北京是首都", "我在北京", ["北京"]),
        ("שלום עולם", "אמר שלום עולם", ["שלום עולם"]),
        ("🙂 smile", "🙂🙂 smile 🙂", ["smile"]),
        ("snake_case", "snake case", ["snake case"]),
        ("", "anything", []),
        ("anything", "", []),
        ("\x00\x1b[31m", "\x00", []),
        ("red \x00 blue", "red\x00blue", ["red\x00blue"]),
    ],
)
def test_every_script_and_no_script(query: str, document: str, expected: list[str]):
    assert marked(query, document) == expected


def test_offsets_count_code_points_of_the_original_text():
    document = "🙂 ﬁne İstanbul e\u0301tude"
    found = words(document)
    assert [document[start:end] for start, end in found.places] == [
        "ﬁne",
        "İstanbul",
        "e\u0301tude",
    ]
    assert found.keys[2] == unicodedata.normalize("NFC", "e\u0301tude")


def test_cost_grows_with_the_length_and_not_its_square():
    """A repetitive document is the worst case of a naive search: 10^9 comparisons here."""
    query, document = "zebra " * 2_000, "zebra " * 50_000
    start = time.process_time()
    spans = shared_spans(query, document)
    assert time.process_time() - start < 5
    assert spans
    assert max(s.num_words for s in spans) == 2_000


def test_stop_words_are_in_comparable_form():
    assert all(words(word).keys == (word,) for word in STOP_WORDS)
