"""A user's checkpoint that goes on training without some examples of a window.

The unmasked continuation is what training without a mask gives: it is kept as a model of its own,
so that it can be attributed. Where the checkpoint's optimizer state is a file, it is the
uninterrupted training; a rebuilt state makes it an approximation, whose distance from a kept
checkpoint is measured.
"""

import copy
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from whence.artifacts import fingerprint, sha256_of, write_json
from whence.errors import CorpusError, ModelError, SettingsError
from whence.records import Behavior, Corpus, LoadedModel
from whence.settings import ModelSettings
from whence.training.recipe import learning_rate, num_steps
from whence.training.trainer import TrainingState, train
from whence.training.warm_state import rebuild_state
from whence.validation.continuation_settings import FRESH, REBUILD, ContinuationStudy
from whence.validation.outcomes import Outcome, Retraining, write_outcome

if TYPE_CHECKING:
    from transformers import PreTrainedModel

END = "end"
STATE = "state"
UNMASKED = "unmasked.json"


@dataclass(frozen=True)
class Continuation:
    """A study with what its checkpoint, corpus and behaviors are found to be.

    Attributes:
        study: The study; its paths are absolute.
        model: The checkpoint, in float32.
        corpus: The examples of the window, in the order in which they are trained on.
        before: Examples of the batches from which the state is rebuilt; empty where it is not.
        behaviors: What is measured at the window's end.
        until: The last step.
        total_steps: Steps of the whole training.
    """

    study: ContinuationStudy
    model: LoadedModel
    corpus: Corpus
    before: Corpus
    behaviors: tuple[Behavior, ...]
    until: int
    total_steps: int

    @property
    def since(self) -> int:
        """The step that training goes on from."""
        return self.study.window.since

    @property
    def inputs(self) -> dict[str, object]:
        """Everything that determines an outcome beside the examples dropped."""
        from importlib.metadata import version

        window = self.study.window
        return {
            "model": self.model.fingerprint,
            "window": self.corpus.fingerprint,
            "recipe": self.study.recipe.model_dump(mode="json"),
            "since": self.since,
            "until": self.until,
            "total_steps": self.total_steps,
            "state": _state_inputs(window.state),
            "before": self.before.fingerprint if window.state == REBUILD else None,
            "behaviors": fingerprint([b.model_dump(mode="json") for b in self.behaviors]),
            "torch": version("torch"),
        }

    @property
    def state_words(self) -> str:
        """Where the optimizer's state comes from."""
        window = self.study.window
        if window.state == FRESH:
            return "Adam starts anew at the checkpoint"
        if window.state == REBUILD:
            steps = num_steps(self.study.recipe, len(self.before))
            return f"Adam's moments are estimated from the {steps} batches before the checkpoint"
        return f"Adam's moments are those of {Path(window.state).name}"


def open_continuation(study: ContinuationStudy) -> Continuation:
    """Opens the checkpoint, the corpus and the behaviors of a study.

    Args:
        study: The study, with absolute paths.

    Raises:
        SettingsError: It names a testbed, or the window is not in the corpus.
        ModelError: The checkpoint cannot be loaded, or is not in float32.
        CorpusError: The corpus cannot be read.
    """
    from whence.behaviors import load_behaviors
    from whence.corpus import load_corpus
    from whence.models import load_model

    for name in (study.model.name, study.corpus.source, study.behaviors.file):
        if name.startswith("testbed:"):
            raise SettingsError(
                f"{name} is trained again by its own recipe.",
                f"Use `--size {name.removeprefix('testbed:')}` with --since, and no study.",
            )
    model = load_model(study.model)
    if model.dtype != "float32":
        raise ModelError(
            f"{model.label} is loaded in {model.dtype}, in which small steps are lost.",
            "Leave `model.dtype` out.",
        )
    corpus = load_corpus(study.corpus, model.tokenizer, context_length=model.context_length)
    window, size = study.window, study.recipe.batch_size
    last = window.first_step + num_steps(study.recipe, len(corpus))
    until = last if window.until is None else window.until
    if not window.since < until <= last:
        raise SettingsError(
            f"There is no window from step {window.since} to step {until}: {len(corpus):,} "
            f"examples in batches of {size} reach from step {window.first_step} to step {last}.",
            "Change the table `window`, or give the corpus that holds its batches.",
        )
    first = (window.since - window.first_step) * size
    num_before = window.rebuild_steps * size if window.state == REBUILD else 0
    known = [
        b
        for b in load_behaviors(Path(study.behaviors.file))
        if b.kind in study.behaviors.kinds
        and (study.behaviors.ids is None or b.id in study.behaviors.ids)
    ]
    if not known:
        raise SettingsError(
            f"{study.behaviors.file} has none of the study's behaviors.",
            "Widen `behaviors.kinds` or `behaviors.ids`.",
        )
    return Continuation(
        study=study,
        model=model,
        corpus=_rows(corpus, first, (until - window.first_step) * size),
        before=_rows(corpus, max(0, first - num_before), first),
        behaviors=tuple(known),
        until=until,
        total_steps=window.total_steps or max(last, until),
    )


