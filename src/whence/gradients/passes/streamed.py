"""Exact inner products of gradients in one pass over the corpus, without storing gradients.

The queries' gradients are held in memory (queries × attributed weights). The corpus passes once,
batch by batch; each module's gradients are multiplied with the queries' as soon as they are
computed, and are then discarded. Nothing is projected.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.artifacts import fingerprint
from whence.gradients.passes.batches import (
    Pass,
    affordable_tokens,
    check_fits,
    check_queries,
    model_device,
    pad,
    plan_pass,
)
from whence.gradients.passes.blocks import (
    BLOCK_TOKENS,
    BlockStore,
    Products,
    group_batches,
)
from whence.gradients.passes.capture import (
    LOSS_REDUCTION,
    VOCABULARY,
    capturing,
    gradient_dtype,
    not_finite,
    outer,
)
from whence.gradients.passes.correction import correction_scales, scales_digest
from whence.gradients.passes.loss import batch_tokens
from whence.gradients.passes.queries import query_gradients, query_norms
from whence.gradients.passes.workers import worker_count, working
from whence.progress import SILENT, Progress
from whence.records import Corpus, GradientProducts, LoadedModel, Query

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    from whence.models.second_moments import SecondMoments


class Preconditioner(NamedTuple):
    """What queries' gradients become before they meet the examples', and what determines it."""

    apply: "Callable[[dict[str, Tensor]], dict[str, Tensor]]"
    settings: Mapping[str, object]


def streamed_products(
    model: LoadedModel,
    corpus: Corpus,
    queries: Sequence[Query],
    *,
    modules: Sequence[str],
    token_batch_size: int,
    second_moments: "SecondMoments | None" = None,
    preconditioner: Preconditioner | None = None,
    work: Path | None = None,
    progress: Progress = SILENT,
) -> GradientProducts:
    """Computes the inner products of every query's and every example's gradient.

    An example's loss is the sum of its tokens' cross-entropies in nats, a query's the weighted sum
    over its terms' completion tokens. Examples with the same tokens have the same gradient, which
    is computed once.

    Args:
        model: The model, whose state is restored afterwards.
        corpus: The examples.
        queries: What the gradients are compared with; all of them in one pass over the corpus.
        modules: Names of the attributed layers in the base model, or of `VOCABULARY`.
        token_batch_size: The most tokens in a batch, padding included; fewer are used where the
            vocabulary is large and logits have to be held. It changes the speed, and the result
            only by rounding.
        second_moments: The optimizer's, by parameter name. Gradients of both sides are divided by
            their roots (`correction_scales`), and norms and products are those of what results.
        preconditioner: Changes the queries' gradients, after their norms were taken, such as
            EK-FAC's inverse does.
        work: A directory for finished blocks. A run that was cut short continues from there and
            ends with the same numbers; the caller deletes it.
        progress: Reports progress.

    Returns:
        Products in float32, `path="streamed"`. An example of fewer than two tokens has norm 0 and
        inner products 0, which say nothing about it: methods make them NaN.

    Raises:
        GradientError: A gradient is NaN or infinite, or a query's gradient is zero.
        ModelError: A module does not exist, or its second moments do not fit.
        CorpusError: An example does not fit the model.
        BehaviorError: A query does not fit the model.

    Cost:
        One forward and backward pass over the distinct examples, and 2 · weights operations per
        pair of query and example. Memory: queries · attributed weights · 4 bytes, and a batch.
    """
    started = time.perf_counter()
    check_fits(model, corpus)
    check_queries(model, queries)
    scales = correction_scales(model, modules, second_moments)
    tokens = batch_tokens(model, token_batch_size)
    if set(modules) & set(VOCABULARY):
        tokens = affordable_tokens(model, token_batch_size)
    num_workers = worker_count(model)
    settings = {
        "loss_reduction": LOSS_REDUCTION,
        "loss_unit": "nats",
        "projection_dim": None,
        "modules": list(modules),
        "dtype": str(gradient_dtype(model)).removeprefix("torch."),
        "token_batch_size": tokens,
        "model": model.fingerprint,
        "corpus": corpus.fingerprint,
        "correction": "none" if second_moments is None else "adam",
        **({} if preconditioner is None else preconditioner.settings),
    }
    gradients = query_gradients(
        model, queries, modules=modules, token_batch_size=tokens, scales=scales
    )
    norms = query_norms(gradients, queries)
    if preconditioner is not None:
        gradients = preconditioner.apply(gradients)
    largest = max(rows.shape[1] for rows in gradients.values())
    todo = plan_pass(
        model, corpus, token_batch_size=tokens, num_weights=largest, num_workers=num_workers
    )
    blocks = group_batches(todo.batches, todo.lengths, block_tokens=BLOCK_TOKENS)
    asked = [[query.id, query.terms] for query in queries]
    store = BlockStore(work, fingerprint(settings, asked, scales_digest(scales), num_workers))
    dots = np.zeros((len(queries), len(todo.lengths)), dtype=np.float32)
    example_norms = np.zeros(len(todo.lengths), dtype=np.float32)

    finished = store.finished(len(blocks))
    if finished:
        progress.note(f"{len(finished)} of {len(blocks)} blocks of examples were computed before.")
    opened = partial(
        multiplying, todo=todo, gradients=gradients, num_queries=len(queries), scales=scales
    )
    left = sum(todo.num_tokens(block) for n, block in enumerate(blocks) if n not in finished)
    with (
        progress.task("Gradients of the examples", total=left, unit="tokens") as task,
        working(model, opened, num_workers=num_workers) as multiply_all,
    ):
        for number, block in enumerate(blocks):
            places = np.concatenate(block)
            found = store.load(number) if number in finished else None
            if found is None:
                parts = []
                for batch, part in zip(block, multiply_all(block), strict=True):
                    parts.append(part)
                    task.advance(todo.num_tokens([batch]))
                found = Products(
                    np.concatenate([part.dots for part in parts], axis=1),
                    np.concatenate([part.norms for part in parts]),
                )
                store.save(number, found)
            dots[:, places], example_norms[places] = found
    return GradientProducts(
        query_ids=tuple(query.id for query in queries),
        example_ids=corpus.ids,
        dots=dots[:, todo.distinct.of_example],
        query_norms=norms,
        example_norms=example_norms[todo.distinct.of_example],
        path="streamed",
        settings=settings,
        seconds=time.perf_counter() - started,
    )


@contextmanager
def multiplying(
    model: LoadedModel,
    *,
    todo: Pass,
    gradients: "Mapping[str, Float[Tensor, 'queries weights']]",
    num_queries: int,
    scales: "Mapping[str, Float[Tensor, ' weights']] | None" = None,
) -> "Iterator[Callable[[NDArray[np.int64]], Products]]":
    """Opens a function that multiplies the gradients of one batch's examples with the queries'."""
    import torch

    device, dtype = model_device(model), gradient_dtype(model)
    dots = squares = torch.empty(0)

    def take(name: str, output_gradient: "Tensor", activations: "Tensor") -> None:
        found = outer(output_gradient, activations, dtype=dtype)
        if scales is not None:
            found *= scales[name]
        dots.addmm_(found, gradients[name].mT)
        # Squares of large gradients overflow float32; their sum is kept in float64.
        squares.add_(torch.linalg.vector_norm(found, dim=1).double().square())

    def multiply(batch: "NDArray[np.int64]") -> Products:
        nonlocal dots, squares
        dots = torch.zeros(len(batch), num_queries, dtype=dtype, device=device)
        squares = torch.zeros(len(batch), dtype=torch.float64, device=device)
        backward(pad(todo.sequences(batch), context_length=model.context_length))
        finite = dots.isfinite().all(dim=1) & squares.isfinite()
        if not finite.all():
            raise not_finite(todo.example_id(int(batch[int((~finite).nonzero()[0])])))
        return Products(dots.mT.float().cpu().numpy().copy(), squares.sqrt().float().cpu().numpy())

    with capturing(model, list(gradients), take) as backward:
        yield multiply
