"""The Python calls behind every command.

`import whence` gives these names and loads nothing heavy until one of them is used.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, Hits, LoadedModel, Scores, Verification
from whence.runs import opening
from whence.runs.indexing import query_index
from whence.runs.study import RunResult, run_study
from whence.settings import (
    AttributionSettings,
    CorpusSettings,
    IndexSettings,
    ModelSettings,
    VerifySettings,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from whence.corpus.search import Finding
    from whence.evidence import Comparison, Evidence
    from whence.gradients import Index
    from whence.gradients.index.verify import IndexReport
    from whence.memorization.record import Memorization
    from whence.memorization.settings import MemorizationStudy
    from whence.methods import Method
    from whence.runs.exporting import Format
    from whence.runs.finding import CorpusSearch
    from whence.runs.importing import Orientation
    from whence.runs.listing import RunSummary
    from whence.runs.locating import Location
    from whence.runs.show import BehaviorHits
    from whence.settings import Kind
    from whence.validation import BankProgress, Surprises, Unit, Validation

__all__ = [
    "AttributionSettings",
    "Behavior",
    "CorpusSettings",
    "Hits",
    "IndexSettings",
    "ModelSettings",
    "attribute",
    "build_index",
    "check_surprises",
    "compare",
    "discover",
    "export",
    "export_table",
    "export_testbed",
    "find",
    "hits",
    "import_scores",
    "list_methods",
    "list_runs",
    "load_behaviors",
    "load_corpus",
    "load_evidence",
    "load_memorization",
    "load_model",
    "locate",
    "make_bank",
    "open_index",
    "open_search",
    "query",
    "run",
    "run_study",
    "serve",
    "show",
    "study_memorization",
    "validate",
    "verify",
    "verify_index",
    "write_plot",
    "write_report",
]


def load_model(name: str, *, revision: str | None = None) -> LoadedModel:
    """Loads a causal language model with its tokenizer.

    Args:
        name: A Hub id, a folder, or `testbed:mini`.
        revision: A checkpoint, such as `step143000`.

    Raises:
        ModelError: It cannot be loaded, or its tokenizer does not fit.

    Example:
        >>> load_model("testbed:mini").context_length
        1024
    """
    return opening.open_model(ModelSettings(name=name, revision=revision))


def load_corpus(
    source: str,
    model: LoadedModel,
    *,
    settings: CorpusSettings | None = None,
    progress: Progress = SILENT,
) -> Corpus:
    """Reads training documents in the model's tokens.

    Args:
        source: A Hub dataset, a file or folder, or `testbed:mini`.
        model: The model whose tokenizer and context length apply.
        settings: Columns, split, caps; `source` in them is overruled.
        progress: Reports progress.

    Raises:
        CorpusError: It cannot be read, or is empty, ambiguous or broken.
    """
    chosen = (settings or CorpusSettings(source=source)).model_copy(update={"source": source})
    return opening.open_corpus(chosen, model, progress=progress)


def load_behaviors(source: str | Path) -> tuple[Behavior, ...]:
    """Reads behaviors from a TOML file or from `testbed:mini`.

    Raises:
        WhenceError: The file cannot be read, or a behavior in it is wrong.
    """
    from whence.settings import BehaviorFile

    return opening.open_behaviors(BehaviorFile(file=str(source)))


def verify(
    behaviors: Sequence[Behavior],
    model: LoadedModel,
    *,
    initial: LoadedModel | None = None,
    settings: VerifySettings | None = None,
    texts_by_subset: Mapping[str, Sequence[str]] | None = None,
    corpus: Corpus | None = None,
    progress: Progress = SILENT,
) -> tuple[Verification, ...]:
    """Measures whether the model shows each behavior.

    Args:
        behaviors: What the model may do.
        model: The model.
        initial: Its step-0 weights, to compare with.
        settings: Samples, judges, confidence.
        texts_by_subset: Documents by subset, from which the judge of style is trained.
        corpus: Examples among which memorized passages are looked up.
        progress: Reports progress.

    Returns:
        One verdict per behavior, with the measurements behind it.
    """
    from whence.behaviors import verify as measure

    return measure(
        behaviors,
        model,
        settings=settings or VerifySettings(),
        initial=initial,
        texts_by_subset=texts_by_subset,
        corpus=corpus,
        progress=progress,
    )


def build_index(
    model: LoadedModel,
    corpus: Corpus,
    place: str | Path,
    settings: IndexSettings | None = None,
    *,
    progress: Progress = SILENT,
) -> "Index":
    """Builds a gradient index in Bergson's format; an interrupted build resumes where it stopped.

    Args:
        model: The model whose gradients are stored.
        corpus: The examples.
        place: The index's directory, or its address in a bucket.
        settings: Modules, projection, types, disk budget.
        progress: Reports progress.

    Raises:
        WhenceError: The disk budget is too small, a gradient is not finite, or Bergson is missing.
    """
    from whence.runs.indexing import index_corpus

    chosen = settings or IndexSettings()
    index = index_corpus(place, model, corpus, chosen, progress=progress)
    assert index is not None, "only a share of an index can leave it unfinished"
    return index


def open_index(place: str | Path, *, progress: Progress = SILENT) -> "Index":
    """Opens an index that `build_index`, `whence index` or `bergson build` made.

    Args:
        place: Its directory, or its address in a bucket, from which it is copied once.
        progress: Reports the progress of a copy.

    Raises:
        IndexFormatError: It is truncated, unfinished, or was made by something incompatible.
    """
    from whence.gradients import open_index as open_place

    return open_place(place, progress=progress)


def query(
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
    """Searches an index for the examples tied to a behavior.

    Args:
        index: The index, or several of different examples, made with the same model and settings,
            that are searched as one.
        model: The model they were made with.
        behavior: The prompt and the completion whose loss is attributed.
        method: `gradient_cosine` or `gradient_dot`.
        contrast: Attribute the log-odds of the completion against the first alternative.
        approximate: Search with FAISS where the index is large.
        k: How many proponents, and how many opponents, at most.
        progress: Reports progress.

    Returns:
        Proponents, which have a positive score, best first, and opponents, which have a negative
        one, most negative first; fewer than `k` where there are fewer. A higher score means that a
        small step of training on the example lowers the query's loss.

    Raises:
        WhenceError: The index does not fit the model, the behavior gives no gradient, or `k` is
            less than 1.
    """
    return query_index(
        index,
        model,
        behavior,
        method=method,
        contrast=contrast,
        approximate=approximate,
        k=k,
        progress=progress,
    )


def run(study: str | Path, directory: str | Path, *, progress: Progress = SILENT) -> RunResult:
    """Runs the study in a TOML file, from behaviors to page.

    Raises:
        WhenceError: Some input is wrong; nothing that looks finished is left behind.
    """
    from whence.settings import load_study

    path = Path(study)
    return run_study(
        load_study(path), Path(directory), base=path.parent, source=path, progress=progress
    )


def attribute(
    model: LoadedModel,
    corpus: Corpus,
    behaviors: Sequence[Behavior],
    *,
    methods: Sequence[str] = ("gradient_cosine", "bm25"),
    settings: AttributionSettings | None = None,
    index: IndexSettings | None = None,
    progress: Progress = SILENT,
) -> tuple[Scores, ...]:
    """Scores every example for every behavior, in memory; see `whence.runs.direct.attribute`.

    Example:
        >>> model = load_model("testbed:nano")  # doctest: +SKIP
        >>> corpus = load_corpus("testbed:nano", model)  # doctest: +SKIP
        >>> paris = Behavior(id="1", kind="fact", prompt="The capital of France is",
        ...                  completion=" Paris")
        >>> scores, = attribute(model, corpus, [paris], methods=["bm25"])  # doctest: +SKIP
        >>> hits(scores, 0, corpus, 3).proponents  # doctest: +SKIP
    """
    from whence.runs.direct import attribute as compute

    return compute(
        model,
        corpus,
        behaviors,
        methods=methods,
        settings=settings,
        index=index,
        progress=progress,
    )


def hits(scores: Scores, query: int, corpus: Corpus, k: int = 10) -> Hits:
    """Names the proponents and opponents of one query; see `whence.evidence.hits`.

    Raises:
        SettingsError: `k` is below 1.
    """
    from whence.evidence import hits as find

    return find(scores, query, corpus, k)


def list_methods() -> "Mapping[str, Method]":
    """Lists the attribution methods by name, with what each states of itself."""
    from whence.methods import METHODS

    return METHODS


def discover(
    model: str,
    corpus: str,
    out: str | Path,
    *,
    kinds: "Sequence[Kind]" = ("memorized", "style"),
    num: int = 24,
    progress: Progress = SILENT,
) -> tuple[Behavior, ...]:
    """Looks for memorized passages and styles, and writes them as a file of behaviors.

    Raises:
        WhenceError: Nothing was found, or an input is wrong.
    """
    from whence.runs.discover import discover_behaviors

    return discover_behaviors(
        ModelSettings(name=model),
        CorpusSettings(source=corpus),
        Path(out),
        kinds=kinds,
        num=num,
        progress=progress,
    )


def verify_index(place: str | Path, *, progress: Progress = SILENT) -> "IndexReport":
    """Compares every byte of an index with its digests; see `whence.gradients.index.verify`."""
    from whence.gradients.index.verify import verify_index as verify_bytes

    return verify_bytes(place, progress=progress)


def show(
    directory: str | Path, behavior: str, *, method: str | None = None, k: int = 10
) -> "BehaviorHits":
    """Reads the proponents and opponents of one behavior from a run.

    Without a method, they are those of the one that the run's page leads with: the first of the
    study's methods that compares gradients.

    Raises:
        WhenceError: The run has no such behavior or method.
    """
    from whence.runs.show import show_behavior

    return show_behavior(Path(directory), behavior, method=method, k=k)


def load_evidence(directory: str | Path) -> "Evidence | None":
    """Reads what is known of every example that a run lists.

    Args:
        directory: A finished run.

    Returns:
        Ties (relation and measures per behavior and example) and strengths (z per method, behavior
        and example); None where the run keeps none.

    Raises:
        ArtifactError: The directory is not a finished run, or its evidence is broken.

    Example:
        >>> import whence  # doctest: +SKIP
        >>> whence.load_evidence("runs/demo").relations("bm25", "fact/capital-france", k=10)
    """
    from whence.runs.record import load_run

    return load_run(Path(directory)).evidence


def open_search(
    directory: str | Path,
    *,
    model: ModelSettings | None = None,
    corpus: CorpusSettings | None = None,
    progress: Progress = SILENT,
) -> "CorpusSearch":
    """Opens the corpus of a run, or any corpus, for searching.

    See `whence.runs.finding.open_search`; its `find` then takes milliseconds.
    """
    from whence.runs.finding import open_search as open_directory

    return open_directory(Path(directory), model=model, corpus=corpus, progress=progress)


def find(
    text: str, directory: str | Path, *, limit: int = 10, before_step: int | None = None
) -> "Finding":
    """Finds a text in the corpus of a run: how often, in which documents, subsets and steps.

    Example:
        >>> find(" the capital of France", "runs/demo").counts  # doctest: +SKIP
        Counts(num_occurrences=81, num_documents=80)

    Raises:
        WhenceError: The directory is not a finished run, or the text is empty.
    """
    return open_search(directory).find(text, limit=limit, before_step=before_step)


def locate(
    row: int,
    *,
    sequences: str | None = None,
    split: str | None = None,
    corpus: str | None = None,
    tokenizer: str | None = None,
    is_deduplicated: bool | None = None,
    first_pass_rows: int | None = None,
) -> "Location":
    """Finds a row of Pythia's training data by the index of a published sequence.

    See `whence.runs.locating.locate`.

    Example:
        >>> locate(1_500_000).position.step
        1465
    """
    from whence.runs.locating import locate as find_row

    return find_row(
        row,
        sequences=sequences,
        split=split,
        corpus=corpus,
        tokenizer=tokenizer,
        is_deduplicated=is_deduplicated,
        first_pass_rows=first_pass_rows,
    )


def list_runs(directory: str | Path = "runs") -> "tuple[RunSummary, ...]":
    """Lists the runs in a folder, by path; see `whence.runs.listing.list_runs`.

    Raises:
        SettingsError: There is no such folder.
    """
    from whence.runs.listing import list_runs as list_directory

    return list_directory(Path(directory))


def serve(
    directory: str | Path,
    *,
    index: str | Path | None = None,
    embedding: bool = False,
    host: str = "127.0.0.1",
    port: int = 8321,
    token: str | None = None,
    progress: Progress = SILENT,
) -> None:
    """Serves a page that answers ad hoc queries to a run, or an index, until it is interrupted.

    See `whence.runs.warm.open_for_queries` and `whence.live.serve`.

    Raises:
        WhenceError: The directory is neither, the address cannot be bound, or the packages of the
            extra `serve` are missing.
    """
    from whence.live import serve as serve_opened
    from whence.runs.warm import open_for_queries

    opened = open_for_queries(
        directory,
        index=index,
        with_embedding=embedding,
        progress=progress,
    )
    opened.answerer.warm(progress=progress)
    serve_opened(opened, host=host, port=port, token=token, on_ready=progress.note)


def import_scores(
    directory: str | Path,
    source: str | Path,
    *,
    method: str,
    orientation: "Orientation | None" = None,
    query_ids: Sequence[str] | None = None,
) -> Scores:
    """Adds another tool's scores to a run; see `whence.runs.importing.import_scores`."""
    from whence.runs.importing import import_scores as add

    return add(
        Path(directory), Path(source), method=method, orientation=orientation, query_ids=query_ids
    )


