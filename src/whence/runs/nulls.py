"""The stage of null queries: from texts that training did not see, in the model's tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from whence.artifacts import write_json
from whence.artifacts.files import files_state
from whence.artifacts.stage import Stage
from whence.behaviors.generate import sample_continuations
from whence.behaviors.query import decode
from whence.evidence.null_queries import null_queries, shapes
from whence.progress import Progress, Task
from whence.records import Corpus, LoadedModel, Query
from whence.runs import opening
from whence.runs.models import StudyModel
from whence.runs.record import NULLS
from whence.runs.stages import read_queries
from whence.settings import CorpusSettings, StudySettings

# So many texts are tried for each query that is wanted: most share a run with a templated corpus.
_TRIES = 16


def nulls_stage(
    study: StudySettings,
    queries: Sequence[Query],
    model: StudyModel,
    corpus: Corpus,
    *,
    progress: Progress,
) -> Stage[tuple[Query, ...]]:
    """Unrelated queries of the shapes of a study's own.

    Args:
        study: Names the texts, or the model that is sampled.
        queries: The study's queries.
        model: The study's model.
        corpus: The examples, with which no null query shares a run of tokens.
        progress: Reports progress.
    """
    settings = study.evidence
    wanted = shapes(queries, settings.num_null) if queries else ()
    size = opening.testbed_size(study.corpus.source)
    origin: dict[str, object] = {"model": model.fingerprint}
    if settings.null_texts is not None:
        origin = {"files": files_state(Path(settings.null_texts))}
    elif size is not None:
        origin = {"testbed": size}

    def choose(task: Task) -> tuple[Query, ...]:
        loaded = model.loaded
        if settings.null_texts is not None:
            texts = _from_file(settings.null_texts, loaded)
        elif size is not None:
            texts = _from_testbed(size, loaded, len(wanted), seed=settings.seed)
        else:
            longest = max(map(sum, wanted), default=0)
            texts = _from_model(loaded, corpus, len(wanted), longest, seed=settings.seed, task=task)
        return null_queries(
            texts,
            wanted,
            corpus,
            decode=lambda ids: decode(loaded.tokenizer, list(ids)),
            contrast=study.attribution.contrast,
        )

    def make(place: Path) -> None:
        # One task for all: the model is sampled in dozens of short turns.
        with progress.task("Sample null queries", total=None, unit="texts") as task:
            found = choose(task)
        if len(found) < len(wanted):
            progress.note(
                f"{len(found)} of {len(wanted)} null queries were found that share no text with "
                "the corpus; name more texts in `evidence.null_texts`."
            )
        write_json(place / "queries.json", [asdict(query) for query in found])

    return Stage(
        NULLS,
        1,
        {
            "origin": origin,
            "corpus": corpus.fingerprint,
            "tokenizer": model.card.tokenizer,
            "shapes": [list(shape) for shape in wanted],
            "contrast": study.attribution.contrast,
            "seed": settings.seed,
        },
        make=make,
        read=read_queries,
    )


def _from_file(name: str, model: LoadedModel) -> Iterator[list[int]]:
    from whence.corpus import load_corpus

    found = load_corpus(
        CorpusSettings(source=name), model.tokenizer, context_length=model.context_length
    )
    for row in range(len(found)):
        yield found.input_ids(row)


def _from_testbed(size: str, model: LoadedModel, num: int, *, seed: int) -> Iterator[list[int]]:
    """Held-out texts of every subset, and passages that were never planted, in turn."""
    from whence.testbed import held_out_texts
    from whence.testbed.plan import held_out_subsets

    subsets = held_out_subsets()
    each = -(-num * _TRIES // len(subsets))
    # The seeds from 1,000 on are used for nothing else.
    texts = [held_out_texts(subset, num=each, seed=1000 + seed) for subset in subsets]
    for of_one in zip(*texts, strict=True):
        for text in of_one:
            yield model.tokenizer.encode(text, add_special_tokens=False)


def _from_model(
    model: LoadedModel, corpus: Corpus, num: int, longest: int, *, seed: int, task: Task
) -> Iterator[list[int]]:
    """Samples texts from the model, each after the first token of some example."""
    import numpy as np

    with_tokens = np.flatnonzero(corpus.lengths > 0)
    if num == 0 or longest < 2 or not len(with_tokens):
        return
    rng = np.random.default_rng(seed)
    for turn in range(_TRIES):
        rows = rng.choice(with_tokens, size=num)
        starts = [corpus.input_ids(int(row))[:1] for row in rows]
        # Equal prompts have equal samples, so that all of a start's texts are drawn together, and
        # with those of starts which need up to four times as many.
        counts: dict[int, int] = {}
        for (start,) in starts:
            counts[start] = counts.get(start, 0) + 1
        groups: dict[int, list[int]] = {}
        for start, count in counts.items():
            groups.setdefault((count.bit_length() + 1) // 2, []).append(start)
        drawn: dict[int, list[tuple[int, ...]]] = {}
        for group in groups.values():
            found = sample_continuations(
                model,
                [[start] for start in group],
                num_samples=max(counts[start] for start in group),
                num_tokens=longest - 1,
                temperature=1.0,
                seed=seed * _TRIES + turn,
            )
            drawn |= dict(zip(group, found, strict=True))
            task.advance(sum(map(len, found)))
        for start, count in counts.items():
            for ids in drawn[start][:count]:
                yield [start, *ids]
