"""Log-probabilities of a behavior's completions, alternatives and controls, and their margins."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from whence.behaviors.measure import measure
from whence.behaviors.query import Pair, encode_completions
from whence.progress import SILENT, Progress
from whence.records import Behavior, LoadedModel, Measured
from whence.statistics import MEAN_RESAMPLES, Interval, bootstrap_mean


class Reading(NamedTuple):
    """One prompt's completion, and the alternatives after the same prompt."""

    completion: Measured
    alternatives: tuple[Measured, ...]


class Readings(NamedTuple):
    """What a model makes of one behavior.

    `prompts` has the behavior's own prompt first and then its paraphrases; `controls` has the
    completion after each control.
    """

    prompts: tuple[Reading, ...]
    controls: tuple[Measured, ...]

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
    progress: Progress = SILENT,
) -> Mapping[str, Readings]:
    """Measures every completion, alternative and control of some behaviors.

    Args:
        behaviors: Their ids are unique.
        model: The model that is measured.
        like: The model whose tokenizer and context decide the tokens, so that a step-0 model is
            measured on exactly the same.
        progress: Reports progress.

    Returns:
        Readings by behavior id.

    Raises:
        BehaviorError: A behavior cannot be encoded.
        ModelError: The model gives NaN or infinite values on a behavior, which is named.
    """
    pairs: list[Pair] = []
    names: list[str] = []
    for behavior in behaviors:
        for prompt, completions in _prompts(behavior):
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
        rows = [[next(measured) for _ in completions] for _, completions in _prompts(behavior)]
        num_prompts = 1 + len(behavior.paraphrases)
        readings[behavior.id] = Readings(
            prompts=tuple(Reading(row[0], tuple(row[1:])) for row in rows[:num_prompts]),
            controls=tuple(row[0] for row in rows[num_prompts:]),
        )
    return readings


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

    def size(measured: Measured) -> float:
        return measured.log_prob_nats / (len(measured.tokens) if per_token else 1)

    per_prompt = tuple(
        size(reading.completion) - max(size(other) for other in reading.alternatives)
        for reading in readings.prompts
    )
    return Margins(
        per_prompt,
        sum(per_prompt) / len(per_prompt),
        bootstrap_mean(per_prompt, seed=seed, num_resamples=MEAN_RESAMPLES, confidence=confidence),
        confidence,
        per_token,
    )


def _prompts(behavior: Behavior) -> list[tuple[str | None, list[str | None]]]:
    """Lists each prompt with the completions asked after it; None is the behavior's own."""
    completions = [None, *behavior.alternatives]
    prompts: list[tuple[str | None, list[str | None]]] = [(None, completions)]
    prompts += [(text, completions) for text in behavior.paraphrases]
    return prompts + [(text, [None]) for text in behavior.controls]
