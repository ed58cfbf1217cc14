"""The checkpoints of a memorization study: the model, and the same model earlier in training."""

import re
from pathlib import Path

from whence.errors import ModelError, SettingsError
from whence.memorization.settings import STEP, MemorizationStudy
from whence.progress import SILENT, Progress
from whence.runs import opening
from whence.runs.directory import Run
from whence.runs.models import StudyModel, model_origin, study_model
from whence.settings import ModelSettings

_STEP_AT_END = re.compile(r"step(\d+)$")


class Checkpoints:
    """Opens the checkpoints that a study names, each when it is first needed."""

    def __init__(self, run: Run, study: MemorizationStudy, *, progress: Progress = SILENT) -> None:
        self._run = run
        self._study = study
        self._progress = progress
        self._models: dict[int, StudyModel] = {}
        self.last = last_step(study)
        late = [step for step in (*self.steps, *self.dense_steps) if step >= self.last]
        if late:
            raise SettingsError(
                f"The study names a checkpoint at step {late[0]}, and its model is that of step "
                f"{self.last}.",
                "Name earlier checkpoints only, or set `checkpoints.last`.",
            )

        # Before any of them is scanned.
        for step in (*self.steps, *self.dense_steps):
            place = self._settings(step)
            if place.revision is None and not Path(place.name).is_dir():
                raise ModelError(
                    f"There is no checkpoint {place.name}.",
                    "Check `checkpoints.name` and the steps.",
                )

    @property
    def steps(self) -> tuple[int, ...]:
        """The earlier steps at which all windows are scanned."""
        return self._study.checkpoints.steps

    @property
    def dense_steps(self) -> tuple[int, ...]:
        """The earlier steps at which some windows are scanned, without those above."""
        named = set(self.steps)
        return tuple(step for step in self._study.checkpoints.dense_steps if step not in named)

    @property
    def own(self) -> StudyModel:
        """The model at its last step."""
        return self.at(self.last)

    def at(self, step: int) -> StudyModel:
        """The model at a step.

        Raises:
            ModelError: It cannot be loaded.
        """
        if step not in self._models:
            settings = self._settings(step)
            self._models[step] = study_model(
                self._run,
                "own" if step == self.last else f"step{step}",
                model_origin(settings),
                lambda: opening.open_model(
                    settings, cache=self._run.cache, progress=self._progress
                ),
            )
        return self._models[step]

    def _settings(self, step: int) -> ModelSettings:
        model, named = self._study.model, self._study.checkpoints
        if step == self.last:
            return model
        pattern = named.name if step in self.steps else named.dense_name or named.name
        if pattern is None:
            return model.model_copy(update={"revision": f"step{step}"})
        place = pattern.replace(STEP, str(step))
        return model.model_copy(update={"name": place, "revision": None})


def last_step(study: MemorizationStudy) -> int:
    """The training step of a study's model.

    Raises:
        SettingsError: Nothing says it.
    """
    if study.checkpoints.last is not None:
        return study.checkpoints.last
    if found := _STEP_AT_END.search(study.model.revision or study.model.name):
        return int(found[1])
    try:
        return opening.checkpoint_step(study.model)
    except SettingsError:
        raise SettingsError(
            f"The study does not say after which step {study.model.name} was kept.",
            "Name the checkpoint in `model.revision`, such as `step143000`, or set "
            "`checkpoints.last`.",
        ) from None
