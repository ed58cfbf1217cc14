"""Discovery of memorized passages and styles in a model's training documents.

Nobody has a list of what a model memorized, or of the styles it writes in. These functions
read the training examples and propose behaviors; `verify` still decides.
"""

from collections.abc import Sequence
from typing import TypeVar

from whence.behaviors.generate import greedy_continuations
from whence.behaviors.measure import measure
from whence.behaviors.query import Pair, decode
from whence.errors import BehaviorError
from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, LoadedModel

# Biderman et al., "Emergent and Predictable Memorization in Large Language Models", NeurIPS 2023.
NUM_PROMPT_TOKENS = 32
NUM_COMPLETION_TOKENS = 32
_BATCH = 512

T = TypeVar("T")


def find_memorized(
    model: LoadedModel,
    corpus: Corpus,
    *,
    num: int,
    num_prompt_tokens: int = NUM_PROMPT_TOKENS,
    num_completion_tokens: int = NUM_COMPLETION_TOKENS,
    progress: Progress = SILENT,
) -> tuple[Behavior, ...]:
    """Finds examples whose next tokens the model says greedily after the first ones.

    Teacher forcing decides: if every token is the likeliest one after the true ones before it, then
    greedy decoding from the prompt says exactly these tokens.

    Args:
        model: The model.
        corpus: Its training examples; shorter ones are passed over.
        num: How many to find at most. Found ones are spread over the corpus, and a continuation
            that was found before is not found again.
        num_prompt_tokens: Tokens that the model is given.
        num_completion_tokens: Tokens that it has to say.
        progress: Reports progress.

    Returns:
        Behaviors of kind `memorized`, in corpus order. Near copies of one passage may both be
        there: independent units are families of content, not behaviors.

    Source:
        The 32-token extraction of Biderman et al., NeurIPS 2023.
    """
    needed = num_prompt_tokens + num_completion_tokens
    rows = [row for row, length in enumerate(corpus.lengths) if length >= needed]
    found: dict[tuple[int, ...], tuple[int, Pair]] = {}
    with progress.task("Looking for memorized passages", total=len(rows), unit="examples") as task:
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            ids = [corpus.input_ids(row)[:needed] for row in batch]
            pairs = [Pair(i[:num_prompt_tokens], i[num_prompt_tokens:]) for i in ids]
            for row, pair, measured in zip(batch, pairs, measure(model, pairs), strict=True):
                if measured.is_greedy:
                    found.setdefault(tuple(pair.completion_ids), (row, pair))
            task.advance(len(batch))
    chosen = _spread(sorted(found.values(), key=lambda item: item[0]), num)
    return tuple(
        Behavior(
            id=f"memorized/{corpus.ids[row]}",
            kind="memorized",
            prompt=decode(model.tokenizer, pair.prompt_ids),
            completion=decode(model.tokenizer, pair.completion_ids),
            prompt_ids=tuple(pair.prompt_ids),
            completion_ids=tuple(pair.completion_ids),
            example=corpus.ids[row],
        )
        for row, pair in chosen
    )


def find_styles(
    model: LoadedModel,
    corpus: Corpus,
    *,
    num: int,
    num_prompt_tokens: int = 24,
    num_completion_tokens: int = 24,
    progress: Progress = SILENT,
) -> tuple[Behavior, ...]:
    """Proposes one behavior per opening of a subset: the model continues in the subset's style.

    The completion is what the model itself says greedily; the controls are openings of the other
    subsets, and the paraphrases are other openings of the same one.

    Args:
        model: The model.
        corpus: Its training examples, with subsets.
        num: How many to propose in all, shared evenly by the subsets.
        num_prompt_tokens: Tokens of an opening.
        num_completion_tokens: Tokens of the completion.
        progress: Reports progress.

    Returns:
        Behaviors of kind `style`; their `style` is the subset.

    Raises:
        BehaviorError: The corpus has fewer than two subsets to tell apart.
    """
    openings: dict[str, list[int]] = {}
    for row, subset in enumerate(corpus.table.column("subset").to_pylist()):
        if subset is not None and corpus.lengths[row] >= num_prompt_tokens:
            openings.setdefault(subset, []).append(row)
    if len(openings) < 2:
        raise BehaviorError(
            f"{len(openings)} of the subsets of {corpus.name} have an example of "
            f"{num_prompt_tokens} tokens or more, so no style can be told from another.",
            "Name the column that tells them apart with `corpus.subset_column`, or read longer "
            "documents.",
        )
    each = -(-num // len(openings))
    proposed = []
    for subset, rows in sorted(openings.items()):
        controls = [
            _spread(other, 1)[0] for name, other in sorted(openings.items()) if name != subset
        ]
        for row in _spread(rows, each):
            others = [r for r in _spread(rows, 4) if r != row][:3]
            proposed.append((subset, row, others, controls[:4]))
    prompts = [tuple(corpus.input_ids(row)[:num_prompt_tokens]) for _, row, _, _ in proposed]
    continuations = greedy_continuations(
        model, prompts, num_tokens=num_completion_tokens, progress=progress
    )

    def opening(row: int) -> str:
        return decode(model.tokenizer, corpus.input_ids(row)[:num_prompt_tokens])

    return tuple(
        Behavior(
            id=f"style/{subset}/{corpus.ids[row]}",
            kind="style",
            prompt=opening(row),
            completion=decode(model.tokenizer, continuation.token_ids),
            prompt_ids=prompt,
            completion_ids=tuple(continuation.token_ids),
            paraphrases=tuple(opening(other) for other in others),
            controls=tuple(opening(control) for control in controls),
            style=subset,
            example=corpus.ids[row],
        )
        for (subset, row, others, controls), prompt, continuation in zip(
            proposed, prompts, continuations, strict=True
        )
        if continuation.token_ids
    )[:num]


def _spread(items: Sequence[T], num: int) -> list[T]:
    """Takes `num` items at even distances, or all."""
    if len(items) <= num:
        return list(items)
    return [items[i * len(items) // num] for i in range(num)]
