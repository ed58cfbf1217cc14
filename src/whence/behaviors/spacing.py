"""Whether a completion lacks the space that belongs before its first word.

Tokenizers of language models write a space as part of the next word, so "Paris" and " Paris" are
different tokens with different, often opposite, gradients. What was meant cannot be known; that the
model finds the other spelling likelier can be measured.
"""

from whence.behaviors.measure import measure
from whence.behaviors.query import encode_pair
from whence.errors import WhenceError
from whence.records import Behavior, LoadedModel

# Of the difference in log-probability; less is no sign of a slip.
_MIN_GAP_NATS = 1.0


def spacing_note(behavior: Behavior, model: LoadedModel) -> str | None:
    """Compares a completion with its spelling that has one space between prompt and completion.

    Args:
        behavior: Its own prompt and completion count; one that is known by its tokens is as it is.
        model: The model that is to say the completion.

    Returns:
        One sentence with both log-probabilities and one with the remedy, where the completion and
        the prompt do not have exactly one space between two words and the model finds the spelling
        that has it likelier by at least 1 nat; None otherwise.

    Cost:
        One forward pass over two short sequences, where the spelling differs at all.
    """
    prompt, completion = behavior.prompt, behavior.completion
    if behavior.completion_ids is not None or not prompt.strip() or not completion.strip():
        return None
    bare, word = prompt.rstrip(" "), completion.lstrip(" ")
    if not word[:1].isalnum() or bare[-1:].isspace():
        return None
    if (prompt, completion) == (bare, f" {word}"):
        return None
    try:
        pairs = [
            encode_pair(model.tokenizer, prompt, completion),
            encode_pair(model.tokenizer, bare, f" {word}"),
        ]
        if not all(pair.prompt_ids for pair in pairs):
            return None
        if max(len(pair.prompt_ids) + len(pair.completion_ids) for pair in pairs) > (
            model.context_length
        ):
            return None
        own, other = (found.log_prob_nats for found in measure(model, pairs))
    except WhenceError:
        return None  # Whoever verifies or attributes the completion itself names what is wrong.
    if other - own < _MIN_GAP_NATS:
        return None
    wrong = (
        "the prompt ends with a space"
        if prompt != bare
        else "the completion starts without a space"
        if completion == word
        else "the completion starts with several spaces"
    )
    remedy = f"Write the completion {_quoted(f' {word}')}"
    if prompt != bare:
        remedy += " and no space at the end of the prompt"
    return (
        f"With exactly one space between prompt and completion the model finds the completion "
        f"likelier ({other:.2f} nats instead of {own:.2f}), and {wrong}. {remedy}, if that is "
        "meant."
    )


def _quoted(text: str) -> str:
    return f'"{text if len(text) <= 60 else text[:59] + "…"}"'
