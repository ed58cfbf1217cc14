"""The error of gradients in reduced precision, relative to float32."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.gradients.index.collector import Collect, collecting
from whence.gradients.index.files import number_type
from whence.gradients.passes.batches import model_device, pad
from whence.gradients.passes.capture import gradient_dtype, not_finite
from whence.gradients.passes.loss import Precision, multiplies_bfloat16
from whence.records import Corpus, LoadedModel
from whence.settings import IndexSettings

if TYPE_CHECKING:
    from bergson.gradients import GradientProcessor
    from jaxtyping import Float

    from whence.gradients.passes.correction import Scales

NUM_EXAMPLES, NUM_TOKENS = 8, 128


class Deviation(NamedTuple):
    """The worst of some examples.

    `cosine` is the smallest of a row with that in float32, `length` the largest difference of their
    lengths, as a share of the length in float32. Both are None where no row has a length.
    """

    num_examples: int
    cosine: float | None
    length: float | None

    def __str__(self) -> str:
        if self.cosine is None or self.length is None:
            return "No row that could be compared with float32 has a length."
        return (
            f"In this precision the cosine of a row with that in float32 is at least "
            f"{self.cosine:.7f}, and lengths differ by at most {self.length:.2%} "
            f"(the first tokens of {self.num_examples} examples)."
        )


def deviation(
    model: LoadedModel,
    corpus: Corpus,
    settings: IndexSettings,
    *,
    modules: Sequence[str],
    processor: "GradientProcessor",
    scales: "Scales | None",
    reference: Callable[[], LoadedModel] | None,
) -> Deviation | None:
    """Computes some examples' rows twice: as the settings say, and in float32.

    Args:
        model: The model in the index's precision.
        corpus: The examples; of a few with evenly spread lengths the first tokens are used.
        settings: Precision, storage and collector.
        modules: Names of the attributed layers.
        processor: Bergson's record of how gradients are projected.
        scales: What gradients are multiplied with before they are projected.
        reference: Loads the model in float32, where its weights are of a smaller type.

    Returns:
        What was found; None where all is float32 already, or there is nothing to compare with.

    Raises:
        GradientError: A gradient is NaN or infinite.

    Cost:
        Two forward and backward passes of at most `NUM_EXAMPLES` times `NUM_TOKENS` tokens.
    """
    if gradient_dtype(model) == next(model.model.parameters()).dtype:
        smaller = settings.precision == "mixed" and multiplies_bfloat16(model_device(model))
        if not smaller and settings.storage == "float32":
            return None
        in_float32 = model
    elif reference is None:
        return None
    else:
        in_float32 = reference()
    chosen = spread_examples(corpus, NUM_EXAMPLES)
    examples = [corpus.input_ids(row)[:NUM_TOKENS] for row in chosen]

    def rows_of(
        network: LoadedModel, precision: Precision
    ) -> "Float[np.ndarray, 'examples numbers']":
        # Bergson keeps matrices in the type that they were first made in: each model needs its own.
        opened = collecting(
            network,
            modules,
            replace(processor),
            collector=settings.collector,
            precision=precision,
            scales=scales,
            reduction=settings.loss_reduction,
        )
        with opened as collect:
            found = [_row(collect, example) for example in examples]
        for row, values in zip(chosen, found, strict=True):
            if not np.isfinite(values).all():
                raise not_finite(corpus.ids[row])
        return np.concatenate(found) if found else np.zeros((0, 1))

    rows = rows_of(model, "mixed" if settings.precision == "mixed" else "float32")
    with np.errstate(over="ignore"):
        rows = rows.astype(number_type(settings.storage)).astype(np.float64)
    exact = rows_of(in_float32, "float32")
    lengths, exact_lengths = (np.linalg.norm(x, axis=1) for x in (rows, exact))
    # A row too large for its type stops the build, which names the example.
    whole = np.isfinite(lengths) & (lengths > 0) & (exact_lengths > 0)
    if not whole.any():
        return Deviation(len(chosen), None, None)
    cosines = (rows[whole] * exact[whole]).sum(axis=1) / (lengths * exact_lengths)[whole]
    apart = np.abs(lengths - exact_lengths)[whole] / exact_lengths[whole]
    return Deviation(int(whole.sum()), float(cosines.min()), float(apart.max()))


def spread_examples(corpus: Corpus, count: int) -> list[int]:
    """Chooses rows of examples with evenly spread lengths, shortest first; none without a loss."""
    order = np.argsort(corpus.lengths, kind="stable")
    order = order[corpus.lengths[order] >= 2]
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [int(row) for row in order[places]]


def _row(collect: Collect, example: Sequence[int]) -> "Float[np.ndarray, '1 numbers']":
    """Computes the row of one example."""
    import torch

    parts = collect(pad([example])).rows.values()
    return torch.cat(list(parts), dim=1).double().cpu().numpy()
