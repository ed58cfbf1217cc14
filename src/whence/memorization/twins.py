"""What training without a family's exact copies, near copies or both does to its target.

Twins are runs of training that go on from one state for a few steps and differ only in some of
their passages (`twin_design`). After each run every family's target is measured: the
log-probability of its continuation given its prompt. The differences between arms are causal for
these steps from this state; they are not what removing copies from the whole training would do.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from whence.artifacts import fingerprint, progress_directory, write_json
from whence.artifacts.stage import Stage
from whence.memorization.twin_design import Design, TwinSettings, make_design
from whence.models.forward import token_log_probs
from whence.progress import SILENT, Progress
from whence.training import Recipe, TrainingState, learning_rate, train

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int
    from transformers import PreTrainedModel

    from whence.memorization.copies import Copies
    from whence.memorization.windows import Windows
    from whence.records import Corpus, LoadedModel

TWINS_FILE = "twins.json"
_ARRAYS = ("counts", "start_nats", "log_probs_nats", "matches")


class Start(NamedTuple):
    """Where twins go on from.

    `model` is any checkpoint of the model, in float32; it is left as it is. `state` is the
    training state, kept or rebuilt (`warm_state`), `recipe` what its training followed, and
    `total_steps` the length of that training, which its learning rates depend on.
    """

    model: "LoadedModel"
    state: TrainingState
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
        targets: From each family to the place of its target window (`choose_targets`).
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
        write_json(place / TWINS_FILE, _to_json(replace(found, left_out=left_out)))

    inputs = {
        "model": start.model.fingerprint,
        "state": _state_fingerprint(start.state),
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
    import numpy as np

    network = copy.deepcopy(start.model.model).requires_grad_(True)
    measured = replace(start.model, model=network)
    _restore(network, start.state)
    before, first = _measure(measured, targets), designs[0]
    log_probs = np.full((len(designs), len(first.families), len(first.arms)), np.nan)
    matches = log_probs.copy()
    total = len(designs) * len(first.arms)
    with progress.task("Train twins", total=total, unit="runs") as task:
        for order, design in enumerate(designs):
            for run in range(len(design.arms)):
                kept = work / f"order{order}-run{run}.json"
                if not kept.is_file():
                    _continue(network, start, [corpus.input_ids(row) for row in design.rows(run)])
                    write_json(kept, _measure(measured, targets)._asdict())
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
        step=start.state.step,
        num_steps=len(first.slots) // start.recipe.batch_size,
        start_nats=np.array(before.log_probs_nats),
        log_probs_nats=log_probs,
        matches=matches,
    )


def _restore(network: "PreTrainedModel", state: TrainingState) -> None:
    import torch

    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(state.weights[name])


def _continue(network: "PreTrainedModel", start: Start, examples: list[list[int]]) -> None:
    """Trains a network on some examples from the state on, at the rates of their steps."""
    train(
        network,
        examples,
        recipe=start.recipe,
        resume=start.state,
        since=start.state.step,
        schedule=partial(learning_rate, start.recipe, total_steps=start.total_steps),
    )


def _measure(model: "LoadedModel", targets: "Windows") -> _Outcome:
    found = token_log_probs(
        model,
        targets.tokens.tolist(),
        [targets.num_prompt_tokens] * len(targets),
        names=targets.ids,
    )
    return _Outcome(
        [float(one.log_probs_nats.double().mean()) for one in found],
        [float((one.ranks == 1).double().mean()) for one in found],
    )


def _to_json(twins: Twins) -> dict[str, object]:
    values = {field.name: getattr(twins, field.name) for field in fields(twins)}
    return values | {name: values[name].tolist() for name in _ARRAYS}


def _read(place: Path) -> Twins:
    import numpy as np

    stored = json.loads((place / TWINS_FILE).read_text(encoding="utf-8"))
    tuples = {name: tuple(value) for name, value in stored.items() if isinstance(value, list)}
    arrays = {name: np.array(stored[name]) for name in _ARRAYS}
    return Twins(**stored | tuples | arrays)


def _state_fingerprint(state: TrainingState) -> str:
    import hashlib

    digest = hashlib.sha256(str(state.step).encode())
    for part in (state.weights, state.first_moments, state.second_moments):
        for name, value in sorted(part.items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
