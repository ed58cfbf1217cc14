"""Projected per-example gradients, equal to the rows that Bergson stores.

Each example's gradient of each module is projected on both sides,

    p × p = L (Σ_t g_t a_tᵀ) Rᵀ = Σ_t (L g_t) (R a_t)ᵀ,

with Bergson's matrices, which depend on the module's name and the seed alone; so rows that were
taken at different times, or by Bergson's own commands, are comparable. Projected first, nothing of
a whole gradient's size is ever formed. A bias is one more input, which is always 1; its gradient is
one more column. Bergson's own hooks are the reference.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple

from whence.gradients.index.engine import require_engine
from whence.gradients.index.files import Projection
from whence.gradients.index.projection import projection_matrix
from whence.gradients.passes.batches import IGNORED, Padded
from whence.gradients.passes.capture import (
    Reduction,
    capturing,
    frozen,
    gradient_dtype,
    layer,
    outer,
)
from whence.gradients.passes.loss import Precision, plain_pass
from whence.records import LoadedModel

if TYPE_CHECKING:
    from bergson.collector.collector import HookCollectorBase
    from bergson.gradients import GradientProcessor
    from jaxtyping import Float
    from torch import Tensor, nn


class Collected(NamedTuple):
    """A batch's gradients, flattened, by module, and its losses in nats."""

    rows: "dict[str, Float[Tensor, 'batch numbers']]"
    losses: "Float[Tensor, ' batch']"


Collect = Callable[[Padded], Collected]
Collector = Literal["whence", "bergson"]


def new_processor(
    *, projection_dim: int | None, projection_seed: int, include_bias: bool = False
) -> "GradientProcessor":
    """Makes Bergson's record of how gradients are projected: Rademacher, per module."""
    require_engine()
    from bergson.gradients import GradientProcessor

    return GradientProcessor(
        projection_dim=projection_dim,
        projection_seed=projection_seed,
        projection_type="rademacher",
        projection_target="per_module",
        projection_scale="jl",
        include_bias=include_bias,
    )


def gradient_shapes(
    model: LoadedModel, modules: Sequence[str], processor: "GradientProcessor"
) -> dict[str, tuple[int, ...]]:
    """Finds the shape of each module's gradient, outputs × inputs, in the collector's order."""
    hooks = _hooks(model, modules, processor)
    return {name: tuple(shape) for name, shape in hooks.shapes().items()}


@contextmanager
def collecting(
    model: LoadedModel,
    modules: Sequence[str],
    processor: "GradientProcessor | Projection",
    *,
    collector: Collector = "whence",
    precision: Precision = "float32",
    scales: "Mapping[str, Float[Tensor, ' weights']] | None" = None,
    reduction: Reduction = "sum",
) -> Iterator[Collect]:
    """Opens a function that runs one batch and gives its gradients.

    Args:
        model: The model, whose state is restored afterwards.
        modules: Names of the attributed layers in the base model.
        processor: How gradients are projected: an index's own record, or Bergson's, which
            `bergson` needs.
        collector: `whence` holds no logits and forms no gradient before it is projected; `bergson`
            is the reference. Their rows are equal but for rounding.
        precision: `mixed` multiplies the output layer in bfloat16, where the device can; only for
            `whence`.
        scales: What each weight's gradient is multiplied with before it is projected, such as
            `correction_scales`; only for `whence`. Whole gradients are then formed.
        reduction: An example's loss is the sum, or the mean, over its labelled tokens.

    Raises:
        ModelError: The model has no module of a name that was asked for.
        MissingEngineError: Bergson is needed, and cannot be imported.
    """
    import torch

    if collector == "bergson":
        assert scales is None, "Bergson's own hooks do not scale"
        assert not isinstance(processor, Projection), "Bergson's own hooks need its own record"
        hooks = _hooks(model, modules, processor)
        with frozen(model):
            yield lambda batch: _reduced(_collect_by_hooks(model, hooks, batch), batch, reduction)
        return
    dtype = gradient_dtype(model)
    projection = _projection(processor)
    names = _in_order(model, modules)
    with_bias = {
        name
        for name in names
        if projection.include_bias and getattr(layer(model, name), "bias", None) is not None
    }
    rows: dict[str, Tensor] = {}
    matrices: dict[str, tuple[Tensor, Tensor]] = {}

    def sides(
        name: str, output_gradient: "Tensor", activations: "Tensor"
    ) -> "tuple[Tensor, Tensor] | None":
        if not projection.dim:
            return None
        if name not in matrices:
            weight = layer(model, name).get_parameter("weight")
            how = {"dtype": weight.dtype, "device": weight.device}
            outputs, inputs = output_gradient.shape[-1], activations.shape[-1]
            matrices[name] = (
                projection_matrix(projection, name, "left", num_columns=outputs, **how),
                projection_matrix(projection, name, "right", num_columns=inputs, **how),
            )
        return matrices[name]

    def take(name: str, output_gradient: "Tensor", activations: "Tensor") -> None:
        if name in with_bias:
            activations = torch.nn.functional.pad(activations, (0, 1), value=1.0)
        both = sides(name, output_gradient, activations)
        if scales is not None:
            whole = outer(output_gradient, activations, dtype=dtype) * scales[name]
            rows[name] = _project(whole, output_gradient.shape[-1], both)
            return
        if both is not None:
            left, right = both
            output_gradient, activations = output_gradient @ left.mT, activations @ right.mT
        rows[name] = outer(output_gradient, activations, dtype=dtype)

    with capturing(model, names, take, precision=precision) as backward:

        def collect(batch: Padded) -> Collected:
            try:
                losses = backward(batch)
                found = Collected({name: rows[name] for name in names}, losses)
            finally:
                # After a batch that did not fit, its first rows would take the room of the next.
                rows.clear()
            return _reduced(found, batch, reduction)

        yield collect


