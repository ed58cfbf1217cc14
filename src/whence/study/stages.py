"""What does each stage of a run write, and when can it be skipped?

Each stage is one directory in the run. A stage whose inputs have not changed is read back.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from whence.artifacts import (
    building,
    fingerprint,
    is_current,
    progress_directory,
    write_json,
)
from whence.errors import SettingsError
from whence.methods.rows import GradientRows
from whence.progress import Progress
from whence.records import (
    Behavior,
    Corpus,
    GradientProducts,
    LoadedModel,
    Plan,
    Query,
    Scores,
    Verification,
)
from whence.settings import AttributionSettings, VerifySettings
from whence.study.views import ViewSource, shared_between_sides


def verification_stage(
    directory: Path,
    behaviors: Sequence[Behavior],
    model: LoadedModel,
    *,
    initial: LoadedModel | None,
    settings: VerifySettings,
    texts_by_subset: Mapping[str, Sequence[str]],
    progress: Progress,
) -> tuple[Verification, ...]:
    """Measures whether the model shows each behavior; one JSON file."""
    from whence.behaviors import verification_from_json, verification_to_json, verify

    inputs = {
        "behaviors": [behavior.model_dump(mode="json") for behavior in behaviors],
        "model": model.fingerprint,
        "initial": initial.fingerprint if initial else None,
        "settings": settings.model_dump(mode="json"),
        "texts": fingerprint({name: list(texts) for name, texts in texts_by_subset.items()}),
    }
    if not is_current(directory, kind="verification", inputs=inputs):
        with building(directory, kind="verification", inputs=inputs) as partial:
            found = verify(
                behaviors,
                model,
                settings=settings,
                initial=initial,
                texts_by_subset=texts_by_subset,
                progress=progress,
            )
            write_json(partial / "verification.json", [verification_to_json(v) for v in found])
    stored = json.loads((directory / "verification.json").read_text(encoding="utf-8"))
    return tuple(verification_from_json(value) for value in stored)


def corpus_stage(directory: Path, corpus: Corpus) -> None:
    """Writes the examples with their ids, texts, hashes and training positions."""
    from whence.corpus import save_corpus

    inputs = {"corpus": corpus.content_fingerprint}
    if not is_current(directory, kind="corpus", inputs=inputs):
        with building(directory, kind="corpus", inputs=inputs) as partial:
            save_corpus(corpus, partial)


def products_stage(
    directory: Path,
    model: LoadedModel,
    corpus: Corpus,
    queries: Sequence[Query],
    *,
    source: ViewSource,
    index: Path,
    plan: Plan,
    modules: Sequence[str],
    settings: AttributionSettings,
    progress: Progress,
) -> GradientProducts:
    """Computes inner products of one view's gradients, by the planned path.

    Args:
        directory: The stage's place; a stage that was killed goes on from what it left there.
        model: The study's own model.
        corpus: The examples.
        queries: What is asked.
        source: Which model and which correction the view means.
        index: Where the stored path puts its index.
        plan: The path.
        modules: Names of the attributed layers.
        settings: Projection seed and batch size.
        progress: Who watches.

    Raises:
        SettingsError: A correction was asked of the stored path, which has none.
    """
    import numpy as np

    from whence.gradients import build_index, stored_products
    from whence.gradients.capture import VOCABULARY

    model = source.open(model)
    if source.view.layers == "vocabulary":
        # An index in Bergson's format has no place for them.
        modules, plan = VOCABULARY, replace(plan, path="streamed", projection_dim=None)
    origin = dict(source.moments.origin) if source.moments else {}
    origin |= dict(source.unrolled.origin) if source.unrolled else {}
    curvature = curvature_settings(settings) if source.view.correction == "ekfac" else {}
    inputs = {
        "model": model.fingerprint,
        "view": source.view.label,
        "moments": origin,
        "corpus": corpus.fingerprint,
        "queries": [asdict(query) for query in queries],
        "modules": list(modules),
        "path": plan.path,
        "projection_dim": plan.projection_dim,
        "projection_seed": settings.projection_seed,
        **curvature,
    }
    if not is_current(directory, kind="products", inputs=inputs):
        with building(directory, kind="products", inputs=inputs, resume=True) as partial:
            if plan.path == "streamed":
                products = _streamed(
                    model,
                    corpus,
                    queries,
                    source=source,
                    curvature=curvature,
                    modules=modules,
                    token_batch_size=settings.token_batch_size,
                    work=progress_directory(partial) / "work",
                    progress=progress,
                )
            else:
                _refuse_correction(source)
                built = build_index(
                    model,
                    corpus,
                    index,
                    modules=modules,
                    projection_dim=plan.projection_dim,
                    projection_seed=settings.projection_seed,
                    token_batch_size=settings.token_batch_size,
                    progress=progress,
                )
                assert built is not None, "only a share of an index can leave it unfinished"
                products = stored_products(built, model, queries, progress=progress)
            np.savez(
                partial / "products.npz",
                dots=products.dots,
                query_norms=products.query_norms,
                example_norms=products.example_norms,
            )
            write_json(
                partial / "details.json",
                {
                    "settings": {**products.settings, "view": source.view.label, **origin},
                    "seconds": products.seconds,
                },
            )
    return _read_products(directory, corpus, queries, plan)


def rows_stage(
    directory: Path,
    model: LoadedModel,
    corpus: Corpus,
    queries: Sequence[Query],
    *,
    source: ViewSource,
    projection_dim: int,
    modules: Sequence[str],
    settings: AttributionSettings,
    progress: Progress,
) -> GradientRows:
    """Builds an index of one view's gradients, and takes the queries' in its coordinates."""
    import numpy as np

    from whence.gradients import build_index
    from whence.gradients.stored import query_rows

    model = source.open(model)
    moments = source.moments.load(model, corpus) if source.moments else None
    index = build_index(
        model,
        corpus,
        directory,
        modules=modules,
        projection_dim=projection_dim,
        projection_seed=settings.projection_seed + source.projection_shift,
        token_batch_size=settings.token_batch_size,
        second_moments=moments,
        progress=progress,
    )
    assert index is not None, "only a share of an index can leave it unfinished"
    asked = query_rows(index, model, queries, second_moments=moments)
    columns = [asked[name].float().cpu().numpy() for name in index.modules]
    told = {
        **(source.moments.origin if source.moments else {}),
        "view": source.view.label,
        "projection_dim": projection_dim,
        "projection_seed": settings.projection_seed + source.projection_shift,
        "modules": list(index.modules),
        "model": model.fingerprint,
        "corpus": corpus.fingerprint,
    }
    return GradientRows(
        index.gradients, np.concatenate(columns, axis=1), dict(index.grad_sizes), told
    )


def _streamed(
    model: LoadedModel,
    corpus: Corpus,
    queries: Sequence[Query],
    *,
    source: ViewSource,
    curvature: Mapping[str, Any],
    **arguments: Any,
) -> GradientProducts:
    from whence.gradients import streamed_products
    from whence.gradients.ekfac import ekfac_preconditioner

    if source.unrolled is not None:
        del arguments["work"]
        return source.unrolled.products(model, corpus, queries, **arguments)
    if curvature:
        parts = ("modules", "token_batch_size", "progress")
        preconditioner = ekfac_preconditioner(
            model, corpus, **curvature, **{part: arguments[part] for part in parts}
        )
        return streamed_products(model, corpus, queries, preconditioner=preconditioner, **arguments)
    if source.moments is None:
        return streamed_products(model, corpus, queries, **arguments)
    moments = source.moments.load(model, corpus)
    if source.view.correction == "adam_step":
        moments = shared_between_sides(moments)
    return streamed_products(model, corpus, queries, second_moments=moments, **arguments)


def curvature_settings(settings: AttributionSettings) -> dict[str, Any]:
    """Tells what determines a curvature beside the model and the corpus."""
    return {
        "damping": settings.ekfac.damping,
        "labels": settings.ekfac.labels,
        "label_seed": settings.ekfac.seed,
    }


def _refuse_correction(source: ViewSource) -> None:
    if source.view.correction != "none":
        by = "second moments" if source.moments else source.view.correction
        raise SettingsError(
            f"The view {source.view.label} is corrected by {by}, which a stored index does not do.",
            'Set `path = "streamed"`, or leave the method out.',
        )


def scores_stage(
    directory: Path, method: str, inputs: Any, *, products_keys: Mapping[str, str]
) -> Scores:
    """Scores every example for every query by one method."""
    from whence.methods import load_scores, save_scores, score

    key = {
        "method": method,
        "products": dict(products_keys),
        "model": inputs.model.fingerprint if inputs.model else None,
        "corpus": inputs.corpus.fingerprint,
        "queries": [asdict(query) for query in inputs.queries],
        "references": sorted(inputs.references),
        "last_step": inputs.last_step,
        "settings": inputs.settings.model_dump(mode="json"),
    }
    if not is_current(directory, kind="scores", inputs=key):
        with building(directory, kind="scores", inputs=key) as partial:
            save_scores(score(method, inputs), partial)
    return load_scores(directory)


def _read_products(
    directory: Path, corpus: Corpus, queries: Sequence[Query], plan: Plan
) -> GradientProducts:
    import numpy as np

    from whence.artifacts import read_manifest

    details = read_manifest(directory)["details"]
    with np.load(directory / "products.npz", allow_pickle=False) as stored:
        return GradientProducts(
            query_ids=tuple(query.id for query in queries),
            example_ids=corpus.ids,
            dots=stored["dots"],
            query_norms=stored["query_norms"],
            example_norms=stored["example_norms"],
            path=plan.path,
            settings=details["settings"],
            seconds=details["seconds"],
        )
