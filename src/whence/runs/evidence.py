"""The stages of evidence: the corpus's duplicates, and what is known of every listed example."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from whence.artifacts import read_manifest
from whence.artifacts.stage import Stage
from whence.corpus.duplicates import duplicates_stage
from whence.evidence import Evidence, collect, read_evidence, save_evidence
from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, Query, Scores
from whence.runs.directory import Run
from whence.runs.record import EVIDENCE, NULLS, QUERIES, load_run, part, run_decisions
from whence.runs.stages import read_queries
from whence.settings import StudySettings


def keep_evidence(
    run: Run,
    study: StudySettings,
    behaviors: Sequence[Behavior],
    queries: Sequence[Query],
    nulls: Sequence[Query],
    corpus: Corpus,
    scores: Sequence[Scores],
    *,
    corpus_key: str,
    progress: Progress,
) -> Evidence:
    """Judges every example that some method lists, and keeps that as a stage of the run.

    Args:
        run: Keeps the corpus's duplicates and the evidence.
        study: Its settings for evidence, and the length of its lists.
        behaviors: The behaviors that were attributed.
        queries: Their queries, in the same order.
        nulls: The null queries, in the order of each method's `null_values`.
        corpus: The examples.
        scores: Every method's scores, imported ones among them.
        corpus_key: The key of the stage that holds the corpus.
        progress: Reports progress.
    """
    of_corpus = duplicates_stage(corpus, corpus_key, progress=progress)
    duplicates = run.get(of_corpus)

    def make(place: Path) -> None:
        found = collect(
            scores,
            behaviors,
            queries,
            nulls,
            corpus,
            duplicates,
            k=study.top_k,
            seed=study.evidence.seed,
            progress=progress,
        )
        save_evidence(found, place)

    stage = Stage(
        EVIDENCE,
        2,
        {
            "scores": {one.method: scores_digest(one) for one in scores},
            "behaviors": [behavior.model_dump(mode="json") for behavior in behaviors],
            "queries": [asdict(query) for query in queries],
            "nulls": [asdict(query) for query in nulls],
            "corpus": corpus.content_fingerprint,
            "duplicates": of_corpus.key,
            "top_k": study.top_k,
            "seed": study.evidence.seed,
        },
        make=make,
        read=read_evidence,
    )
    return run.get(stage)


def renew_evidence(run: Run, *, progress: Progress = SILENT) -> None:
    """Judges what every method of a finished run lists, after one was added to it.

    Args:
        run: A finished run that this process may write to; `Run.finish` keeps the result.
        progress: Reports progress.
    """
    places = {name: run.find(name) for name in (QUERIES, NULLS, "corpus")}
    if places[QUERIES] is None or places["corpus"] is None:
        return
    record, found = load_run(run), run_decisions(run)
    queries = {query.id: query for query in read_queries(part(run, QUERIES))}
    attributed = [b for b in record.behaviors if b.id in found.attributed]
    keep_evidence(
        run,
        found.study,
        attributed,
        [queries[behavior.id] for behavior in attributed],
        () if places[NULLS] is None else read_queries(part(run, NULLS)),
        record.corpus,
        record.scores,
        corpus_key=read_manifest(places["corpus"]).key,
        progress=progress,
    )


def scores_digest(scores: Scores) -> str:
    """Hashes one method's numbers, family and queries."""
    import hashlib

    import numpy as np

    digest = hashlib.sha256(repr((scores.method, scores.family, scores.query_ids)).encode())
    for values in (scores.values, scores.null_values):
        if values is not None:
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]
