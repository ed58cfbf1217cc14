"""`show`, `query`, the API, `--json` and the page name the same examples in the same order."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.report.conftest import corpus_of, plausible

import whence
from whence.evidence import hits
from whence.records import Corpus, Scores
from whence.report.data import page_record
from whence.report.run_record import RunRecord
from whence.report.schema import Entry
from whence.report.sections.behaviors import Behaviors

NAN, INF = float("nan"), float("inf")
K = 3
VECTORS = {
    "a search that finds little": [3, 0, 0, 2, 0, NAN],
    "ties": [1, 2, 2, 1, -1, -1, 2, 2, -1, -1],
    "ties of all": [2, 2, 2, 2, 2, 2],
    "zeros between signs": [0, 1, -1, 0, 0, 0],
    "undefined": [NAN, 1, NAN, -2, 0.5, NAN],
    "all undefined": [NAN, NAN, NAN],
    "all zero": [0, 0, 0, 0],
    "all positive": [0.5, 0.25, 0.125, 1, 2, 4],
    "all negative": [-0.5, -0.25, -0.125, -1, -2, -4],
    "fewer positive than k": [-1, -2, 3, -4, -5, -6, -7],
    "left the range": [INF, 1, -INF, -1, 2, -2],
}


def oracle(values: list[float]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Ids with ranks, by sorting everything and counting by hand."""
    known = {row: v for row, v in enumerate(values) if v == v and abs(v) != INF}

    def named(rows: list[int]) -> list[tuple[str, int]]:
        return [(f"d{r}", 1 + sum(v > known[r] for v in known.values())) for r in rows[:K]]

    return (
        named(sorted((r for r, v in known.items() if v > 0), key=lambda r: (-known[r], r))),
        named(sorted((r for r, v in known.items() if v < 0), key=lambda r: (known[r], r))),
    )


def corpus(num: int) -> Corpus:
    return corpus_of([f"d{i}" for i in range(num)], [f"text number {i}" for i in range(num)])


def make_record(values: list[float], method: str) -> RunRecord:
    base = plausible(per_kind=1, num_examples=5, methods=(), attribute_all=True)
    documents = corpus(len(values))
    behavior = base.behaviors[0]
    scores = Scores(
        method, (behavior.id,), documents.ids, np.array([values], dtype=np.float32), {}, 0.0
    )
    return replace(
        base, behaviors=(behavior,), corpus=documents, scores=(scores,), gold={}, top_k=K
    )


Named = tuple[list[tuple[str, int]], list[tuple[str, int]]]


def of_json(printed: str) -> Named:
    found = json.loads(printed.splitlines()[-1])
    first, second = found["proponents"], found["opponents"]
    return [(h["id"], h["rank"]) for h in first], [(h["id"], h["rank"]) for h in second]