def _reduced(found: Collected, batch: Padded, reduction: Reduction) -> Collected:
    """Divides sums over tokens by the number of labelled ones, where means were asked for."""
    if reduction == "sum":
        return found
    counts = (batch.labels[:, 1:] != IGNORED).sum(dim=1).clamp(min=1).to(found.losses.device)
    return Collected(
        {name: rows / counts[:, None] for name, rows in found.rows.items()}, found.losses / counts
    )


def _project(
    gradients: "Float[Tensor, 'batch weights']",
    num_outputs: int,
    sides: "tuple[Tensor, Tensor] | None",
) -> "Float[Tensor, 'batch numbers']":
    """Projects whole gradients on both sides, L G Rᵀ; not at all without matrices."""
    if sides is None:
        return gradients
    left, right = (side.to(gradients.dtype) for side in sides)
    return (left @ gradients.unflatten(1, (num_outputs, -1)) @ right.mT).flatten(1)


def _projection(processor: "GradientProcessor | Projection") -> Projection:
    """Reads Bergson's record of how gradients are projected."""
    if isinstance(processor, Projection):
        return processor
    return Projection(
        dim=processor.projection_dim,
        seed=processor.projection_seed,
        include_bias=processor.include_bias,
        target=processor.projection_target,
        version=processor.projection_version,
        kind=processor.projection_type,
        scale=processor.projection_scale,
    )


def _in_order(model: LoadedModel, modules: Sequence[str]) -> list[str]:
    """Sorts modules as the model lists them, which is the order of an index's columns.

    Raises:
        ModelError: The model has no module of such a name.
    """
    for name in modules:
        layer(model, name)
    wanted = set(modules)
    return [name for name, _ in model.model.base_model.named_modules() if name in wanted]


def _collect_by_hooks(model: LoadedModel, hooks: "HookCollectorBase", batch: Padded) -> Collected:
    with hooks:
        losses = plain_pass(model, batch)
    rows = {name: hooks.mod_grads[name] for name in hooks.shapes()}
    hooks.mod_grads.clear()
    return Collected(rows, losses)


def _hooks(
    model: LoadedModel, modules: Sequence[str], processor: "GradientProcessor"
) -> "HookCollectorBase":
    require_engine()
    from bergson.collector.collector import HookCollectorBase

    class RowCollector(HookCollectorBase):
        """Keeps a batch's rows. Unlike Bergson's, it does not clamp an infinite gradient."""

        def setup(self) -> None:
            pass

        def teardown(self) -> None:
            pass

        def backward_hook(self, module: "nn.Module", g: "Tensor") -> None:
            self.mod_grads[module._name] = self._compute_gradient(module, g)

        def process_batch(self, indices: list[int], **kwargs: object) -> None:
            pass

    for name in modules:
        layer(model, name)
    return RowCollector(
        model=model.model.base_model, processor=processor, target_modules=set(modules)
    )
