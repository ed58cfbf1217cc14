"""Which methods foresee what leaving examples out does, late in training, early, and over all?

Runs nano's study, resumes its training at the start of each window under random masks, and
computes the own-removed linear datamodeling score of every method, and the additive ceiling. Early
windows are measured at their own end, by scores of that checkpoint. Other testbeds, such as
`nano@1`, get the latest window of documents. About half an hour of one core for nano, and
five minutes for each other; finished work is kept in runs/windows, and goes on there.

`pile-mini` is a model of real text ($WHENCE_DATA names its folder): its last 130 steps go on from
step 2,400 of a retraining by its published recipe, which takes 20 minutes of a core the first time,
and the window's documents alone are attributed; an hour and a half of a core in all.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from measure import report
from windows_pile_mini import PILE_MINI, pile_mini_run

from whence.behaviors.spec import dump_behaviors
from whence.cli.console import progress
from whence.runs.study import run_study
from whence.runs.validating import make_retrainings, read_subject
from whence.settings import StudySettings, load_study
from whence.statistics import estimate_of, mean_spread, paired_estimate
from whence.testbed import behaviors
from whence.validation.leaderboard import ALL, REFERENCES, PerQuery, leaderboard
from whence.validation.measures import Retrainings, removal_measures, retraining_measures
from whence.validation.subject import Subject

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "runs" / "windows"


class Window(NamedTuple):
    """Steps since + 1 to until of a testbed's training, and how they are masked."""

    since: int
    until: int | None
    unit: Any
    masks: int


LATE = Window(464, None, "document", 96)
WINDOWS = {
    "nano": (
        LATE,
        Window(464, None, "group", 80),
        Window(366, None, "document", 160),
        Window(244, None, "document", 96),
        Window(232, 256, "document", 96),
        Window(104, 128, "document", 96),
    )
}
# Of groups of documents, over the whole training.
WHOLE_MASKS = 64
EARLY_METHODS = (
    "gradient_cosine", "gradient_dot", "gradient_cosine_adam", "tracin", "tracin_cosine", "ekfac",
    "trackstar", "gradient_cosine_initial", "bm25", "random",
)  # fmt: skip


# What `trak` and `trackstar` are with their defaults, and the ones that their papers mean.
PLAIN_NAMES = {"trak": "trak x1", "trackstar": "trackstar (R only)"}
REAL_NAMES = {"trak": "trak x5", "trackstar": "trackstar (Adam, mixed)"}
REFERENCE_WORLD = "nano@9"
SEEDS = ("seed1", "seed2", "seed3", "seed4")


def main(*sizes: str) -> None:
    """Measures every testbed and writes `results/latest/windows.json`, or pile-mini's own file."""
    rows = [
        row
        for size in sizes or ("nano",)
        for row in (pile_mini(PLACE) if size == PILE_MINI else _measure(size))
    ]
    name = "windows_pile_mini.json" if sizes == (PILE_MINI,) else "windows.json"
    report(name, rows, *sizes, pooled=_pooled(rows))
    for window in dict.fromkeys((row["size"], row["window"]) for row in rows):
        print(*window)
        for row in rows:
            if (row["size"], row["window"]) == window:
                print(f"  {row['method']:<26}{_words(row)}")


def _measure(size: str) -> list[dict[str, Any]]:
    windows = WINDOWS.get(size, (LATE,))
    for window in windows:
        make_retrainings(
            PLACE / "bank",
            size=size,
            num_masks=window.masks,
            since=window.since,
            until=window.until,
            unit=window.unit,
            progress=progress(),
        )
    if size in WINDOWS:
        make_retrainings(
            PLACE / "bank", size=size, num_masks=WHOLE_MASKS, num_second=0, progress=progress()
        )
    rows = []
    for until in dict.fromkeys(window.until for window in windows):
        study = _study(size, until)
        run = PLACE / (size if until is None else f"{size}-step{until}")
        run_study(study, run, progress=progress())
        real = None
        if size in WINDOWS and until is None:
            real = PLACE / f"{size}-real"
            run_study(_real(study), real, progress=progress())
        rows += _rows(size, run, real)
        if until is None:
            rows += _removal_rows(size, run)
    return rows


def _removal_rows(size: str, run: Path) -> list[dict[str, Any]]:
    """How much the loss rises without what methods name first in the latest window."""
    make_retrainings(
        PLACE / "bank",
        size=size,
        num_masks=LATE.masks,
        since=LATE.since,
        unit=LATE.unit,
        run=run,
        progress=progress(),
    )
    subject = read_subject(run)
    removals = removal_measures(subject, [PLACE / "bank"])
    return [
        {"size": size, "window": f"{measure.name}, documents", "method": method}
        | measure.estimate(method, list(subject.kinds), subject.families).as_dict()
        | {"beyond_all_random": about.methods[method].num_beyond_all_random}
        | {"beyond": _beyond(measure, method, subject)}
        for about in removals.windows
        for measure in removals.measures
        if about.label is not None and about.label in measure.name
        for method in measure.methods
    ]


