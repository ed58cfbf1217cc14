"""Batches of similar length, next-token log-probabilities and continuations: the one forward pass.

Sequences that may share a batch (`probe.company`) and are about equally long do, so that little of
it is padding. Whoever reads sequences through a model comes here; for the gradients of a batch see
`gradients.passes.capture`, for the passes of training, which follow the optimizer's batches, see
`training.trainer`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from whence.errors import ModelError
from whence.models.decoding import Choose, by_generate, with_cache, without_cache
from whence.models.network import (
    IGNORED,
    Padded,
    all_hidden_states,
    evaluating,
    evaluation_mode,
    last_hidden_states,
    logits,
    model_device,
    pad,
    text_config,
    token_losses,
    vocabulary_size,
)
from whence.models.probe import ANY, Company, company, decoding
from whence.records import LoadedModel

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = [
    "ANY",
    "IGNORED",
    "LOGIT_BATCH_SIZE",
    "TOKEN_BATCH_SIZE",
    "Company",
    "Padded",
    "TokenLogProbs",
    "affordable_tokens",
    "all_hidden_states",
    "batches_by_length",
    "check_finite",
    "company",
    "continue_prompts",
    "evaluating",
    "evaluation_mode",
    "last_hidden_states",
    "logits",
    "model_device",
    "num_words",
    "pad",
    "text_config",
    "token_log_probs",
    "token_losses",
    "vocabulary_size",
]

TOKEN_BATCH_SIZE = 8192
# Logits held at once: 256 MB in float32, whatever the vocabulary.
LOGIT_BATCH_SIZE = 2**26
MAX_LOGITS_BYTES = 512 * 2**20


class TokenLogProbs(NamedTuple):
    """What a model makes of some tokens of a sequence, given those before each.

    `log_probs_nats` are at most 0. A token's rank is 1 plus the number of *other* tokens that are
    at least as likely: a tie counts against it, so that rank 1 does not depend on how ties are
    broken.
    """

    log_probs_nats: "Float[Tensor, ' tokens']"
    ranks: "Int[Tensor, ' tokens']"


def batches_by_length(
    lengths: "Sequence[int] | NDArray[np.int64]",
    *,
    token_batch_size: int,
    max_sequences: int | None = None,
    company: Company = ANY,
) -> "list[NDArray[np.int64]]":
    """Groups sequences by length, longest first, so that a batch that does not fit fails at once.

    Args:
        lengths: Tokens per sequence.
        token_batch_size: The most tokens of a batch, padding included. A sequence that is longer
            runs alone.
        max_sequences: The most sequences of a batch.
        company: Which sequences may share a batch.

    Returns:
        The rows of each batch. A sequence of fewer than two tokens has nothing to predict and is
        in none.
    """
    import numpy as np

    lengths = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] >= 2]
    batches, start = [], 0
    while start < len(order):
        longest = int(lengths[order[start]])
        size = max(1, token_batch_size // longest)
        size = min(size, max_sequences or size)
        if not company.admits(longest - 1, longest):
            same = np.searchsorted(-lengths[order], -longest, side="right") - start
            size = 1 if company.alone else min(size, int(same))
        batches.append(order[start : start + size])
        start += size
    return batches


def affordable_tokens(model: LoadedModel, token_batch_size: int) -> int:
    """Limits a batch so that its logits in float32 take no more than `MAX_LOGITS_BYTES`."""
    return min(token_batch_size, max(2, MAX_LOGITS_BYTES // (4 * num_words(model))))


def num_words(model: LoadedModel) -> int:
    """Counts the tokens that the configuration says the model knows."""
    return int(text_config(model).vocab_size)


def token_log_probs(
    model: LoadedModel,
    sequences: Sequence[Sequence[int]],
    num_given: Sequence[int],
    *,
    token_batch_size: int = TOKEN_BATCH_SIZE,
    names: Sequence[str] | None = None,
    advance: Callable[[int], None] = lambda _num: None,
) -> list[TokenLogProbs]:
    """Computes how likely a model finds the tokens of each sequence after the given ones.

    Log-probabilities are computed in float32, whatever the model's own type.

    Args:
        model: The model; in evaluation mode during the call.
        sequences: Token ids, longer than what is given.
        num_given: How many tokens at the start of each are given; at least one.
        token_batch_size: Tokens in a batch, padding included.
        names: Names of the sequences, for messages.
        advance: Called with the number of sequences of each batch.

    Returns:
        One record per sequence, in order.

    Raises:
        ModelError: The model gives NaN or infinite values, or does not behave (`probe`).
    """
    labels = [f"sequence {i}" for i in range(len(sequences))] if names is None else list(names)
    found: dict[int, TokenLogProbs] = {}
    batches = _batches_by_prompt(
        [len(ids) for ids in sequences],
        num_given,
        token_batch_size,
        vocabulary=vocabulary_size(model),
        company=company(model),
    )
    with evaluating(model.model):
        for rows in batches:
            measured = _log_probs(
                model,
                [sequences[row] for row in rows],
                [num_given[row] for row in rows],
                [labels[row] for row in rows],
            )
            found.update(zip(rows, measured, strict=True))
            advance(len(rows))
    return [found[row] for row in range(len(sequences))]


def continue_prompts(
    model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    num_tokens: int,
    num_copies: int,
    choose: Choose,
    names: Sequence[str],
) -> list[list[int]]:
    """Adds tokens to copies of prompts of one length.

    Args:
        model: The model; in evaluation mode during the call.
        prompts: Token ids, equally many each.
        num_tokens: Tokens to add.
        num_copies: Continuations of each prompt, which stand together.
        choose: Chooses each row's next token from a step's logits, which are finite.
        names: Names of the prompts, for messages.

    Returns:
        `num_tokens` ids per copy.

    Raises:
        ModelError: The model gives NaN or infinite values, or does not behave (`probe`).
    """
    labels = [name for name in names for _ in range(num_copies)]
    limits, how = company(model), decoding(model)

    def checked(step: int, found: "Tensor") -> "Tensor":
        check_finite(found.logsumexp(dim=-1), names=labels, model=model)
        return choose(step, found)

    # Past that length positions change for the tokens before, too, which our cache does not know.
    if how == "cache" and not limits.admits(0, len(prompts[0]) + num_tokens):
        how = "generate"
    run = {"cache": with_cache, "full": without_cache}.get(how, by_generate)
    with evaluating(model.model):
        return run(
            model, prompts, num_tokens=num_tokens, num_copies=num_copies, choose=checked
        ).tolist()


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


def _batches_by_prompt(
    lengths: Sequence[int],
    num_given: Sequence[int],
    token_batch_size: int,
    *,
    vocabulary: int,
    company: Company,
) -> Iterator[list[int]]:
    """Groups rows of similar shape, so that padding and logits without use stay few."""

    def bound(row: int) -> int:
        return 0 if company.admits(0, lengths[row]) else lengths[row]

    order = sorted(
        range(len(lengths)),
        key=lambda row: (bound(row), num_given[row], lengths[row] - num_given[row]),
    )
    rows: list[int] = []
    shortest = longest = 0
    for row in order:
        # Rows come by the length of their prompt, so the first of a batch has the shortest.
        first = min(shortest, num_given[row]) if rows else num_given[row]
        last = max(longest if rows else 0, lengths[row])
        num_tokens = (len(rows) + 1) * last
        num_logits = (len(rows) + 1) * (last - first) * vocabulary
        fits = num_tokens <= token_batch_size and num_logits <= LOGIT_BATCH_SIZE
        admitted = all(company.admits(*sorted((lengths[other], last))) for other in rows[:1])
        if rows and not (fits and admitted):
            yield rows
            rows, first, last = [], num_given[row], lengths[row]
        shortest, longest = first, last
        rows.append(row)
    if rows:
        yield rows


def _log_probs(
    model: LoadedModel,
    sequences: list[Sequence[int]],
    num_given: list[int],
    names: list[str],
) -> list[TokenLogProbs]:
    import torch

    device = model.model.device
    ids = pad(sequences).input_ids
    # Position t predicts token t + 1, so the logits from the shortest prompt's last token on do.
    first = min(num_given) - 1
    positions = torch.arange(first, ids.shape[1] - 1, device=device)
    found = logits(model.model, ids.to(device), positions=positions)
    measured = []
    for row, (sequence, given) in enumerate(zip(sequences, num_given, strict=True)):
        start = given - 1 - first
        targets = torch.tensor(sequence[given:], device=device)
        own = found[row, start : start + len(targets)].float()
        chosen = own.gather(1, targets[:, None])
        # Not finite wherever a logit is NaN or plus infinity, or the token's own is minus infinity.
        log_probs = chosen[:, 0] - own.logsumexp(dim=-1)
        check_finite(log_probs, names=[names[row]] * len(targets), model=model)
        # The token itself is among those that are at least as likely.
        ranks = (own >= chosen).sum(dim=-1)
        measured.append(TokenLogProbs(log_probs.clamp(max=0.0), ranks))
    return measured
