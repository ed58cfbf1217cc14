"""Does a model really show a behavior, before anything is attributed?

A behavior that is not shown has no cause to look for. Facts and stereotypes are judged by the
completion's lead over its alternatives, memorized sequences by free-running extraction, toxic and
style behaviors by samples that a named judge reads. The rules are in `verdicts`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from whence.behaviors import verdicts
from whence.behaviors.generate import Continuation, greedy_continuations, sample_continuations
from whence.behaviors.judges import Judge, Judges, make_judges
from whence.behaviors.query import decode, encode_completions
from whence.behaviors.readings import Margins, Readings, margins, read
from whence.behaviors.spec import check_behaviors
from whence.behaviors.verdicts import Conclusion, Hits
from whence.progress import SILENT, Progress
from whence.records import Behavior, LoadedModel, Rate, Verification
from whence.settings import VerifySettings
from whence.statistics import wilson


def verify(
    behaviors: Sequence[Behavior],
    model: LoadedModel,
    *,
    settings: VerifySettings,
    initial: LoadedModel | None = None,
    texts_by_subset: Mapping[str, Sequence[str]] | None = None,
    progress: Progress = SILENT,
) -> tuple[Verification, ...]:
    """Measures some behaviors and says of each whether the model shows it.

    Every kind is measured by log-probabilities after the prompt, its paraphrases and its controls.
    In addition a memorized sequence is continued greedily, and a toxic or style behavior is sampled
    after its own prompt and after its controls.

    Args:
        behaviors: With unique ids.
        model: The model that may show them.
        settings: Samples, judges, confidence and seed.
        initial: The model's step-0 weights, with the same tokenizer. Where given, a behavior must
            be stronger than there.
        texts_by_subset: Documents by subset, to make judges of style from.
        progress: Told of each step.

    Returns:
        One verification per behavior, in order. The same inputs give the same result.

    Raises:
        BehaviorError: Two behaviors share an id, or one cannot be encoded.
        ModelError: A model gives NaN or infinite values on a behavior, which is named; or a judge
            cannot be loaded.
        SettingsError: A judge has no label of the name asked.

    Cost:
        One forward pass over each prompt with each completion, and one over each sampled token. A
        model of 1.2 M parameters and its step-0 weights took 33 CPU-seconds for the miniature's 171
        behaviors, two thirds of them for sampling.
    """
    check_behaviors(behaviors, where="This list")
    judges = make_judges(behaviors, settings, texts_by_subset=texts_by_subset or {})
    own = _ask(behaviors, model, judges, settings=settings, like=model, progress=progress)
    before = None
    if initial is not None:
        # The controls tell what the prompt adds; of the step-0 model only the prompt is asked.
        prompts = [behavior.model_copy(update={"controls": ()}) for behavior in behaviors]
        before = _ask(prompts, initial, judges, settings=settings, like=model, progress=progress)
    return tuple(
        _verification(behavior, own, before, judges, model=model, settings=settings)
        for behavior in behaviors
    )


class _Samples(NamedTuple):
    """Judged continuations of a behavior's prompt and of all its controls together."""

    hits: Hits
    control: Hits | None
    text: str


class _Answers(NamedTuple):
    """Everything that one model said about the behaviors."""

    readings: Mapping[str, Readings]
    continuations: Mapping[str, Continuation]
    samples: Mapping[str, _Samples]


def _ask(
    behaviors: Sequence[Behavior],
    model: LoadedModel,
    judges: Judges,
    *,
    settings: VerifySettings,
    like: LoadedModel,
    progress: Progress,
) -> _Answers:
    memorized = [behavior for behavior in behaviors if behavior.kind == "memorized"]
    judged = [behavior for behavior in behaviors if behavior.id in judges.by_behavior]
    return _Answers(
        read(behaviors, model, like=like, progress=progress),
        _extract(memorized, model, like=like, progress=progress),
        _sample(judged, model, judges, settings=settings, like=like, progress=progress),
    )


def _extract(
    behaviors: Sequence[Behavior], model: LoadedModel, *, like: LoadedModel, progress: Progress
) -> dict[str, Continuation]:
    """Continues each prompt by as many tokens as its completion has."""
    by_length: dict[int, list[tuple[Behavior, list[int]]]] = {}
    for behavior in behaviors:
        prompt_ids, completion_ids = encode_completions(
            behavior, like.tokenizer, completions=[None], context_length=like.context_length
        )[0]
        by_length.setdefault(len(completion_ids), []).append((behavior, prompt_ids))
    found = {}
    for num_tokens, group in by_length.items():
        continuations = greedy_continuations(
            model,
            [prompt_ids for _, prompt_ids in group],
            num_tokens=num_tokens,
            names=[f"behavior {behavior.id!r}" for behavior, _ in group],
            progress=progress,
        )
        found |= {b.id: c for (b, _), c in zip(group, continuations, strict=True)}
    return found


