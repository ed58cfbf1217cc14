"""Settings of a memorization study: the content of its TOML file."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from whence.memorization.families import FamilyRule
from whence.memorization.windows import NUM_COMPLETION_TOKENS, NUM_PROMPT_TOKENS
from whence.settings import MOST, CorpusSettings, IndexSettings, ModelSettings, Seed, Settings
from whence.training import Recipe

SCAN = "scan"
STEP = "{step}"


class SequenceSettings(Settings):
    """Which sequences are studied.

    Example:
        >>> SequenceSettings().source
        'scan'
    """

    source: str = Field(
        default=SCAN,
        description="`scan` tries the start of every example of the corpus; else a file, folder or "
        "Hub dataset with the columns `index` and `tokens`, such as "
        "`EleutherAI/pythia-memorized-evals`.",
    )
    split: str | None = Field(default=None, description="Of a Hub dataset: the model's split.")
    controls: str | None = Field(
        default=None,
        description="A list of random sequences beside a published one, such as "
        "`EleutherAI/pile-deduped-pythia-random-sampled`; controls are chosen from both.",
    )
    controls_split: str | None = Field(default=None, description="Of the list of controls.")
    num_controls: int = Field(
        default=10_000, ge=1, le=MOST, description="Draw so many of the controls at random."
    )
    num_prompt_tokens: int = Field(default=NUM_PROMPT_TOKENS, ge=1, le=MOST)
    num_completion_tokens: int = Field(default=NUM_COMPLETION_TOKENS, ge=1, le=MOST)
    max_windows: int | None = Field(
        default=None, ge=1, le=MOST, description="Try so many at most, at even distances."
    )

    @model_validator(mode="after")
    def _have_a_list(self) -> "SequenceSettings":
        for name in ("split", "controls", "controls_split"):
            if self.source == SCAN and getattr(self, name) is not None:
                raise ValueError(f"`{name}` belongs to a published list, and `source` is {SCAN!r}")
        return self


class CheckpointSettings(Settings):
    """Earlier checkpoints of the model.

    Example:
        >>> CheckpointSettings(steps=(0, 512)).steps
        (0, 512)
    """

    steps: tuple[int, ...] = Field(
        default=(), description="Training steps, ascending; all windows are scanned at each."
    )
    name: str | None = Field(
        default=None,
        description="A folder with `{step}` where the step's number stands. By default the "
        "revision `step{step}` of the model.",
    )
    last: int | None = Field(
        default=None,
        ge=0,
        le=MOST,
        description="The step of the model itself, where neither its revision nor the end of the "
        "corpus tells.",
    )
    dense_steps: tuple[int, ...] = Field(
        default=(),
        description="More steps, at which only what is ever extractible and its controls are "
        "scanned.",
    )
    dense_name: str | None = Field(
        default=None, description="Like `name`, for the dense steps; by default `name`."
    )

    @model_validator(mode="after")
    def _ascend(self) -> "CheckpointSettings":
        for steps in (self.steps, self.dense_steps):
            if list(steps) != sorted(set(steps)) or any(step < 0 for step in steps):
                raise ValueError("steps ascend, and none is named twice")
        for name in (self.name, self.dense_name):
            if name is not None and STEP not in name:
                raise ValueError(f"{name!r} does not say with {STEP} where the step stands")
        if self.dense_name is not None and not self.dense_steps:
            raise ValueError("`dense_name` needs `dense_steps`")
        return self


class PoolSettings(Settings):
    """Which examples are attributed: all, or a sample of known weights.

    Example:
        >>> PoolSettings().num_random
        2000
    """

    num_random: Annotated[int, Field(ge=0, le=MOST)] | Literal["all"] = Field(
        default=2000,
        description="Random examples beside all exact and near copies; `all` for the corpus.",
    )
    num_weak: int = Field(
        default=500, ge=1, le=MOST, description="Random weak near copies of some target."
    )
    seed: Seed = 0


class TargetSettings(Settings):
    """Which memorized windows are attributed, and with which controls.

    Example:
        >>> TargetSettings().per_family
        2
    """

    attribution_steps: tuple[int, ...] = Field(
        default=(),
        description="Checkpoints at which gradients are compared; the model itself always is. "
        "Sums over checkpoints (TracIn) are over all of them but the untrained one.",
    )
    per_family: int = Field(
        default=2, ge=1, le=MOST, description="Memorized windows of each family, early and late."
    )
    max_targets: int = Field(default=60, ge=1, le=MOST)
    top_k: int = Field(default=10, ge=1, le=MOST)
    seed: Seed = 0


class CauseSettings(Settings):
    """Interventions: one step on an example of each class, and training without copies.

    Example:
        >>> CauseSettings().orders
        3
    """

    step_checkpoints: tuple[int, ...] = Field(
        default=(), description="Take one step on examples of each class at these, and at the end."
    )
    since: int | None = Field(
        default=None, ge=1, description="Train without copies from this checkpoint on."
    )
    families: FamilyRule = Field(
        default="jaccard-30", description="What is independent in training without copies."
    )
    orders: int = Field(default=3, ge=1, le=1000, description="Orders of the examples.")
    num_examples: int = Field(default=400, ge=1, le=MOST, description="Of one such training.")
    num_copies: int = Field(default=8, ge=1, le=MOST, description="At most, of a class and family.")
    seed: Seed = 0


class MemorizationStudy(Settings):
    """Which sequences a model memorized, since when, and through which examples."""

    title: str = Field(min_length=1, max_length=500)
    model: ModelSettings
    corpus: CorpusSettings
    checkpoints: CheckpointSettings = CheckpointSettings()
    sequences: SequenceSettings = SequenceSettings()
    targets: TargetSettings = TargetSettings()
    pool: PoolSettings = PoolSettings()
    causes: CauseSettings = CauseSettings()
    index: IndexSettings = IndexSettings()
    recipe: Recipe | None = Field(
        default=None,
        description="How the model was trained; needed for training without copies, and for the "
        "learning rates of TracIn.",
    )

    @model_validator(mode="after")
    def _fit_together(self) -> "MemorizationStudy":
        known = {*self.checkpoints.steps, *self.checkpoints.dense_steps}
        for name, steps in (
            ("targets.attribution_steps", self.targets.attribution_steps),
            ("causes.step_checkpoints", self.causes.step_checkpoints),
            ("causes.since", () if self.causes.since is None else (self.causes.since,)),
        ):
            if missing := sorted(set(steps) - known):
                raise ValueError(
                    f"`{name}` names step {missing[0]}, which is none of `checkpoints.steps` and "
                    "`checkpoints.dense_steps`"
                )
        if self.causes.since is not None:
            if self.recipe is None:
                raise ValueError("`causes.since` needs the table `recipe`")
            if self.causes.num_examples % self.recipe.batch_size:
                raise ValueError(
                    f"`causes.num_examples` is {self.causes.num_examples}, no whole number of "
                    f"batches of {self.recipe.batch_size}"
                )
        return self