def _rows(corpus: Corpus, first: int, last: int) -> Corpus:
    return replace(corpus, table=corpus.table.slice(first, max(0, last - first)))


def _state_inputs(state: str) -> object:
    if state in (REBUILD, FRESH):
        return state
    try:
        return sha256_of(Path(state))
    except OSError as error:
        raise ModelError(
            f"The optimizer state {state} cannot be read ({error.strerror}).",
            "Check `window.state`: a file, `rebuild` or `fresh`.",
        ) from None


def starting_state(opened: Continuation) -> TrainingState | None:
    """Reads or rebuilds the state that training goes on from; None where Adam starts anew.

    Raises:
        ModelError: The file cannot be read, lacks a moment, or is of another step.
        CorpusError: There are no batches to rebuild it from.
    """
    window = opened.study.window
    if window.state == FRESH:
        return None
    weights = {n: p.detach().clone() for n, p in opened.model.model.named_parameters()}
    if window.state == REBUILD:
        if not len(opened.before):
            raise CorpusError(
                f"No batches before step {opened.since} are in the corpus.", "Use another `state`."
            )
        found = rebuild_state(
            opened.model,
            opened.before,
            recipe=opened.study.recipe,
            step=num_steps(opened.study.recipe, len(opened.before)),
            num_steps=window.rebuild_steps,
        )
        return _at_step(found, opened)
    from whence.models.optimizer_files import load_moments

    moments = load_moments(Path(window.state), opened.model)
    if moments.step is not None and moments.step != opened.since:
        raise ModelError(
            f"{window.state} holds the optimizer's state of step {moments.step}, and "
            f"`window.since` is {opened.since}.",
            "Give the state of the checkpoint itself.",
        )
    return TrainingState(opened.since, weights, moments.first, moments.second)


def _at_step(state: TrainingState, opened: Continuation) -> TrainingState:
    """Weights moments that bias correction at another step expects as it expects them here."""
    recipe, step = opened.study.recipe, opened.since

    def factor(beta: float) -> float:
        return (1 - beta**step) / (1 - beta**state.step)

    return TrainingState(
        step,
        state.weights,
        {n: value * factor(recipe.beta1) for n, value in state.first_moments.items()},
        {n: value * factor(recipe.beta2) for n, value in state.second_moments.items()},
    )


def continued(
    opened: Continuation, state: TrainingState | None, dropped: frozenset[str]
) -> tuple[LoadedModel, tuple[float, ...]]:
    """Trains the window with some examples at weight zero.

    A dropped example keeps its place in the order and in the loss's denominator.

    Args:
        opened: What goes on.
        state: The optimizer's state; None where Adam starts anew.
        dropped: Ids of examples of the window.

    Returns:
        The model after the window's last step, and the loss of each step in nats per target. The
        same arguments and number of threads give the same bits.

    Raises:
        CorpusError: An id is not of the window.
        ModelError: The loss is not finite.
    """
    if unknown := dropped - set(opened.corpus.ids):
        raise CorpusError(
            f"`{min(unknown)}` is not among the examples of steps {opened.since + 1} to "
            f"{opened.until}.",
            "Only examples of the window can be dropped.",
        )
    network: PreTrainedModel = copy.deepcopy(opened.model.model).requires_grad_(True)
    log = train(
        network,
        opened.corpus.table.column("input_ids").to_pylist(),
        recipe=opened.study.recipe,
        weights=[0.0 if i in dropped else 1.0 for i in opened.corpus.ids],
        resume=state,
        since=opened.since,
        schedule=partial(learning_rate, opened.study.recipe, total_steps=opened.total_steps),
        stop_after=opened.until,
    )
    return replace(opened.model, model=network.eval()), tuple(one.loss_nats for one in log)


