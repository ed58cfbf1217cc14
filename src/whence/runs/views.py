"""The models that a study names, their optimizers' second moments, and their training runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whence.artifacts import sha256_of
from whence.errors import SettingsError
from whence.methods import FINAL, View
from whence.methods.requests import Moments, Training
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel
from whence.runs import opening
from whence.runs.directory import Run
from whence.runs.models import StudyModel, initial_origin, model_origin, study_model
from whence.settings import ModelSettings, StudySettings

if TYPE_CHECKING:
    from whence.models import SecondMoments

NUM_ESTIMATION_EXAMPLES = 256


class StudyModels:
    """What methods may ask about a study's models; see `whence.methods.requests.Models`.

    Beside the study's own, only the model that was opened last stays in memory.
    """

    def __init__(self, run: Run, study: StudySettings, *, progress: Progress = SILENT) -> None:
        self._run = run
        self._study = study
        self._progress = progress
        self._models: dict[str | int, StudyModel] = {}
        self._last: StudyModel | None = None

    @property
    def own(self) -> StudyModel:
        """The model that the study attributes.

        Raises:
            ModelError: It cannot be loaded.
        """
        return self._model(FINAL)

    @property
    def initial(self) -> StudyModel | None:
        """Its untrained weights; None where the study names none."""
        return initial_model(self._run, self._study.model, "initial")

    def check(self, view: View) -> None:
        """Refuses a view whose model the study does not name.

        Raises:
            SettingsError: With what is missing.
        """
        study = self._study
        testbed = opening.testbed_size(study.model.name)
        if view.checkpoint == "initial" and testbed is None and study.model.initial is None:
            raise SettingsError(
                f"The study names no step-0 weights of {study.model.name}, and a method needs its "
                "randomly initialised model.",
                "Set `model.initial`, such as `step0` or `random`, or leave the method out.",
            )
        if isinstance(view.checkpoint, int):
            _check_step(study, view.checkpoint, testbed)
        if view.member:
            _member(study, view.member)

    def open(self, view: View) -> LoadedModel:
        """Loads a view's model.

        Raises:
            ModelError: It cannot be loaded.
        """
        model = self._model(view)
        if model is not self._last and model is not self.own:
            if self._last is not None:
                self._last.forget()
            self._last = model
        return model.loaded

    def fingerprint(self, view: View) -> str:
        """Gives the fingerprint of a view's model, which is loaded only where it is not known."""
        return self._model(view).fingerprint

    def second_moments(self, view: View) -> Moments:
        """Finds the optimizer's second moments at a view's checkpoint.

        Raises:
            SettingsError: They are not known, and cannot be estimated.
        """
        return study_moments(self._study, view, self._run.cache)

    def learning_rates(self, steps: Sequence[int]) -> tuple[float, ...] | None:
        """Gives the rate of the step after each of some steps; None where no recipe is known."""
        size = opening.testbed_size(self._study.model.name)
        if size is None:
            return None
        from whence.testbed import learning_rate_after

        return tuple(learning_rate_after(size, step) for step in steps)

    def training(self, method: str) -> Training:
        """Gives the whole training run of the study's model on the study's corpus.

        Raises:
            SettingsError: It is not known.
        """
        return _training(self._study, method=method)

    def _model(self, view: View) -> StudyModel:
        if view.checkpoint not in self._models:
            role = "own" if view.checkpoint == FINAL.checkpoint else str(view.checkpoint)
            self._models[view.checkpoint] = study_model(
                self._run, role, self._origin(view), lambda: self._load(view)
            )
        return self._models[view.checkpoint]

    def _origin(self, view: View) -> dict[str, object]:
        """Lists what determines a view's model, without loading it; as `_load` does."""
        settings = self._study.model
        if view.member:
            name = _member(self._study, view.member)
            if opening.member_seed(name) is not None:
                return {"seed": name, **model_origin(settings)}
            return model_origin(settings.model_copy(update={"name": name, "revision": None}))
        if view.checkpoint == "initial":
            return initial_origin(settings)
        if view.checkpoint != FINAL.checkpoint:
            settings = settings.model_copy(update={"revision": f"step{view.checkpoint}"})
        return model_origin(settings)

    def _load(self, view: View) -> LoadedModel:
        settings = self._study.model
        if view.member:
            return opening.open_member(
                settings,
                _member(self._study, view.member),
                cache=self._run.cache,
                progress=self._progress,
            )
        if view.checkpoint == "final":
            return opening.open_model(settings, cache=self._run.cache, progress=self._progress)
        if view.checkpoint == "initial":
            initial = opening.open_initial(settings, cache=self._run.cache)
            assert initial is not None, "`check` has seen that there is one"
            return initial
        settings = settings.model_copy(update={"revision": f"step{view.checkpoint}"})
        return opening.open_model(settings, cache=self._run.cache, progress=self._progress)


def initial_model(run: Run, settings: ModelSettings, role: str) -> StudyModel | None:
    """The untrained weights of a model; None where none are named."""
    if opening.testbed_size(settings.name) is None and settings.initial is None:
        return None

    def load() -> LoadedModel:
        found = opening.open_initial(settings, cache=run.cache)
        assert found is not None, "the settings name one"
        return found

    return study_model(run, role, initial_origin(settings), load)


def _check_step(study: StudySettings, step: int, testbed: str | None) -> None:
    if testbed is not None:
        from whence.testbed import all_steps

        if step not in all_steps(testbed):
            raise SettingsError(
                f"{study.model.name} has no checkpoint at step {step}.",
                f"Choose some of {', '.join(map(str, all_steps(testbed)))}.",
            )
    if study.attribution.checkpoint_local and step > (last := opening.checkpoint_step(study.model)):
        raise SettingsError(
            f"The checkpoint {step} comes after the model's own, {last}.",
            "Leave it out of `checkpoints`, or leave `checkpoint_local` out.",
        )


