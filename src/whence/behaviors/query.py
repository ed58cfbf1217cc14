"""The tokens of a behavior whose loss is attributed.

Only the completion's tokens count: the prompt is what the model was given, not what it did. This
is the one module that turns a behavior's texts into ids; verification and attribution both use it,
so that what is verified is what is attributed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from whence.errors import BehaviorError
from whence.records import Behavior, Query, Term

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Encoded alone, a text may get a space in front (SentencePiece), so a completion that cannot be
# cut out of the joint encoding is encoded behind one of these, which are then taken off.
_SENTINELS = ("\n", ".", "a")


class Pair(NamedTuple):
    """The tokens of a prompt and of a completion that follows it."""

    prompt_ids: list[int]
    completion_ids: list[int]


def encode_pair(tokenizer: "PreTrainedTokenizerBase", prompt: str, completion: str) -> Pair:
    """Encodes a completion as the model met it in training: joined to its prompt.

    Where the prompt's ids begin the ids of the joint text, the rest is the completion. Otherwise a
    token would straddle the border ("a " + "b" as "a", " b"); then the completion is encoded by
    itself, so that the prompt keeps its own ids and no completion token holds a piece of prompt.

    Args:
        tokenizer: The model's tokenizer.
        prompt: May be empty.
        completion: The text whose loss counts.

    Returns:
        The prompt's ids, with the beginning-of-text token only where the tokenizer adds one and
        never an end-of-text token behind it; and the completion's ids, at least one.

    Raises:
        BehaviorError: The completion has no tokens.
    """
    lead = leading_ids(tokenizer)
    prompt_ids = lead + _bare(tokenizer, prompt)
    joint = lead + _bare(tokenizer, prompt + completion)
    n = len(prompt_ids)
    if joint[:n] == prompt_ids:
        completion_ids = joint[n:]
    else:
        completion_ids = _encode_behind(tokenizer, prompt_ids, completion, joint=joint)
    if not completion_ids:
        raise BehaviorError(
            f"The completion {completion!r} after the prompt {prompt!r} has no tokens.",
            "Write a completion that the tokenizer does not drop.",
        )
    return Pair(prompt_ids, completion_ids)


def encode_completions(
    behavior: Behavior,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    completions: Sequence[str | None],
    context_length: int,
    prompt: str | None = None,
) -> list[Pair]:
    """Encodes one prompt with several completions that shall be compared.

    Args:
        behavior: The behavior; its `prompt_ids` and `completion_ids` go before its texts.
        tokenizer: The model's tokenizer.
        completions: Texts; None stands for the behavior's own completion.
        context_length: Tokens that the model can see. A prompt that is too long loses tokens from
            its left, but keeps a leading beginning-of-text token; it loses the same ones for every
            completion, so that these stay comparable.
        prompt: A paraphrase or control; None stands for the behavior's own prompt.

    Returns:
        One pair per completion. Each prompt has at least one token: where there is no prompt and
        no beginning-of-text token, a completion's first token serves as its prompt, because nothing
        predicts it.

    Raises:
        BehaviorError: A completion has no tokens, does not fit the context, or has nothing before
            it; or an id is not one of the tokenizer's.
    """
    encoded = [_encode(behavior, tokenizer, prompt=prompt, completion=c) for c in completions]
    pairs = [_with_something_before(pair, behavior_id=behavior.id) for pair in encoded]
    longest = max(len(pair.completion_ids) for pair in pairs)
    if longest >= context_length:
        raise BehaviorError(
            f"Behavior {behavior.id!r} has a completion of {longest} tokens, which leaves no room "
            f"for a prompt in a context of {context_length}.",
            "Shorten the completion.",
        )
    room = context_length - longest
    return [
        Pair(cut_prompt(tokenizer, pair.prompt_ids, room=room), pair.completion_ids)
        for pair in pairs
    ]


def cut_sentence(
    behavior: Behavior, tokenizer: "PreTrainedTokenizerBase", *, context_length: int
) -> str:
    """Says what a prompt lost from its left because it is too long; empty where nothing."""
    whole = _encode(behavior, tokenizer, prompt=None, completion=None).prompt_ids
    [pair] = encode_completions(
        behavior, tokenizer, completions=[None], context_length=context_length
    )
    kept = len(pair.prompt_ids)
    if kept >= len(whole):
        return ""
    return (
        f"Of its prompt's {len(whole):,} tokens only the last {kept:,} fit the model's context of "
        f"{context_length:,}."
    )


def make_query(
    behavior: Behavior,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    contrast: bool,
    context_length: int,
) -> Query:
    """Makes the loss that stands for a behavior: that of the completion's tokens only.

    Args:
        behavior: What the model did.
        tokenizer: The tokenizer of the model that is attributed.
        contrast: Subtract the loss of the first alternative, where there is one.
        context_length: Tokens that the model can see.

    Returns:
        A query whose loss is in nats, summed over the completion's tokens: lower means that the
        model does it more. A contrast's loss is minus the log-odds of the completion against the
        alternative. `text` is prompt and completion, for the methods that read text.

    Raises:
        BehaviorError: The behavior cannot be encoded for this model; see `encode_completions`.
    """
    completions: list[str | None] = [None]
    if contrast and behavior.alternatives:
        completions.append(behavior.alternatives[0])
    pairs = encode_completions(
        behavior, tokenizer, completions=completions, context_length=context_length
    )
    terms = tuple(
        Term((*pair.prompt_ids, *pair.completion_ids), len(pair.prompt_ids), weight)
        for pair, weight in zip(pairs, (1.0, -1.0), strict=False)
    )
    text = prompt_text(behavior, tokenizer) + completion_text(behavior, tokenizer)
    return Query(id=behavior.id, terms=terms, text=text)


def prompt_text(behavior: Behavior, tokenizer: "PreTrainedTokenizerBase") -> str:
    """Reads the prompt as text, also where only its ids are known."""
    return behavior.prompt or decode(tokenizer, behavior.prompt_ids or ())


def completion_text(behavior: Behavior, tokenizer: "PreTrainedTokenizerBase") -> str:
    """Reads the completion as text, also where only its ids are known."""
    return behavior.completion or decode(tokenizer, behavior.completion_ids or ())


def decode(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> str:
    """Turns ids into text and cleans nothing up, so that a text comes back as it was."""
    return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)) if ids else ""


def token_texts(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> tuple[str, ...]:
    """Labels each token with its text in the midst of a sentence.

    A SentencePiece decoder drops the space of a text's first token, so each token is decoded twice
    in a row and once, and the difference is its text. A piece of a character shows as U+FFFD.
    """
    return tuple(
        decode(tokenizer, [token, token])[len(decode(tokenizer, [token])) :] for token in ids
    )


def leading_ids(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Finds the special tokens that the tokenizer puts before a text, and only those."""
    bare, full = _bare(tokenizer, "a"), list(tokenizer.encode("a"))
    starts = range(len(full) - len(bare) + 1)
    return next((full[:i] for i in starts if full[i : i + len(bare)] == bare), [])