@pytest.fixture
def run_command(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    from whence.cli import make_app

    def run(*arguments: str) -> str:
        capsys.readouterr()
        make_app()(list(arguments), result_action="return_value")
        return capsys.readouterr().out

    return run


def printed_ids(text: str) -> tuple[list[str], list[str]]:
    first, second = text.split("Proponents")[1].split("Opponents")
    ids = [
        [word for word in part.split() if word[0] == "d" and word[1:].isdigit()]
        for part in (first, second)
    ]
    return ids[0], ids[1]


@pytest.mark.parametrize("name", VECTORS)
def test_every_surface_names_the_same_examples_in_the_same_order(
    name: str, monkeypatch: pytest.MonkeyPatch, run_command: Callable[..., str], tmp_path: Path
) -> None:
    values = VECTORS[name]
    expected = oracle(values)
    ids = tuple([example_id for example_id, _ in side] for side in expected)
    record = make_record(values, "gradient_cosine")
    behavior = record.behaviors[0]

    found = hits(record.scores[0], 0, record.corpus, K)
    assert tuple([(h.id, h.rank) for h in side] for side in found[:2]) == expected

    assert [(h.id, h.rank) for h in found.from_the_end()] == [
        (example_id, -n) for n, (example_id, _) in enumerate(expected[1], start=1)
    ]

    monkeypatch.setattr("whence.runs.show.load_run", lambda *_, **__: record)
    show = ("show", str(tmp_path), "--behavior", behavior.id, "--top-k", str(K))
    assert of_json(run_command(*show, "--json")) == expected
    assert printed_ids(run_command(*show)) == ids

    if not ids[0]:
        assert run_command(*show, "--tokens") == "None: no example has a positive score.\n"

    index = SimpleNamespace(corpus=record.corpus, num_examples=len(values))
    model = SimpleNamespace(tokenizer=None, context_length=8)
    query = SimpleNamespace(id=behavior.id)
    monkeypatch.setattr("whence.behaviors.make_query", lambda *_, **__: query)
    monkeypatch.setattr("whence.gradients.stored_products", lambda *_, **__: None)
    monkeypatch.setattr("whence.methods.MethodInputs", lambda **_: None)
    monkeypatch.setattr("whence.methods.score", lambda *_: record.scores[0])
    answer = whence.query(index, model, behavior, k=K)  # pyright: ignore[reportArgumentType]
    assert tuple([(h.id, h.rank) for h in side] for side in answer[:2]) == expected

    monkeypatch.setattr("whence.gradients.open_index", lambda *_, **__: index)
    monkeypatch.setattr("whence.runs.indexing.index_model", lambda _, **_how: model)
    answerer = "whence.runs.adhoc.Answerer"
    monkeypatch.setattr(f"{answerer}.verify", lambda *_: record.verifications[behavior.id])
    monkeypatch.setattr(f"{answerer}._scores", lambda *_, **__: (record.scores[0],))
    monkeypatch.setattr("whence.behaviors.spacing.spacing_note", lambda *_: None)
    ask = ("query", str(tmp_path), "--prompt", "a", "--completion", " b", "--top-k", str(K))
    assert of_json(run_command(*ask, "--json")) == expected
    assert printed_ids(run_command(*ask)) == ids

    assert of_page(record) == expected


def of_page(record: RunRecord) -> Named:
    page = page_record(record)
    (behavior,) = next(s.data.behaviors for s in page.sections if isinstance(s.data, Behaviors))
    (method,) = (scores.method for scores in record.scores)

    def named(entries: Sequence[Entry]) -> list[tuple[str, int]]:
        shown = [behavior.detail.shown[entry.shown] for entry in entries]
        return [(examples[s.example].id, s.ranks[method] or 0) for s in shown]

    examples = [one for some in page.examples for one in some.texts.examples]
    lists = behavior.detail.lists[method]
    return named(lists.proponents), named(lists.opponents)


def test_an_approximate_search_obeys_the_same_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at the best and the worst alone; ranks count what lies between as seen."""
    from whence.gradients.index.approximate import Nearest, Search
    from whence.runs.indexing import query_index

    values = np.array([-1, 4, 0.5, 0, 2, -3, 2, NAN, 0.25, -3], dtype=np.float32)
    documents = corpus(len(values))
    order = [int(row) for row in np.argsort(-values, kind="stable") if row != 7]
    best, worst = np.array(order[:K]), np.array(order[::-1][:K])
    monkeypatch.setattr(
        "whence.gradients.index.approximate.search_cells",
        lambda *_, **__: Search(
            Nearest([best], [values[best]]), Nearest([worst], [values[worst]]), 0.97, 9
        ),
    )
    monkeypatch.setattr("whence.gradients.index.approximate.MIN_ROWS", 1)
    query = SimpleNamespace(id="q")
    monkeypatch.setattr("whence.behaviors.make_query", lambda *_, **__: query)
    index = SimpleNamespace(corpus=documents, num_examples=len(values))
    model = SimpleNamespace(tokenizer=None, context_length=8)
    behavior = plausible(per_kind=1, num_examples=5, methods=()).behaviors[0]
    found = query_index(
        index,  # pyright: ignore[reportArgumentType]
        model,  # pyright: ignore[reportArgumentType]
        behavior,
        approximate=True,
        k=K,
    )
    expected = oracle(values.tolist())
    assert tuple([(h.id, h.rank) for h in side] for side in found[:2]) == expected
    assert found.recall == 0.97