def _member(study: StudySettings, number: int) -> str:
    name = study.attribution.trak.ensemble[number - 1]
    if study.attribution.trak.ensemble.count(name) > 1 or name == study.model.name:
        raise SettingsError(
            f"`trak.ensemble` names {name} although it is averaged over already.", "Name it once."
        )
    if opening.member_seed(name) is not None and opening.testbed_size(study.model.name) is None:
        raise SettingsError(
            f"`trak.ensemble` names {name}, and {study.model.name} is no testbed that could be "
            "trained with another seed.",
            "Name folders or Hub ids of models.",
        )
    return name


def _training(study: StudySettings, *, method: str) -> Training:
    """Finds the testbed that was trained on exactly this corpus, up to its last step."""
    from whence.testbed import (
        initial_checkpoint,
        last_step,
        learning_rate_after,
        recipe,
        training_weights,
    )

    size = opening.testbed_size(study.model.name)
    if size is None:
        raise SettingsError(
            f"`{method}` is undefined for {study.model.name}, because the learning rate and the "
            "examples of its every step are not known.",
            "Leave the method out, or choose a testbed, whose training is known.",
        )
    if opening.testbed_size(study.corpus.source) != size:
        raise SettingsError(
            f"`{method}` is undefined for {study.corpus.source}, on which {study.model.name} was "
            "not trained.",
            f"Set `corpus.source` to {study.model.name!r}, or leave the method out.",
        )
    if (step := opening.checkpoint_step(study.model)) != (last := last_step(size)):
        raise SettingsError(
            f"`{method}` follows training to its end, step {last}, and the model's checkpoint is "
            f"step {step}.",
            "Leave `model.revision` out, or leave the method out.",
        )
    return Training(
        recipe=recipe(size),
        last_step=last,
        learning_rate_after=lambda step: learning_rate_after(size, step),
        weights=lambda: training_weights(size).tolist(),
        open_start=lambda: initial_checkpoint(size),
    )


def study_moments(study: StudySettings, view: View, cache: Path) -> Moments:
    """Finds the optimizer's second moments at a view's checkpoint of a study's model.

    Raises:
        SettingsError: They are not known, and cannot be estimated.
    """
    settings = study.attribution.adam
    step = view.checkpoint if isinstance(view.checkpoint, int) else None
    size = opening.testbed_size(study.model.name)
    if settings.second_moments == "estimate":
        return _estimate(study, view, size)
    if settings.second_moments != "auto":
        return _file(settings.second_moments, view)
    if size is not None and view.checkpoint != "initial":
        from whence.testbed import second_moment_steps, second_moments

        # A study of a checkpoint has that checkpoint's moments, and none of its future.
        place = opening.checkpoint_step(study.model) if step is None else step
        if place in second_moment_steps(size, cache=cache):
            return Moments(
                {"second_moments": f"the optimizer's, after step {place}"},
                lambda model, corpus: second_moments(size, step=place, cache=cache),
            )
    return _estimate(study, view, size)


def _estimate(study: StudySettings, view: View, size: str | None) -> Moments:
    settings = study.attribution.adam
    batch_size = settings.training_batch_size
    if batch_size is None and size is not None:
        from whence.testbed import recipe

        batch_size = recipe(size).batch_size
    if batch_size is None:
        raise SettingsError(
            f"The second moments of {study.model.name} ({view.label}) have to be estimated, and "
            "the study does not say how many sequences a training step had.",
            "Set `attribution.adam.training_batch_size` (Pythia: 1024), or name the optimizer's "
            "file in `attribution.adam.second_moments`.",
        )

    def load(model: LoadedModel, corpus: Corpus) -> "SecondMoments":
        from whence.models import estimate_second_moments

        sequences = _sample(corpus, seed=settings.seed)
        return estimate_second_moments(model, sequences, batch_size=batch_size)

    origin = {
        "second_moments": f"estimated from at most {NUM_ESTIMATION_EXAMPLES} examples, for batches "
        f"of {batch_size}",
        "second_moments_seed": settings.seed,
    }
    return Moments(origin, load)


def _file(name: str, view: View) -> Moments:
    if "{step}" in name and not isinstance(view.checkpoint, int):
        raise SettingsError(
            f"`adam.second_moments = {name!r}` names a file for each step, and a method needs that "
            f"of the {view.checkpoint} model.",
            "Name one file, or use `auto`.",
        )
    if "{step}" not in name and view.checkpoint != "final":
        raise SettingsError(
            f"`adam.second_moments = {name!r}` names one file, and a method needs another "
            f"checkpoint's ({view.label}).",
            "Write `{step}` where the step's number stands in the file's name, or use `auto`.",
        )
    path = Path(name.replace("{step}", str(view.checkpoint)))
    if not path.is_file():
        raise SettingsError(f"There is no file {path} of second moments.", "Check the path.")

    def load(model: LoadedModel, corpus: Corpus) -> "SecondMoments":
        from whence.models import load_second_moments

        return load_second_moments(path, model)

    origin = {"second_moments": path.name, "second_moments_sha256": sha256_of(path)}
    return Moments(origin, load)


def _sample(corpus: Corpus, *, seed: int) -> list[list[int]]:
    """Draws examples of at least two tokens, without replacement and in corpus order."""
    import numpy as np

    rows = np.flatnonzero(corpus.lengths >= 2)
    size = min(NUM_ESTIMATION_EXAMPLES, len(rows))
    drawn = np.random.default_rng(seed).choice(rows, size=size, replace=False)
    return [corpus.input_ids(int(row)) for row in np.sort(drawn)]
