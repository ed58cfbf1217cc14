"""Settings of a continued training: whose checkpoint goes on, over which data, by which recipe."""

from pydantic import Field, model_validator

from whence.settings import MOST, BehaviorFile, CorpusSettings, ModelSettings, Settings
from whence.training import Recipe
from whence.training.warm_state import NUM_STEPS

REBUILD, FRESH = "rebuild", "fresh"


class ContinuedWindow(Settings):
    """Which steps are trained, and from which optimizer state.

    Example:
        >>> ContinuedWindow(since=2400).state
        'rebuild'
    """

    since: int = Field(ge=0, le=MOST, description="Optimizer steps that the checkpoint has seen.")
    until: int | None = Field(
        default=None, ge=1, le=MOST, description="The last step; by default, that of the corpus."
    )
    first_step: int = Field(
        default=0,
        ge=0,
        le=MOST,
        description="Steps of the training before the corpus's first batch: 0 where the corpus is "
        "the training data from its beginning, `since` where it begins with the window.",
    )
    total_steps: int | None = Field(
        default=None,
        ge=1,
        le=MOST,
        description="Steps of the whole training, which learning rates depend on; by default up to "
        "the corpus's end.",
    )
    state: str = Field(
        default=REBUILD,
        description="Adam's moments at the checkpoint: a file that holds both; `rebuild` estimates "
        "them by steps of learning rate zero on the batches before; `fresh` starts anew.",
    )
    rebuild_steps: int = Field(default=NUM_STEPS, ge=1, le=MOST, description="Of `rebuild`.")

    @model_validator(mode="after")
    def _fit_together(self) -> "ContinuedWindow":
        if self.until is not None and self.until <= self.since:
            raise ValueError(f"`until` is {self.until}, which is not after `since` = {self.since}")
        if self.first_step > self.since:
            raise ValueError("`first_step` is after `since`, so that batches would be missing")
        if self.state == REBUILD and self.first_step == self.since:
            raise ValueError(
                "no batches before the window are in the corpus, so that the optimizer's state "
                "cannot be rebuilt; give its file as `state`, or `fresh`"
            )
        return self


class ContinuationStudy(Settings):
    """A user's checkpoint that goes on training, again and again, without some examples.

    `model` is the checkpoint that training goes on from. `end` is a checkpoint of the same training
    at the window's end, where one was kept: the continuation on all examples is compared with it.
    """

    title: str = Field(min_length=1, max_length=500)
    model: ModelSettings
    corpus: CorpusSettings
    behaviors: BehaviorFile
    recipe: Recipe
    window: ContinuedWindow
    end: ModelSettings | None = None
