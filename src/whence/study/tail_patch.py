"""What did one more step on a run's proponents do, and has it been measured already?"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from whence.artifacts import building, fingerprint, is_current, write_json
from whence.errors import CorpusError
from whence.progress import Progress
from whence.records import Query, RunRecord
from whence.settings import StudySettings
from whence.study import inputs as sources
from whence.validation.leaderboard import PerQuery
from whence.validation.proponent_steps import (
    NUM_RANDOM,
    RANDOM,
    STEPS,
    ProponentStep,
    step_on_proponents,
)
from whence.validation.tail_patch import StepSettings

STEPS_FILE = "steps.json"
_GROUPS = ("each", "together", "copies")
_CHANGES = {
    "log_prob_change_nats": "log-probability",
    "log_odds_change_nats": "log-odds",
    "probability_change": "probability",
}


def tail_patch_measures(
    record: RunRecord,
    study: StudySettings,
    query_ids: Sequence[str],
    directory: Path,
    progress: Progress,
) -> list[PerQuery]:
    """Measures the changes by one step on what a method names, for every kind of step.

    What was measured stays in the run's folder `tail_patch`, and is read back where nothing that
    determines it has changed.
    """
    from whence.behaviors import make_query

    if study.model.dtype != "float32":
        return _undefined(f"the model was loaded in {study.model.dtype}; small steps are lost.")
    model = sources.open_model(study.model, cache=directory / "cache")
    behaviors = {b.id: b for b in record.behaviors}
    queries = [
        make_query(
            behaviors[q], model.tokenizer, contrast=False, context_length=model.context_length
        )
        for q in query_ids
    ]
    place = directory / "tail_patch"
    inputs = _inputs(record, queries, model.fingerprint)
    if not is_current(place, kind="tail-patch", inputs=inputs):
        size = sources.testbed_size(study.corpus.source)
        try:
            found = step_on_proponents(
                model,
                record.corpus,
                queries,
                record.scores,
                copies=_copies(size),
                excluded=record.gold,
                progress=progress,
            )
        except CorpusError as error:  # Too few examples for fair controls.
            return _undefined(str(error))
        with building(place, kind="tail-patch", inputs=inputs) as partial:
            write_json(partial / STEPS_FILE, [_plain(one) for one in found])
    return _measures(_read(place / STEPS_FILE), tuple(one.method for one in record.scores))


def _copies(size: str | None) -> "dict[str, frozenset[str]] | None":
    from whence.testbed import groups

    return dict(groups(size)) if size else None


def _inputs(record: RunRecord, queries: Sequence[Query], model: str) -> dict[str, object]:
    scores = {one.method: np.asarray(one.values, dtype=np.float32) for one in record.scores}
    return {
        "model": model,
        "corpus": record.corpus.fingerprint,
        "queries": [asdict(query) for query in queries],
        "scores": {name: fingerprint(values.tobytes()) for name, values in scores.items()},
        "steps": [settings.model_dump(mode="json") for settings in STEPS],
        "num_random": NUM_RANDOM,
    }


def _plain(step: ProponentStep) -> dict[str, object]:
    odds = step.log_odds_change_nats
    return step._asdict() | {
        "settings": step.settings.model_dump(mode="json"),
        "log_odds_change_nats": None if math.isnan(odds) else odds,
    }


def _read(path: Path) -> list[ProponentStep]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [
        ProponentStep(
            **row
            | {
                "settings": StepSettings.model_validate(row["settings"]),
                "log_odds_change_nats": math.nan
                if row["log_odds_change_nats"] is None
                else row["log_odds_change_nats"],
            }
        )
        for row in rows
    ]


def _measures(found: Sequence[ProponentStep], methods: Sequence[str]) -> list[PerQuery]:
    return [
        _measure(
            [row for row in found if (row.settings, row.group) == (settings, group)],
            methods,
            field=field,
            name=f"tail-patch {group}, {change}, {settings.optimizer} {settings.learning_rate:g}",
        )
        for settings in STEPS
        for group in _GROUPS
        for field, change in _CHANGES.items()
    ]


def _measure(
    rows: Sequence[ProponentStep], methods: Sequence[str], *, field: str, name: str
) -> PerQuery:
    values: dict[str, dict[str, float]] = {method: {} for method in methods}
    controls: dict[str, list[float]] = {}
    for row in rows:
        if row.method == RANDOM:
            controls.setdefault(row.query_id, []).append(getattr(row, field))
        else:
            values[row.method][row.query_id] = getattr(row, field)
    return PerQuery(
        name=name,
        unit="probability" if field == "probability_change" else "nats",
        control_name=RANDOM,
        values=values,
        controls={q: sum(v) / len(v) for q, v in controls.items()},
    )


def _undefined(why: str) -> list[PerQuery]:
    return [PerQuery("tail-patch", "nats", RANDOM, undefined=why)]