def write_plot(directory: str | Path, name: str, path: str | Path) -> Path:
    """Writes a picture of a run's page as an SVG file; `whence plot RUN` lists their names.

    Raises:
        SettingsError: The run has no such picture, or the file would be of another kind.
        ArtifactError: The directory is not a finished run.
    """
    from whence.runs.plotting import write_plot as write

    return write(Path(directory), name, Path(path))


def write_report(directory: str | Path) -> Path:
    """Writes the page of a finished run again.

    Raises:
        ArtifactError: The directory is not a finished run.
    """
    from whence.runs.study import write_report as write

    return write(Path(directory))


def validate(
    directory: str | Path,
    *,
    bank: str | Path | Sequence[str | Path] = (),
    progress: Progress = SILENT,
) -> "Validation":
    """Measures a run's methods, by one bank or several; see `validate_run` of `runs.validating`."""
    from whence.runs.validating import validate_run

    banks = [bank] if isinstance(bank, str | Path) else bank
    return validate_run(Path(directory), banks=[Path(one) for one in banks], progress=progress)


def compare(directory: str | Path, *, seed: int = 0, progress: Progress = SILENT) -> "Comparison":
    """Compares what kinds of behavior are attributed to; see `whence.runs.comparing.compare_run`.

    Example:
        >>> print(*compare("runs/demo").sentences)  # doctest: +SKIP
    """
    from whence.runs.comparing import compare_run

    return compare_run(Path(directory), seed=seed, progress=progress)


