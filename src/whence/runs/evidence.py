"""The stages of evidence: the corpus's duplicates, and what is known of every listed example."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from whence.artifacts import read_manifest
from whence.artifacts.stage import Stage
from whence.corpus.duplicates import Duplicates, duplicates_stage
from whence.evidence import Evidence, collect, read_evidence, save_evidence
from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, Query, Scores
from whence.report.run_record import RunRecord
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
    run.get(of_corpus)
    return run.get(
        _evidence_stage(
            run, study, behaviors, queries, nulls, corpus, scores, of_corpus, progress=progress
        )
    )


def _evidence_stage(
    run: Run,
    study: StudySettings,
    behaviors: Sequence[Behavior],
    queries: Sequence[Query],
    nulls: Sequence[Query],
    corpus: Corpus,
    scores: Sequence[Scores],
    of_corpus: Stage[Duplicates],
    *,
    progress: Progress,
) -> Stage[Evidence]:
    def make(place: Path) -> None:
        found = collect(
            scores,
            behaviors,
            queries,
            nulls,
            corpus,
            run.get(of_corpus),
            k=study.top_k,
            seed=study.evidence.seed,
            progress=progress,
        )
        save_evidence(found, place)

    return Stage(
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


def renew_evidence(run: Run, *, progress: Progress = SILENT) -> None:
    """Judges what every method of a finished run lists, after one was added to it.

    Args:
        run: A finished run that this process may write to; `Run.finish` keeps the result.
        progress: Reports progress.
    """
    if run.find(QUERIES) is not None and run.find("corpus") is not None:
        run.get(_stage_of(run, load_run(run), progress=progress))


def own_evidence_key(run: Run) -> str:
    """Gives the key that a finished run's evidence has without the scores that were imported.

    What is about the run's own methods is kept by this key: an import makes the evidence anew, and
    changes nothing that was known of them.
    """
    record = load_run(run)
    own = run_decisions(run).methods
    scores = tuple(one for one in record.scores if one.method in own)
    return _stage_of(run, replace(record, scores=scores), progress=SILENT).key


def _stage_of(run: Run, record: RunRecord, *, progress: Progress) -> Stage[Evidence]:
    """The evidence of a finished run about the scores of a record of it."""
    found = run_decisions(run)
    queries = {query.id: query for query in read_queries(part(run, QUERIES))}
    attributed = [b for b in record.behaviors if b.id in found.attributed]
    corpus_key = read_manifest(part(run, "corpus")).key
    return _evidence_stage(
        run,
        found.study,
        attributed,
        [queries[behavior.id] for behavior in attributed],
        () if run.find(NULLS) is None else read_queries(part(run, NULLS)),
        record.corpus,
        record.scores,
        duplicates_stage(record.corpus, corpus_key, progress=progress),
        progress=progress,
    )


def scores_digest(scores: Scores) -> str:
    """Hashes one method's numbers, family and queries."""
    import hashlib

    import numpy as np

    digest = hashlib.sha256(repr((scores.method, scores.family, scores.query_ids)).encode())
    for values in (scores.values, scores.null_values, scores.plain_values):
        if values is not None:
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]
