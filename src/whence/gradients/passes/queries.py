"""Gradients of queries, refused where they have no direction."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.errors import GradientError
from whence.gradients.passes.batches import Padded, model_device, pad
from whence.gradients.passes.capture import capturing, gradient_dtype, layer, outer
from whence.models.forward import batches_by_length, company
from whence.records import LoadedModel, Query

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy.typing import NDArray
    from torch import Tensor


class TermBatch(NamedTuple):
    """Some queries' terms, the query of each and its weight."""

    padded: Padded
    owners: "Int[Tensor, ' batch']"
    weights: "Float[Tensor, ' batch']"


def query_gradients(
    model: LoadedModel,
    queries: Sequence[Query],
    *,
    modules: Sequence[str],
    token_batch_size: int,
    scales: "Mapping[str, Float[Tensor, ' weights']] | None" = None,
) -> "dict[str, Float[Tensor, 'queries weights']]":
    """Computes the gradient of every query's loss: Σ weight · (summed loss of the completion).

    Args:
        model: The model, whose state is restored afterwards.
        queries: What to differentiate.
        modules: Names of the attributed layers in the base model.
        token_batch_size: The most tokens in a batch, padding included.
        scales: What each weight's gradient is multiplied with, such as `correction_scales`.

    Returns:
        For each module one flattened row per query, in nats per unit of weight; queries ·
        attributed weights numbers in all. A query without a token to predict has zeros.
    """
    import torch

    device, dtype = model_device(model), gradient_dtype(model)
    gradients = {
        name: torch.zeros(len(queries), size, dtype=dtype, device=device)
        for name, size in _sizes(model, modules).items()
    }
    owners = torch.zeros(0, dtype=torch.long, device=device)

    def add(name: str, output_gradient: "Tensor", activations: "Tensor") -> None:
        gradients[name].index_add_(0, owners, outer(output_gradient, activations, dtype=dtype))

    with capturing(model, modules, add) as backward:
        for batch in term_batches(model, queries, token_batch_size=token_batch_size):
            owners = batch.owners
            backward(batch.padded, weights=batch.weights)
    if scales is not None:
        for name, rows in gradients.items():
            rows.mul_(scales[name])
    return gradients


def term_batches(
    model: LoadedModel,
    queries: Sequence[Query],
    *,
    token_batch_size: int,
    max_sequences: int | None = None,
) -> Iterator[TermBatch]:
    """Pads the terms of all queries, in batches of about the same length.

    A term of fewer than two tokens has nothing to predict and is in none.
    """
    import torch

    device, dtype = model_device(model), gradient_dtype(model)
    terms = [(row, term) for row, query in enumerate(queries) for term in query.terms]
    lengths = [len(term.input_ids) for _, term in terms]
    for rows in batches_by_length(
        lengths,
        token_batch_size=token_batch_size,
        max_sequences=max_sequences,
        company=company(model),
    ):
        batch = [terms[row] for row in rows]
        yield TermBatch(
            pad(
                [term.input_ids for _, term in batch],
                num_unlabelled=[term.num_prompt_tokens for _, term in batch],
            ),
            torch.tensor([row for row, _ in batch], device=device),
            torch.tensor([term.weight for _, term in batch], dtype=dtype, device=device),
        )


def query_norms(
    gradients: "Mapping[str, Float[Tensor, 'queries weights']]", queries: Sequence[Query]
) -> "NDArray[np.float32]":
    """Measures the queries' gradients, and refuses those that have no direction.

    Returns:
        Euclidean norms over all modules, above zero.

    Raises:
        GradientError: A gradient is NaN, infinite or zero.
    """
    squares = np.zeros(len(queries))
    for rows in gradients.values():
        squares += rows.double().norm(dim=1).square().cpu().numpy()
    for query, square in zip(queries, squares, strict=True):
        if not np.isfinite(square):
            raise GradientError(
                f"The gradient of query `{query.id}` is NaN or infinite.",
                "Check the model's weights, or use float32.",
            )
        if square == 0:
            raise GradientError(
                f"The gradient of query `{query.id}` is zero, so it points nowhere.",
                "Give it a completion that the model has to predict after a prompt.",
            )
    return np.sqrt(squares).astype(np.float32)


def _sizes(model: LoadedModel, modules: Sequence[str]) -> dict[str, int]:
    return {name: layer(model, name).get_parameter("weight").numel() for name in modules}