def check_surprises(
    directory: str | Path,
    *,
    checkpoint: str,
    max_candidates: int = 60,
    seed: int = 0,
    progress: Progress = SILENT,
) -> "Surprises":
    """Tries a run's examples without a visible tie; see `whence.runs.surprising`.

    Example:
        >>> check_surprises("runs/demo", checkpoint="step512").funnel  # doctest: +SKIP
    """
    from whence.runs import surprising

    return surprising.check_surprises(
        Path(directory),
        checkpoint=checkpoint,
        max_candidates=max_candidates,
        seed=seed,
        progress=progress,
    )


def study_memorization(
    study: "MemorizationStudy",
    directory: str | Path,
    *,
    base: str | Path | None = None,
    progress: Progress = SILENT,
) -> "Memorization":
    """Runs a memorization study; see `whence.runs.memorizing.run_memorization`.

    Example:
        >>> study_memorization(study, "runs/memorized").num_memorized  # doctest: +SKIP
    """
    from whence.runs import memorizing

    return memorizing.run_memorization(
        study, Path(directory), base=None if base is None else Path(base), progress=progress
    )


def load_memorization(directory: str | Path) -> "Memorization":
    """Reads what a finished memorization study found; see `whence.memorization.record`.

    Example:
        >>> load_memorization("runs/memorized").num_memorized  # doctest: +SKIP
    """
    from whence.runs import memorizing

    return memorizing.load_memorization(Path(directory))


