"""How is a corpus indexed once, and asked many times?"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

from whence.errors import IndexFormatError, SettingsError
from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, LoadedModel, Plan
from whence.settings import AttributionSettings, ModelSettings
from whence.study import inputs as sources

if TYPE_CHECKING:
    from whence.gradients import Index
    from whence.gradients.build import Storage
    from whence.gradients.capture import Reduction
    from whence.gradients.collector import Collector
    from whence.gradients.engine_build import EnginePrecision
    from whence.gradients.loss import Precision


Quantized = Literal["int8", "int4"]


class Hit(NamedTuple):
    """One example that an index answers with; a higher score is more helpful."""

    rank: int
    score: float
    id: str
    subset: str | None
    position: int | None
    text: str | None


class Answered(NamedTuple):
    """What an index says about one behavior: the best first, and the worst first.

    `recall` says how much an approximate search finds, at ten; None where the search was exact.
    """

    proponents: list[Hit]
    opponents: list[Hit]
    recall: float | None


class Building(NamedTuple):
    """How an index is built; see `whence.gradients.build_index`.

    With the precisions int8 and int4, or `fsdp`, Bergson's own build takes over; see
    `whence.gradients.engine_build`.
    """

    collector: "Collector" = "whence"
    precision: "Precision | Quantized" = "float32"
    storage: "Storage" = "float32"
    shard: tuple[int, int] | None = None
    include_bias: bool = False
    loss_reduction: "Reduction" = "sum"
    fsdp: bool = False

    @property
    def is_bergsons(self) -> bool:
        """Whether the whole build is left to Bergson."""
        return self.fsdp or self.precision in get_args(Quantized)


def index_corpus(
    directory: Path,
    model: LoadedModel,
    corpus: Corpus,
    settings: AttributionSettings,
    *,
    building: Building | None = None,
    reference: Callable[[], LoadedModel] | None = None,
    progress: Progress = SILENT,
) -> "Index | None":
    """Indexes a corpus within the disk budget; resumes after a kill.

    Args:
        directory: The index's place.
        model: The model.
        corpus: The examples.
        settings: Modules, projection, disk budget.
        building: Who builds, and in which precision.
        reference: Loads the same model in float32, to say how far rows in a smaller type are off.
        progress: Who watches.

    Returns:
        The index; None where other shares of it are still missing.

    Raises:
        WhenceError: The disk budget is too small, a gradient is not finite, or Bergson is missing.
    """
    from whence.gradients import build_index, plan, require_engine
    from whence.gradients.batches import model_device
    from whence.gradients.engine_build import build_by_engine
    from whence.gradients.loss import emulated, multiplies_bfloat16
    from whence.models import coverage

    how = building or Building()
    _check_building(how)
    require_engine()
    covered = coverage(model, modules=settings.modules, include_bias=how.include_bias)
    planned = plan(model, corpus, covered, settings, num_queries=1)
    progress.note(describe(planned))
    if slow := emulated(model):
        progress.note(f"This processor only emulates {slow}: float32 is faster here.")
    if how.precision == "mixed" and not multiplies_bfloat16(model_device(model)):
        progress.note("This processor only emulates bfloat16, so `mixed` is float32 here.")
    common: dict[str, Any] = {
        "modules": tuple(covered.modules),
        "projection_dim": planned.projection_dim,
        "projection_seed": settings.projection_seed,
        "token_batch_size": settings.token_batch_size,
        "include_bias": how.include_bias,
        "loss_reduction": how.loss_reduction,
    }
    if how.is_bergsons:
        precision = engine_precision(model, how)
        return build_by_engine(
            model, corpus, directory, precision=precision, fsdp=how.fsdp, **common
        )
    return build_index(
        model,
        corpus,
        directory,
        collector=how.collector,
        precision=cast("Precision", how.precision),
        storage=how.storage,
        shard=how.shard,
        reference=reference,
        progress=progress,
        **common,
    )


def engine_precision(model: LoadedModel, how: Building) -> "EnginePrecision":
    """Says in Bergson's words in which precision the weights are held."""
    if how.precision in get_args(Quantized):
        return cast("EnginePrecision", how.precision)
    words: dict[str, EnginePrecision] = {"bfloat16": "bf16", "float16": "fp16"}
    return words.get(model.dtype, "fp32")