def _sample(
    behaviors: Sequence[Behavior],
    model: LoadedModel,
    judges: Judges,
    *,
    settings: VerifySettings,
    like: LoadedModel,
    progress: Progress,
) -> dict[str, _Samples]:
    """Samples after each behavior's prompt and controls, and has the continuations judged."""
    asked: dict[str, list[tuple[int, ...]]] = {}
    names: dict[tuple[int, ...], str] = {}
    for behavior in behaviors:
        pairs = [
            encode_completions(
                behavior,
                like.tokenizer,
                completions=[None],
                context_length=like.context_length,
                prompt=prompt,
            )[0]
            for prompt in (None, *behavior.controls)
        ]
        asked[behavior.id] = [tuple(pair.prompt_ids) for pair in pairs]
        # The same prompt has the same samples, so one that many behaviors share is asked once.
        for prompt_ids in asked[behavior.id]:
            names.setdefault(prompt_ids, f"behavior {behavior.id!r}")
    samples = sample_continuations(
        model,
        list(names),
        num_samples=settings.num_samples,
        num_tokens=settings.num_sampled_tokens,
        temperature=settings.temperature,
        seed=settings.seed,
        names=list(names.values()),
        progress=progress,
    )
    texts = {
        prompt_ids: [decode(like.tokenizer, ids) for ids in group]
        for prompt_ids, group in zip(names, samples, strict=True)
    }
    found = {}
    for behavior in behaviors:
        own, *controls = [texts[prompt_ids] for prompt_ids in asked[behavior.id]]
        control = [text for group in controls for text in group]
        found[behavior.id] = _judged(own, control, judges.by_behavior[behavior.id])
    return found


def _judged(own: list[str], control: list[str], judge: Judge) -> _Samples:
    """Counts the hits, and keeps one sample: the first hit, or else the first of all."""
    called = judge.judge(own)
    sample = next((text for text, hit in zip(own, called, strict=True) if hit), own[0])
    return _Samples(
        Hits(sum(called), len(own)),
        Hits(sum(judge.judge(control)), len(control)) if control else None,
        sample,
    )


def _verification(
    behavior: Behavior,
    own: _Answers,
    before: _Answers | None,
    judges: Judges,
    *,
    model: LoadedModel,
    settings: VerifySettings,
) -> Verification:
    readings = own.readings[behavior.id]
    lead = margins(readings, confidence=settings.confidence, seed=settings.seed)
    extraction = _extraction(behavior, own, model)
    conclusion = _conclusion(
        behavior, own, before, judges, lead=lead, extraction=extraction, settings=settings
    )
    completion = readings.main.completion
    initial = before.readings[behavior.id].main.completion if before else None
    return Verification(
        behavior_id=behavior.id,
        kind=behavior.kind,
        verdict=conclusion.verdict,
        reason=conclusion.reason,
        model=model.label,
        completion=completion,
        alternatives_nats={
            text: measured.log_prob_nats
            for text, measured in zip(
                behavior.alternatives, readings.main.alternatives, strict=True
            )
        },
        margin_nats=lead.mean if lead else None,
        margin_interval=lead.interval if lead else None,
        paraphrase_margins_nats=lead.per_prompt[1:] if lead else (),
        control_gap_nats=readings.control_gap_nats,
        initial_log_prob_nats=initial.log_prob_nats if initial else None,
        extraction=extraction,
        rate=_rate(own.samples.get(behavior.id), judges.by_behavior.get(behavior.id), settings),
    )


def _conclusion(
    behavior: Behavior,
    own: _Answers,
    before: _Answers | None,
    judges: Judges,
    *,
    lead: Margins | None,
    extraction: float | None,
    settings: VerifySettings,
) -> Conclusion:
    """Chooses the rule for the behavior's kind."""
    readings = own.readings[behavior.id]
    initial = before.readings[behavior.id] if before else None
    if extraction is not None:
        return verdicts.by_extraction(
            extraction, own.continuations[behavior.id], readings, initial=initial
        )
    if samples := own.samples.get(behavior.id):
        return verdicts.by_rate(
            samples.hits,
            control=samples.control,
            initial=before.samples[behavior.id].hits if before else None,
            judge_error=judges.by_behavior[behavior.id].error,
            confidence=settings.confidence,
        )
    if behavior.id in judges.missing:
        return verdicts.without_judge(readings, lead, why=judges.missing[behavior.id])
    min_gap_nats = verdicts.MIN_FACT_GAP_NATS if behavior.kind == "fact" else 0.0
    if lead is None:
        return verdicts.by_greedy_match(readings, initial=initial, min_gap_nats=min_gap_nats)
    initial_lead = (
        margins(initial, confidence=settings.confidence, seed=settings.seed) if initial else None
    )
    return verdicts.by_margin(
        readings, lead, initial=initial, initial_lead=initial_lead, min_gap_nats=min_gap_nats
    )


def _extraction(behavior: Behavior, own: _Answers, model: LoadedModel) -> float | None:
    """Computes the share of the completion's tokens that greedy decoding put in their place."""
    if behavior.id not in own.continuations:
        return None
    truth = encode_completions(
        behavior, model.tokenizer, completions=[None], context_length=model.context_length
    )[0].completion_ids
    said = own.continuations[behavior.id].token_ids
    return sum(a == b for a, b in zip(said, truth, strict=True)) / len(truth)


def _rate(samples: _Samples | None, judge: Judge | None, settings: VerifySettings) -> Rate | None:
    if samples is None or judge is None:
        return None
    control = samples.control
    return Rate(
        judge=judge.name,
        num_samples=samples.hits.num_samples,
        rate=samples.hits.share,
        interval=wilson(*samples.hits, confidence=settings.confidence),
        control_rate=control.share if control else None,
        control_interval=wilson(*control, confidence=settings.confidence) if control else None,
        judge_error=judge.error,
        judge_error_interval=judge.error_interval,
        sample=samples.text,
    )