def export(
    directory: str | Path,
    *,
    method: str | None = None,
    form: "Format" = "pair",
    k: int = 10,
    with_copies: bool = False,
) -> str:
    """Writes what one method lists: PAIR's JSON lines, CSV, or ids; see `whence.runs.exporting`.

    Example:
        >>> export("runs/demo", form="ids", with_copies=True)  # doctest: +SKIP
    """
    from whence.runs import exporting

    return exporting.export(Path(directory), method=method, form=form, k=k, with_copies=with_copies)


def export_table(directory: str | Path, *, method: str = "all", k: int = 10) -> "pa.Table":
    """Lays out what methods list as a tidy Arrow table; see `whence.runs.exporting.export_table`.

    Example:
        >>> export_table("runs/demo").to_pandas()  # doctest: +SKIP
    """
    from whence.runs import exporting

    return exporting.export_table(Path(directory), method=method, k=k)


def make_bank(
    directory: str | Path,
    *,
    size: str = "nano",
    num_masks: int = 64,
    num_second: int | None = None,
    since: int | None = None,
    until: int | None = None,
    unit: "Unit | None" = None,
    run: str | Path | None = None,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> "BankProgress":
    """Trains a testbed, or a window of its training, many times without some groups or documents.

    See `whence.runs.validating.make_retrainings`.
    """
    from whence.runs.validating import make_retrainings

    return make_retrainings(
        Path(directory),
        size=size,
        num_masks=num_masks,
        num_second=num_second,
        since=since,
        until=until,
        unit=unit,
        run=None if run is None else Path(run),
        jobs=jobs,
        progress=progress,
    )


def export_testbed(
    directory: str | Path, *, size: str = "mini", train: bool = False, progress: Progress = SILENT
) -> Mapping[str, object]:
    """Writes a testbed's corpus, behaviors and truth; see `whence.testbed.export`."""
    from whence.testbed.export import export_testbed as export

    return export(Path(directory), size, train=train, progress=progress)
