"""Opens a run, or an index, for ad hoc queries: model, examples and stored gradients in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.artifacts import read_manifest, read_manifest_json
from whence.buckets import local_folder
from whence.errors import ArtifactError, IndexFormatError, SettingsError
from whence.progress import SILENT, Progress
from whence.records import Behavior, LoadedModel, Plan
from whence.runs import opening
from whence.runs.adhoc import GRADIENT_METHODS, Answerer
from whence.runs.directory import KIND, Run, open_run
from whence.runs.indexing import index_model
from whence.runs.record import DUPLICATES, NULLS, part, run_decisions, run_model
from whence.runs.stages import read_queries
from whence.runs.states import keep_states

if TYPE_CHECKING:
    from whence.corpus.duplicates import Duplicates
    from whence.gradients import Index
    from whence.records import Query

_INDEX = "index"
_PAGE = "index.html"


@dataclass(frozen=True)
class Opened:
    """What is served.

    Attributes:
        answerer: Model, examples and index.
        title: The study's, or the index's name.
        behaviors: Those of the study, to start from.
        page: The run's page; None where there is none.
        can_stream: Whether gradients may be computed on demand, where there is no index.
        stream_seconds: About how long that takes; None where it is not known.
        notes: Sentences on what is possible here.
    """

    answerer: Answerer
    title: str
    behaviors: tuple[Behavior, ...] = ()
    page: Path | None = None
    can_stream: bool = False
    stream_seconds: float | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Lays out what a page has to know."""
        from whence.methods import METHODS
        from whence.report.sentences import capitalized, method_label

        corpus, answerer = self.answerer.corpus, self.answerer
        streamed = [name for name in GRADIENT_METHODS if self.can_stream]
        return {
            "title": self.title,
            "model": answerer.model.label,
            "corpus": {"name": Path(corpus.name).name, "num_examples": len(corpus)},
            "searched_fraction": corpus.searched_fraction,
            "methods": [
                {
                    "name": name,
                    "label": capitalized(method_label(name)),
                    "family": METHODS[name].family,
                    "about": METHODS[name].about,
                    "is_streamed": name in streamed,
                }
                for name in dict.fromkeys((*answerer.methods, *streamed))
            ],
            "stream_seconds": self.stream_seconds,
            "num_null": len(answerer.nulls),
            "has_page": self.page is not None,
            "notes": list(self.notes),
            "behaviors": [
                {
                    "id": one.id,
                    "kind": one.kind,
                    "prompt": one.prompt,
                    "completion": one.completion,
                    "alternative": one.alternatives[0] if one.alternatives else None,
                    "subject": one.subject,
                    "object": one.object,
                }
                for one in self.behaviors
                if one.completion
            ],
        }


def open_for_queries(
    place: str | Path,
    *,
    index: str | Path | None = None,
    with_embedding: bool = False,
    progress: Progress = SILENT,
) -> Opened:
    """Opens a finished run, or an index.

    Args:
        place: A run, or an index that `whence index` or `bergson build` made; of an index its
            directory, or its address in a bucket.
        index: Another index of the run's corpus, for a run that streamed its gradients.
        with_embedding: Compute the examples' hidden states, or read those that were kept.
        progress: Reports progress.

    Raises:
        ArtifactError: `place` is neither, or a part of it is broken.
        IndexFormatError: The index was made with another model, or from other examples.
        ModelError: The model cannot be loaded.
    """
    place = local_folder(place, kind=_INDEX, as_error=IndexFormatError, progress=progress)
    if not _is_run(place):
        return _open_index(place, index, with_embedding=with_embedding, progress=progress)
    run = open_run(place)
    decisions = run_decisions(run)
    model = run_model(run, decisions.study, progress=progress)
    return _open_run(
        run,
        model,
        title=decisions.study.title,
        behaviors=decisions.behaviors,
        index=index,
        modules=tuple(decisions.coverage.modules) if decisions.coverage else None,
        initial=opening.open_initial(decisions.study.model, cache=run.cache),
        stream_seconds=_stream_seconds(run, decisions.plan),
        with_embedding=with_embedding,
        progress=progress,
    )


