"""The scores of a run's proponents split by token or by layer."""

from pathlib import Path

from whence.errors import SettingsError
from whence.evidence.splits import Split, TokenPart, read_splits
from whence.progress import SILENT, Progress
from whence.runs.directory import Run, open_run
from whence.runs.record import QUERIES, SPLITS, part, run_decisions, run_model
from whence.runs.splitting import Splitter, split_terms
from whence.runs.stages import read_queries
from whence.runs.views import StudyModels

METHOD = "gradient_cosine"


def token_parts(
    directory: Path,
    behavior_id: str,
    example_ids: list[str],
    *,
    method: str = METHOD,
    progress: Progress = SILENT,
) -> dict[str, list[TokenPart]]:
    """Splits the inner products of a behavior's and some examples' gradients among tokens.

    Read from the run where it keeps them, which it does of the first proponents of one method;
    others are computed anew, from the models and the examples of a finished run.

    Args:
        directory: The run's directory.
        behavior_id: The behavior.
        example_ids: Examples of the run's corpus.
        method: Whose inner products; a cosine is split as the inner product that it divides.
        progress: Reports progress.

    Returns:
        From each example's id to its tokens; their parts sum up to the inner product, and positive
        parts help.

    Raises:
        SettingsError: The run has no such behavior or example, the method's scores are no sum over
            tokens, or the run attributed no gradients.
        WhenceError: The model cannot be loaded again.
    """
    found = _splits(directory, behavior_id, example_ids, method, progress)
    return {name: list(split.tokens) for name, split in found.items()}


def module_parts(
    directory: Path,
    behavior_id: str,
    example_ids: list[str],
    *,
    method: str = METHOD,
    progress: Progress = SILENT,
) -> dict[str, dict[str, float]]:
    """Splits the inner products of a behavior's and some examples' gradients among layers.

    See `token_parts`.

    Returns:
        From each example's id to its part in each attributed layer, positive where it helps; the
        parts sum up to the inner product.

    Raises:
        SettingsError: The run has no such behavior or example, the method's scores are no sum over
            layers, or the run attributed no gradients.
        WhenceError: The model cannot be loaded again.
    """
    found = _splits(directory, behavior_id, example_ids, method, progress)
    return {name: dict(split.modules) for name, split in found.items()}


def _splits(
    directory: Path, behavior_id: str, example_ids: list[str], method: str, progress: Progress
) -> dict[str, Split]:
    from whence.corpus import read_corpus
    from whence.methods import load_scores

    run = open_run(directory)
    decisions = run_decisions(run)
    if all(behavior.id != behavior_id for behavior in decisions.behaviors):
        raise SettingsError(
            f"{directory} has no behavior `{behavior_id}`.",
            f"List them with `whence show {directory}`.",
        )
    if decisions.coverage is None:
        raise SettingsError(
            f"{directory} has no gradient scores to split.", "Run a gradient method."
        )
    if method not in decisions.methods:
        raise SettingsError(
            f"{directory} has no scores by `{method}` that could be split.",
            f"It has: {', '.join(decisions.methods)}.",
        )
    scores = load_scores(part(run, f"scores/{method}"))
    terms = split_terms(method, scores.settings)
    corpus = read_corpus(part(run, "corpus"))
    if missing := set(example_ids) - set(corpus.ids):
        raise SettingsError(
            f"{directory} has no example `{min(missing)}`.", "Choose one of its corpus."
        )
    found = _stored(run, behavior_id, method)
    if computed := [name for name in example_ids if name not in found]:
        model = run_model(run, decisions.study, progress=progress)
        queries = {query.id: query for query in read_queries(part(run, QUERIES))}
        if behavior_id not in queries:
            raise SettingsError(
                f"`{behavior_id}` was not attributed, so it has no scores to split.",
                "Run the study with `--force` to attribute it all the same.",
            )
        splitter = Splitter(
            terms,
            lambda: model,
            StudyModels(run, decisions.study, progress=progress),
            corpus,
            modules=tuple(decisions.coverage.modules),
            token_batch_size=decisions.study.index.token_batch_size,
        )
        with progress.task("Splitting", total=len(computed), unit="examples") as task:
            for name in computed:
                [found[name]] = splitter.split(queries[behavior_id], [name])
                task.advance()
    return {name: found[name] for name in example_ids}


def _stored(run: Run, behavior_id: str, method: str) -> dict[str, Split]:
    """The splits that the run keeps of a behavior, by example."""
    if run.find(SPLITS) is None:
        return {}
    kept = read_splits(part(run, SPLITS))
    if kept.method != method:
        return {}
    return {one.example_id: one for one in kept.splits if one.behavior_id == behavior_id}
