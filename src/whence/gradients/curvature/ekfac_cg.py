"""EK-FAC with conjugate gradients: influence functions under the exact Gauss-Newton matrix.

    ∇L_q · x_i,      (E[H] + δ mean(Λ)) x = ∇L_q

H is the Gauss-Newton matrix of an example's summed loss, whose products are exact
(`conjugate_gradient`), and its mean is over a random sample of the corpus. EK-FAC, fitted on the
same sample, gives each layer's damping δ mean(Λ) and the first guess at every residual, which saves
iterations and does not change the solution. What lies between two layers counts, unlike in EK-FAC.

Source: Grosse et al., "Studying Large Language Model Generalization with Influence Functions",
arXiv 2308.03296, for the influence and the damping; that EK-FAC preconditions an iterative solution
is known from the leaderboard of Bergson's documentation. Both choices of this module, a sample of
the corpus and one damping per layer, are ours.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from whence.gradients.curvature.conjugate_gradient import solve
from whence.gradients.curvature.ekfac import fit_ekfac
from whence.gradients.curvature.fisher import draw_examples
from whence.gradients.passes.batches import check_fits, check_queries
from whence.gradients.passes.queries import query_gradients, query_norms
from whence.gradients.passes.streamed import Preconditioner, streamed_products
from whence.progress import SILENT, Progress
from whence.records import Corpus, GradientProducts, LoadedModel, Query


def ekfac_cg_products(
    model: LoadedModel,
    corpus: Corpus,
    queries: Sequence[Query],
    *,
    modules: Sequence[str],
    token_batch_size: int,
    damping: float,
    num_examples: int,
    tolerance: float,
    max_iterations: int,
    seed: int = 0,
    work: Path | None = None,
    progress: Progress = SILENT,
) -> GradientProducts:
    """Multiplies every example's gradient with the queries', solved for the exact curvature.

    Args:
        model: The model, whose state is restored afterwards.
        corpus: The examples.
        queries: What the gradients are compared with.
        modules: Names of the attributed layers in the base model.
        token_batch_size: The most tokens in a batch, padding included.
        damping: What is added to the diagonal, in mean eigenvalues of a layer.
        num_examples: How many examples the curvature is a mean over.
        tolerance: The residual, relative to the query's gradient, at which the iteration ends.
        max_iterations: It ends after so many products at the latest.
        seed: Of the sample, and of the labels with which EK-FAC is fitted.
        work: A directory for finished blocks of examples.
        progress: Reports progress, and notes a residual above the tolerance.

    Returns:
        Products in float32. Their settings have the sample's size, the iterations, and the largest
        residual over queries.

    Raises:
        CorpusError: No example of the sample has anything to predict, or one does not fit.
        GradientError: A gradient is not finite or zero, or a layer has no curvature.
        MissingEngineError: Bergson cannot be imported.

    Cost:
        Two passes over the sample to fit EK-FAC; per iteration one forward and two backward passes
        over it and 2 · queries more; one pass over the corpus. Memory: five times the queries'
        gradients.
    """
    started = time.perf_counter()
    check_fits(model, corpus)
    check_queries(model, queries)
    rows = draw_examples(corpus, num_examples, seed=seed)
    part = replace(corpus, table=corpus.table.take(rows))
    curvature = fit_ekfac(
        model,
        part,
        modules=modules,
        token_batch_size=token_batch_size,
        seed=seed,
        progress=progress,
    )
    gradients = query_gradients(model, queries, modules=modules, token_batch_size=token_batch_size)
    query_norms(gradients, queries)  # refuses a query without a gradient
    solution = solve(
        model,
        part,
        gradients,
        damping=curvature.damping(damping),
        token_batch_size=token_batch_size,
        tolerance=tolerance,
        max_iterations=max_iterations,
        precondition=lambda rows: curvature.inverse(rows, damping=damping),
        must_converge=False,
        progress=progress,
    )
    if solution.residual > tolerance:
        progress.note(
            f"Conjugate gradients left a residual of {solution.residual:.2g} after "
            f"{solution.num_iterations} products, above the tolerance of {tolerance:g}."
        )
    found = streamed_products(
        model,
        corpus,
        queries,
        modules=modules,
        token_batch_size=token_batch_size,
        preconditioner=Preconditioner(
            lambda _: solution.vectors,
            {
                "correction": "ekfac_cg",
                "damping": damping,
                "num_examples": len(part),
                "seed": seed,
                "tolerance": tolerance,
                "residual": solution.residual,
                "num_iterations": solution.num_iterations,
            },
        ),
        work=work,
        progress=progress,
    )
    return replace(found, seconds=time.perf_counter() - started)