def _is_run(place: Path) -> bool:
    try:
        return read_manifest_json(place).get("kind") == KIND
    except ArtifactError:
        if (place / "info.json").is_file():
            return False  # an index of Bergson's, which has no manifest
        raise


def _stream_seconds(run: Run, plan: Plan | None) -> float | None:
    """Seconds of the run's own streamed pass, which a resumed one took since it was resumed.

    Without one they are those that the plan expected; None where there is no plan.
    """
    place = run.find("products")
    if place is not None and plan is not None and plan.path == "streamed":
        return read_manifest(place).details.get("seconds", plan.seconds)
    return plan.seconds if plan is not None else None


def _open_index(
    place: Path, index: str | Path | None, *, with_embedding: bool, progress: Progress
) -> Opened:
    from whence.gradients import open_index

    if index is not None:
        raise SettingsError(
            f"{place} is an index already, and `--index` names {index}.", "Name one of the two."
        )
    opened = open_index(place)
    model = index_model(opened, progress=progress)
    states = None
    if with_embedding:
        beside = place.with_name(f"{place.name}.states")
        states = keep_states(beside, model, opened.corpus, progress=progress)
    answerer = Answerer(model, opened.corpus, index=opened, states=states)
    return Opened(
        answerer,
        title=place.resolve().name,
        notes=(
            "This is an index without a run: there are no null queries, so that scores are not "
            "compared with chance, and no untrained weights to compare with.",
        ),
    )


def _open_run(
    run: Run,
    model: LoadedModel,
    *,
    title: str,
    behaviors: Sequence[Behavior],
    index: str | Path | None,
    modules: tuple[str, ...] | None,
    initial: LoadedModel | None,
    stream_seconds: float | None,
    with_embedding: bool,
    progress: Progress,
) -> Opened:
    from whence.corpus import read_corpus

    corpus = read_corpus(part(run, "corpus"))
    stored = _stored(run, index, model, corpus.fingerprint, progress)
    states = None
    if with_embedding:
        states = keep_states(run.cache / "states", model, corpus, progress=progress)
    answerer = Answerer(
        model,
        corpus,
        index=stored,
        initial=initial,
        nulls=_nulls(run),
        duplicates=_duplicates(run),
        states=states,
        modules=modules,
    )
    notes = []
    if stored is None:
        notes.append(
            "This run streamed its gradients and stored none, so that each query of them takes a "
            "pass over the corpus. Build an index once, and serve it: "
            f"`whence index {run.directory}-index …` with the run's model and corpus, then "
            f"`whence serve {run.directory} --index {run.directory}-index`."
        )
    page = run.directory / _PAGE
    return Opened(
        answerer,
        title=title,
        behaviors=tuple(behaviors),
        page=page if page.is_file() else None,
        can_stream=stored is None,
        stream_seconds=stream_seconds,
        notes=tuple(notes),
    )


def _stored(
    run: Run, index: str | Path | None, model: LoadedModel, corpus: str, progress: Progress
) -> "Index | None":
    """The run's own index, or another one of the same examples."""
    from whence.gradients import open_index

    if index is None:
        return None if run.find(_INDEX) is None else open_index(part(run, _INDEX), model=model)
    found = open_index(index, model=model, progress=progress)
    if found.corpus.fingerprint != corpus:
        raise IndexFormatError(
            f"{index} holds other examples ({found.corpus.fingerprint}) than {run.directory} "
            f"({corpus}).",
            "Build it from the run's corpus, read in the same way.",
        )
    return found


def _nulls(run: Run) -> "tuple[Query, ...]":
    return () if run.find(NULLS) is None else read_queries(part(run, NULLS))


def _duplicates(run: Run) -> "Duplicates | None":
    from whence.corpus.duplicates import read_duplicates

    return None if run.find(DUPLICATES) is None else read_duplicates(part(run, DUPLICATES))
