"""Scores that another tool made, as one more method of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from whence.artifacts import sha256_of
from whence.artifacts.stage import Stage
from whence.errors import ArtifactError, SettingsError
from whence.records import UNKNOWN, Scores
from whence.runs.directory import open_run, writing
from whence.runs.evidence import renew_evidence
from whence.runs.record import IMPORTED, part, run_decisions

if TYPE_CHECKING:
    import numpy as np

Orientation = Literal["higher", "lower"]


def import_scores(
    run: Path,
    source: Path,
    *,
    method: str,
    orientation: Orientation | None = None,
    query_ids: Sequence[str] | None = None,
) -> Scores:
    """Reads scores from elsewhere and keeps them in a run, where all that reads methods finds them.

    Args:
        run: A finished run.
        source: A folder that `bergson score` wrote, `.jsonl` as PAIR's pretraining-tda, or
            `.parquet` with the columns `query`, `example` and `score`.
        method: What the scores are called in the run; scores of that name from elsewhere are
            replaced.
        orientation: Which scores belong to proponents. By default what the source says; PAIR's are
            higher. Scores of the other orientation are negated, so that higher is more helpful.
        query_ids: For Bergson's folders, which number their queries: the run's behaviors in that
            order. By default all that were attributed, where the numbers agree.

    Returns:
        The scores as kept; NaN where the source has none.

    Raises:
        ArtifactError: The run or the source cannot be read, or an id in it is not known.
        SettingsError: The name is in use, or the orientation is not known.
    """
    from whence.corpus import read_corpus
    from whence.gradients.index.score_folder import is_score_folder
    from whence.methods import is_method, load_scores, save_scores

    if is_method(method) or not method.isidentifier():
        raise SettingsError(
            f"Scores from elsewhere cannot be called `{method}`.",
            "Choose a name of letters, digits and underscores that no method here has.",
        )
    opened = open_run(run)
    attributed = run_decisions(opened).attributed
    corpus = read_corpus(part(opened, "corpus"))
    example_ids = corpus.ids
    if is_score_folder(source):
        ids, values, said = _bergson(source, attributed, query_ids, example_ids)
    else:
        ids, values, said = _pairs(source, attributed, example_ids)
    chosen = orientation or said
    if chosen is None:
        raise SettingsError(
            f"{source} does not say whether a higher score is that of a proponent.",
            "Say `--orientation higher` or `--orientation lower`.",
        )
    values = values if chosen == "higher" else -values
    scores = Scores(
        method=method,
        query_ids=ids,
        example_ids=example_ids,
        values=values,
        settings={"source": source.name, "sha256": _digest(source), "source_orientation": chosen},
        family="unknown",
        higher_means=UNKNOWN,
    )
    with writing(run) as written:
        written.get(
            Stage(
                f"{IMPORTED}{method}",
                1,
                {
                    "scores": scores.settings["sha256"],
                    "method": method,
                    "orientation": chosen,
                    "queries": list(ids),
                    "about": [corpus.fingerprint],
                },
                make=lambda place: save_scores(scores, place),
                read=load_scores,
            )
        )
        written.adopt()
        renew_evidence(written)
        written.finish()
    return scores


def _bergson(
    source: Path,
    attributed: Sequence[str],
    query_ids: Sequence[str] | None,
    example_ids: Sequence[str],
) -> "tuple[tuple[str, ...], np.ndarray, Orientation | None]":
    import numpy as np

    from whence.gradients.index.score_folder import read_score_folder

    folder = read_score_folder(source)
    ids = tuple(attributed if query_ids is None else query_ids)
    if unknown := [name for name in ids if name not in attributed]:
        raise ArtifactError(
            f"The run did not attribute `{unknown[0]}`.",
            f"It attributed {len(attributed)} behaviors: {', '.join(attributed[:5]) or 'none'}.",
        )
    if len(ids) != len(folder.values) or len(set(ids)) != len(ids):
        raise ArtifactError(
            f"{source} has {len(folder.values)} queries, numbered, and {len(set(ids))} behaviors "
            "stand for them.",
            "Name as many with `--queries`, in the order in which they were asked.",
        )
    rows = np.arange(folder.values.shape[1]) if folder.candidates is None else folder.candidates
    is_whole = folder.candidates is not None or len(rows) == len(example_ids)
    if not is_whole or (len(rows) and int(rows.max()) >= len(example_ids)):
        raise ArtifactError(
            f"{source} scores {len(rows)} rows, up to number {int(rows.max(initial=-1))}, and the "
            f"run's corpus has {len(example_ids)} examples.",
            "Score the run's corpus, in its order.",
        )
    values = np.full((len(ids), len(example_ids)), np.nan, dtype=np.float32)
    values[:, rows] = folder.values
    said: dict[bool | None, Orientation | None] = {True: "higher", False: "lower", None: None}
    return ids, values, said[folder.higher_is_better]


def _pairs(
    source: Path, attributed: Sequence[str], example_ids: Sequence[str]
) -> "tuple[tuple[str, ...], np.ndarray, Orientation | None]":
    from whence.methods.foreign import matrix, read_pairs

    pairs = read_pairs(source)
    if not pairs:
        raise ArtifactError(f"{source} holds no score.", "Check the file.")
    ids, values = matrix(pairs, query_ids=attributed, example_ids=example_ids, where=source)
    # PAIR's format names its proponents; a table of pairs does not.
    return ids, values, "higher" if source.suffix == ".jsonl" else None


def _digest(source: Path) -> str:
    return sha256_of(source / "scores.bin" if source.is_dir() else source)
