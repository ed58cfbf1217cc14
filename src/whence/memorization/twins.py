"""What training without a family's exact copies, near copies or both does to its target.

Twins are runs of training that go on from one state for a few steps and differ only in some of
their passages (`twin_design`). After each run every family's target is measured: the
log-probability of its continuation given its prompt. The differences between arms are causal for
these steps from this state; they are not what removing copies from the whole training would do.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.artifacts import fingerprint, progress_directory, write_json
from whence.artifacts.stage import Stage
from whence.memorization.scan import scan
from whence.memorization.twin_design import (
    Design,
    TwinSettings,
    families_with_copies,
    make_design,
)
from whence.progress import SILENT, Progress
from whence.training import Recipe, TrainingState, learning_rate, train

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from transformers import PreTrainedModel

    from whence.memorization.copies import Copies
    from whence.memorization.windows import Windows
    from whence.records import Corpus, LoadedModel

TWINS_FILE = "twins.json"
_ARRAYS = ("counts", "start_nats", "log_probs_nats", "matches")


class Start(NamedTuple):
    """Where twins go on from.

    Attributes:
        key: A hash of all that determines the state, such as the key of the stage that keeps it.
        open: Loads any checkpoint of the model, in float32, and the training state, kept or
            rebuilt (`warm_state`); called only where a run is made.
        step: The state's step.
        recipe: How the model was trained.
        total_steps: Steps of its whole training, which learning rates depend on.
    """

    key: str
    open: Callable[[], tuple["LoadedModel", TrainingState]]
    step: int
    recipe: Recipe
    total_steps: int


@dataclass(frozen=True)
class Twins:
    """What was measured after each run.

    Attributes:
        families: In the order of the other attributes; those with enough copies of both classes.
        window_ids: The target of each family.
        arms: What was removed, as in `twin_design.REMOVED`.
        counts: Numbers of exact and near copies of each family in the full arm.
        left_out: Families with too few copies.
        num_shared: Examples that copy the targets of several of the families, and were left out.
        step: The step that all runs went on from.
        num_steps: Steps of each run.
        start_nats: Log-probability per continuation token before any of them, in nats.
        log_probs_nats: The same after a run of an order in which a family had an arm.
        matches: Share of the continuation's tokens that are the model's first choice, given the
            true tokens before, in [0, 1].
    """

    families: tuple[str, ...]
    window_ids: tuple[str, ...]
    arms: tuple[str, ...]
    counts: "Int[np.ndarray, 'families 2']"
    left_out: tuple[str, ...]
    num_shared: int
    step: int
    num_steps: int
    start_nats: "Float[np.ndarray, ' families']"
    log_probs_nats: "Float[np.ndarray, 'orders families arms']"
    matches: "Float[np.ndarray, 'orders families arms']"


def twins_stage(
    start: Start,
    corpus: "Corpus",
    windows: "Windows",
    copies: "Copies",
    targets: Mapping[str, int],
    *,
    settings: TwinSettings | None = None,
    pool: Sequence[int] | None = None,
    name: str = "twins",
    progress: Progress = SILENT,
) -> Stage[Twins]:
    """The runs of all orders and what was measured after each; an interrupted one loses one run.

    Args:
        start: The state that all runs go on from.
        corpus: The examples.
        windows: All windows.
        copies: Their copies.
        targets: From each family to the place of its target window (`twin_targets`).
        settings: How many steps, copies and orders.
        pool: Rows among which unrelated passages are drawn; by default all that copy no window.
        name: Of the stage.
        progress: Reports progress.

    Raises:
        CorpusError: No family has enough copies, or there are too few unrelated passages.
        SettingsError: The copies do not fit into the steps.
        ModelError: The loss is not finite; raised when the stage is made.

    Cost:
        For each order as many runs as arms, each of `num_steps` training steps.
    """
    settings = settings or TwinSettings()
    batch_size = start.recipe.batch_size
    designs = [
        make_design(
            corpus, copies, targets, settings=settings, batch_size=batch_size, order=n, pool=pool
        )
        for n in range(settings.num_orders)
    ]
    chosen = windows.select([targets[family] for family in designs[0].families])

    def make(place: Path) -> None:
        found = _train_all(start, corpus, chosen, designs, progress_directory(place), progress)
        left_out = tuple(family for family in targets if family not in found.families)
        shared = families_with_copies(copies, targets, settings).shared
        found = replace(found, left_out=left_out, num_shared=len(shared))
        write_json(place / TWINS_FILE, _to_json(found))

    inputs = {
        "start": start.key,
        "step": start.step,
        "recipe": start.recipe.model_dump(mode="json"),
        "total_steps": start.total_steps,
        "settings": settings.model_dump(mode="json"),
        "corpus": corpus.fingerprint,
        "targets": [list(chosen.ids), chosen.tokens.tolist(), chosen.num_prompt_tokens],
        "families": list(targets),
        "designs": fingerprint([design._asdict() for design in designs]),
    }
    return Stage(name, 1, inputs, make=make, read=_read)


class _Outcome(NamedTuple):
    """Log-probability per token, in nats, and share of matching tokens, of each family."""

    log_probs_nats: list[float]
    matches: list[float]


def _train_all(
    start: Start,
    corpus: "Corpus",
    targets: "Windows",
    designs: Sequence[Design],
    work: Path,
    progress: Progress,
) -> Twins:
    """Trains and measures the runs that have no file in `work` yet, and joins all of them."""
    model, state = start.open()
    assert state.step == start.step, "the state is that of the step"
    network = copy.deepcopy(model.model).requires_grad_(True)
    measured, first = replace(model, model=network), designs[0]
    _restore(network, state)
    before = _measure(measured, targets, step=start.step)
    num_steps = len(first.slots) // start.recipe.batch_size
    go_on = partial(
        train,
        network,
        recipe=start.recipe,
        resume=state,
        since=start.step,
        schedule=partial(learning_rate, start.recipe, total_steps=start.total_steps),
    )
    log_probs = np.full((len(designs), len(first.families), len(first.arms)), np.nan)
    matches = log_probs.copy()
    total = len(designs) * len(first.arms)
    with progress.task("Train twins", total=total, unit="runs") as task:
        for order, design in enumerate(designs):
            for run in range(len(design.arms)):
                kept = work / f"order{order}-run{run}.json"
                if not kept.is_file():
                    go_on([corpus.input_ids(row) for row in design.rows(run)])
                    outcome = _measure(measured, targets, step=start.step + num_steps)
                    write_json(kept, outcome._asdict())
                outcome = _Outcome(**json.loads(kept.read_text(encoding="utf-8")))
                for family in range(len(design.families)):
                    where = (order, family, design.arm(family, run))
                    log_probs[where] = outcome.log_probs_nats[family]
                    matches[where] = outcome.matches[family]
                task.advance()
    return Twins(
        families=first.families,
        window_ids=targets.ids,
        arms=first.arms,
        counts=np.array(first.counts, dtype=np.int64),
        left_out=(),
        num_shared=0,
        step=start.step,
        num_steps=num_steps,
        start_nats=np.array(before.log_probs_nats),
        log_probs_nats=log_probs,
        matches=matches,
    )


def _restore(network: "PreTrainedModel", state: TrainingState) -> None:
    import torch

    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(state.weights[name])


def _measure(model: "LoadedModel", targets: "Windows", *, step: int) -> _Outcome:
    found = scan(model, targets, step=step)
    return _Outcome(
        found.log_probs_nats.mean(axis=1, dtype=np.float64).tolist(),
        (found.num_right / targets.num_completion_tokens).tolist(),
    )


def _to_json(twins: Twins) -> dict[str, object]:
    values = {field.name: getattr(twins, field.name) for field in fields(twins)}
    return values | {name: values[name].tolist() for name in _ARRAYS}


def _read(place: Path) -> Twins:
    stored = json.loads((place / TWINS_FILE).read_text(encoding="utf-8"))
    tuples = {name: tuple(value) for name, value in stored.items() if isinstance(value, list)}
    arrays = {name: np.array(stored[name]) for name in _ARRAYS}
    return Twins(**stored | tuples | arrays)
