"""How is a corpus indexed once, and asked many times?"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from whence.errors import IndexFormatError, SettingsError
from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, LoadedModel, Plan, Scores
from whence.settings import AttributionSettings, ModelSettings
from whence.study import inputs as sources

if TYPE_CHECKING:
    from whence.gradients import Index
    from whence.gradients.build import Storage
    from whence.gradients.capture import Reduction
    from whence.gradients.collector import Collector
    from whence.gradients.loss import Precision


class Hit(NamedTuple):
    """One example that an index answers with; a higher score is more helpful."""

    rank: int
    score: float
    id: str
    subset: str | None
    position: int | None
    text: str | None


class Building(NamedTuple):
    """How an index is built; see `whence.gradients.build_index`."""

    collector: "Collector" = "whence"
    precision: "Precision" = "float32"
    storage: "Storage" = "float32"
    shard: tuple[int, int] | None = None
    include_bias: bool = False
    loss_reduction: "Reduction" = "sum"


def index_corpus(
    directory: Path,
    model: LoadedModel,
    corpus: Corpus,
    settings: AttributionSettings,
    *,
    building: Building | None = None,
    progress: Progress = SILENT,
) -> "Index | None":
    """Indexes a corpus within the disk budget; resumes after a kill.

    Returns:
        The index; None where other shares of it are still missing.

    Raises:
        WhenceError: The disk budget is too small, a gradient is not finite, or Bergson is missing.
    """
    from whence.gradients import build_index, plan, require_engine
    from whence.models import coverage

    how = building or Building()
    require_engine()
    covered = coverage(model, modules=settings.modules, include_bias=how.include_bias)
    planned = plan(model, corpus, covered, settings, num_queries=1)
    progress.note(describe(planned))
    return build_index(
        model,
        corpus,
        directory,
        modules=tuple(covered.modules),
        projection_dim=planned.projection_dim,
        projection_seed=settings.projection_seed,
        token_batch_size=settings.token_batch_size,
        collector=how.collector,
        precision=how.precision,
        storage=how.storage,
        shard=how.shard,
        include_bias=how.include_bias,
        loss_reduction=how.loss_reduction,
        progress=progress,
    )


def describe(plan: Plan) -> str:
    """Says what an attribution will take, before it starts."""
    return (
        f"Gradients: {plan.path} path. {plan.reason} Expected: {plan.seconds / 60:.1f} minutes, "
        f"{plan.memory_bytes / 1e9:.1f} GB of memory, {plan.disk_bytes / 1e9:.2f} GB of disk."
    )


def index_model(index: "Index") -> LoadedModel:
    """Loads the model that an index was made with.

    Raises:
        IndexFormatError: The index does not say which.
    """
    settings = index.model_settings
    if not settings:
        raise IndexFormatError(
            f"{index.path} does not say which model it was made with.", "Name it with `--model`."
        )
    return sources.open_model(ModelSettings.model_validate(settings))


def query_index(
    index: "Index",
    model: LoadedModel,
    behavior: Behavior,
    *,
    method: str = "gradient_cosine",
    contrast: bool = False,
    k: int = 10,
) -> tuple[list[Hit], list[Hit]]:
    """Asks an index about one behavior.

    Args:
        index: The index.
        model: The model it was made with.
        behavior: The prompt, the completion and, for a contrast, an alternative.
        method: `gradient_cosine` or `gradient_dot`.
        contrast: Ask why the completion rather than the first alternative.
        k: How many proponents and opponents to return.

    Returns:
        The `k` best proponents, best first, and the `k` strongest opponents, strongest first.

    Raises:
        WhenceError: The index does not fit the model, or the behavior gives no gradient.
    """
    from whence.behaviors import make_query
    from whence.gradients import stored_products
    from whence.methods import FINAL, Inputs, score

    if contrast and not behavior.alternatives:
        raise SettingsError(
            "A contrast needs an alternative, and there is none.", "Name one with `--alternative`."
        )
    query = make_query(
        behavior, model.tokenizer, contrast=contrast, context_length=model.context_length
    )
    products = stored_products(index, model, (query,))
    corpus = index.corpus
    scores = score(
        method,
        Inputs(
            queries=(query,),
            corpus=corpus,
            model=model,
            products={FINAL: products},
            settings=AttributionSettings(),
        ),
    )
    ranking = scores.ranking(0)
    best = _hits(scores, corpus, ranking[:k], first=1, step=1)
    worst = _hits(scores, corpus, ranking[::-1][:k], first=len(ranking), step=-1)
    return best, worst


def _hits(scores: Scores, corpus: Corpus, rows, *, first: int, step: int) -> list[Hit]:
    records = corpus.records([int(row) for row in rows])
    return [
        Hit(
            rank=first + step * place,
            score=float(scores.values[0, row]),
            id=record["id"],
            subset=record.get("subset"),
            position=record.get("position"),
            text=record.get("text"),
        )
        for place, (row, record) in enumerate(zip(rows, records, strict=True))
    ]
