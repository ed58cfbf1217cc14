"""Judges of sampled texts, and their measured error rates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from whence.behaviors.classifier import load_classifier
from whence.behaviors.ngram import (
    MIN_DOCUMENTS,
    NGRAM_VERSION,
    StyleData,
    style_data,
    train_ngram,
)
from whence.behaviors.toxic_sample import CLEAN_SENTENCES, TOXIC_SENTENCES
from whence.behaviors.wordlist import WORDLIST_VERSION, has_toxic_word
from whence.records import Behavior
from whence.settings import VerifySettings
from whence.statistics import Interval, wilson

# English text has four to five characters per token in the vocabularies of Pythia's kind.
_CHARACTERS_PER_TOKEN = 4
_TOXIC_LABEL = "toxic"


@dataclass(frozen=True)
class Judge:
    """Decides for each text whether it shows one behavior.

    Attributes:
        name: With the version, so that the same name always decides the same.
        judge: Tells for each text whether it shows the behavior; an empty text never does.
        error: The share of a labelled sample on which it is wrong; None where there is no sample.
        error_interval: Wilson's interval of that share.
    """

    name: str
    judge: Callable[[Sequence[str]], list[bool]]
    error: float | None
    error_interval: Interval | None


@dataclass(frozen=True)
class Judges:
    """The judge of each behavior that needs one, or the reason why it has none."""

    by_behavior: Mapping[str, Judge] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


def toxic_judges(
    behaviors: Sequence[Behavior],
    settings: VerifySettings,
    texts_by_subset: Mapping[str, Sequence[str]],
) -> Judges:
    """Makes the one judge of toxic behaviors, and measures how often it is wrong.

    Args:
        behaviors: Toxic ones, at least one.
        settings: Which judge, and the confidence of its error's interval.
        texts_by_subset: Not used.

    Returns:
        The judge of each behavior, by its id.

    Raises:
        ModelError: A Hugging Face classifier cannot be loaded.
        SettingsError: It has no label of that name.
    """
    judge = _toxic_judge(settings)
    return Judges({behavior.id: judge for behavior in behaviors})


def style_judges(
    behaviors: Sequence[Behavior],
    settings: VerifySettings,
    texts_by_subset: Mapping[str, Sequence[str]],
) -> Judges:
    """Makes a judge for every style, and measures how often it is wrong.

    Args:
        behaviors: Those of the kind style.
        settings: Which judges, and the confidence of their errors' intervals.
        texts_by_subset: Documents by subset, on which the judges are trained and tried.

    Returns:
        Judges by behavior id. A style without enough texts has none, and the reason.

    Raises:
        ModelError: A Hugging Face classifier cannot be loaded.
        SettingsError: It has no label of that name.
    """
    made: dict[str, Judge] = {}
    missing: dict[str, str] = {}
    by_style: dict[str, Judge | None] = {}
    for behavior in behaviors:
        if behavior.style is None:
            missing[behavior.id] = "the behavior does not name its `style`"
            continue
        if behavior.style not in by_style:
            by_style[behavior.style] = _style_judge(behavior.style, settings, texts_by_subset)
        if judge := by_style[behavior.style]:
            made[behavior.id] = judge
        else:
            missing[behavior.id] = (
                "no corpus with subsets was given"
                if not texts_by_subset
                else f"there are fewer than {MIN_DOCUMENTS} documents of the subset "
                f"{behavior.style!r} or of the others"
            )
    return Judges(made, missing)


def measured_judge(
    name: str,
    judge: Callable[[Sequence[str]], list[bool]],
    *,
    texts: Sequence[str],
    labels: Sequence[bool],
    confidence: float,
) -> Judge:
    """Tries a judge on labelled texts.

    Args:
        name: Its name with its version.
        judge: What it decides; it is not asked about empty texts.
        texts: A sample, possibly empty.
        labels: What it should say.
        confidence: Of the interval.

    Returns:
        The judge with its error, a share in [0, 1]; None where the sample is empty.
    """

    def judge_texts(texts: Sequence[str]) -> list[bool]:
        spoken = [text for text in texts if text.strip()]
        verdicts = iter(judge(spoken) if spoken else [])
        return [bool(text.strip()) and next(verdicts) for text in texts]

    if not texts:
        return Judge(name, judge_texts, None, None)
    wrong = sum(a != b for a, b in zip(judge_texts(texts), labels, strict=True))
    interval = wilson(wrong, len(texts), confidence=confidence)
    return Judge(name, judge_texts, wrong / len(texts), interval)


def _toxic_judge(settings: VerifySettings) -> Judge:
    if settings.toxic_judge == "wordlist":
        name, judge = f"wordlist {WORDLIST_VERSION}", _have_toxic_words
    else:
        name, judge = load_classifier(
            settings.toxic_judge, label=settings.judge_label or _TOXIC_LABEL
        )
    return measured_judge(
        name,
        judge,
        texts=[*TOXIC_SENTENCES, *CLEAN_SENTENCES],
        labels=[True] * len(TOXIC_SENTENCES) + [False] * len(CLEAN_SENTENCES),
        confidence=settings.confidence,
    )


def _have_toxic_words(texts: Sequence[str]) -> list[bool]:
    return [has_toxic_word(text) for text in texts]


def _style_judge(
    style: str, settings: VerifySettings, texts_by_subset: Mapping[str, Sequence[str]]
) -> Judge | None:
    data: StyleData | None = style_data(
        texts_by_subset,
        style,
        num_characters=settings.num_sampled_tokens * _CHARACTERS_PER_TOKEN,
    )
    if settings.style_judge != "ngram":
        name, judge = load_classifier(settings.style_judge, label=settings.judge_label or style)
    elif data is None:
        return None
    else:
        name, judge = f"ngram {NGRAM_VERSION}: {style}", train_ngram(data.train)
    return measured_judge(
        name,
        judge,
        texts=data.held_out.texts if data else (),
        labels=data.held_out.labels if data else (),
        confidence=settings.confidence,
    )
