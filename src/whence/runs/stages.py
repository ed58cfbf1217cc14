"""The stages that every study shares: corpus, verification, queries, and what was decided."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whence.artifacts import write_json
from whence.artifacts.files import files_state
from whence.artifacts.stage import Stage
from whence.errors import ArtifactError
from whence.progress import Progress
from whence.records import Behavior, Corpus, Query, Term, Verification
from whence.runs import opening
from whence.runs.models import StudyModel
from whence.settings import CorpusSettings, VerifySettings


def corpus_stage(
    settings: CorpusSettings, model: StudyModel, *, progress: Progress
) -> Stage[Corpus]:
    """The examples with their ids, texts, tokens and training positions.

    Keyed by the state of the corpus's files, by the settings and by the model's tokenizer.
    """
    from whence.corpus import read_corpus, save_corpus

    def make(place: Path) -> None:
        save_corpus(opening.open_corpus(settings, model.loaded, progress=progress), place)

    return Stage(
        "corpus",
        2,
        {
            "origin": _corpus_origin(settings),
            "settings": settings.model_dump(mode="json", exclude={"source"}),
            "tokenizer": model.card.tokenizer,
            "context_length": model.card.context_length,
        },
        make=make,
        read=read_corpus,
    )


def _corpus_origin(settings: CorpusSettings) -> dict[str, object]:
    if (size := opening.testbed_size(settings.source)) is not None:
        from whence.testbed import corpus_hash

        return {"testbed": size, "corpus_sha256": corpus_hash(size)}
    if (path := Path(settings.source).expanduser()).exists():
        return {"name": path.name, "files": files_state(path)}
    from whence.corpus.hub import dataset_commit

    return {"dataset": settings.source, "commit": dataset_commit(settings)}


def verification_stage(
    behaviors: Sequence[Behavior],
    model: StudyModel,
    initial: StudyModel | None,
    corpus: Corpus,
    *,
    settings: VerifySettings,
    texts_by_subset: Callable[[], Mapping[str, Sequence[str]]],
    progress: Progress,
) -> Stage[tuple[Verification, ...]]:
    """Whether the model shows each behavior, with the measurements behind the verdict.

    Args:
        behaviors: What the model may do.
        model: The model.
        initial: Its untrained weights, to compare with.
        corpus: Where the judge of style learns from, and memorized passages are looked up.
        settings: Samples, judges, confidence.
        texts_by_subset: Gives the texts for the judge of style; a function of the corpus.
        progress: Reports progress.
    """
    from whence.behaviors import verification_to_json, verify
    from whence.behaviors.kinds import needs_corpus, needs_texts

    needs_subsets = needs_texts(behaviors)

    def make(place: Path) -> None:
        found = verify(
            behaviors,
            model.loaded,
            settings=settings,
            initial=initial.loaded if initial else None,
            texts_by_subset=texts_by_subset() if needs_subsets else {},
            corpus=corpus,
            progress=progress,
        )
        write_json(place / "verification.json", [verification_to_json(v) for v in found])

    return Stage(
        "verification",
        3,
        {
            "behaviors": [behavior.model_dump(mode="json") for behavior in behaviors],
            "model": model.fingerprint,
            "tokenizer": model.card.tokenizer,
            "initial": initial.fingerprint if initial else None,
            "settings": settings.model_dump(mode="json"),
            "texts": corpus.fingerprint if needs_corpus(behaviors) else None,
        },
        make=make,
        read=read_verifications,
    )


def read_verifications(place: Path) -> tuple[Verification, ...]:
    """Reads what `verification_stage` keeps."""
    from whence.behaviors import verification_from_json

    stored = json.loads((place / "verification.json").read_text(encoding="utf-8"))
    return tuple(verification_from_json(value) for value in stored)


def queries_stage(
    behaviors: Sequence[Behavior], model: StudyModel, *, contrast: bool
) -> Stage[tuple[Query, ...]]:
    """The losses that stand for some behaviors, as tokens; contrasts where there is an alternative.

    Kept so that a run whose stages are current needs no tokenizer.
    """
    from whence.behaviors import make_queries

    def make(place: Path) -> None:
        found = make_queries(
            behaviors,
            model.loaded.tokenizer,
            contrast=contrast,
            context_length=model.card.context_length,
        )
        write_json(place / "queries.json", [asdict(query) for query in found])

    return Stage(
        "queries",
        1,
        {
            "behaviors": [behavior.model_dump(mode="json") for behavior in behaviors],
            "tokenizer": model.card.tokenizer,
            "context_length": model.card.context_length,
            "contrast": contrast,
        },
        make=make,
        read=read_queries,
    )


def read_queries(place: Path) -> tuple[Query, ...]:
    """Reads what a stage of queries keeps.

    Raises:
        ArtifactError: It cannot be read.
    """
    path = place / "queries.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return tuple(_query_from_json(value) for value in stored)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}).", "Run the study again; it resumes."
        ) from None


def _query_from_json(value: Mapping[str, Any]) -> Query:
    terms = (Term(tuple(ids), n, weight) for ids, n, weight in value["terms"])
    return Query(value["id"], tuple(terms), value["text"])