def _beyond(measure: PerQuery, method: str, subject: Subject) -> dict[str, Any]:
    """How much more the loss rises than after random removals, and than after references'."""
    queries, known = list(subject.kinds), subject.families
    own = measure.values[method]
    chance = paired_estimate(
        list(own.values()),
        [measure.controls[query] for query in own],
        families=[known[query] for query in own],
    )
    return {"random": chance.as_dict()} | {
        reference: estimate_of(measure.difference(method, reference, queries, known)).as_dict()
        for reference in REFERENCES
        if reference != method
    }


def _real(study: StudySettings) -> StudySettings:
    """The same study with TRAK over five seeds, and TrackStar with Adam and mixed curvature.

    The part of the curvature that all queries share is that of another world's behaviors.
    """
    own = study.attribution
    references = PLACE / "studies" / "references.toml"
    others = [b.model_copy(update={"id": f"other/{b.id}"}) for b in behaviors(REFERENCE_WORLD)]
    references.write_text(dump_behaviors(others), encoding="utf-8")
    change = {
        "methods": tuple(REAL_NAMES),
        "reference_behaviors": str(references),
        "trak": own.trak.model_copy(update={"ensemble": SEEDS}),
        "trackstar": own.trackstar.model_copy(update={"correction": "adam", "mixing": "crossing"}),
    }
    return study.model_copy(update={"attribution": own.model_copy(update=change)})


def pile_mini(place: Path) -> list[dict[str, Any]]:
    """Measures the last window of pile-mini's training."""
    subject = read_subject(pile_mini_run(place, progress=progress()))
    found = retraining_measures(subject, [place / "bank"], num_masks=WHOLE_MASKS, num_second=0)
    return rows_of(PILE_MINI, subject, found)


def _study(size: str, until: int | None) -> StudySettings:
    """The study of examples/nano.toml about a testbed, or about one of its checkpoints."""
    text = (ROOT / "examples" / "nano.toml").read_text(encoding="utf-8")
    place = PLACE / "studies" / f"{size}-{until}.toml"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text.replace("testbed:nano", f"testbed:{size}"), encoding="utf-8")
    study = load_study(place)
    if until is None:
        return study
    steps = (until // 2, until)
    attribution = study.attribution.model_copy(
        update={
            "methods": EARLY_METHODS,
            "tracin": study.attribution.tracin.model_copy(update={"checkpoints": steps}),
        }
    )
    model = study.model.model_copy(update={"revision": f"step{until}"})
    # What the model shows at its end is asked of its checkpoints too.
    return study.model_copy(update={"model": model, "attribution": attribution, "force": True})


def _rows(size: str, run: Path, real: Path | None) -> list[dict[str, Any]]:
    subject = read_subject(run)
    scores = [replace(s, method=PLAIN_NAMES.get(s.method, s.method)) for s in subject.scores]
    if real is not None:
        scores += [replace(s, method=REAL_NAMES[s.method]) for s in read_subject(real).scores]
    subject = replace(subject, scores=tuple(scores))
    found = retraining_measures(subject, [PLACE / "bank"], num_masks=WHOLE_MASKS, num_second=0)
    return rows_of(size, subject, found)


def rows_of(size: str, subject: Subject, found: Retrainings) -> list[dict[str, Any]]:
    """One row for each window and method, and one for each window's additive ceiling."""
    methods = tuple(scores.method for scores in subject.scores)
    board = leaderboard(found.measures, methods, subject.kinds, families=subject.families)
    rows = []
    for window in found.windows:
        if subject.step not in (None, window.until):
            continue  # The bank of whole trainings, beside scores of a checkpoint.
        about = {
            "size": size,
            "window": f"{window.label}, {window.unit}s",
            "share": window.share,
            "masks": window.masks,
            "units": window.num_units,
            "seconds_per_retraining": window.seconds_per_retraining,
            "families": len(set(subject.families.values())),
            "optimizer_state": window.optimizer_state,
            "end_difference_nats": window.end_difference_nats,
        }
        rows += [
            about
            | {"method": figure.method, "no_skill_p_value": figure.no_skill_p_value}
            | figure.estimate.as_dict()
            | {"verdicts": _verdicts(board, window.measure_own_removed, figure.method)}
            for figure in board.figures
            if figure.measure == window.measure_own_removed and figure.kind == ALL
        ]
        rows.append(
            about
            | {"method": "additive ceiling", "no_skill_p_value": None, "verdicts": {}}
            | window.additive_ceiling_own_removed.as_dict()
        )
    return rows


def _verdicts(board: Any, measure: str, method: str) -> dict[str, str]:
    return {
        one.reference: one.verdict
        for one in board.comparisons
        if (one.measure, one.kind, one.method) == (measure, ALL, method)
    }


def _pooled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mean over testbeds of each method in each window that all of them have."""
    sizes = dict.fromkeys(row["size"] for row in rows)
    values: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if row["value"] is not None:
            values.setdefault((row["window"], row["method"]), {})[row["size"]] = row["value"]
    return [
        {"window": window, "method": method, "worlds": found}
        | {"value": mean_spread(list(found.values())).value}
        for (window, method), found in values.items()
        if len(sizes) > 1 and set(found) == set(sizes)
    ]


def _words(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "undefined"
    between = "" if row["low"] is None else f" [{row['low']:+.2f}, {row['high']:+.2f}]"
    return f"{row['value']:+.2f}{between} n={row['n']}"


if __name__ == "__main__":
    main(*sys.argv[1:])
