"""How well scores of factorized rows agree with those of whole rows, measured on some examples."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.gradients.index.collector import collecting
from whence.gradients.index.exactness import spread_examples
from whence.gradients.index.factors import Layout, expand, factorize
from whence.gradients.index.files import number_type
from whence.gradients.passes.batches import pad
from whence.gradients.passes.capture import not_finite
from whence.records import Corpus, LoadedModel
from whence.settings import IndexSettings

if TYPE_CHECKING:
    from bergson.gradients import GradientProcessor
    from jaxtyping import Float

    from whence.gradients.passes.correction import Scales

NUM_EXAMPLES, NUM_TOKENS = 48, 128


class Agreement(NamedTuple):
    """Cosines of some examples' whole gradients with the others, by factorized and by whole rows.

    `spearman` is the mean over examples, as queries, of the rank correlation of their cosines with
    all the others, `spearman_min` the smallest; `kept_share` is the mean share of a row's squared
    length that its factors hold. None where fewer than three examples have a gradient.
    """

    num_examples: int
    spearman: float | None
    spearman_min: float | None
    kept_share: float | None

    def __str__(self) -> str:
        if self.spearman is None or self.kept_share is None:
            return "Too few examples have a gradient to compare factorized rows with whole ones."
        return (
            f"Factorized rows hold {self.kept_share:.1%} of the squared length of whole rows, and "
            f"their cosines agree with those of whole rows to a rank correlation of "
            f"{self.spearman:.3f} (smallest {self.spearman_min:.3f}; first tokens of "
            f"{self.num_examples} examples)."
        )


def measure_agreement(
    model: LoadedModel,
    corpus: Corpus,
    settings: IndexSettings,
    *,
    modules: Sequence[str],
    processor: "GradientProcessor",
    scales: "Scales | None",
    layout: Layout,
) -> Agreement:
    """Computes some examples' whole rows, factorizes them, and compares the cosines.

    Args:
        model: The model.
        corpus: The examples; of a few with evenly spread lengths the first tokens are used.
        settings: Precision, storage and collector.
        modules: Names of the attributed layers.
        processor: Bergson's record of how gradients are projected.
        scales: What gradients are multiplied with before they are projected.
        layout: The columns of the factorized rows.

    Raises:
        GradientError: A gradient is NaN or infinite.

    Cost:
        A forward and backward pass of at most `NUM_EXAMPLES` times `NUM_TOKENS` tokens.
    """
    import torch

    whole, stored = [], []
    chosen = spread_examples(corpus, NUM_EXAMPLES)
    opened = collecting(
        model,
        modules,
        replace(processor),
        collector=settings.collector,
        precision="mixed" if settings.precision == "mixed" else "float32",
        scales=scales,
        reduction=settings.loss_reduction,
    )
    with opened as collect:
        for row in chosen:
            found = collect(pad([corpus.input_ids(row)[:NUM_TOKENS]])).rows
            flat = torch.cat([found[name].float() for name in layout.modules], dim=1)
            if not flat.isfinite().all():
                raise not_finite(corpus.ids[row])
            factors = factorize(found, layout).cpu().numpy()
            with np.errstate(over="ignore"):
                rounded = factors.astype(number_type(settings.storage)).astype(np.float32)
            whole.append(flat.cpu().numpy())
            stored.append(expand(torch.from_numpy(rounded), layout).numpy())
    if len(chosen) < 3:
        return Agreement(len(chosen), None, None, None)
    return compare_rows(np.concatenate(whole), np.concatenate(stored))


def compare_rows(
    whole: "Float[np.ndarray, 'examples numbers']", stored: "Float[np.ndarray, 'examples numbers']"
) -> Agreement:
    """Compares the cosines of whole rows, as queries, with stored rows and with whole rows."""
    from scipy.stats import ConstantInputWarning, spearmanr

    whole, stored = whole.astype(np.float64), stored.astype(np.float64)
    lengths, stored_lengths = (np.linalg.norm(rows, axis=1) for rows in (whole, stored))
    kept = (lengths > 0) & (stored_lengths > 0) & np.isfinite(stored_lengths)
    if kept.sum() < 3:
        return Agreement(int(kept.sum()), None, None, None)
    share = float(((stored_lengths[kept] / lengths[kept]) ** 2).mean())
    unit = whole[kept] / lengths[kept, None]
    exact, approximate = unit @ unit.T, unit @ (stored[kept] / stored_lengths[kept, None]).T
    others = ~np.eye(len(unit), dtype=bool)
    with warnings.catch_warnings():
        # Cosines that are all the same have no ranks: NaN.
        warnings.simplefilter("ignore", ConstantInputWarning)
        found = [
            float(spearmanr(a[other], b[other])[0])  # pyright: ignore[reportArgumentType]
            for a, b, other in zip(exact, approximate, others, strict=True)
        ]
    finite = [value for value in found if np.isfinite(value)]
    if not finite:
        return Agreement(len(unit), None, None, share)
    return Agreement(len(unit), float(np.mean(finite)), min(finite), share)
