"""Greedy and sampled continuations of prompts.

Prompts of equal length share a batch, so nothing is ever padded, and the random numbers of a
sample belong to its prompt, so a continuation does not depend on which prompts were asked with it.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from whence.behaviors.measure import check_ids
from whence.behaviors.query import cut_prompt
from whence.errors import BehaviorError
from whence.models.forward import (
    LOGIT_BATCH_SIZE,
    TOKEN_BATCH_SIZE,
    company,
    continue_prompts,
    vocabulary_size,
)
from whence.progress import SILENT, Progress
from whence.records import LoadedModel

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class Continuation(NamedTuple):
    """What greedy decoding says, and by how little it could have said something else.

    `smallest_gap_nats` is the smallest lead of a chosen token over the next best one; other
    hardware may decide differently where it is near 0.
    """

    token_ids: tuple[int, ...]
    smallest_gap_nats: float


def greedy_continuations(
    model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    num_tokens: int,
    names: Sequence[str] | None = None,
    token_batch_size: int = TOKEN_BATCH_SIZE,
    progress: Progress = SILENT,
) -> list[Continuation]:
    """Continues each prompt with the likeliest token, again and again, on the model's own words.

    Args:
        model: The model.
        prompts: Token ids, at least one each; one that leaves no room loses tokens from its left.
        num_tokens: Tokens to add. An end-of-text token does not end it: a stored continuation may
            run over one.
        names: Names of the prompts, for messages.
        token_batch_size: Tokens in a batch.
        progress: Reports progress.

    Returns:
        One continuation of `num_tokens` tokens per prompt. Among tokens that are exactly equally
        likely the one with the lowest id is used, and the gap is 0.

    Raises:
        ModelError: The model gives NaN or infinite values, or knows fewer tokens than requested.
        BehaviorError: A prompt is empty, or `num_tokens` fill the context.
    """
    found: dict[int, Continuation] = {}
    name = f"Continue prompts with {model.label}"
    with progress.task(name, total=len(prompts), unit="prompts") as task:
        for batch in _batches(model, prompts, num_tokens, 1, names, token_batch_size):
            gaps = []

            def choose(
                _step: int, logits: "Float[Tensor, 'rows vocabulary']", gaps: "list[Tensor]" = gaps
            ) -> "Int[Tensor, ' rows']":
                best = logits.topk(2, dim=-1).values
                gaps.append(best[:, 0] - best[:, 1])
                # argmax takes the first of equals; topk's order among them is not specified.
                return logits.argmax(dim=-1)

            tokens = continue_prompts(
                model,
                batch.ids,
                num_tokens=num_tokens,
                num_copies=1,
                choose=choose,
                names=batch.names,
            )
            smallest = [min(row) for row in zip(*(gap.tolist() for gap in gaps), strict=True)]
            for row, ids, gap in zip(batch.rows, tokens, smallest, strict=True):
                found[row] = Continuation(tuple(ids), gap)
            task.advance(len(batch.rows))
    return [found[row] for row in range(len(prompts))]


def sample_continuations(
    model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    num_samples: int,
    num_tokens: int,
    temperature: float,
    seed: int,
    names: Sequence[str] | None = None,
    token_batch_size: int = TOKEN_BATCH_SIZE,
    progress: Progress = SILENT,
) -> list[list[tuple[int, ...]]]:
    """Samples continuations of each prompt from the whole distribution.

    Args:
        model: The model.
        prompts: Token ids, at least one each; one that leaves no room loses tokens from its left.
        num_samples: Continuations per prompt.
        num_tokens: Tokens to add at most; a sample ends before an end-of-text token.
        temperature: 1 samples from the model's own distribution; less is more cautious.
        seed: With a prompt's tokens it determines that prompt's samples, in any company.
        names: Names of the prompts, for messages.
        token_batch_size: Tokens in a batch.
        progress: Reports progress.

    Returns:
        For each prompt, `num_samples` sequences of at most `num_tokens` ids; one may be empty.

    Raises:
        ModelError: The model gives NaN or infinite values, or knows fewer tokens than requested.
        BehaviorError: A prompt is empty, or `num_tokens` fill the context.
    """
    import numpy as np
    import torch

    ends = _end_ids(model)
    found: dict[int, list[tuple[int, ...]]] = {}
    name = f"Sample continuations with {model.label}"
    with progress.task(name, total=len(prompts), unit="prompts") as task:
        for batch in _batches(model, prompts, num_tokens, num_samples, names, token_batch_size):
            draws = torch.from_numpy(
                np.concatenate(
                    [
                        np.random.default_rng([seed, *prompts[row]]).random(
                            (num_samples, num_tokens)
                        )
                        for row in batch.rows
                    ]
                )
            ).to(model.model.device)

            def choose(
                step: int,
                logits: "Float[Tensor, 'rows vocabulary']",
                draws: "Float[Tensor, 'rows tokens']" = draws,
            ) -> "Int[Tensor, ' rows']":
                # The inverse of the cumulative distribution; float64, for 50,000 small summands.
                cumulative = (logits.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
                u = draws[:, step : step + 1] * cumulative[:, -1:]
                chosen = torch.searchsorted(cumulative, u, right=True)[:, 0]
                return chosen.clamp(max=logits.shape[1] - 1)

            tokens = continue_prompts(
                model,
                batch.ids,
                num_tokens=num_tokens,
                num_copies=num_samples,
                choose=choose,
                names=batch.names,
            )
            for i, row in enumerate(batch.rows):
                own = tokens[i * num_samples : (i + 1) * num_samples]
                found[row] = [_until_end(ids, ends) for ids in own]
            task.advance(len(batch.rows))
    return [found[row] for row in range(len(prompts))]


class _Batch(NamedTuple):
    rows: list[int]
    ids: list[list[int]]
    names: list[str]


def _batches(
    model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    num_tokens: int,
    num_copies: int,
    names: Sequence[str] | None,
    token_batch_size: int,
) -> Iterator[_Batch]:
    """Cuts the prompts to what the context holds and groups those of equal length."""
    labels = [f"prompt {i}" for i in range(len(prompts))] if names is None else list(names)
    check_ids(model, prompts, names=labels)
    room = model.context_length - num_tokens
    if room < 1:
        raise BehaviorError(
            f"{num_tokens} tokens are requested in a context of {model.context_length}.",
            "Ask for fewer tokens.",
        )
    by_length: dict[int, list[int]] = {}
    cut = [cut_prompt(model.tokenizer, ids, room=room) for ids in prompts]
    for row, (ids, name) in enumerate(zip(cut, labels, strict=True)):
        if not ids:
            raise BehaviorError(
                f"{name} is empty, so the model has nothing to continue.",
                "Give it at least one token.",
            )
        by_length.setdefault(len(ids), []).append(row)
    vocabulary, alone = vocabulary_size(model), company(model).alone
    for length, rows in sorted(by_length.items()):
        tokens_each = (length + num_tokens) * num_copies
        size = max(
            1, min(token_batch_size // tokens_each, LOGIT_BATCH_SIZE // (vocabulary * num_copies))
        )
        size = 1 if alone else size
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            yield _Batch(chunk, [cut[r] for r in chunk], [labels[r] for r in chunk])


def _end_ids(model: LoadedModel) -> frozenset[int]:
    """Collects every id that ends a text, by the tokenizer's word and by the model's."""
    generation = getattr(model.model, "generation_config", None)
    found: set[int] = set()
    for owner in (model.tokenizer, model.model.config, generation):
        ids: Any = getattr(owner, "eos_token_id", None)
        found.update(ids if isinstance(ids, list) else [] if ids is None else [ids])
    return frozenset(found)


def _until_end(ids: list[int], ends: frozenset[int]) -> tuple[int, ...]:
    end = next((i for i, token in enumerate(ids) if token in ends), len(ids))
    return tuple(ids[:end])
