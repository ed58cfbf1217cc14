"""Token log-probabilities of completions."""

from collections.abc import Sequence

from whence.behaviors.query import Pair, encode_completions, token_texts
from whence.errors import BehaviorError, ModelError
from whence.models.forward import TOKEN_BATCH_SIZE, token_log_probs, vocabulary_size
from whence.progress import SILENT, Progress
from whence.records import Behavior, LoadedModel, Measured


def measure_own(model: LoadedModel, behaviors: Sequence[Behavior]) -> list[Measured]:
    """Measures each behavior's own completion after its own prompt, as `measure` does."""
    pairs = [
        encode_completions(
            behavior, model.tokenizer, completions=[None], context_length=model.context_length
        )[0]
        for behavior in behaviors
    ]
    return measure(model, pairs, names=[behavior.id for behavior in behaviors])


def measure(
    model: LoadedModel,
    pairs: Sequence[Pair],
    *,
    token_batch_size: int = TOKEN_BATCH_SIZE,
    names: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> list[Measured]:
    """Measures how likely a model finds each completion after its prompt.

    Log-probabilities are those of `models.forward.token_log_probs`.

    Args:
        model: The model; put into evaluation mode while it is measured.
        pairs: Prompts of at least one token and completions of at least one.
        token_batch_size: Tokens in a batch, padding included.
        names: Names of the pairs, for messages.
        progress: Reports progress.

    Returns:
        One record per pair, in order. Log-probabilities are in nats and at most 0. A token's rank
        is 1 plus the number of *other* tokens that are at least as likely: a tie counts against it,
        so that rank 1 does not depend on how ties are broken.

    Raises:
        ModelError: The model gives NaN or infinite values, or knows fewer tokens than requested.
        BehaviorError: A prompt or a completion is empty.
    """
    labels = _names(names, len(pairs))
    check_ids(model, [pair.prompt_ids + pair.completion_ids for pair in pairs], names=labels)
    for pair, name in zip(pairs, labels, strict=True):
        if not pair.prompt_ids or not pair.completion_ids:
            raise BehaviorError(
                f"{name} has an empty prompt or completion.", "Give each at least one token."
            )
    name = f"Measure completions with {model.label}"
    with progress.task(name, total=len(pairs), unit="completions") as task:
        found = token_log_probs(
            model,
            [pair.prompt_ids + pair.completion_ids for pair in pairs],
            [len(pair.prompt_ids) for pair in pairs],
            token_batch_size=token_batch_size,
            names=labels,
            advance=task.advance,
        )
    return [
        Measured(
            tokens=token_texts(model.tokenizer, pair.completion_ids),
            log_probs_nats=tuple(part.log_probs_nats.tolist()),
            ranks=tuple(part.ranks.tolist()),
        )
        for pair, part in zip(pairs, found, strict=True)
    ]


def check_ids(model: LoadedModel, sequences: Sequence[Sequence[int]], *, names: list[str]) -> None:
    """Refuses ids that the model has no embedding for.

    Raises:
        ModelError: The tokenizer is not the model's.
    """
    size = vocabulary_size(model)
    for ids, name in zip(sequences, names, strict=True):
        if ids and not 0 <= min(ids) <= max(ids) < size:
            raise ModelError(
                f"{name} has the token id {max(ids)}, but {model.label} knows only {size} tokens.",
                "Use the tokenizer that the model was trained with.",
            )


def _names(names: Sequence[str] | None, num: int) -> list[str]:
    return [f"sequence {i}" for i in range(num)] if names is None else list(names)
