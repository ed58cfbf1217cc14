"""EK-FAC: the curvature of the loss in Kronecker factors, and its damped inverse.

For a linear layer an example's gradient is G = Σ_t g_t a_tᵀ (see `capture`). Its second moment is
taken to be diagonal in the basis of a Kronecker product,

    A = E[a aᵀ] = Q_A D_A Q_Aᵀ,    S = E[g gᵀ] = Q_S D_S Q_Sᵀ,    Λ = E[(Q_Sᵀ G Q_A)²],

where A and S are means over positions, Λ over examples and element by element. What lies between
two layers is assumed to be zero. A function f of the curvature is then applied to a gradient V as

    Q_S [f(Λ) ∘ (Q_Sᵀ V Q_A)] Q_Aᵀ,      f(Λ) = 1 / (Λ + δ mean(Λ)) for the damped inverse,

with one mean for each layer. The collectors and the rotations are Bergson's; which labels, batches
and loss they see is ours, so that nothing is written to disk and no process is started.

Source: George et al., "Fast Approximate Natural Gradient Descent in a Kronecker-Factored
Eigenbasis", NeurIPS 2018; Grosse et al., "Studying Large Language Model Generalization with
Influence Functions", arXiv 2308.03296.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from whence.errors import CorpusError, GradientError
from whence.gradients.curvature.fisher import Labels, fisher_batches, fisher_pass
from whence.gradients.index.engine import require_engine
from whence.gradients.passes.batches import check_fits, model_device
from whence.gradients.passes.capture import frozen, gradient_dtype, layer
from whence.gradients.passes.streamed import Preconditioner
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

Gradients = Mapping[str, "Float[Tensor, 'queries weights']"]
Spectrum = Callable[["Float[Tensor, 'outputs inputs']"], "Float[Tensor, 'outputs inputs']"]


class Factor(NamedTuple):
    """One layer's curvature: eigenvectors in columns, and the eigenvalues Λ."""

    inputs: "Float[Tensor, 'inputs inputs']"
    outputs: "Float[Tensor, 'outputs outputs']"
    values: "Float[Tensor, 'outputs inputs']"


@dataclass(frozen=True)
class Curvature:
    """EK-FAC's factors of each layer, in nats² per squared unit of weight, of one example's loss.

    `num_examples` counts those that have something to predict.
    """

    factors: Mapping[str, Factor]
    num_examples: int

    def damping(self, share: float) -> dict[str, float]:
        """Computes δ · mean(Λ) of each layer.

        Raises:
            GradientError: A layer has no curvature, so that it has no inverse at any damping.
        """
        found = {n: share * float(f.values.double().mean()) for n, f in self.factors.items()}
        for name, value in found.items():
            if not value > 0:
                raise GradientError(
                    f"The curvature of `{name}` cannot be inverted with a damping of {value:g}.",
                    "Set a `damping` above 0, or leave out modules whose gradients are zero.",
                )
        return found

    def inverse(self, gradients: "Gradients", *, damping: float) -> "dict[str, Tensor]":
        """Multiplies gradients with the damped inverse; `damping` is in mean eigenvalues."""
        require_engine()
        from bergson.config import InversionConfig

        self.damping(damping)
        chosen = InversionConfig(inversion="damped_inverse", damping_factor=damping)
        return self._preconditioner(inversion_cfg=chosen).apply(dict(gradients))

    def spectral(self, gradients: "Gradients", function: Spectrum) -> "dict[str, Tensor]":
        """Multiplies gradients with a function of the curvature, given by that of Λ."""
        return self._preconditioner(apply_fn=function).apply(dict(gradients))

    def diagonal(self, name: str) -> "Float[Tensor, 'outputs inputs']":
        """Computes the curvature of each weight of a layer, (Q_S ∘ Q_S) Λ (Q_A ∘ Q_A)ᵀ."""
        inputs, outputs, values = self.factors[name]
        return outputs.square() @ values @ inputs.square().mT

    def _preconditioner(self, **chosen: Any) -> Any:
        require_engine()
        from bergson.hessians.preconditioner import FactoredPreconditioner

        parts = zip(*self.factors.values(), strict=True)
        inputs, outputs, values = (dict(zip(self.factors, part, strict=True)) for part in parts)
        return FactoredPreconditioner(inputs, outputs, values, sharded=False, **chosen)