def cut_prompt(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int], *, room: int) -> list[int]:
    """Cuts a prompt from its left to at most `room` tokens, past any leading special tokens.

    These stay because models such as Llama never saw a text without them.
    """
    if len(ids) <= room:
        return list(ids)
    lead = leading_ids(tokenizer)
    kept = len(lead) if list(ids[: len(lead)]) == lead and len(lead) < room else 0
    return [*ids[:kept], *ids[kept + len(ids) - room :]]


def _bare(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False)) if text else []


def _encode_behind(
    tokenizer: "PreTrainedTokenizerBase",
    prompt_ids: list[int],
    completion: str,
    *,
    joint: list[int],
) -> list[int]:
    alone = _bare(tokenizer, completion)
    candidates = [alone]
    for sentinel in _SENTINELS:
        head = _bare(tokenizer, sentinel)
        ids = _bare(tokenizer, sentinel + completion)
        if ids[: len(head)] == head:
            candidates.append(ids[len(head) :])
    wanted = decode(tokenizer, joint)
    return next((c for c in candidates if decode(tokenizer, prompt_ids + c) == wanted), alone)


def _encode(
    behavior: Behavior,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    prompt: str | None,
    completion: str | None,
) -> Pair:
    if behavior.prompt_ids is None or behavior.completion_ids is None:
        return encode_pair(
            tokenizer,
            behavior.prompt if prompt is None else prompt,
            behavior.completion if completion is None else completion,
        )
    unknown = [
        i for i in (*behavior.prompt_ids, *behavior.completion_ids) if not 0 <= i < len(tokenizer)
    ]
    if unknown:
        raise BehaviorError(
            f"Behavior {behavior.id!r} has the token id {unknown[0]}, but the tokenizer knows only "
            f"0 to {len(tokenizer) - 1}.",
            "Use the ids of this model's tokenizer.",
        )
    if prompt is None:
        prompt_ids = list(behavior.prompt_ids)
        prompt = prompt_text(behavior, tokenizer)
    else:
        prompt_ids = leading_ids(tokenizer) + _bare(tokenizer, prompt)
    if completion is None:
        return Pair(prompt_ids, list(behavior.completion_ids))
    return Pair(prompt_ids, encode_pair(tokenizer, prompt, completion).completion_ids)


def _with_something_before(pair: Pair, *, behavior_id: str) -> Pair:
    prompt_ids, completion_ids = pair
    if prompt_ids:
        return pair
    if len(completion_ids) < 2:
        raise BehaviorError(
            f"Behavior {behavior_id!r} has a completion of one token and nothing before it, so "
            "nothing predicts it.",
            "Give it a prompt.",
        )
    return Pair(completion_ids[:1], completion_ids[1:])


def plain_counterparts(behaviors: Sequence[Behavior]) -> dict[str, Behavior]:
    """Makes the behaviors that say the same in plain words, for those that name such words.

    Returns:
        By the id of the behavior: the same prompt, and `plain` as the completion.
    """
    return {
        one.id: Behavior(
            id=f"plain:{one.id}", kind=one.kind, prompt=one.prompt, completion=one.plain
        )
        for one in behaviors
        if one.plain is not None
    }


def make_queries(
    behaviors: Sequence[Behavior],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    contrast: bool,
    context_length: int,
) -> tuple[Query, ...]:
    """Makes one query per behavior: with `contrast`, a contrast where there is an alternative.

    Raises:
        BehaviorError: See `make_query`.
    """
    return tuple(
        make_query(
            behavior,
            tokenizer,
            contrast=contrast and bool(behavior.alternatives),
            context_length=context_length,
        )
        for behavior in behaviors
    )
