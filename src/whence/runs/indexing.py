"""Building an index, and querying it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whence.artifacts import check_place
from whence.buckets import address_of, built_folder, check_address, reserve, upload
from whence.errors import IndexFormatError, SettingsError
from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, Hits, LoadedModel, Plan, Query, Scores
from whence.runs import opening
from whence.settings import AttributionSettings, IndexSettings

if TYPE_CHECKING:
    from whence.gradients import Index, Parts
    from whence.gradients.index.shares import ShareReport


_INDEX = "index"


def check_index_place(place: str | Path) -> None:
    """Refuses a place that an index cannot have, before any work for it; changes nothing.

    Args:
        place: A directory, or an address in a bucket.

    Raises:
        ArtifactError: Something that whence did not write is there, or it cannot be written.
        SettingsError: It begins as an address does, and is none.
    """
    address = address_of(place)
    if address is not None:
        check_address(address, kind=_INDEX)
    check_place(Path(place) if address is None else built_folder(address), kind=_INDEX)


def refuse_shares(place: str | Path, what: str) -> None:
    """Refuses to divide the work for an index in a bucket.

    Args:
        place: A directory, or an address in a bucket.
        what: The flag, or the program, that divides it.

    Raises:
        SettingsError: The place is in a bucket.
    """
    if (address := address_of(place)) is not None:
        raise SettingsError(
            f"`{what}` needs a file system that the shards share, and {address} is in a bucket.",
            "Index another part of the corpus on each host, and search the indexes as one.",
        )


def index_corpus(
    place: str | Path,
    model: LoadedModel,
    corpus: Corpus,
    settings: IndexSettings,
    *,
    shard: tuple[int, int] | None = None,
    reference: Callable[[], LoadedModel] | None = None,
    progress: Progress = SILENT,
) -> "Index | None":
    """Plans an index within the disk budget, and builds it; resumes after a kill.

    An index for a bucket is built in this user's cache, and uploaded when it is whole.

    Args:
        place: The index's directory, or its address in a bucket.
        model: The model.
        corpus: The examples.
        settings: Modules, projection, types, disk budget.
        shard: (k, n): compute only the k-th of n shares of the work, k from 0.
        reference: Loads the same model in float32, to state how far rows in a smaller type are off.
        progress: Reports progress.

    Returns:
        The index, of one in a bucket as it was built; None where other shares of it are still
        missing.

    Raises:
        WhenceError: The disk budget is too small, a gradient is not finite, or Bergson is missing.
    """
    address = address_of(place)
    if address is None:
        return _build(
            Path(place),
            model,
            corpus,
            settings,
            shard=shard,
            reference=reference,
            progress=progress,
        )
    if shard is not None:
        refuse_shares(address, "--shard")
    reserve(address, kind=_INDEX)
    built = built_folder(address)
    index = _build(built, model, corpus, settings, reference=reference, progress=progress)
    upload(address, built, kind=_INDEX, progress=progress)
    progress.note(f"It was built in {built}, which may be removed.")
    return index


def _build(
    directory: Path,
    model: LoadedModel,
    corpus: Corpus,
    settings: IndexSettings,
    *,
    shard: tuple[int, int] | None = None,
    reference: Callable[[], LoadedModel] | None,
    progress: Progress,
) -> "Index | None":
    from whence.gradients import build_index, plan, require_engine
    from whence.gradients.passes.batches import model_device
    from whence.gradients.passes.loss import emulated, multiplies_bfloat16
    from whence.models import coverage, notes

    require_engine()
    covered = coverage(model, modules=settings.modules, include_bias=settings.include_bias)
    planned = plan(
        model, corpus, covered, settings, num_queries=1, path="stored", directory=directory
    )
    for note in notes(model):
        progress.note(note)
    progress.note(describe(planned))
    if slow := emulated(model):
        progress.note(f"This processor only emulates {slow}: float32 is faster here.")
    if settings.precision == "mixed" and not multiplies_bfloat16(model_device(model)):
        progress.note("This processor only emulates bfloat16, so `mixed` is float32 here.")
    return build_index(
        model,
        corpus,
        directory,
        settings.model_copy(update={"projection_dim": planned.projection_dim}),
        shard=shard,
        reference=reference,
        progress=progress,
    )


def merge_corpus(
    directory: Path,
    model: LoadedModel,
    corpus: Corpus,
    settings: IndexSettings,
    *,
    reference: Callable[[], LoadedModel] | None = None,
    progress: Progress = SILENT,
) -> "Index":
    """Finishes an index whose shares are all written; see `merge_index`.

    Raises:
        WhenceError: A share lacks blocks, or rows are not as they were computed.
    """
    from whence.gradients import merge_index

    return merge_index(
        model,
        corpus,
        directory,
        _projected(model, corpus, settings),
        reference=reference,
        progress=progress,
    )


def find_missing(
    directory: Path,
    model: LoadedModel,
    corpus: Corpus,
    settings: IndexSettings,
    *,
    num_shares: int,
) -> "ShareReport":
    """Lists which shares of an index lack blocks; see `missing_shares`.

    Raises:
        WhenceError: Something else is being built there.
    """
    from whence.gradients import missing_shares

    projected = _projected(model, corpus, settings)
    return missing_shares(model, corpus, directory, projected, num_shares=num_shares)


def _projected(model: LoadedModel, corpus: Corpus, settings: IndexSettings) -> IndexSettings:
    """Chooses the projection that a build would choose, without measuring anything."""
    from whence.gradients.index.preflight import choose
    from whence.models import coverage

    covered = coverage(model, modules=settings.modules, include_bias=settings.include_bias)
    chosen = choose(corpus, covered, settings, path="stored", num_queries=1)
    return settings.model_copy(update={"projection_dim": chosen.projection_dim})


def describe(plan: Plan, *, is_made: bool = False) -> str:
    """Says what an attribution will take, before it starts, or that nothing is left to compute."""
    chosen = f"Gradients: {plan.path} path. {plan.reason}"
    if is_made:
        return f"{chosen} They were computed before."
    return (
        f"{chosen} Expected: {plan.seconds / 60:.1f} minutes, "
        f"{plan.memory_bytes / 1e9:.1f} GB of memory, {plan.disk_bytes / 1e9:.2f} GB of disk."
    )


def index_model(index: "Index", *, progress: Progress = SILENT) -> LoadedModel:
    """Loads the model that an index was made with.

    Raises:
        IndexFormatError: The index does not say which, or the model is no longer there.
    """
    settings = index.model_settings
    if settings is None:
        raise IndexFormatError(
            f"{index.label} does not say which model it was made with.", "Name it with `--model`."
        )
    return opening.open_model(settings, progress=progress)


def query_index(
    index: "Index | Sequence[Index]",
    model: LoadedModel,
    behavior: Behavior,
    *,
    method: str = "gradient_cosine",
    contrast: bool = False,
    approximate: bool = False,
    k: int = 10,
    progress: Progress = SILENT,
) -> Hits:
    """Searches an index for the examples tied to one behavior.

    Args:
        index: The index, or several of different examples that are searched as one.
        model: The model they were made with.
        behavior: The prompt, the completion and, for a contrast, an alternative.
        method: `gradient_cosine` or `gradient_dot`.
        contrast: Attribute the log-odds of the completion against the first alternative.
        approximate: Search with FAISS where the index is large (`MIN_ROWS`): most of the best
            examples are found, with their exact scores, without reading the whole index.
        k: How many proponents, and how many opponents, at most.
        progress: Reports progress.

    Returns:
        At most `k` proponents and opponents; a higher score means that a small step of training on
        the example lowers the query's loss. Ranks are among all examples; of an approximate search,
        what is missed does not count, and `recall` is set.

    Raises:
        WhenceError: The index does not fit the model, the behavior gives no gradient, or `k` is
            less than 1.
    """
    from whence.behaviors import make_query
    from whence.evidence import check_count, hits
    from whence.gradients import join_indexes, stored_products
    from whence.gradients.index.approximate import MIN_ROWS
    from whence.methods import MethodInputs, Products, score

    check_count(k)
    if contrast and not behavior.alternatives:
        raise SettingsError(
            "A contrast needs an alternative, and there is none.", "Name one with `--alternative`."
        )
    query = make_query(
        behavior, model.tokenizer, contrast=contrast, context_length=model.context_length
    )
    parts = join_indexes(index if isinstance(index, Sequence) else (index,))
    if approximate and len(parts.corpus) >= MIN_ROWS:
        return _approximate_hits(parts, model, query, method=method, k=k, progress=progress)
    products = stored_products(parts, model, (query,), progress=progress)
    scores = score(
        method,
        MethodInputs(
            queries=(query,),
            corpus=parts.corpus,
            model=model,
            results={Products(): products},
            settings=AttributionSettings(),
        ),
    )
    return hits(scores, 0, parts.corpus, k)


def _approximate_hits(
    parts: "Parts", model: LoadedModel, query: Query, *, method: str, k: int, progress: Progress
) -> Hits:
    """Lists the best and the worst examples that an approximate search finds.

    Of several indexes each is searched by its own cells, and the lowest of their recalls is stated.
    """
    import numpy as np

    from whence.evidence import hits
    from whence.gradients.index.approximate import search_cells
    from whence.gradients.index.joined import part_slices

    # An example that was not found has no score, so that it is no hit of the exact rule either.
    values = np.full((1, len(parts.corpus)), np.nan, dtype=np.float32)
    recalls, num_scored = [], 0
    for index, part in zip(parts.indexes, part_slices(parts.indexes), strict=True):
        if not index.num_examples:
            continue
        found = search_cells(
            index,
            model,
            (query,),
            k=min(k, index.num_examples),
            unit_norm=method == "gradient_cosine",
            progress=progress,
        )
        for nearest in (found.best, found.worst):
            values[0, part.start + nearest.rows[0]] = nearest.scores[0]
        recalls.append(found.recall)
        num_scored += found.num_scored
    scores = Scores(method, (query.id,), parts.corpus.ids, values)
    num_unseen = num_scored - int(np.isfinite(values).sum())
    found = hits(scores, 0, parts.corpus, k, num_unseen=num_unseen)
    return found._replace(recall=min(recalls))
