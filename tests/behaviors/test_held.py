"""Passages are looked up in a corpus by their 5-grams, against sets of plain tuples."""

import random

import pyarrow as pa
import pytest

from whence import testbed
from whence.behaviors.held import held
from whence.corpus.examples import schema
from whence.records import Behavior, Corpus


def _corpus(documents: list[list[int]], *, num_chunks: int = 1) -> Corpus:
    def table(first: int, some: list[list[int]]) -> pa.Table:
        n = len(some)
        return pa.table(
            {
                "id": [f"d{first + i}" for i in range(n)],
                "text": [""] * n,
                "hash": [""] * n,
                "subset": [None] * n,
                "source": ["s"] * n,
                "position": range(first, first + n),
                "step": [None] * n,
                "input_ids": some,
                "num_truncated_tokens": [0] * n,
                "labels": [None] * n,
            },
            schema=schema(),
        )

    size = -(-len(documents) // num_chunks)
    parts = [table(i, documents[i : i + size]) for i in range(0, len(documents), size)]
    return Corpus("c", "", pa.concat_tables(parts))


def _behavior(name: str, ids: list[int], *, prompt: int = 3) -> Behavior:
    return Behavior(
        id=name,
        kind="memorized",
        prompt_ids=tuple(ids[:prompt]),
        completion_ids=tuple(ids[prompt:]),
    )


def _grams(ids: list[int]) -> set[tuple[int, ...]]:
    return {tuple(ids[i : i + 5]) for i in range(len(ids) - 4)}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_chunks", [1, 3])
def test_the_share_is_that_of_plain_sets(seed: int, num_chunks: int):
    rng = random.Random(seed)
    model = testbed.load_checkpoint("mini", step=0)
    documents = [[rng.randrange(1, 4) for _ in range(rng.randrange(0, 30))] for _ in range(40)]
    passages = {str(n): [rng.randrange(1, 4) for _ in range(12)] for n in range(6)}
    behaviors = [_behavior(name, ids) for name, ids in passages.items()]

    found = held(behaviors, _corpus(documents, num_chunks=num_chunks), model)

    for name, ids in passages.items():
        shares = [len(_grams(ids) & _grams(d)) / len(_grams(ids)) for d in documents]
        one = found[name]
        assert one is not None
        assert one.share == pytest.approx(max(shares))
        assert one.example_id == f"d{shares.index(max(shares))}"


def test_a_run_across_two_documents_is_none():
    model = testbed.load_checkpoint("mini", step=0)
    passage = _behavior("p", [5, 6, 7, 8, 9, 10])
    one = held([passage], _corpus([[5, 6, 7], [8, 9, 10]]), model)["p"]
    assert one is not None
    assert one.share == 0


def test_a_passage_too_short_for_a_5_gram_is_not_looked_up():
    model = testbed.load_checkpoint("mini", step=0)
    assert held([_behavior("p", [5, 6, 7, 8])], _corpus([[5, 6, 7, 8]]), model) == {"p": None}
