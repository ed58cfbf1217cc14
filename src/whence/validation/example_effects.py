"""What one more training step on an example does to the behavior that it is listed for.

Each of the first examples of a behavior is stepped on alone, from the same weights, and so are
random examples of the same subset and length. It is the tail-patch (`whence.validation.tail_patch`)
example by example: the effect of a step now, which is not what training on the example did.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from whence.artifacts import write_json
from whence.errors import ArtifactError
from whence.records import Corpus, LoadedModel, Query
from whence.validation.matching import matched_rows
from whence.validation.tail_patch import Request, StepSettings, tail_patch

if TYPE_CHECKING:
    import numpy as np

_FILE = "effects.json"


class ExampleEffect(NamedTuple):
    """How one training step on one example changed one behavior.

    `change_nats` is of the completion's log-probability, after minus before: positive means that
    the step made the completion likelier. A control is a random example.
    """

    behavior_id: str
    example_id: str
    is_control: bool
    change_nats: float


@dataclass(frozen=True)
class ExampleEffects:
    """What one training step on each of some examples did, and on random examples like them.

    Attributes:
        methods: Whose first examples were stepped on.
        num_examples: How many of each method, by cluster of copies, and how many random ones.
        learning_rate: Of the step, the first one of a fresh AdamW.
        effects: One per behavior and example.
        undefined: Why nothing could be measured; None where it was.
    """

    methods: tuple[str, ...]
    num_examples: int
    learning_rate: float
    effects: tuple[ExampleEffect, ...] = ()
    undefined: str | None = None

    def find(self, behavior_id: str, example_id: str) -> float | None:
        """The change by a step on a listed example, in nats; None where none was taken."""
        return self._listed.get(behavior_id, {}).get(example_id)

    def controls(self, behavior_id: str) -> tuple[float, ...]:
        """The changes by steps on random examples, in nats; empty where none was taken."""
        return self._controls.get(behavior_id, ())

    def mean(self, behavior_id: str, example_ids: Sequence[str]) -> float | None:
        """Computes the mean change over some listed examples; None where one was not stepped on."""
        found = [self.find(behavior_id, example_id) for example_id in example_ids]
        known = [change for change in found if change is not None]
        return fmean(known) if known and len(known) == len(found) else None

    @cached_property
    def _listed(self) -> Mapping[str, Mapping[str, float]]:
        listed: dict[str, dict[str, float]] = {}
        for one in self.effects:
            if not one.is_control:
                listed.setdefault(one.behavior_id, {})[one.example_id] = one.change_nats
        return listed

    @cached_property
    def _controls(self) -> Mapping[str, tuple[float, ...]]:
        controls: dict[str, tuple[float, ...]] = {}
        for one in self.effects:
            if one.is_control:
                known = controls.get(one.behavior_id, ())
                controls[one.behavior_id] = (*known, one.change_nats)
        return controls


def step_on_examples(
    model: LoadedModel,
    corpus: Corpus,
    query: Query,
    example_ids: Sequence[str],
    *,
    num_controls: int,
    no_controls: Sequence[int],
    learning_rate: float,
    rng: "np.random.Generator",
) -> list[ExampleEffect]:
    """Steps on each of a behavior's examples alone, and on random ones like them.

    Args:
        model: In float32; its weights are the same to the bit when the call returns or raises.
        corpus: The examples.
        query: The behavior's. Of a contrast, only the completion that the model produced counts.
        example_ids: What is stepped on; an example without a target is left out.
        num_controls: How many random examples, matched in subset and length.
        no_controls: Rows of the corpus that are no control, such as copies of the examples.
        learning_rate: Of the step, the first one of a fresh AdamW.
        rng: Draws the controls.

    Raises:
        CorpusError: The corpus is too small for so many controls.
        ModelError: The model is not finite after a step.

    Source:
        Chang et al., "Scalable Influence and Fact Tracing for Large Language Model Pretraining",
        arXiv 2410.17413, section 5, here for single examples.

    Cost:
        Per example a forward and a backward pass of it, and a forward pass of the query; memory
        for five copies of the model.
    """
    rows = [row for row in corpus.rows(example_ids) if corpus.lengths[row] > 1]
    if not rows:
        return []
    like = rng.permutation(rows).tolist()
    controls = matched_rows(corpus, like, num=num_controls, rng=rng, excluded=no_controls)
    requests = [Request(corpus.ids[row], (row,), (query.id,)) for row in (*rows, *controls)]
    step = StepSettings(learning_rate=learning_rate)
    patches = tail_patch(model, corpus, [query], requests, steps=[step])
    return [
        ExampleEffect(query.id, patch.group, place >= len(rows), patch.log_prob_change_nats)
        for place, patch in enumerate(patches)
    ]


def save_example_effects(effects: ExampleEffects, place: Path) -> None:
    """Writes a record as JSON."""
    values = {
        "methods": list(effects.methods),
        "num_examples": effects.num_examples,
        "learning_rate": effects.learning_rate,
        "undefined": effects.undefined,
        "effects": [one._asdict() for one in effects.effects],
    }
    write_json(place / _FILE, values)


def read_example_effects(place: Path) -> ExampleEffects:
    """Reads what `save_example_effects` wrote.

    Raises:
        ArtifactError: It cannot be read.
    """
    path = place / _FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return ExampleEffects(
            methods=tuple(stored["methods"]),
            num_examples=stored["num_examples"],
            learning_rate=stored["learning_rate"],
            effects=tuple(ExampleEffect(**one) for one in stored["effects"]),
            undefined=stored["undefined"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}).", "Run the study again; it resumes."
        ) from None
