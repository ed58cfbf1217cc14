"""Log-probabilities of a behavior's completions, alternatives and controls, and their margins."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from whence.behaviors.counterparts import last_word
from whence.behaviors.measure import measure
from whence.behaviors.query import Pair, encode_completions
from whence.progress import SILENT, Progress
from whence.records import Behavior, LoadedModel, Measured
from whence.statistics import MEAN_RESAMPLES, Interval, bootstrap_mean

_Role = Literal["prompt", "control", "counterpart", "last word"]


class Reading(NamedTuple):
    """One prompt's completion, and the alternatives after the same prompt."""

    completion: Measured
    alternatives: tuple[Measured, ...]


class Readings(NamedTuple):
    """What a model makes of one behavior.

    `prompts` has the behavior's own prompt first and then its paraphrases; `controls` has the
    completion after each control. `counterparts` has what follows the same sentence about another
    group, and `last_word` what follows the prompt's last word alone, where they are asked for.
    """

    prompts: tuple[Reading, ...]
    controls: tuple[Measured, ...]
    counterparts: tuple[Reading, ...] = ()
    last_word: Reading | None = None

    @property
    def main(self) -> Reading:
        """What follows the behavior's own prompt."""
        return self.prompts[0]

    @property
    def control_gap_nats(self) -> float | None:
        """The completion's log-probability after the prompt minus its mean after the controls."""
        if not self.controls:
            return None
        mean = sum(m.log_prob_nats for m in self.controls) / len(self.controls)
        return self.main.completion.log_prob_nats - mean


class Margins(NamedTuple):
    """By how much the completion leads the likeliest alternative, in nats; positive is a lead.

    `per_token` says that the log-probabilities were divided by their number of tokens, because the
    texts compared have different ones: a longer text is less likely whatever it says.
    """

    per_prompt: tuple[float, ...]
    mean: float
    interval: Interval | None
    confidence: float
    per_token: bool

    @property
    def unit(self) -> str:
        """The unit in words."""
        return "nats per token" if self.per_token else "nats"


def read(
    behaviors: Sequence[Behavior],
    model: LoadedModel,
    *,
    like: LoadedModel,
    counterparts: Mapping[str, Sequence[str]] | None = None,
    progress: Progress = SILENT,
) -> Mapping[str, Readings]:
    """Measures every completion, alternative and control of some behaviors.

    Args:
        behaviors: Their ids are unique.
        model: The model that is measured.
        like: The model whose tokenizer and context decide the tokens, so that a step-0 model is
            measured on exactly the same.
        counterparts: Prompts about other groups, for the behaviors that are compared with such;
            of these the prompt's last word is measured, too.
        progress: Reports progress.

    Returns:
        Readings by behavior id.

    Raises:
        BehaviorError: A behavior cannot be encoded.
        ModelError: The model gives NaN or infinite values on a behavior, which is named.
    """
    pairs: list[Pair] = []
    names: list[str] = []
    asked = {b.id: _prompts(b, (counterparts or {}).get(b.id)) for b in behaviors}
    for behavior in behaviors:
        for _, prompt, completions in asked[behavior.id]:
            pairs += encode_completions(
                behavior,
                like.tokenizer,
                completions=completions,
                context_length=like.context_length,
                prompt=prompt,
            )
            names += [f"behavior {behavior.id!r}"] * len(completions)
    measured = iter(measure(model, pairs, names=names, progress=progress))
    readings = {}
    for behavior in behaviors:
        rows: dict[_Role, list[Reading]] = {role: [] for role in get_args(_Role)}
        for role, _, completions in asked[behavior.id]:
            row = [next(measured) for _ in completions]
            rows[role].append(Reading(row[0], tuple(row[1:])))
        readings[behavior.id] = Readings(
            prompts=tuple(rows["prompt"]),
            controls=tuple(one.completion for one in rows["control"]),
            counterparts=tuple(rows["counterpart"]),
            last_word=next(iter(rows["last word"]), None),
        )
    return readings


def lead_of(reading: Reading, *, per_token: bool = False) -> float:
    """Computes the completion's lead over the likeliest alternative after one prompt.

    Returns:
        In nats, or in nats per token; without alternatives, the completion's log-probability.
    """

    def size(measured: Measured) -> float:
        return measured.log_prob_nats / (len(measured.tokens) if per_token else 1)

    return size(reading.completion) - max((size(o) for o in reading.alternatives), default=0.0)


def margins(readings: Readings, *, confidence: float, seed: int) -> Margins | None:
    """Computes the completion's lead over the likeliest alternative, prompt by prompt.

    Args:
        readings: What a model makes of a behavior.
        confidence: Of the interval of the mean.
        seed: Of the bootstrap over prompts.

    Returns:
        Leads in nats, or in nats per token where completion and alternatives differ in length;
        None where there are no alternatives.
    """
    if not readings.main.alternatives:
        return None
    per_token = any(
        len(other.tokens) != len(reading.completion.tokens)
        for reading in readings.prompts
        for other in reading.alternatives
    )

    per_prompt = tuple(lead_of(reading, per_token=per_token) for reading in readings.prompts)
    return Margins(
        per_prompt,
        sum(per_prompt) / len(per_prompt),
        bootstrap_mean(per_prompt, seed=seed, num_resamples=MEAN_RESAMPLES, confidence=confidence),
        confidence,
        per_token,
    )


class _Prompt(NamedTuple):
    """A prompt and the completions that are measured after it; None is the behavior's own."""

    role: _Role
    text: str | None
    completions: list[str | None]


def _prompts(behavior: Behavior, counterparts: Sequence[str] | None) -> list[_Prompt]:
    """Lists each prompt with the completions asked after it."""
    completions: list[str | None] = [None, *behavior.alternatives]
    prompts = [_Prompt("prompt", text, completions) for text in (None, *behavior.paraphrases)]
    prompts += [_Prompt("control", text, [None]) for text in behavior.controls]
    if counterparts is not None:
        prompts += [_Prompt("counterpart", text, completions) for text in counterparts]
        if (word := last_word(behavior.prompt)) is not None:
            prompts.append(_Prompt("last word", word, completions))
    return prompts
