"""SOURCE, MAGIC and AdamW-influence: an effect followed through the training that came after it.

SOURCE cuts training into the segments that end with each checkpoint of the settings, in which
curvature and Adam's correction are constant. An example counts in the segment that saw it, and its
effect decays through the curvature of that segment and of all later ones (formulas in
`whence.gradients.curvature.source`). MAGIC is the exact derivative −∂L_q(θ_T(w)) / ∂w_i, where
θ_T(w) is what training ends with, in its own order and with example i's loss multiplied by w_i; it
is evaluated at the weights of the run, with all parameters. AdamW-influence follows the same steps
with the gradients of later ones held fixed (`whence.gradients.curvature.adamw_influence`). Under
the first two, an example of weight zero has the effect that it would have had; under
AdamW-influence it has none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence.errors import SettingsError
from whence.methods.contract import Method, MethodInputs, MethodResult, from_pass
from whence.methods.requests import Context, Models, OwnPass, Training
from whence.methods.views import View
from whence.records import LoadedModel, PairScores
from whence.settings import (
    AdamwInfluenceSettings,
    AttributionSettings,
    MagicSettings,
    SourceSettings,
)

if TYPE_CHECKING:
    from whence.models import SecondMoments

_RETURNS = (
    "Nats per unit of weight on the example: to first order the decrease of the query's loss at "
    "the end of training."
)


@dataclass(frozen=True)
class SourcePass(OwnPass):
    """Propagates the queries' gradients back through the segments of training."""

    settings: SourceSettings

    @property
    def label(self) -> str:
        """The method's name."""
        return "source"

    @property
    def uses_engine(self) -> bool:
        """The curvature's factors are Bergson's."""
        return True

    def num_passes(self, *, num_queries: int) -> int:
        """For each segment its own examples thrice."""
        return 3

    def check(self, models: Models) -> None:
        """Refuses training that is not known, and segments that do not make up all of it."""
        training, ends = models.training(self.label), self.settings.checkpoints
        if ends[-1] != training.last_step:
            raise SettingsError(
                f"The last of `source.checkpoints` is {ends[-1]}, and the model's training ends "
                f"with step {training.last_step}.",
                f"Add {training.last_step}, so that the segments make up the whole training.",
            )
        for end in ends:
            models.check(_segment_end(end))
            models.second_moments(_segment_end(end))

    def inputs(self, context: Context) -> Mapping[str, object]:
        """Modules, the curvature's settings, and all that is known of each segment."""
        training = context.models.training(self.label)
        ends = self.settings.checkpoints
        return {
            "model": context.own_fingerprint,
            "modules": list(context.modules),
            "segments": self._bounds(),
            "learning_rate_sums": [_rate_sum(training, *bounds) for bounds in self._bounds()],
            "weight_decay": training.recipe.weight_decay,
            "moments": [dict(context.models.second_moments(_segment_end(e)).origin) for e in ends],
            **self.settings.model_dump(mode="json", exclude={"checkpoints"}),
        }

    def compute(self, context: Context) -> PairScores:
        """Computes SOURCE's scores."""
        from whence.gradients.curvature.source import Segment, source_scores

        training = context.models.training(self.label)

        def opening(end: int) -> "Callable[[], tuple[LoadedModel, SecondMoments]]":
            view = _segment_end(end)
            return lambda: (context.open(view), context.second_moments(view))

        return source_scores(
            context.model,
            context.corpus,
            context.queries,
            segments=[
                Segment(
                    first,
                    last,
                    _rate_sum(training, first, last),
                    training.recipe.weight_decay,
                    opening(last),
                )
                for first, last in self._bounds()
            ],
            modules=context.modules,
            token_batch_size=context.index.token_batch_size,
            labels=self.settings.labels,
            label_seed=self.settings.seed,
            progress=context.progress,
        )

    def _bounds(self) -> list[tuple[int, int]]:
        ends = self.settings.checkpoints
        return list(zip((0, *ends[:-1]), ends, strict=True))


def _segment_end(step: int) -> View:
    return View(step, "adam_step")


def _rate_sum(training: Training, first: int, last: int) -> float:
    return sum(training.learning_rate_after(step) for step in range(first, last))


def _source(inputs: MethodInputs, own: SourceSettings) -> MethodResult:
    return from_pass(inputs.result(SourcePass(own)))


def _needs_segments(settings: AttributionSettings) -> tuple[SourcePass]:
    steps = settings.source.checkpoints
    if not steps:
        raise SettingsError(
            "SOURCE cuts training into segments, and the study names no checkpoints.",
            "Set `attribution.source.checkpoints`, such as `[64, 128, 256, 488]`, the last step "
            "at the end.",
        )
    if list(steps) != sorted(set(steps)):
        raise SettingsError(
            f"The checkpoints {list(steps)} do not ascend, and SOURCE cuts training at them.",
            "Name each once, in the order of training.",
        )
    return (SourcePass(settings.source),)


