"""The measures of methods by one more step of training on what they name, kept in a directory."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue, TypeAdapter

from whence.artifacts import fingerprint, write_json
from whence.artifacts.stage import Stage
from whence.behaviors import make_query
from whence.errors import CorpusError
from whence.models.second_moments import SecondMoments
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel, Query
from whence.testbed import groups
from whence.validation.leaderboard import PerQuery
from whence.validation.proponent_steps import (
    GROUPS,
    NUM_RANDOM,
    OWN_STEP,
    RANDOM_EXAMPLES,
    STEPS,
    ProponentStep,
    step_on_proponents,
)
from whence.validation.subject import Subject
from whence.validation.tail_patch import StepSettings

KIND = "tail-patch"
STEPS_FILE = "steps.json"
_STEP = TypeAdapter(ProponentStep)
# By name: the unit, and what is measured before and after a step.
_CHANGES: Mapping[str, tuple[str, Callable[[ProponentStep], float]]] = {
    "log-probability": ("nats", lambda step: step.log_prob_change_nats),
    "log-odds": ("nats", lambda step: step.log_odds_change_nats),
    "probability": ("probability", lambda step: step.probability_change),
}


class OwnMoments(NamedTuple):
    """Adam's second moments of the run's model: what determines them, and how they are loaded."""

    origin: Mapping[str, object]
    load: Callable[[LoadedModel, Corpus], SecondMoments]


class TailPatches(NamedTuple):
    """The steps that were measured; `undefined` is the reason where none can be."""

    steps: tuple[ProponentStep, ...]
    undefined: str | None = None

    @property
    def kinds(self) -> tuple[StepSettings, ...]:
        """The optimizers and rates; the one with the run's own moments where they were known."""
        has_own = any(step.settings == OWN_STEP for step in self.steps)
        return (*STEPS, OWN_STEP) if has_own else STEPS


def tail_patch_stage(
    subject: Subject,
    model: LoadedModel,
    *,
    queries_per_kind: int,
    moments: OwnMoments | None = None,
    about: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Stage[TailPatches]:
    """The steps on what every method names, for some queries of each kind.

    Args:
        subject: What is validated.
        model: The model whose proponents they are; its weights come back to the bit.
        queries_per_kind: So many behaviors of each kind, the first ones.
        moments: The run's own second moments, which a fifth step uses; None where they
            are not known.
        about: Keys of the stages that the steps are about; a run keeps them while it keeps those.
        progress: Reports progress.

    Returns:
        A stage of the steps. They are undefined for a model below float32, whose weights a small
        step does not change, and for a corpus that is too small for controls.

    Raises:
        ModelError: The model is not finite after a step; raised when the stage is made.
    """
    behaviors = {behavior.id: behavior for behavior in subject.behaviors}
    queries = [
        make_query(
            behaviors[query_id],
            model.tokenizer,
            contrast=False,
            context_length=model.context_length,
        )
        for query_id in first_of_each_kind(subject.kinds, queries_per_kind)
    ]

    def make(place: Path) -> None:
        undefined, steps = None, []
        if model.dtype != "float32":
            undefined = f"the model was loaded in {model.dtype}; small steps are lost."
        else:
            try:
                steps = step_on_proponents(
                    model,
                    subject.corpus,
                    queries,
                    subject.scores,
                    copies=groups(subject.testbed) if subject.testbed else None,
                    excluded=subject.gold,
                    steps=STEPS if moments is None else (*STEPS, OWN_STEP),
                    moments=moments and moments.load(model, subject.corpus),
                    progress=progress,
                )
            except CorpusError as error:  # Too few examples for fair controls.
                undefined = str(error)
        values = {"steps": [_to_json(step) for step in steps], "undefined": undefined}
        write_json(place / STEPS_FILE, values)

    return Stage(
        KIND,
        1,
        {
            **_inputs(subject, queries, model.fingerprint),
            "moments": None if moments is None else dict(moments.origin),
            "about": list(about),
        },
        make=make,
        read=_read,
    )


def _read(place: Path) -> TailPatches:
    stored = json.loads((place / STEPS_FILE).read_text(encoding="utf-8"))
    steps = tuple(_from_json(values) for values in stored["steps"])
    return TailPatches(steps, stored["undefined"])


def tail_patch_measures(patches: TailPatches, methods: Sequence[str]) -> list[PerQuery]:
    """Turns steps into measures: one for each optimizer, group and change that is measured.

    Args:
        patches: What was measured.
        methods: All that can have been measured, in the leaderboard's order.
    """
    if patches.undefined is not None:
        return [PerQuery(KIND, "nats", RANDOM_EXAMPLES, undefined=patches.undefined)]
    return [
        _measure(
            [s for s in patches.steps if (s.settings, s.group) == (settings, group)],
            methods,
            name=f"tail-patch {group}, {change}, {settings.optimizer} {settings.learning_rate:g}",
            unit=unit,
            value=value,
        )
        for settings in patches.kinds
        for group in GROUPS
        for change, (unit, value) in _CHANGES.items()
    ]


def first_of_each_kind(kinds: Mapping[str, str], most: int) -> tuple[str, ...]:
    """Names the first behaviors of each kind, at most so many.

    Args:
        kinds: From behavior id to kind, in the study's order.
        most: Of one kind.
    """
    first: dict[str, list[str]] = {}
    for query_id, kind in kinds.items():
        if len(first.setdefault(kind, [])) < most:
            first[kind].append(query_id)
    return tuple(query_id for query_ids in first.values() for query_id in query_ids)


def _inputs(subject: Subject, queries: Sequence[Query], model: str) -> dict[str, object]:
    """Lists what determines the steps."""
    import numpy as np

    scores = {one.method: np.asarray(one.values, dtype=np.float32) for one in subject.scores}
    return {
        "model": model,
        "corpus": subject.corpus.fingerprint,
        "queries": [asdict(query) for query in queries],
        "scores": {name: fingerprint(values.tobytes()) for name, values in scores.items()},
        "steps": [settings.model_dump(mode="json") for settings in STEPS],
        "num_random": NUM_RANDOM,
    }


def _measure(
    steps: Sequence[ProponentStep],
    methods: Sequence[str],
    *,
    name: str,
    unit: str,
    value: Callable[[ProponentStep], float],
) -> PerQuery:
    values: dict[str, dict[str, float]] = {method: {} for method in methods}
    # Of `copies` there is one control for each method whose group was stepped on.
    controls: dict[str, list[float]] = {}
    for step in steps:
        if step.method == RANDOM_EXAMPLES:
            controls.setdefault(step.query_id, []).append(value(step))
        else:
            values[step.method][step.query_id] = value(step)
    return PerQuery(
        name=name,
        unit=unit,
        control_name=RANDOM_EXAMPLES,
        values=values,
        controls={q: sum(v) / len(v) for q, v in controls.items()},
    )


def _to_json(step: ProponentStep) -> dict[str, JsonValue]:
    odds = step.log_odds_change_nats
    return step._asdict() | {
        "settings": step.settings.model_dump(mode="json"),
        "log_odds_change_nats": None if math.isnan(odds) else odds,
    }


def _from_json(values: dict[str, JsonValue]) -> ProponentStep:
    odds = values["log_odds_change_nats"]
    return _STEP.validate_python(
        values | {"log_odds_change_nats": math.nan if odds is None else odds}
    )
