"""Influence functions: the query's gradient times a damped inverse curvature times the example's.

    influence   ∇L_q · (R + δ λ̄)⁻¹ ∇L_i         on stored rows of projected gradients
    ekfac       ∇L_q · (H + δ mean(Λ))⁻¹ ∇L_i    on whole gradients
    ekfac_cg    ∇L_q · (E[H] + δ mean(Λ))⁻¹ ∇L_i    with the exact Gauss-Newton matrix of a sample

R is the empirical Fisher matrix of the rows, block by block, in the place of the Hessian: like the
Gauss-Newton matrix it has no negative eigenvalues; λ̄ is the block's mean eigenvalue; with
`curvature_rank` only its largest eigenvalues are computed (`whence.methods.truncated`). H is the
curvature of the mean example's summed loss in EK-FAC's approximation, layer by layer: the
Gauss-Newton matrix, with labels drawn from the model by default, diagonal in the eigenbasis of a
Kronecker product; E[H] is the same matrix without an approximation, over a sample of the corpus
(`whence.gradients.curvature.ekfac_cg`). An example without a gradient has no score: NaN.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from whence.methods.contract import Method, MethodInputs, MethodResult, from_pass
from whence.methods.mixture import RowCurvature
from whence.methods.products import Rows
from whence.methods.requests import Context, Models, OwnPass
from whence.methods.rows import has_gradient, products
from whence.methods.truncated import PASSES
from whence.methods.views import FINAL, dots
from whence.records import PairScores
from whence.settings import EkfacCgSettings, EkfacSettings, InfluenceSettings

_RETURNS = (
    "Nats times the number of examples: to first order the decrease of the query's loss per unit "
    "of weight on the example, if training went on to a new optimum. NaN for an example without a "
    "gradient."
)
_OPTIMUM = (
    "It rests on a model at its optimum, which a language model after one pass is not: read it as "
    "gradient inner products in which directions that many examples share count less. Long "
    "documents have large scores"
)


def _influence(inputs: MethodInputs, own: InfluenceSettings) -> MethodResult:
    rows = inputs.result(Rows(FINAL))
    curvature = RowCurvature(rows, own.curvature_rank).decompose()
    inverse = curvature.power(-1, damping=own.damping)
    values = np.where(has_gradient(rows), products(rows, queries=inverse).dots, np.nan)
    told = {**rows.settings, **own.model_dump(mode="json")}
    if own.curvature_rank is not None:
        told["curvature_share"] = curvature.share
    return MethodResult(values, told)


@dataclass(frozen=True)
class _EkfacBased(OwnPass):
    """A pass of its own with EK-FAC's factors, of any model."""

    settings: EkfacSettings | EkfacCgSettings

    @property
    def uses_engine(self) -> bool:
        """The factors are Bergson's."""
        return True

    def check(self, models: Models) -> None:
        """Any model will do."""

    def inputs(self, context: Context) -> Mapping[str, object]:
        """Model, modules, and the method's settings."""
        return {
            "model": context.own_fingerprint,
            "modules": list(context.modules),
            **self.settings.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class EkfacPass(_EkfacBased):
    """Fits EK-FAC's factors, and multiplies with their damped inverse between two gradients."""

    settings: EkfacSettings

    @property
    def label(self) -> str:
        """The method's name."""
        return "ekfac"

    def num_passes(self, *, num_queries: int) -> int:
        """Two to fit the factors, one to multiply."""
        return 3

    def compute(self, context: Context) -> PairScores:
        """Computes the influence function on whole gradients."""
        from whence.gradients import streamed_products
        from whence.gradients.curvature.ekfac import ekfac_preconditioner

        preconditioner = ekfac_preconditioner(
            context.model,
            context.corpus,
            modules=context.modules,
            token_batch_size=context.index.token_batch_size,
            damping=self.settings.damping,
            labels=self.settings.labels,
            label_seed=self.settings.seed,
            progress=context.progress,
        )
        found = streamed_products(
            context.model,
            context.corpus,
            context.queries,
            modules=context.modules,
            token_batch_size=context.index.token_batch_size,
            preconditioner=preconditioner,
            work=context.work,
            progress=context.progress,
        )
        return PairScores(
            found.query_ids, found.example_ids, dots(found), found.settings, found.seconds
        )


def _ekfac(inputs: MethodInputs, own: EkfacSettings) -> MethodResult:
    return from_pass(inputs.result(EkfacPass(own)))


@dataclass(frozen=True)
class EkfacCgPass(_EkfacBased):
    """Solves for the exact curvature of a sample, and multiplies with every example's gradient."""

    settings: EkfacCgSettings

    @property
    def label(self) -> str:
        """The method's name."""
        return "ekfac_cg"

    def num_passes(self, *, num_queries: int) -> int:
        """One over the corpus; those over the sample are not counted."""
        return 1

    def compute(self, context: Context) -> PairScores:
        """Computes the influence function with the exact curvature."""
        from whence.gradients.curvature.ekfac_cg import ekfac_cg_products

        found = ekfac_cg_products(
            context.model,
            context.corpus,
            context.queries,
            modules=context.modules,
            token_batch_size=context.index.token_batch_size,
            **self.settings.model_dump(),
            work=context.work,
            progress=context.progress,
        )
        return PairScores(
            found.query_ids, found.example_ids, dots(found), found.settings, found.seconds
        )


def _ekfac_cg(inputs: MethodInputs, own: EkfacCgSettings) -> MethodResult:
    return from_pass(inputs.result(EkfacCgPass(own)))


METHODS = (
    Method(
        name="influence",
        compute=_influence,
        needs=lambda settings: (Rows(FINAL),),
        settings=InfluenceSettings,
        family="gradient",
        about="How much the query's loss would fall if the example weighed more and training went "
        "on to a new optimum, to first order and with projected gradients. Examples with large "
        "gradients are favored.",
        reads="stored rows of projected gradients",
        formula="∇L_q · (R + δ λ̄)⁻¹ ∇L_i",
        returns=f"{_RETURNS} Scores vary with the projection's seed.",
        higher_means="more weight on the example, with training to a new optimum, lowers the "
        "query's loss by more, to first order, where the empirical Fisher matrix of projected "
        "gradients stands for the Hessian",
        cost="one pass to build the index, and about 10 p⁶ operations per module with p × p "
        f"dimensions; with a `curvature_rank` r, {PASSES} readings of the rows with 4 r p² "
        "operations per example and module instead",
        source='Koh and Liang, "Understanding Black-box Predictions via Influence Functions", ICML '
        "2017, with the sign turned, so that higher is more helpful; damping relative to the mean "
        "eigenvalue as in Bergson.",
        avoid=f"For finding single documents. {_OPTIMUM}, and the empirical Fisher matrix need not "
        "be near the Hessian.",
    ),
    Method(
        name="ekfac",
        compute=_ekfac,
        needs=lambda settings: (EkfacPass(settings.ekfac),),
        settings=EkfacSettings,
        family="gradient",
        about="How much the query's loss would fall if the example weighed more and training went "
        "on to a new optimum, to first order and with an approximate curvature. Examples with "
        "large gradients are favored.",
        reads="gradients and the curvature in EK-FAC's approximation",
        formula="∇L_q · (H + δ mean(Λ))⁻¹ ∇L_i",
        returns=_RETURNS,
        higher_means="more weight on the example, with training to a new optimum, lowers the "
        "query's loss by more, to first order and with the curvature in EK-FAC's approximation",
        cost="three passes over the corpus, two of which do not spare copies; eigendecompositions "
        "of inputs × inputs and outputs × outputs for each layer, and memory for those",
        source='Grosse et al., "Studying Large Language Model Generalization with Influence '
        'Functions", arXiv 2308.03296, with the sign turned, so that higher is more helpful; the '
        "factors are Bergson's, fitted on all examples, and the damping is Bergson's default.",
        avoid=f"For finding copies: those that make up much of the curvature are proponents with "
        f"small scores. {_OPTIMUM}. It does not know the order of training.",
    ),
    Method(
        name="ekfac_cg",
        compute=_ekfac_cg,
        needs=lambda settings: (EkfacCgPass(settings.ekfac_cg),),
        settings=EkfacCgSettings,
        family="gradient",
        about="How much the query's loss would fall if the example weighed more and training went "
        "on to a new optimum, to first order and with the exact Gauss-Newton matrix of some "
        "examples. Examples with large gradients are favored.",
        reads="gradients, and the exact Gauss-Newton matrix over `ekfac_cg.num_examples` examples",
        formula="∇L_q · (E[H] + δ mean(Λ))⁻¹ ∇L_i, solved by conjugate gradients that EK-FAC "
        "preconditions",
        returns=_RETURNS,
        higher_means="more weight on the example, with training to a new optimum, lowers the "
        "query's loss by more, to first order, with the Gauss-Newton matrix of a sample as "
        "curvature",
        cost="one pass over the corpus, and per iteration (10 to 25) 2 · queries + 3 passes over "
        "the sample; for small models",
        source='Grosse et al., "Studying Large Language Model Generalization with Influence '
        'Functions", arXiv 2308.03296, with the sign turned, so that higher is more helpful; '
        "`whence.gradients.curvature.ekfac_cg` says what is ours. The record has the iterations "
        "and the residual that they left.",
        avoid=f"Where `ekfac` will do: it costs as many passes over the sample as there are "
        f"queries, many times over. {_OPTIMUM}.",
    ),
)