@dataclass(frozen=True)
class _Repeated(OwnPass):
    """A pass that repeats the training of a model, by our own trainer."""

    settings: MagicSettings | AdamwInfluenceSettings

    @property
    def uses_engine(self) -> bool:
        """Our own trainer."""
        return False

    def check(self, models: Models) -> None:
        """Refuses training that cannot be repeated."""
        models.training(self.label)

    def inputs(self, context: Context) -> Mapping[str, object]:
        """The recipe, and the method's settings."""
        return {
            "model": context.own_fingerprint,
            "recipe": context.models.training(self.label).recipe.model_dump(mode="json"),
            **self.settings.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class MagicPass(_Repeated):
    """Repeats the training of a model, and differentiates through it in reverse."""

    settings: MagicSettings

    @property
    def label(self) -> str:
        """The method's name."""
        return "magic"

    def num_passes(self, *, num_queries: int) -> int:
        """Two trainings, and three for each query."""
        return 2 + 3 * num_queries

    def compute(self, context: Context) -> PairScores:
        """Computes the derivatives."""
        from whence.gradients.curvature.magic import magic_scores

        training = context.models.training(self.label)
        return magic_scores(
            training.open_start(),
            context.corpus,
            context.queries,
            recipe=training.recipe,
            weights=training.weights(),
            since=self.settings.since,
            progress=context.progress,
        )


def _magic(inputs: MethodInputs, own: MagicSettings) -> MethodResult:
    return from_pass(inputs.result(MagicPass(own)))


@dataclass(frozen=True)
class AdamwInfluencePass(_Repeated):
    """Repeats the training of a model, and walks the queries' gradients back through AdamW."""

    settings: AdamwInfluenceSettings

    @property
    def label(self) -> str:
        """The method's name."""
        return "adamw_influence"

    def num_passes(self, *, num_queries: int) -> int:
        """Three trainings, whatever the number of queries."""
        return 3

    def compute(self, context: Context) -> PairScores:
        """Computes the effects."""
        from whence.gradients.curvature.adamw_influence import adamw_influence_scores

        training = context.models.training(self.label)
        since = max(training.last_step - self.settings.last_steps, 0)
        return adamw_influence_scores(
            training.open_start(),
            context.corpus,
            context.queries,
            recipe=training.recipe,
            weights=training.weights(),
            since=since,
            progress=context.progress,
        )


def _adamw_influence(inputs: MethodInputs, own: AdamwInfluenceSettings) -> MethodResult:
    return from_pass(inputs.result(AdamwInfluencePass(own)))


METHODS = (
    Method(
        name="source",
        compute=_source,
        needs=_needs_segments,
        settings=SourceSettings,
        family="gradient",
        about="How much the example's step lowered the query's loss, after what came later in "
        "training is allowed for, with an approximate curvature. Examples with large gradients are "
        "favored.",
        reads="gradients, curvature and Adam's moments along training",
        formula="(1/T) q · p (1 − exp(−κσ)) / σ · ∇L_i in the segment that saw the example",
        returns=f"{_RETURNS} NaN for an example without a gradient.",
        higher_means="the example's step in training lowered the query's loss at the end by more, "
        "to first order, after the decay that an approximate curvature gives to later training",
        cost="three passes over the corpus in all, however many segments; with each segment an "
        "eigendecomposition of every layer's factors",
        source='Bae et al., "Training Data Attribution via Approximate Unrolled Differentiation", '
        "NeurIPS 2024, with Adam's diagonal preconditioner; `whence.gradients.curvature.source` "
        "says how we differ.",
        avoid="Where the schedule and the order of training are not known, and with few "
        "checkpoints: the end of a long segment stands for all of it, and early training changes "
        "too fast for that. Gradient clipping and momentum are left out.",
    ),
    Method(
        name="magic",
        compute=_magic,
        needs=lambda settings: (MagicPass(settings.magic),),
        settings=MagicSettings,
        family="gradient",
        about="How much lower the query's loss would have ended, had training weighed the example "
        "more: the exact derivative through the whole run, and not what leaving the example out "
        "does.",
        reads="the whole run of training, repeated",
        formula="−∂L_q(θ_T(w)) / ∂w_i",
        returns=f"{_RETURNS} NaN for an example with nothing to predict, or that was seen until "
        "the setting `magic.since`.",
        higher_means="the query's loss at the end of training falls faster as the example's weight "
        "in training rises; a derivative, not the effect of leaving the example out",
        cost="two trainings, and about three more for each query; refused beyond the testbed's "
        "sizes",
        source='Ilyas and Engstrom, "MAGIC: Near-Optimal Data Attribution for Deep Learning", '
        "arXiv 2504.16430.",
        avoid="For the effect of a removal, where training is not smooth in the weights. Over the "
        "whole of nano's training derivatives grow towards the start until they say nothing of any "
        "change that could be made: use it over a last stretch (`magic.since`).",
    ),
    Method(
        name="adamw_influence",
        compute=_adamw_influence,
        needs=lambda settings: (AdamwInfluencePass(settings.adamw_influence),),
        settings=AdamwInfluenceSettings,
        family="gradient",
        about="How much the example's step lowered the query's loss at the end, followed through "
        "AdamW's momentum, second moments, clipping and weight decay, with the gradients of later "
        "steps held fixed. Examples with large gradients are favored.",
        reads="every step of training, repeated: the example's gradient in its own step, and all "
        "of AdamW's state after it",
        formula="−w_i ∇L_q(θ_T) · θ̇_T, θ̇ being what AdamW makes of the example's gradient",
        returns="Nats: to first order, and with later gradients held fixed, by how much the "
        "example, as it was weighted, lowered the query's loss; 0 for one of weight zero. NaN for "
        "an example with nothing to predict, or seen before `adamw_influence.last_steps`.",
        higher_means="the example's step in training lowered the query's loss at the end by more, "
        "to first order and through AdamW's state, with the gradients of later steps held fixed",
        cost="three trainings and about twenty operations per step, parameter and query; a tenth "
        "of magic with forty queries",
        source='After Deng et al., "How Faithful Is Trajectory-Based Data Attribution?", arXiv '
        "2605.18814; derived from our trainer's step, and without their curvature: "
        "`whence.gradients.curvature.adamw_influence` says how they differ.",
        avoid="For more than the last steps of training: what a step does to later gradients is "
        "left out, and on nano over 122 steps `ekfac` foresees removal better. It is defined where "
        "order and recipe of training are known.",
    ),
)
