"""Inner products of queries' gradients with the stored gradients of an index."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from whence.errors import IndexFormatError
from whence.gradients.index.checks import check_model
from whence.gradients.index.collector import collecting
from whence.gradients.index.format import Index
from whence.gradients.index.joined import Parts
from whence.gradients.index.search import multiply_rows
from whence.gradients.passes.batches import (
    affordable_sequences,
    check_queries,
    model_device,
)
from whence.gradients.passes.capture import gradient_dtype
from whence.gradients.passes.correction import correction_scales, scales_digest
from whence.gradients.passes.loss import batch_tokens
from whence.gradients.passes.queries import query_norms, term_batches
from whence.progress import SILENT, Progress
from whence.records import GradientProducts, LoadedModel, Query

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from whence.models.second_moments import SecondMoments

TOKEN_BATCH_SIZE = 4096


def stored_products(
    index: Index | Parts,
    model: LoadedModel,
    queries: Sequence[Query],
    *,
    progress: Progress = SILENT,
) -> GradientProducts:
    """Computes the inner products of every query's gradient and every row of an index.

    Args:
        index: The index, or several that were joined.
        model: The model it was made with, whose state is restored afterwards.
        queries: The queries; a query's loss is the weighted sum over its completions' tokens.
        progress: Reports progress.

    Returns:
        Products in float32, `path="stored"`: of projected gradients where the index is projected,
        which estimate those of the gradients themselves without bias; of the nearest rows of low
        rank where they are factorized. An example without a
        gradient has norm 0 and inner products 0, which say nothing about it.

    Raises:
        IndexFormatError: The index was made with another model, or has a row that is not finite.
        GradientError: A query's gradient is NaN, infinite or zero.
        BehaviorError: A query does not fit the model.

    Cost:
        One pass over the queries, and one reading of the rows; memory for the queries' rows
        and a block of the index.
    """
    started = time.perf_counter()
    indexes, corpus = index if isinstance(index, Parts) else Parts((index,), index.corpus)
    index = indexes[0]
    asked, norms = asked_rows(index, model, queries)
    found = [multiply_rows(part, asked, progress=progress) for part in indexes]
    return GradientProducts(
        query_ids=tuple(query.id for query in queries),
        example_ids=corpus.ids,
        dots=np.concatenate([part.dots for part in found], axis=1),
        query_norms=norms,
        example_norms=np.concatenate([part.norms for part in found]),
        path="stored",
        settings={
            "loss_reduction": index.loss_reduction,
            "loss_unit": "nats",
            "projection_dim": index.projection_dim,
            "projection_seed": index.projection_seed,
            **({} if index.rank is None else {"rank": index.rank}),
            "modules": list(index.modules),
            "dtype": str(gradient_dtype(model)).removeprefix("torch."),
            "model": model.fingerprint,
            "corpus": corpus.fingerprint,
        },
        seconds=time.perf_counter() - started,
    )


def asked_rows(
    index: Index, model: LoadedModel, queries: Sequence[Query]
) -> "tuple[Float[np.ndarray, 'queries numbers'], Float[np.ndarray, ' queries']]":
    """Computes the queries' gradients in the index's coordinates, and their norms, above zero.

    Raises:
        IndexFormatError: The index was made with another model, or its rows were corrected.
        GradientError: A query's gradient is NaN, infinite or zero.
        BehaviorError: A query does not fit the model.
    """
    check_model(index, model)
    check_queries(model, queries)
    rows = query_rows(index, model, queries)
    norms = query_norms(rows, queries)
    return np.concatenate([rows[n].float().cpu().numpy() for n in index.modules], axis=1), norms


def query_rows(
    index: Index,
    model: LoadedModel,
    queries: Sequence[Query],
    *,
    second_moments: "SecondMoments | None" = None,
) -> "dict[str, Float[Tensor, 'queries numbers']]":
    """Computes the queries' gradients in the index's coordinates, by module.

    These are what `bergson.Attributor(index.path).search` takes.

    Args:
        index: The index.
        model: The model it was made with.
        queries: The queries.
        second_moments: Those that the index's rows were corrected by; none where they were not.

    Raises:
        IndexFormatError: The index was corrected otherwise.
    """
    import torch

    scales = correction_scales(
        model, index.modules, second_moments, include_bias=index.include_bias
    )
    if index.correction != scales_digest(scales):
        raise IndexFormatError(
            f"The rows of {index.label} were {'not ' if index.correction is None else ''}corrected "
            "by second moments, and the queries are to be treated otherwise.",
            "Correct both sides by the same second moments, or neither.",
        )

    device, dtype = model_device(model), gradient_dtype(model)
    found = {
        name: torch.zeros(len(queries), size, dtype=dtype, device=device)
        for name, size in index.grad_sizes.items()
    }
    batches = term_batches(
        model,
        queries,
        token_batch_size=batch_tokens(model, TOKEN_BATCH_SIZE),
        max_sequences=affordable_sequences(sum(index.grad_sizes.values())),
    )
    with collecting(model, index.modules, index.projection, scales=scales) as collect:
        for batch in batches:
            for name, gradients in collect(batch.padded).rows.items():
                weighted = gradients.to(dtype) * batch.weights[:, None]
                found[name].index_add_(0, batch.owners, weighted)
    return found
