"""How far are rows in a chosen precision from the same examples' rows in float32?"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from whence.gradients.batches import model_device, pad
from whence.gradients.capture import gradient_dtype, not_finite
from whence.gradients.collector import collecting
from whence.gradients.index import number_type
from whence.gradients.loss import multiplies_bfloat16
from whence.records import Corpus, LoadedModel

if TYPE_CHECKING:
    from jaxtyping import Float

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
    *,
    reference: Callable[[], LoadedModel] | None,
    modules: Sequence[str],
    processor: Any,
    storage: str,
    **how: Any,
) -> Deviation | None:
    """Takes some examples' rows twice: as they were asked for, and in float32.

    Args:
        model: The model in the precision that was asked for.
        corpus: The examples; of a few with evenly spread lengths the first tokens are taken.
        reference: Loads the model in float32, where its weights are of a smaller type.
        modules: Names of the attributed layers.
        processor: Bergson's record of how gradients are projected.
        storage: The type that rows are rounded to when they are stored.
        how: What else `collecting` takes; in float32 its precision is left out.

    Returns:
        What was found; None where all is float32 already, or there is nothing to compare with.

    Raises:
        GradientError: A gradient is NaN or infinite.

    Cost:
        Two forward and backward passes of at most `NUM_EXAMPLES` times `NUM_TOKENS` tokens.
    """
    if gradient_dtype(model) == next(model.model.parameters()).dtype:
        smaller = how["precision"] == "mixed" and multiplies_bfloat16(model_device(model))
        if not smaller and storage == "float32":
            return None
        in_float32 = model
    elif reference is None:
        return None
    else:
        in_float32 = reference()
    order = np.argsort(corpus.lengths, kind="stable")
    order = order[corpus.lengths[order] >= 2]
    places = np.linspace(0, len(order) - 1, min(NUM_EXAMPLES, len(order))).round().astype(int)
    chosen = [int(row) for row in order[places]]
    rows = _rows(model, corpus, chosen, modules, processor, how)
    with np.errstate(over="ignore"):
        rows = rows.astype(number_type(storage)).astype(np.float64)
    exact = _rows(in_float32, corpus, chosen, modules, processor, how | {"precision": "float32"})
    lengths, exact_lengths = (np.linalg.norm(x, axis=1) for x in (rows, exact))
    # A row too large for its type stops the build, which names the example.
    whole = np.isfinite(lengths) & (lengths > 0) & (exact_lengths > 0)
    if not whole.any():
        return Deviation(len(chosen), None, None)
    cosines = (rows[whole] * exact[whole]).sum(axis=1) / (lengths * exact_lengths)[whole]
    apart = np.abs(lengths - exact_lengths)[whole] / exact_lengths[whole]
    return Deviation(int(whole.sum()), float(cosines.min()), float(apart.max()))


def _rows(
    model: LoadedModel,
    corpus: Corpus,
    chosen: Sequence[int],
    modules: Sequence[str],
    processor: Any,
    how: dict[str, Any],
) -> "Float[np.ndarray, 'examples numbers']":
    """Takes the rows of the beginnings of examples, one by one."""
    import torch

    found = []
    # Bergson keeps matrices in the type that they were first asked for: each model needs its own.
    with collecting(model, modules, replace(processor), **how) as collect:
        for row in chosen:
            parts = collect(pad([corpus.input_ids(row)[:NUM_TOKENS]])).rows.values()
            values = torch.cat(list(parts), dim=1).double().cpu().numpy()
            if not np.isfinite(values).all():
                raise not_finite(corpus.ids[row])
            found.append(values)
    return np.concatenate(found) if found else np.zeros((0, 1))
