"""How much does each part of TrackStar add? The paper's ablations, a setting each, on the testbed.

Facts that mini shows are split in two by name: R_eval is made of the first half (and of everything
else that is not reported), the second half is reported. Nothing was chosen by either: p and the
damping are the defaults. About ten minutes of two cores; finished work is kept in runs/ladder.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measure import report

from whence import testbed
from whence.behaviors import make_query
from whence.cli.console import progress
from whence.report.run_record import RunRecord
from whence.runs.demo import demo_study
from whence.runs.record import load_run
from whence.runs.study import run_study
from whence.settings import StudySettings, TrackstarSettings
from whence.statistics import mean_estimate, paired_estimate
from whence.validation import RANDOM_EXAMPLES, STEPS, step_on_proponents
from whence.validation.retrieval import retrieval

ROOT = Path(__file__).parents[1]
# Name, settings, and what the paper reports for 8 billion parameters: MRR, tail-patch.
LADDER = (
    ("Exp 1: dot product", {"unit_norm": False, "whiten": False}, 0.064, 0.35),
    ("Exp 2: unit norm", {"whiten": False}, 0.266, 0.65),
    ("Exp 3: unit norm, Adam", {"whiten": False, "correction": "adam"}, 0.290, 0.85),
    ("Exp 4: unit norm, R", {}, 0.300, 0.71),
    ("Exp 5: unit norm, Adam, R", {"correction": "adam"}, 0.286, 0.87),
    ("TrackStar: mixed R", {"correction": "adam", "mixing": "crossing"}, 0.365, 0.90),
)
STEP = STEPS[0]
PLACE = ROOT / "runs" / "ladder"


def main(projection_dim: str = "32") -> None:
    """Runs every rung and writes `results/latest/ladder.json`."""
    reported = _reported()
    model = testbed.load_checkpoint("mini")
    gold = testbed.gold("mini")
    queries = [
        make_query(b, model.tokenizer, contrast=False, context_length=model.context_length)
        for b in testbed.behaviors("mini")
        if b.id in reported
    ]
    rows: list[dict[str, Any]] = []
    before: dict[str, list[float]] = {}
    for name, changes, paper_mrr, paper_patch in LADDER:
        record = _run(reported, TrackstarSettings.model_validate(changes), int(projection_dim))
        (scores,) = record.scores
        found = retrieval(scores, gold)
        after = {
            "planted AP": [r.average_precision or 0.0 for r in found if r.num_gold],
            "MRR": [r.reciprocal_rank or 0.0 for r in found if r.num_gold],
        }
        steps = step_on_proponents(
            model, record.corpus, queries, [scores], steps=(STEP,), excluded=gold,
            progress=progress(),
        )  # fmt: skip
        for method, label in (
            ("trackstar", "tail-patch"),
            (RANDOM_EXAMPLES, "tail-patch, random examples"),
        ):
            after[label] = [
                row.log_odds_change_nats
                for query in scores.query_ids
                for row in steps
                if (row.query_id, row.method, row.group) == (query, method, "each")
            ]
        for measure, values in after.items():
            row = {"rung": name, "measure": measure, **mean_estimate(values).as_dict()}
            if measure in before and len(before[measure]) == len(values):
                row["more than the rung before"] = paired_estimate(
                    values, before[measure]
                ).as_dict()
            row["paper"] = {"MRR": paper_mrr, "tail-patch": paper_patch}.get(measure)
            row["mixing_weight"] = scores.settings.get("mixing_weight")
            rows.append(row)
        before = after
    report("ladder.json", rows, projection_dim, reported=list(reported))
    for row in rows:
        step = row.get("more than the rung before")
        print(
            f"{row['rung']:<28}{row['measure']:<29}{_said(row)} n={row['n']}"
            + (f"   step {_said(step)}" if step else "")
            + (f"   paper {row['paper']}" if row["paper"] is not None else "")
        )


def _said(estimate: Mapping[str, Any]) -> str:
    return "{value:+.3f} [{low:+.3f}, {high:+.3f}]".format_map(estimate)


def _reported() -> tuple[str, ...]:
    """The second half, by name, of the facts that mini shows."""
    study = demo_study("mini")
    study = study.model_copy(
        update={
            "behaviors": study.behaviors.model_copy(update={"kinds": ("fact",)}),
            "index": study.index.model_copy(update={"projection_dim": projection_dim}),
            "attribution": study.attribution.model_copy(update={"methods": ("bm25",)}),
        }
    )
    record = _record(study, PLACE / "shown")
    shown = sorted(i for i, v in record.verifications.items() if v.verdict == "shown")
    return tuple(shown[len(shown) // 2 :])


def _run(reported: tuple[str, ...], settings: TrackstarSettings, projection_dim: int) -> RunRecord:
    study = demo_study("mini")
    study = study.model_copy(
        update={
            "behaviors": study.behaviors.model_copy(update={"ids": reported}),
            "index": study.index.model_copy(update={"projection_dim": projection_dim}),
            "attribution": study.attribution.model_copy(
                update={
                    "methods": ("trackstar",),
                    "trackstar": settings,
                    "path": "stored",
                    "reference_behaviors": "testbed:mini",
                }
            ),
        }
    )
    return _record(study, PLACE / f"p{projection_dim}")


def _record(study: StudySettings, directory: Path) -> RunRecord:
    run_study(study, directory, progress=progress())
    return load_run(directory)


if __name__ == "__main__":
    main(*sys.argv[1:2])
