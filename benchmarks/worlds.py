"""What do the acceptance figures A1 to A6 come to in other worlds than the one that is tested?

Trains nano on corpora of other seeds, runs, retrains and validates it as the commands do, and
prints each figure beside that of the prototype that the design rests on. A3 needs more passages and
is taken from mini, trained once per seed. The windows of the acceptance tests are set from here.
About ten minutes of two cores per world; finished work is kept in runs/worlds, and goes on there.
"""

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from measure import report

from whence import testbed
from whence.behaviors.measure import measure_own
from whence.cli.console import progress
from whence.runs.demo import demo_study
from whence.runs.study import run_study
from whence.runs.validating import make_retrainings, validate_run

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "runs" / "worlds"
METHODS = (
    "gradient_cosine", "gradient_dot", "gradient_cosine_adam", "gradient_cosine_initial",
    "bm25", "random",
)  # fmt: skip
STEP = "tail-patch each, log-probability, adamw 0.0001"
# Figure, measure, kind, method and what the prototype had; science of the design, its own world.
FIGURES = (
    ("A1", "planted AP", "fact", "gradient_cosine", 0.85),
    ("A1", "planted AP", "fact", "gradient_cosine_adam", 0.9),
    ("A1", "planted AP", "memorized", "gradient_cosine", 0.97),
    ("A1", "planted AP", "memorized", "gradient_cosine_adam", 0.97),
    ("A1", "planted AP", "all", "random", 0.007),
    ("A2", STEP, "all", "gradient_cosine", 0.63),
    ("A2", STEP, "all", "bm25", 0.61),
    ("A2", STEP, "all", "random", 0.006),
    ("A5", "LDS", "all", "gradient_cosine", 0.65),
    ("A5", "LDS", "all", "gradient_dot", 0.65),
    ("A5", "LDS", "all", "random", 0.0),
    ("A5", "own-removed LDS", "all", "gradient_cosine", 0.28),
    ("A5", "own-removed LDS", "all", "bm25", -0.09),
    ("A6", "planted AP", "fact", "gradient_cosine_initial", 0.96),
    ("A6", "planted AP", "memorized", "gradient_cosine_initial", 1.0),
    ("A6", "LDS", "all", "gradient_cosine_initial", 0.63),
    ("A6", "own-removed LDS", "all", "gradient_cosine_initial", 0.03),
)
EXACT_EQUIVALENTS = {5: None, 10: 0.77, 30: 0.41, 50: 0.22}
_NEAR_COPIES = 48


def main(*seeds: str) -> None:
    """Measures every world and writes `results/latest/worlds.json`."""
    worlds = {seed: _world(seed) for seed in (seeds or ("1", "2", "3"))}
    rows = [
        {"figure": figure, "measure": name, "kind": kind, "method": method, "prototype": prototype}
        | {"worlds": {seed: found[name, kind, method] for seed, found in worlds.items()}}
        for figure, name, kind, method, prototype in FIGURES
    ]
    ratios = {seed: _exact_equivalents(f"mini@{seed}") for seed in worlds}
    rows += [
        {"figure": "A3", "measure": "exact-equivalent of a near copy", "kind": f"{share} %"}
        | {"method": None, "prototype": prototype}
        | {"worlds": {seed: {"value": found[share]} for seed, found in ratios.items()}}
        for share, prototype in EXACT_EQUIVALENTS.items()
    ]
    report("worlds.json", rows, *worlds)
    for row in rows:
        values = [found["value"] for found in row["worlds"].values()]
        print(
            f"{row['figure']} {row['measure']:<48}{row['kind']:<11}{row['method'] or '':<25}"
            + "".join("   none" if value is None else f"{value:7.3f}" for value in values)
            + f"   prototype {row['prototype']}"
        )


def _world(seed: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    study = demo_study(f"nano@{seed}")
    methods = study.attribution.model_copy(update={"methods": METHODS})
    study = study.model_copy(update={"attribution": methods})
    run = PLACE / f"nano-{seed}"
    run_study(study, run, progress=progress())
    make_retrainings(
        PLACE / "bank", size=f"nano@{seed}", num_masks=64, num_second=0, jobs=2, progress=progress()
    )
    validation = validate_run(run, banks=[PLACE / "bank"], num_second=0, progress=progress())
    return {(f.measure, f.kind, f.method): f.estimate.as_dict() for f in validation.figures}


def _exact_equivalents(size: str) -> dict[int, float | None]:
    """How many exact copies a near copy is worth, by what share of its words is replaced.

    The mean log-probability per token of passages with 48 near copies is looked up on the curve of
    passages with 1 to 128 exact copies, straight between doses on a logarithmic scale. None beyond
    the curve's ends.
    """
    model = testbed.load_checkpoint(size, cache=PLACE / "models")
    by_dose: dict[tuple[int, int], list[float]] = defaultdict(list)
    asked = [
        behavior
        for behavior in testbed.behaviors(size)
        if behavior.id.startswith(("memorized/exact-", "memorized/near"))
    ]
    for behavior, measured in zip(asked, measure_own(model, asked), strict=True):
        kind, copies, *_ = behavior.id.removeprefix("memorized/").split("-")
        share = 0 if kind == "exact" else int(kind.removeprefix("near"))
        by_dose[share, int(copies)].append(measured.log_prob_nats / len(measured.log_probs_nats))
    doses = sorted(copies for share, copies in by_dose if share == 0)
    curve = np.maximum.accumulate([np.mean(by_dose[0, copies]) for copies in doses])
    found: dict[int, float | None] = {}
    for share in EXACT_EQUIVALENTS:
        value = float(np.mean(by_dose[share, _NEAR_COPIES]))
        inside = curve[0] <= value <= curve[-1]
        copies = float(2 ** np.interp(value, curve, np.log2(doses)))
        found[share] = copies / _NEAR_COPIES if inside else None
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