def _check_building(how: Building) -> None:
    """Refuses what does not go together.

    Raises:
        SettingsError: Only the other collector knows a precision or an option.
    """
    asked = "fsdp" if how.fsdp else f"precision {how.precision}"
    if how.is_bergsons and how.collector != "bergson":
        raise SettingsError(
            f"Our collector has no `{asked}`.", "Leave it out, or choose the collector `bergson`."
        )
    if how.collector == "bergson" and how.precision == "mixed":
        raise SettingsError(
            "Bergson's collector has no `precision mixed`.",
            "Leave it out, or choose the collector `whence`.",
        )
    if how.is_bergsons and (how.shard is not None or how.storage != "float32"):
        refused = "shard" if how.shard is not None else f"storage {how.storage}"
        raise SettingsError(
            f"Bergson's own build, which `{asked}` asks for, has no `{refused}`.",
            "Leave one of them out.",
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
    approximate: bool = False,
    k: int = 10,
    progress: Progress = SILENT,
) -> Answered:
    """Asks an index about one behavior.

    Args:
        index: The index.
        model: The model it was made with.
        behavior: The prompt, the completion and, for a contrast, an alternative.
        method: `gradient_cosine` or `gradient_dot`.
        contrast: Ask why the completion rather than the first alternative.
        approximate: Search with FAISS where the index is large (`MIN_ROWS`): most of the best
            examples are found, with their exact scores, without reading the whole index.
        k: How many proponents and opponents to return.
        progress: Who watches.

    Returns:
        The `k` best proponents, best first, and the `k` strongest opponents, strongest first. Ranks
        are among all examples; of an approximate search, what is missed does not count.

    Raises:
        WhenceError: The index does not fit the model, or the behavior gives no gradient.
    """
    from whence.behaviors import make_query
    from whence.gradients import stored_products
    from whence.gradients.approximate import MIN_ROWS, search_cells
    from whence.methods import FINAL, Inputs, score

    if contrast and not behavior.alternatives:
        raise SettingsError(
            "A contrast needs an alternative, and there is none.", "Name one with `--alternative`."
        )
    query = make_query(
        behavior, model.tokenizer, contrast=contrast, context_length=model.context_length
    )
    if approximate and index.num_examples >= MIN_ROWS:
        best, worst, recall = search_cells(
            index,
            model,
            (query,),
            k=k,
            unit_norm=method == "gradient_cosine",
            progress=progress,
        )
        return Answered(
            _hits(index.corpus, best.rows[0], best.scores[0], 1, 1),
            _hits(index.corpus, worst.rows[0], worst.scores[0], index.num_examples, -1),
            recall,
        )
    products = stored_products(index, model, (query,), progress=progress)
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
    rows, values = ranking[:k], scores.values[0]
    best = _hits(corpus, rows, values[rows], 1, 1)
    rows = ranking[::-1][:k]
    worst = _hits(corpus, rows, values[rows], len(ranking), -1)
    return Answered(best, worst, None)


def _hits(corpus: Corpus, rows, values, first: int, step: int) -> list[Hit]:
    """Says what the examples of some rows are; their ranks count from `first` by `step`."""
    records = corpus.records([int(row) for row in rows])
    return [
        Hit(
            rank=first + step * place,
            score=float(value),
            id=record["id"],
            subset=record.get("subset"),
            position=record.get("position"),
            text=record.get("text"),
        )
        for place, (value, record) in enumerate(zip(values, records, strict=True))
    ]
