"""Which checkpoints of mini should the demo's first method average over?

Computes the gradients' cosines for every fact that mini was taught and knows, once for each
checkpoint that ships, and averages them over every set of checkpoints as `tracin_cosine` does.
Counted are the planted statements among the first ten. About a minute of one core for each
checkpoint; finished passes are kept in runs/lead. `python benchmarks/lead.py mini 128 512` measures
only sets of these.

A planted statement shares its words with the query, so this is retrieval and no evidence of
influence: the untrained model and BM25, which stand beside, are perfect at it.
"""

import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from measure import report

from whence import testbed
from whence.behaviors import make_query
from whence.cli.console import progress
from whence.gradients import streamed_products
from whence.models import coverage
from whence.records import Behavior
from whence.runs.demo import demo_study
from whence.runs.record import load_run
from whence.runs.study import run_study
from whence.settings import AttributionSettings, IndexSettings
from whence.statistics import mean_estimate, proportion
from whence.testbed.checkpoints import steps
from whence.validation.families import families

PLACE = Path(__file__).parents[1] / "runs" / "lead"
FIRST = 10
# Its first card is the first thing that a reader of the demo sees.
SHOWN_FIRST = "fact/capital-france"


def main(size: str = "mini", *only: str) -> None:
    """Measures every set of checkpoints and writes `results/latest/lead.json`."""
    behaviors = _shown(size)
    corpus, gold = testbed.corpus(size), testbed.gold(size)
    texts = dict(zip(corpus.ids, corpus.texts(), strict=True))
    shipped = [int(step) for step in only] or steps(size)
    cosines = {step: _cosines(size, step, behaviors) for step in shipped}
    rates = {step: testbed.learning_rate_after(size, step) for step in shipped}
    trained = [step for step in shipped if step]
    sets = [s for n in range(1, len(trained) + 1) for s in combinations(trained, n)]
    rows = []
    for chosen in [*sets, (0,)] if 0 in cosines else sets:
        weights = [rates[step] for step in chosen]
        mean = np.average([cosines[step] for step in chosen], axis=0, weights=weights)
        found = _measured(mean, corpus.ids, behaviors, gold, texts)
        rows.append({"checkpoints": list(chosen), "passes": len(chosen), **found})
    bm25 = _bm25(size, behaviors)
    rows.append(
        {"checkpoints": "bm25", "passes": 0} | _measured(bm25, corpus.ids, behaviors, gold, texts)
    )
    report("lead.json", rows, size, *only)
    for row in sorted(rows, key=lambda row: (row["passes"], -row["planted among ten"]["value"])):
        first, ten = row["planted first"], row["planted among ten"]
        print(
            f"{row['checkpoints']!s:<32}{row['passes']} passes  first "
            f"{first['hits']}/{first['n']}  of ten {ten['value']:.3f} "
            f"[{ten['low']:.2f}, {ten['high']:.2f}]  "
            f"{SHOWN_FIRST}: {row['first card']} of {FIRST}"
        )


def _shown(size: str) -> list[Behavior]:
    """The planted facts that the model knows: they lead their alternatives."""
    study = demo_study(size)
    study = study.model_copy(
        update={
            "behaviors": study.behaviors.model_copy(update={"kinds": ("fact",)}),
            "attribution": AttributionSettings(methods=("bm25",)),
            "evidence": study.evidence.model_copy(update={"num_null": 0}),
            "force": True,
        }
    )
    run_study(study, PLACE / "shown", progress=progress())
    record = load_run(PLACE / "shown")
    gold = testbed.gold(size)
    leads = {i: v.margin_nats or 0.0 for i, v in record.verifications.items()}
    return [b for b in record.behaviors if leads[b.id] > 0 and gold[b.id]]


def _bm25(size: str, behaviors: Sequence[Behavior]) -> np.ndarray:
    (scores,) = load_run(PLACE / "shown").scores
    assert scores.example_ids == testbed.corpus(size).ids
    return scores.values[[scores.query_ids.index(b.id) for b in behaviors]].astype(np.float64)


def _cosines(size: str, step: int, behaviors: Sequence[Behavior]) -> np.ndarray:
    """The cosines of every query's and every example's gradient at a checkpoint."""
    kept = PLACE / f"step{step}.npz"
    ids = [b.id for b in behaviors]
    if kept.is_file():
        stored = np.load(kept)
        if list(stored["ids"]) == ids:
            return stored["cosines"]
    model = testbed.load_checkpoint(size, step=step)
    queries = [
        make_query(b, model.tokenizer, contrast=False, context_length=model.context_length)
        for b in behaviors
    ]
    index = IndexSettings()
    found = streamed_products(
        model,
        testbed.corpus(size),
        queries,
        modules=list(coverage(model, modules=index.modules).modules),
        token_batch_size=index.token_batch_size,
        progress=progress(),
    )
    norms = found.query_norms[:, None].astype(np.float64) * found.example_norms[None]
    cosines = found.dots / norms
    np.savez(kept, ids=ids, cosines=cosines)
    return cosines


def _measured(
    scores: np.ndarray,
    ids: Sequence[str],
    behaviors: Sequence[Behavior],
    gold: Mapping[str, frozenset[str]],
    texts: Mapping[str, str],
) -> dict[str, Any]:
    """Planted statements among the first ten, and for the first card those about its subject."""
    first, shares, subjects = [], [], dict[str, int]()
    for behavior, row in zip(behaviors, scores, strict=True):
        ten = [ids[i] for i in np.argsort(-row, kind="stable")[:FIRST]]
        planted = gold[behavior.id]
        first.append(ten[0] in planted)
        shares.append(sum(i in planted for i in ten) / min(FIRST, len(planted)))
        subjects[behavior.id] = sum((behavior.subject or "") in texts[i] for i in ten)
    of = families(behaviors)
    return {
        "planted first": proportion(sum(first), len(first)).as_dict() | {"hits": sum(first)},
        "planted among ten": mean_estimate(
            shares, families=[of[b.id] for b in behaviors], bounds=(0.0, 1.0)
        ).as_dict(),
        "first card": subjects[SHOWN_FIRST],
        "subject among ten": sum(subjects.values()) / (FIRST * len(behaviors)),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
