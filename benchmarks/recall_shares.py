"""Do scores divide between exact and near copies as retraining does?

Runs the memorization study on the testbed's world `recall` twice: of its model at the end, for
families whose copies stand late in training, and of its checkpoint at step 2,560, for those whose
copies stand early. Of families with 24 exact and 24 near copies each, retraining has said what
either class gives (`benchmarks/recall.py`, the rows `family` of its results). Printed beside that:
the exact copies' part of every method's scores, how many exact copies one near copy is worth by
them, and whether families differ in scores as they do in retraining. And what the study found of
what was planted: copies, placement, onset. It is about this world and not about Pythia.

    python benchmarks/recall.py recall && python benchmarks/recall_shares.py
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import RESULTS, report

import whence
from whence import testbed
from whence.cli.console import progress
from whence.memorization.copy_scores import TargetCopies
from whence.memorization.record import Attributed, Memorization
from whence.memorization.settings import MemorizationStudy
from whence.settings import parse
from whence.statistics import mean_estimate, ratio_estimate, spearman
from whence.testbed.sizes import size_named

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "runs" / "recall" / "study"  # Both studies, so that the world is trained once.
SIZE = "recall"
STUDIES: Mapping[str, Mapping[str, Any]] = {
    "early": {"revision": "step2560", "steps": [0, 1280, 1920], "attributed": [0, 1280, 1920]},
    "late": {"revision": None, "steps": [0, 3712, 4352, 4992], "attributed": [0, 4352, 4992]},
}


def main() -> None:
    """Runs both studies and writes `results/latest/recall_shares.json`."""
    truth = _truth()
    rows: list[dict[str, Any]] = []
    for placement, asked in STUDIES.items():
        found = whence.study_memorization(_study(asked), PLACE, progress=progress())
        rows += _planted(found, placement)
        if found.attributed is not None:
            rows += _against(found.attributed, truth[placement], placement)
    report("recall_shares.json", rows, *sys.argv[1:])
    for row in rows:
        print("  ".join(f"{key} {_short(value)}" for key, value in row.items()))


def _study(asked: Mapping[str, Any]) -> MemorizationStudy:
    model = {"name": f"testbed:{SIZE}", "revision": asked["revision"]}
    return parse(
        MemorizationStudy,
        {
            "title": "What did testbed:recall memorize?",
            "model": {key: value for key, value in model.items() if value},
            "corpus": {"source": f"testbed:{SIZE}"},
            "checkpoints": {"steps": asked["steps"]},
            "targets": {
                "attribution_steps": asked["attributed"],
                "per_family": 1,
                "max_targets": 150,
            },
            "pool": {"num_random": 2000},
        },
        where=__file__,
    )


def _truth() -> dict[str, dict[str, dict[str, float]]]:
    """By placement and passage: log-probabilities of the four retrainings."""
    place = RESULTS / "recall.json"
    if not place.is_file():
        sys.exit(f"{place} is missing: run benchmarks/recall.py first.")
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in json.loads(place.read_text())["rows"]:
        if row["table"] == "family" and row["world"] == SIZE:
            found.setdefault(row["placement"], {})[row["id"]] = row["nats_per_token"]
    return found


def _passages() -> dict[int, str]:
    """From the row of each exact copy of a passage to the passage."""
    corpus, gold = testbed.corpus(SIZE), testbed.gold(SIZE)
    return {
        row: passage.id
        for passage in size_named(SIZE).passages
        for row in corpus.rows(sorted(gold[passage.id]))
    }


def _planted(found: Memorization, placement: str) -> list[dict[str, Any]]:
    """What the study says of copies that were planted: how many it found, and of which class."""
    attributed = found.attributed
    if attributed is None:
        return []
    of, passages = _passages(), {p.id: p for p in size_named(SIZE).passages}
    pairs = [
        (one, passages[of[one.window]])
        for one in attributed.copy_scores[0].targets
        if one.window in of
    ]
    mixed = [(one, p) for one, p in pairs if p.near_copies and p.copies]
    return [
        {
            "table": "copies",
            "placement": placement,
            "families": len(mixed),
            "exact_planted": sum(p.copies for _, p in mixed),
            "exact_found": sum(one.num_exact for one, _ in mixed),
            "near_planted": sum(p.near_copies for _, p in mixed),
            "near_found": sum(one.num_near for one, _ in mixed),
            "memorized_windows": found.num_memorized,
        }
    ]


def _against(
    found: Attributed, truth: Mapping[str, Mapping[str, float]], placement: str
) -> list[dict[str, Any]]:
    of = _passages()
    shared = [one for one in found.copy_scores[0].targets if of.get(one.window) in truth]
    names = [of[one.window] for one in shared]
    arms = [truth[name] for name in names]
    both = [arm["full"] - arm["neither"] for arm in arms]
    exact = [(arm["full"] - arm["no-exact"] + arm["no-near"] - arm["neither"]) / 2 for arm in arms]
    alone = [[arm[f"no-{other}"] - arm["neither"] for arm in arms] for other in ("exact", "near")]
    causal = [e / b for e, b in zip(exact, both, strict=True)]
    rows = [
        {
            "table": "causal",
            "placement": placement,
            "method": "retraining",
            "exact_share": ratio_estimate(exact, both).as_dict(),
            "near_in_exact": ratio_estimate(*alone).as_dict(),
        }
    ]
    for one in found.copy_scores:
        by_window = {target.window: target for target in one.targets}
        own = [by_window[target.window] for target in shared if target.window in by_window]
        if len(own) == len(shared):
            rows.append(_row(one.method.label, own, causal, placement))
    return rows


def _row(
    method: str, own: Sequence[TargetCopies], causal: Sequence[float], placement: str
) -> dict[str, Any]:
    shares = [one.exact_sum / (one.exact_sum + one.near_sum) for one in own]
    return {
        "table": "scores",
        "placement": placement,
        "method": method,
        "exact_share": ratio_estimate(
            [one.exact_sum for one in own], [one.exact_sum + one.near_sum for one in own]
        ).as_dict(),
        "near_in_exact": ratio_estimate(
            [one.near_sum / one.num_near for one in own],
            [one.exact_sum / one.num_exact for one in own],
        ).as_dict(),
        "share_minus_causal_share": mean_estimate(
            [a - b for a, b in zip(shares, causal, strict=True)]
        ).as_dict(),
        "rank_correlation_over_families": _finite(spearman(shares, causal)),
    }


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def _short(value: Any) -> str:
    if isinstance(value, dict) and "value" in value:
        if value["value"] is None:
            return "none"
        bounds = f" [{value['low']:.2f}, {value['high']:.2f}]" if value["low"] is not None else ""
        return f"{value['value']:.2f}{bounds} (n {value['n']})"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
