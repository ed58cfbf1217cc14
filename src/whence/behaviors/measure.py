"""How likely does a model find a completion, token by token?"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from whence.behaviors.query import Pair, encode_completions, token_texts
from whence.errors import BehaviorError, ModelError
from whence.progress import SILENT, Progress
from whence.records import Behavior, LoadedModel, Measured

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel

TOKEN_BATCH_SIZE = 8192
# Logits held at once: 256 MB in float32, whatever the vocabulary.
LOGIT_BATCH_SIZE = 2**26


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

    Sequences of similar length share a batch. They are padded on the right, where a causal model
    does not look, so no mask is needed. Log-probabilities are computed in float32, whatever the
    model's own type.

    Args:
        model: The model; put into evaluation mode while it is measured.
        pairs: Prompts of at least one token and completions of at least one.
        token_batch_size: Tokens in a batch, padding included.
        names: Names of the pairs, for messages.
        progress: Told of each completion.

    Returns:
        One record per pair, in order. Log-probabilities are in nats and at most 0. A token's rank
        is 1 plus the number of *other* tokens that are at least as likely: a tie counts against it,
        so that rank 1 does not depend on how ties are broken.

    Raises:
        ModelError: The model gives NaN or infinite values, or knows fewer tokens than are asked.
        BehaviorError: A prompt or a completion is empty.
    """
    labels = _names(names, len(pairs))
    check_ids(model, [pair.prompt_ids + pair.completion_ids for pair in pairs], names=labels)
    for pair, name in zip(pairs, labels, strict=True):
        if not pair.prompt_ids or not pair.completion_ids:
            raise BehaviorError(
                f"{name} has an empty prompt or completion.", "Give each at least one token."
            )
    measured: dict[int, Measured] = {}
    name = f"Measure completions with {model.label}"
    with (
        evaluating(model.model),
        progress.task(name, total=len(pairs), unit="completions") as task,
    ):
        for rows in _batches(pairs, token_batch_size, vocabulary=vocabulary_size(model)):
            batch = [pairs[row] for row in rows]
            measured.update(
                zip(rows, _measure(model, batch, [labels[r] for r in rows]), strict=True)
            )
            task.advance(len(rows))
    return [measured[row] for row in range(len(pairs))]


@contextmanager
def evaluating(model: "PreTrainedModel") -> Iterator[None]:
    """Switches dropout and gradients off, and back to what they were."""
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def vocabulary_size(model: LoadedModel) -> int:
    """Counts the tokens that the model has an embedding for, unused ones included."""
    weight: Any = model.model.get_input_embeddings().weight
    return int(weight.shape[0])


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


def check_finite(
    values: "Float[Tensor, ' rows']", *, names: Sequence[str], model: LoadedModel
) -> None:
    """Refuses a distribution that is not one.

    Args:
        values: One number per row that is not finite where the row's logits are not.
        names: Names of the rows.
        model: For the message.

    Raises:
        ModelError: A row is not finite.
    """
    bad = (~values.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise ModelError(
            f"{model.label} gives logits that are not finite on {names[bad[0]]}.",
            "Check the model's weights, or load it in float32.",
        )


def _names(names: Sequence[str] | None, num: int) -> list[str]:
    return [f"sequence {i}" for i in range(num)] if names is None else list(names)


def _batches(
    pairs: Sequence[Pair], token_batch_size: int, *, vocabulary: int
) -> Iterator[list[int]]:
    """Groups rows of similar shape, so that padding and logits without use stay few."""
    order = sorted(
        range(len(pairs)), key=lambda r: (len(pairs[r].prompt_ids), len(pairs[r].completion_ids))
    )
    rows: list[int] = []
    shortest = longest = 0
    for row in order:
        prompt_ids, completion_ids = pairs[row]
        # Rows come by the length of their prompt, so the first of a batch has the shortest.
        shortest = shortest if rows else len(prompt_ids)
        longest = max(longest if rows else 0, len(prompt_ids) + len(completion_ids))
        num_tokens = (len(rows) + 1) * longest
        num_logits = (len(rows) + 1) * (longest - shortest) * vocabulary
        if rows and (num_tokens > token_batch_size or num_logits > LOGIT_BATCH_SIZE):
            yield rows
            rows, shortest, longest = [], len(prompt_ids), len(prompt_ids) + len(completion_ids)
        rows.append(row)
    if rows:
        yield rows


def _measure(model: LoadedModel, pairs: list[Pair], names: list[str]) -> list[Measured]:
    import torch

    width = max(len(p.prompt_ids) + len(p.completion_ids) for p in pairs)
    ids = torch.zeros((len(pairs), width), dtype=torch.long)
    for row, pair in enumerate(pairs):
        sequence = pair.prompt_ids + pair.completion_ids
        ids[row, : len(sequence)] = torch.tensor(sequence)
    # Position t predicts token t + 1, so the logits from the shortest prompt's last token on do.
    first = min(len(p.prompt_ids) for p in pairs) - 1
    device = model.model.device
    logits = model.model(
        input_ids=ids.to(device),
        use_cache=False,
        logits_to_keep=torch.arange(first, width - 1, device=device),
    ).logits
    measured = []
    for row, pair in enumerate(pairs):
        start = len(pair.prompt_ids) - 1 - first
        targets = torch.tensor(pair.completion_ids, device=device)
        own = logits[row, start : start + len(targets)].float()
        log_probs, ranks = _likelihood(own, targets, names=[names[row]] * len(targets), model=model)
        measured.append(
            Measured(
                tokens=token_texts(model.tokenizer, pair.completion_ids),
                log_probs_nats=tuple(log_probs.tolist()),
                ranks=tuple(ranks.tolist()),
            )
        )
    return measured


def _likelihood(
    logits: "Float[Tensor, 'tokens vocabulary']",
    targets: "Int[Tensor, ' tokens']",
    *,
    names: list[str],
    model: LoadedModel,
) -> "tuple[Float[Tensor, ' tokens'], Int[Tensor, ' tokens']]":
    chosen = logits.gather(1, targets[:, None])
    # Not finite wherever a logit is NaN or plus infinity, or the token's own is minus infinity.
    log_probs = chosen[:, 0] - logits.logsumexp(dim=-1)
    check_finite(log_probs, names=names, model=model)
    # The token itself is among those that are at least as likely.
    ranks = (logits >= chosen).sum(dim=-1)
    return log_probs.clamp(max=0.0), ranks