def ekfac_preconditioner(
    model: LoadedModel,
    corpus: Corpus,
    *,
    modules: Sequence[str],
    token_batch_size: int,
    damping: float,
    labels: Labels = "sampled",
    label_seed: int = 0,
    progress: Progress = SILENT,
) -> Preconditioner:
    """Fits the factors when they are needed, and multiplies with the damped inverse."""

    def apply(gradients: "dict[str, Tensor]") -> "dict[str, Tensor]":
        curvature = fit_ekfac(
            model,
            corpus,
            modules=modules,
            token_batch_size=token_batch_size,
            labels=labels,
            seed=label_seed,
            progress=progress,
        )
        return curvature.inverse(gradients, damping=damping)

    settings = {
        "correction": "ekfac",
        "damping": damping,
        "labels": labels,
        "label_seed": label_seed,
    }
    return Preconditioner(apply, settings)


def fit_ekfac(
    model: LoadedModel,
    corpus: Corpus,
    *,
    modules: Sequence[str],
    token_batch_size: int,
    labels: Labels = "sampled",
    seed: int = 0,
    progress: Progress = SILENT,
) -> Curvature:
    """Fits the factors of all layers on all examples of at least two tokens.

    Args:
        model: The model, whose state is restored afterwards.
        corpus: The examples; a copy counts as often as it is there.
        modules: Names of the attributed layers in the base model.
        token_batch_size: The most tokens in a batch, padding included.
        labels: Drawn from the model, or those of the text (the empirical Fisher matrix).
        seed: Of the drawn labels.
        progress: Reports progress.

    Raises:
        CorpusError: No example has anything to predict, or one does not fit the model.
        GradientError: The factors are not finite.
        ModelError: A module does not exist.
        MissingEngineError: Bergson cannot be imported.

    Cost:
        Two forward and backward passes; memory for the factors (inputs², outputs² and twice inputs
        · outputs numbers for each layer), a batch's gradients and logits.
    """
    import torch

    check_fits(model, corpus)
    num_examples = int((corpus.lengths >= 2).sum())
    if not num_examples:
        raise CorpusError(
            "No example has a token to predict, so there is no curvature.",
            "Give examples of at least two tokens.",
        )
    largest = max(layer(model, name).get_parameter("weight").numel() for name in modules)

    def run(collector: Any, name: str) -> None:
        for batch in fisher_batches(
            model,
            corpus,
            token_batch_size=token_batch_size,
            num_weights=largest,
            seed=seed,
            progress=progress,
            name=name,
        ):
            with collector.with_batch(batch.positions.to(model_device(model))):
                fisher_pass(model, batch, labels=labels)

    dtype = gradient_dtype(model)
    with frozen(model):
        # Small eigenvalues drown in float32 sums, and with them the basis that Λ is measured in.
        covariances = _collector("CovarianceCollector", model, modules, dtype=torch.float64)
        run(covariances, "Covariances of activations and gradients")
        vectors = tuple(
            {name: _eigenvectors(name, matrix).to(dtype) for name, matrix in sums.items()}
            for sums in (covariances.A_cov_dict, covariances.S_cov_dict)
        )
        corrections = _collector(
            "LambdaCollector", model, modules, dtype=dtype, eigenvectors=vectors
        )
        run(corrections, "Eigenvalues")
    device = model_device(model)
    values = {
        name: (sums / num_examples).to(device)
        for name, sums in corrections.eigenvalue_corrections.items()
    }
    for name, found in values.items():
        if not torch.isfinite(found).all():
            raise _not_finite(name)
    factors = {name: Factor(vectors[0][name], vectors[1][name], values[name]) for name in modules}
    return Curvature(factors, num_examples)


def _collector(kind: str, model: LoadedModel, modules: Sequence[str], **arguments: Any) -> Any:
    """Makes one of Bergson's collectors, whose sums are kept where the model is."""
    require_engine()
    from bergson.hessians.eigenvectors import LambdaCollector
    from bergson.hessians.kfac import CovarianceCollector

    found: Any = {"CovarianceCollector": CovarianceCollector, "LambdaCollector": LambdaCollector}[
        kind
    ](
        model=model.model.base_model,
        target_modules=set(modules),
        path="",
        **arguments,
    )
    # Bergson takes the first GPU where there is one, wherever the model is.
    found.device = device = model_device(model)
    for sums in ("A_cov_dict", "S_cov_dict", "eigen_a", "eigen_g"):
        for name, matrix in getattr(found, sums, {}).items():
            getattr(found, sums)[name] = matrix.to(device)
    return found


def _eigenvectors(name: str, sums: "Tensor") -> "Tensor":
    """Decomposes a symmetric matrix in float64; its scale does not matter."""
    import torch

    if not torch.isfinite(sums).all():
        raise _not_finite(name)
    return torch.linalg.eigh((sums + sums.mT) / 2).eigenvectors.contiguous()


def _not_finite(name: str) -> GradientError:
    return GradientError(
        f"The curvature of `{name}` is NaN or infinite.",
        "Check the model's weights, or use float32.",
    )