class _Ready(NamedTuple):
    opened: Continuation
    state: TrainingState | None


@lru_cache(maxsize=1)
def _ready(study_json: str, place: Path) -> _Ready:
    """Opens a study once in each process, with the state that was kept when the bank was begun."""
    from whence.training.checkpoints import load_state

    study = ContinuationStudy.model_validate_json(study_json)
    opened = open_continuation(study)
    if study.window.state != REBUILD:
        return _Ready(opened, starting_state(opened))
    return _Ready(opened, load_state(place / STATE / "state.safetensors"))


def keep_state(opened: Continuation, place: Path) -> None:
    """Rebuilds the state once, where it is not a file, and keeps it for all retrainings."""
    from whence.artifacts import building, is_current
    from whence.training.checkpoints import save_state

    inputs = dict(opened.inputs)
    if opened.study.window.state != REBUILD:
        starting_state(
            opened
        )  # A state that cannot be used is an error before anything is trained.
        return
    if not is_current(place / STATE, kind="continuation-state", inputs=inputs):
        with building(place / STATE, kind="continuation-state", inputs=inputs) as partial_place:
            state = starting_state(opened)
            assert state is not None, "a rebuilt state"
            save_state(state, partial_place / "state.safetensors")


def make_outcome(study: ContinuationStudy, place: Path, run: Retraining) -> None:
    """Trains and measures one continuation, and writes its file; without a mask, also the model."""
    opened, state = _ready(study.model_dump_json(), place)
    started = time.perf_counter()
    model, losses = continued(opened, state, run.dropped)
    found = log_probs(model, opened.behaviors)
    if not run.dropped:
        _keep_unmasked(opened, model, losses, place)
    write_outcome(place, run, Outcome(found, round(time.perf_counter() - started, 3)))


def log_probs(model: LoadedModel, behaviors: Sequence[Behavior]) -> dict[str, float]:
    """Measures the log-probability of each behavior's completion, in nats."""
    from whence.behaviors.measure import measure_own

    measured = measure_own(model, behaviors)
    return {b.id: one.log_prob_nats for b, one in zip(behaviors, measured, strict=True)}


def _keep_unmasked(
    opened: Continuation, model: LoadedModel, losses: Sequence[float], place: Path
) -> None:
    """Keeps the model that training on everything gives, and the loss of each of its steps."""
    from whence.models import load_model

    model.model.save_pretrained(place / END)
    model.tokenizer.save_pretrained(place / END)
    own = load_model(ModelSettings(name=str(place / END))).fingerprint
    losses_nats = {opened.since + 1 + n: loss for n, loss in enumerate(losses)}
    write_json(place / UNMASKED, {"ends": {"continued": own}, "losses_nats": losses_nats})


def compare_end(opened: Continuation, unmasked: Outcome, place: Path) -> None:
    """Compares the unmasked continuation with the checkpoint that was kept at the window's end."""
    from whence.models import load_model

    if opened.study.end is None:
        return
    found = json.loads((place / UNMASKED).read_text(encoding="utf-8"))
    end = load_model(opened.study.end)
    if found["ends"].get("kept") == end.fingerprint:
        return
    theirs = log_probs(end, opened.behaviors)
    apart = [abs(theirs[q] - value) for q, value in unmasked.log_probs_nats.items()]
    found["ends"]["kept"] = end.fingerprint
    found["mean_difference_nats"] = sum(apart) / len(apart)
    write_json(place / UNMASKED, found)
