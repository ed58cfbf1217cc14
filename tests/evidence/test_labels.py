"""Relations against 200 pairs that were labeled by reading, twice, without seeing the relations.

`labels.json` has the ids, both labels and the first reader's reason. `none` stands for `noise` and
`unexplained`, which texts do not tell apart. The rule of words (`Tie.word_similarity`) was added
after these pairs had been read, so that the agreement is not that of fresh pairs.
"""

import json
from pathlib import Path

import pytest
from sklearn.metrics import cohen_kappa_score
from tests.evidence.test_ties import query_of

from whence.corpus import load_corpus
from whence.evidence.relations import RELATIONS
from whence.evidence.ties import Relater
from whence.records import Behavior, Query, Term
from whence.settings import CorpusSettings
from whence.testbed import behaviors, corpus

PAIRS = json.loads((Path(__file__).parent / "labels.json").read_text())
LABELS = {*RELATIONS, "none"}


def of(name: str) -> list[dict]:
    return [pair for pair in PAIRS if pair["run"] == name]


def agreement(pairs: list[dict], found: list[str]) -> tuple[float, float]:
    """How often a relation is what both readers say, where they agree; and Cohen's kappa."""
    both = [
        first == label
        for first, second, label in zip(
            [p["first"] for p in pairs], [p["second"] for p in pairs], found, strict=True
        )
        if first == second
    ]
    return sum(both) / len(both), cohen_kappa_score([p["first"] for p in pairs], found)


def relations(relater: Relater, pairs: list[dict], rows: list[int]) -> list[str]:
    found = [relater.ties(p["behavior"], [row])[0] for p, row in zip(pairs, rows, strict=True)]
    return ["none" if t.relation in ("noise", "unexplained") else t.relation for t in found]


def test_two_readers_agree() -> None:
    assert len(PAIRS) == 200
    assert {p["first"] for p in PAIRS} | {p["second"] for p in PAIRS} <= LABELS
    assert sum(p["first"] == p["second"] for p in PAIRS) == 186
    kappa = cohen_kappa_score([p["first"] for p in PAIRS], [p["second"] for p in PAIRS])
    assert kappa > 0.9


def test_relations_agree_with_readers_on_the_testbed() -> None:
    pairs = of("testbed:mini")
    asked = behaviors("mini")
    relater = Relater(corpus("mini"), asked, [query_of(b) for b in asked])
    found = relations(relater, pairs, corpus("mini").rows([p["example"] for p in pairs]))
    share, kappa = agreement(pairs, found)
    assert share >= 0.85
    assert kappa >= 0.8


@pytest.mark.slow
def test_relations_agree_with_readers_on_real_text(data: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(data / "pile-mini" / "checkpoints" / "step2530")
    source = CorpusSettings(source=str(data / "pile-mini" / "train.jsonl.gz"), append_eos=True)
    examples = load_corpus(source, tokenizer, context_length=256)
    pairs = of("pile-mini")
    asked, queries = [], []
    for name in dict.fromkeys(p["behavior"] for p in pairs):
        example = name.removeprefix("memorized/")
        (row,) = examples.rows([example])
        ids = examples.input_ids(row)[:64]
        asked.append(
            Behavior(
                id=name,
                kind="memorized",
                prompt_ids=tuple(ids[:32]),
                completion_ids=tuple(ids[32:]),
                example=example,
            )
        )
        queries.append(Query(name, (Term(tuple(ids), 32, 1.0),), tokenizer.decode(ids)))
    relater = Relater(examples, asked, queries)
    share, kappa = agreement(
        pairs, relations(relater, pairs, examples.rows([p["example"] for p in pairs]))
    )
    assert share >= 0.7
    assert kappa >= 0.65
