"""Verification: whether a model shows a behavior, before anything is attributed.

A behavior that is not shown has no cause to look for. This module runs the models; which
measurements a kind needs and which rule decides about it stands in `kinds`, the rules themselves
in `verdicts`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from whence.behaviors.counterparts import counterparts
from whence.behaviors.generate import Continuation, greedy_continuations, sample_continuations
from whence.behaviors.held import held
from whence.behaviors.judges import Judge, Judges
from whence.behaviors.kinds import RULES, Observations, Samples, make_judges
from whence.behaviors.query import cut_sentence, decode, encode_completions
from whence.behaviors.readings import Readings, margins, read
from whence.behaviors.spec import check_behaviors
from whence.behaviors.verdicts import Hits
from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, Held, LoadedModel, Rate, Verification
from whence.settings import VerifySettings
from whence.statistics import wilson


def verify(
    behaviors: Sequence[Behavior],
    model: LoadedModel,
    *,
    settings: VerifySettings,
    initial: LoadedModel | None = None,
    texts_by_subset: Mapping[str, Sequence[str]] | None = None,
    corpus: Corpus | None = None,
    progress: Progress = SILENT,
) -> tuple[Verification, ...]:
    """Measures some behaviors and says of each whether the model shows it.

    Every kind is measured by log-probabilities after the prompt, its paraphrases and its controls.
    What else is measured stands in the table of kinds: a stereotype after its counterparts, which
    may be made of the other behaviors; a memorized sequence is continued greedily, and a toxic or
    style behavior is sampled after its own prompt and after its controls.

    Args:
        behaviors: With unique ids.
        model: The model that may show them.
        settings: Samples, judges, confidence and seed.
        initial: The model's step-0 weights, with the same tokenizer. Where given, a behavior must
            be stronger than there.
        texts_by_subset: Documents by subset, to make judges of style from.
        corpus: Examples among which memorized passages are looked up; without, a verdict says that
            they are extractable and no more.
        progress: Reports progress.

    Returns:
        One verification per behavior, in order. The same inputs give the same result.

    Raises:
        BehaviorError: Two behaviors share an id, or one cannot be encoded.
        ModelError: A model gives NaN or infinite values on a behavior, which is named; or a judge
            cannot be loaded.
        SettingsError: A judge has no label of that name.

    Cost:
        One forward pass over each prompt with each completion, and one over each sampled token. A
        model of 1.2 M parameters and its step-0 weights took 33 CPU-seconds for the miniature's 171
        behaviors, two thirds of them for sampling.
    """
    check_behaviors(behaviors, where="This list")
    judges = make_judges(behaviors, settings, texts_by_subset=texts_by_subset or {})
    groups = counterparts([b for b in behaviors if RULES[b.kind].min_group_nats is not None])
    own = _measure(
        behaviors, model, judges, groups, settings=settings, like=model, progress=progress
    )
    initial_measurements = _Measurements()
    if initial is not None:
        # The controls tell what the prompt adds; of the step-0 model only the prompt is needed.
        prompts = [
            behavior.model_copy(update={"controls": (), "counterparts": ()})
            for behavior in behaviors
        ]
        initial_measurements = _measure(
            prompts, initial, judges, {}, settings=settings, like=model, progress=progress
        )
    passages = [behavior for behavior in behaviors if RULES[behavior.kind].is_extracted]
    places = {} if corpus is None or not passages else held(passages, corpus, model)
    return tuple(
        _verification(
            behavior,
            _observations(
                behavior,
                own,
                initial_measurements,
                judges,
                model=model,
                settings=settings,
                place=places.get(behavior.id),
            ),
            model=model,
            settings=settings,
        )
        for behavior in behaviors
    )


@dataclass(frozen=True)
class _Measurements:
    """Everything that one model gave, by behavior id; empty for a model that is not there."""

    readings: Mapping[str, Readings] = field(default_factory=dict)
    continuations: Mapping[str, Continuation] = field(default_factory=dict)
    samples: Mapping[str, Samples] = field(default_factory=dict)


def _measure(
    behaviors: Sequence[Behavior],
    model: LoadedModel,
    judges: Judges,
    groups: Mapping[str, Sequence[str]],
    *,
    settings: VerifySettings,
    like: LoadedModel,
    progress: Progress,
) -> _Measurements:
    extracted = [behavior for behavior in behaviors if RULES[behavior.kind].is_extracted]
    judged = [behavior for behavior in behaviors if behavior.id in judges.by_behavior]
    return _Measurements(
        read(behaviors, model, like=like, counterparts=groups, progress=progress),
        _extract(extracted, model, like=like, progress=progress),
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
    continuations: dict[str, Continuation] = {}
    for num_tokens, group in by_length.items():
        of_length = greedy_continuations(
            model,
            [prompt_ids for _, prompt_ids in group],
            num_tokens=num_tokens,
            names=[f"behavior {behavior.id!r}" for behavior, _ in group],
            progress=progress,
        )
        continuations |= {b.id: c for (b, _), c in zip(group, of_length, strict=True)}
    return continuations


def _sample(
    behaviors: Sequence[Behavior],
    model: LoadedModel,
    judges: Judges,
    *,
    settings: VerifySettings,
    like: LoadedModel,
    progress: Progress,
) -> dict[str, Samples]:
    """Samples after each behavior's prompt and controls, and has the continuations judged."""
    prompts: dict[str, list[tuple[int, ...]]] = {}
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
        prompts[behavior.id] = [tuple(pair.prompt_ids) for pair in pairs]
        # The same prompt has the same samples, so one that many behaviors share is sampled once.
        for prompt_ids in prompts[behavior.id]:
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
    judged = {}
    for behavior in behaviors:
        own, *controls = [texts[prompt_ids] for prompt_ids in prompts[behavior.id]]
        control = [text for group in controls for text in group]
        judged[behavior.id] = _judge_samples(own, control, judges.by_behavior[behavior.id])
    return judged


