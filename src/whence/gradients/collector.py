"""How are projected gradients taken by Bergson's own collector?

Bergson's hooks form each example's gradient of each module and project it on both sides,
p × p = L (Σ_t g_t a_tᵀ) Rᵀ, with matrices that depend on the module's name and the seed alone; so
rows that were taken at different times, or by Bergson's own commands, are comparable.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from whence.gradients.batches import Padded
from whence.gradients.capture import backward, frozen, layer
from whence.gradients.engine import require_engine
from whence.records import LoadedModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Collected(NamedTuple):
    """A batch's gradients, flattened, by module, and its losses in nats."""

    rows: "dict[str, Float[Tensor, 'batch numbers']]"
    losses: "Float[Tensor, ' batch']"


Collect = Callable[[Padded], Collected]


def new_processor(*, projection_dim: int | None, projection_seed: int) -> Any:
    """Makes Bergson's record of how gradients are projected: Rademacher, per module, no bias."""
    require_engine()
    from bergson.gradients import GradientProcessor

    return GradientProcessor(
        projection_dim=projection_dim,
        projection_seed=projection_seed,
        projection_type="rademacher",
        projection_target="per_module",
        projection_scale="jl",
        include_bias=False,
    )


def stored_processor(directory: Path) -> Any:
    """Reads the record that an index was made with; nothing in it is unpickled."""
    require_engine()
    from bergson.gradients import GradientProcessor

    return GradientProcessor.load(directory, map_location="cpu", skip_hessians=True)


def gradient_sizes(model: LoadedModel, modules: Sequence[str], processor: Any) -> dict[str, int]:
    """Counts the numbers per example that the collector gives for each module, in its order."""
    collector = _collector(model, modules, processor)
    return {name: shape.numel() for name, shape in collector.shapes().items()}


@contextmanager
def collecting(model: LoadedModel, modules: Sequence[str], processor: Any) -> Iterator[Collect]:
    """Opens a function that runs one batch and gives its gradients.

    Raises:
        ModelError: The model has no module of a name that was asked for.
        MissingEngineError: Bergson cannot be imported.
    """
    collector = _collector(model, modules, processor)

    def collect(batch: Padded) -> Collected:
        with collector:
            losses = backward(model, batch)
        rows = {name: collector.mod_grads[name] for name in collector.shapes()}
        collector.mod_grads.clear()
        return Collected(rows, losses)

    with frozen(model):
        yield collect


def _collector(model: LoadedModel, modules: Sequence[str], processor: Any) -> Any:
    require_engine()
    from bergson.collector.collector import HookCollectorBase

    class RowCollector(HookCollectorBase):
        """Keeps a batch's rows. Unlike Bergson's, it does not clamp an infinite gradient."""

        def setup(self) -> None:
            pass

        def teardown(self) -> None:
            pass

        def backward_hook(self, module: Any, g: "Tensor") -> None:
            self.mod_grads[module._name] = self._compute_gradient(module, g)

        def process_batch(self, indices: list[int], **kwargs: Any) -> None:
            pass

    for name in modules:
        layer(model, name)
    return RowCollector(
        model=model.model.base_model, processor=processor, target_modules=set(modules)
    )
