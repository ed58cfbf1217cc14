"""How much does the loss rise without the documents that methods name first, late in training?

Bergson's query loss difference on windows of nano's training: 1 % of a window's documents, those
that a method names first, get weight zero from the window's start on, and so do 100 random draws of
as many. The rise of the completion's loss per token is compared with the random draws' mean and
between methods. Of the last 24 steps 1 % is one document, of the last 122 steps five. About 20
minutes of one core; finished work is kept in runs/window_removals.
"""

import sys
from pathlib import Path
from typing import Any

from measure import report

from whence.cli.console import progress
from whence.runs.study import run_study
from whence.runs.validating import make_retrainings, read_subject
from whence.settings import StudySettings
from whence.statistics import Spread, estimate_of, p_value, paired_spread
from whence.testbed import RetrainingSettings, window_ids
from whence.validation.leaderboard import REFERENCES, PerQuery
from whence.validation.measures import removal_measures
from whence.validation.removal import plan_window_removals
from whence.validation.subject import Subject

SIZE = "nano"
SINCE = (464, 366)
PLACE = Path(__file__).parents[1] / "runs" / "window_removals"
METHODS = (
    "adamw_influence", "gradient_cosine", "gradient_dot", "gradient_cosine_adam", "ekfac",
    "gradient_cosine_initial", "bm25",
)  # fmt: skip


def main(*since: str) -> None:
    """Measures the windows after some steps, and writes `results/latest/window_removals.json`."""
    run_study(_study(), PLACE / SIZE, progress=progress())
    subject = read_subject(PLACE / SIZE)
    rows = []
    for step in [int(one) for one in since] or SINCE:
        make_retrainings(
            PLACE / "bank",
            size=SIZE,
            num_masks=2,
            since=step,
            unit="document",
            run=PLACE / SIZE,
            progress=progress(),
        )
    found = removal_measures(subject, [PLACE / "bank"])
    for about in found.windows:
        assert about.label is not None, "that of a window"
        (measure,) = [one for one in found.measures if one.name.endswith(f", {about.label}")]
        for method in measure.methods:
            rows.append(
                {"window": about.label, "num_removed": about.num_removed, "method": method}
                | measure.estimate(method, list(subject.kinds), subject.families).as_dict()
                | {"share of own": _own_share(subject, about.label, method)}
                | {"beyond all random": about.methods[method].num_beyond_all_random}
                | _differences(subject, measure, method)
            )
    report("window_removals.json", rows, *since)
    for row in rows:
        print(*(f"{key}={_short(value)}" for key, value in row.items()))


def _differences(subject: Subject, measure: PerQuery, method: str) -> dict[str, Any]:
    """How much more the loss rises than after random removals, and than after other methods'."""
    values, families = measure.values[method], subject.families
    spreads = {
        "random": paired_spread(
            list(values.values()),
            [measure.controls[query] for query in values],
            families=[families[query] for query in values],
        )
    } | {
        reference: measure.difference(method, reference, list(subject.kinds), families)
        for reference in REFERENCES
        if reference != method
    }
    return {f"beyond {name}": _difference(spread) for name, spread in spreads.items()}


def _own_share(subject: Subject, label: str, method: str) -> float:
    """The share of the queries' own documents among those that are removed."""
    (since,) = [step for step in SINCE if label.startswith(f"steps {step + 1}-")]
    window = window_ids(RetrainingSettings(size=SIZE, since=since))
    plan = plan_window_removals(subject.scores, subject.corpus, window)
    own = [
        (len(run.dropped & subject.gold[query]), len(run.dropped))
        for (name, query), run in plan.of_method.items()
        if name == method
    ]
    return sum(found for found, _ in own) / sum(size for _, size in own)


def _study() -> StudySettings:
    return StudySettings.model_validate(
        {
            "title": "window removals",
            "model": {"name": f"testbed:{SIZE}"},
            "corpus": {"source": f"testbed:{SIZE}"},
            "behaviors": {"file": f"testbed:{SIZE}"},
            "attribution": {"methods": METHODS},
            "evidence": {"num_null": 0},
        }
    )


def _difference(spread: Spread) -> dict[str, Any]:
    return estimate_of(spread).as_dict() | {"p_value": p_value(spread)}


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, dict) and value.get("low") is not None:
        return f"{value['value']:+.3f}[{value['low']:+.3f},{value['high']:+.3f}]"
    return str(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