def _judge_samples(own: list[str], control: list[str], judge: Judge) -> Samples:
    """Counts the hits, and keeps one sample: the first hit, or else the first of all."""
    hits = judge.judge(own)
    sample = next((text for text, hit in zip(own, hits, strict=True) if hit), own[0])
    return Samples(
        Hits(sum(hits), len(own)),
        Hits(sum(judge.judge(control)), len(control)) if control else None,
        sample,
    )


def _observations(
    behavior: Behavior,
    own: _Measurements,
    initial: _Measurements,
    judges: Judges,
    *,
    model: LoadedModel,
    settings: VerifySettings,
    place: Held | None,
) -> Observations:
    """Gathers what was measured of one behavior."""
    readings = own.readings[behavior.id]
    initial_readings = initial.readings.get(behavior.id)
    leads = [
        margins(one, confidence=settings.confidence, seed=settings.seed) if one else None
        for one in (readings, initial_readings)
    ]
    continuation = own.continuations.get(behavior.id)
    return Observations(
        readings=readings,
        initial=initial_readings,
        lead=leads[0],
        initial_lead=leads[1],
        continuation=continuation,
        extraction=_extraction(behavior, continuation, model) if continuation else None,
        judge=judges.by_behavior.get(behavior.id),
        no_judge=judges.missing.get(behavior.id),
        samples=own.samples.get(behavior.id),
        initial_samples=initial.samples.get(behavior.id),
        confidence=settings.confidence,
        held=place,
    )


def _verification(
    behavior: Behavior, seen: Observations, *, model: LoadedModel, settings: VerifySettings
) -> Verification:
    rule = RULES[behavior.kind]
    conclusion = rule.conclude(seen, rule)
    main, lead = seen.readings.main, seen.lead
    cut = cut_sentence(behavior, model.tokenizer, context_length=model.context_length)
    return Verification(
        behavior_id=behavior.id,
        kind=behavior.kind,
        verdict=conclusion.verdict,
        reason=f"{conclusion.reason} {cut}".strip(),
        model=model.label,
        completion=main.completion,
        alternatives_nats={
            text: measured.log_prob_nats
            for text, measured in zip(behavior.alternatives, main.alternatives, strict=True)
        },
        margin_nats=lead.mean if lead else None,
        margin_interval=lead.interval if lead else None,
        paraphrase_margins_nats=lead.per_prompt[1:] if lead else (),
        control_gap_nats=seen.readings.control_gap_nats,
        initial_log_prob_nats=seen.initial.main.completion.log_prob_nats if seen.initial else None,
        extraction=seen.extraction,
        rate=_rate(seen.samples, seen.judge, settings),
        checks=conclusion.checks,
        held=seen.held,
    )


def _extraction(behavior: Behavior, continuation: Continuation, model: LoadedModel) -> float:
    """Computes the share of the completion's tokens that greedy decoding put in their place."""
    truth = encode_completions(
        behavior, model.tokenizer, completions=[None], context_length=model.context_length
    )[0].completion_ids
    pairs = zip(continuation.token_ids, truth, strict=True)
    return sum(a == b for a, b in pairs) / len(truth)


def _rate(samples: Samples | None, judge: Judge | None, settings: VerifySettings) -> Rate | None:
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
