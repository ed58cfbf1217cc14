"""TrackStar: the cosine of projected gradients after Adam's correction and whitening.

    G(z) = R^(-1/2) P (∇L(z) / (√v + ε))

In this order: each gradient is divided by the root of Adam's second moments v, projected by P on
both sides of each module's matrix, multiplied with the inverse root of the curvature
R = λ R_eval + (1 − λ) R_train, on the query's side and on the example's, and scaled to unit norm.
R_train is the second moment of the stored rows, R_eval that of the reference behaviors' queries,
never of those scored: a handful of queries would whiten itself away. R is block-diagonal over
modules; with `curvature_rank` only its largest eigenvalues are computed
(`whence.methods.truncated`).

Every part is a switch of the settings `trackstar`. The paper's ablations are, in order: Exp 1
`correction = "none"`, `whiten = false`, `unit_norm = false`; Exp 2 with `unit_norm`; Exp 3 with
`correction = "adam"` too; Exp 4 `unit_norm` and `whiten`; Exp 5 all three; TrackStar all three and
`mixing = "crossing"`. λ is 0 by default, because mixing does harm where the model is small: there,
the directions that all questions share are those of the answers. Compare both.
"""

from collections.abc import Mapping

import numpy as np

from whence.errors import GradientError, SettingsError
from whence.methods.contract import Method, MethodInputs, MethodResult
from whence.methods.mixture import RowCurvature, check_crossing, mixing_weight
from whence.methods.products import Rows
from whence.methods.requests import Request
from whence.methods.rows import products
from whence.methods.truncated import PASSES, Reference
from whence.methods.views import View
from whence.settings import AttributionSettings, TrackstarSettings

CROSSING_SHARE = 0.015


def _compute(inputs: MethodInputs, own: TrackstarSettings) -> MethodResult:
    rows = inputs.result(Rows(View("final", own.correction)))
    told = {**rows.settings, **own.model_dump(mode="json")}
    roots = None
    if own.whiten:
        curvature = RowCurvature(rows, own.curvature_rank)
        reference = _reference(inputs, curvature, own.mixing)
        told["mixing_weight"] = 0.0 if reference is None else reference.weight
        mixed = curvature.decompose(reference)
        roots = mixed.power(-0.5, damping=own.damping)
        if own.curvature_rank is not None:
            told["curvature_share"] = mixed.share
    found = products(rows, queries=roots, examples=roots)
    values = np.where(found.example_norms > 0, found.dots, np.nan)
    if own.unit_norm:
        if not found.query_norms.all():
            zero = inputs.queries[int(np.flatnonzero(found.query_norms == 0)[0])].id
            raise GradientError(
                f"The projected gradient of query `{zero}` is zero, so it points nowhere.",
                "Give it a completion that the model has to predict after a prompt.",
            )
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.clip(values / found.query_norms[:, None] / found.example_norms, -1, 1)
    return MethodResult(values, told)


def _needs(settings: AttributionSettings) -> tuple[Request[object], ...]:
    chosen = settings.trackstar
    if chosen.mixing != "none" and settings.reference_behaviors is None:
        raise SettingsError(
            f"`trackstar.mixing = {chosen.mixing!r}` needs queries that are not scored.",
            "Name a file of other behaviors in `reference_behaviors`, or set it to `none`.",
        )
    return (Rows(View("final", chosen.correction)),)


def _check_rows(settings: AttributionSettings, sizes: Mapping[str, int], num_examples: int) -> None:
    own = settings.trackstar
    if own.whiten and own.mixing == "crossing":
        rank = own.curvature_rank
        check_crossing(sizes, rank, share=CROSSING_SHARE, num_examples=num_examples)


def _reference(
    inputs: MethodInputs, curvature: RowCurvature, mixing: float | str
) -> Reference | None:
    """The references' rows with their weight in R; None where nothing is mixed in."""
    if mixing == "none":
        return None
    chosen = np.array([query.id in inputs.references for query in inputs.queries])
    if not chosen.any():
        raise SettingsError(
            "The reference behaviors are all among those scored, so that there is no R_eval.",
            "Name a file of other behaviors in `reference_behaviors`.",
        )
    rows = curvature.rows.queries[chosen]
    if mixing != "crossing":
        return Reference(rows, float(mixing))
    spectra = curvature.reference_spectrum(rows), curvature.spectrum()
    return Reference(rows, mixing_weight(*spectra, share=CROSSING_SHARE))


METHODS = (
    Method(
        name="trackstar",
        compute=_compute,
        needs=_needs,
        check_rows=_check_rows,
        settings=TrackstarSettings,
        family="gradient",
        about="The angle between an example's projected gradient and the query's, after holding "
        "down the directions that many examples share.",
        reads="stored rows of projected gradients, corrected by Adam where the settings say so",
        formula="the cosine of G(z) = R^(-1/2) P (∇L(z) / (√v + ε)), every part a switch",
        returns="Cosines in [-1, 1], without unit, or inner products without `unit_norm`; NaN for "
        "an example without a gradient. Scores vary with the projection's seed.",
        higher_means="the two gradients, corrected, projected and whitened as the settings say, "
        "point more nearly in one direction; it does not say by how much a step on the example "
        "lowers the query's loss",
        cost="one pass to build the index; p⁴ entries and 10 p⁶ operations per module to decompose "
        "R, and d p² operations per example, for p × p dimensions per module and d in all; with a "
        f"`curvature_rank` r, r p² entries per module and {PASSES} readings of the rows with 4 r d "
        "operations per example",
        source='Chang et al., "Scalable Influence and Fact Tracing for Large Language Model '
        'Pretraining", arXiv 2410.17413, section 3. There 16 blocks of layers share a projection; '
        "here, as in Bergson, each module has its own. Damping (δ = 0.1 of the mean eigenvalue) "
        "and the place where spectra cross, scaled to d, are Bergson's and ours.",
        avoid="In a small model, where projection is the largest error: gradient_cosine_adam is "
        "the same without projection and without R. Its use is an index of a model too large to "
        "compare whole gradients.",
    ),
)
