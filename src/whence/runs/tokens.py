"""The scores of a run's proponents split by token or by layer."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from whence.errors import SettingsError
from whence.progress import SILENT, Progress
from whence.records import LoadedModel
from whence.runs.directory import open_run
from whence.runs.record import part, run_decisions, run_model

if TYPE_CHECKING:
    from torch import Tensor

    Rows = dict[str, Tensor]

Parts = TypeVar("Parts")
Split = Callable[[LoadedModel, "Rows", list[int]], Parts]


class TokenPart(NamedTuple):
    """A token of an example, and its part of the inner product in nats; positive parts help."""

    text: str
    part: float


def token_parts(
    directory: Path, behavior_id: str, example_ids: list[str], *, progress: Progress = SILENT
) -> dict[str, list[TokenPart]]:
    """Splits the inner products of a behavior's and some examples' gradients among tokens.

    Computed anew, from the model and the examples of a finished run.

    Returns:
        From each example's id to its tokens; their parts sum up to the inner product.

    Raises:
        SettingsError: The run has no such behavior or example, or attributed no gradients.
        WhenceError: The model cannot be loaded again.
    """
    from whence.gradients.passes.tokens import token_products

    def split(model: LoadedModel, gradient: "Rows", tokens: list[int]) -> list[TokenPart]:
        (parts,) = token_products(model, gradient, [tokens])
        texts: list[Any] = [model.tokenizer.decode([token]) for token in tokens]
        return [TokenPart(text, float(part)) for text, part in zip(texts, parts, strict=True)]

    return _split(directory, behavior_id, example_ids, split, progress=progress)


def module_parts(
    directory: Path, behavior_id: str, example_ids: list[str], *, progress: Progress = SILENT
) -> dict[str, dict[str, float]]:
    """Splits the inner products of a behavior's and some examples' gradients among layers.

    Computed anew, from the model and the examples of a finished run.

    Returns:
        From each example's id to its part in each attributed layer, in nats, positive where it
        helps; the parts sum up to the inner product.

    Raises:
        SettingsError: The run has no such behavior or example, or attributed no gradients.
        WhenceError: The model cannot be loaded again.
    """
    from whence.gradients.passes.tokens import module_products

    def split(model: LoadedModel, gradient: "Rows", tokens: list[int]) -> dict[str, float]:
        (parts,) = module_products(model, gradient, [tokens])
        return {name: float(part) for name, part in zip(gradient, parts, strict=True)}

    return _split(directory, behavior_id, example_ids, split, progress=progress)


def _split(
    directory: Path,
    behavior_id: str,
    example_ids: list[str],
    split: "Split[Parts]",
    *,
    progress: Progress,
) -> "dict[str, Parts]":
    from whence.behaviors import make_queries
    from whence.corpus import read_corpus
    from whence.gradients.passes.queries import query_gradients

    opened = open_run(directory)
    run = run_decisions(opened)
    behavior = next((b for b in run.behaviors if b.id == behavior_id), None)
    if behavior is None:
        raise SettingsError(
            f"{directory} has no behavior `{behavior_id}`.",
            f"List them with `whence show {directory}`.",
        )
    if run.coverage is None:
        raise SettingsError(
            f"{directory} has no gradient scores to split.", "Run a gradient method."
        )
    corpus = read_corpus(part(opened, "corpus"))
    if missing := set(example_ids) - set(corpus.ids):
        raise SettingsError(
            f"{directory} has no example `{min(missing)}`.", "Choose one of its corpus."
        )
    with progress.task("Splitting", total=len(example_ids), unit="examples") as task:
        model = run_model(opened, run.study)
        rows = query_gradients(
            model,
            make_queries(
                [behavior],
                model.tokenizer,
                contrast=run.study.attribution.contrast,
                context_length=model.context_length,
            ),
            modules=tuple(run.coverage.modules),
            token_batch_size=run.study.index.token_batch_size,
        )
        gradient = {name: row[0] for name, row in rows.items()}
        found = {}
        for example_id, row in zip(example_ids, corpus.rows(example_ids), strict=True):
            found[example_id] = split(model, gradient, corpus.input_ids(row))
            task.advance(1)
    return found
