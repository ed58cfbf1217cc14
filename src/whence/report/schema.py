"""The records that the data of a page are made of.

A page is what several sections refer to (methods, kinds, verdicts, examples), and a list of
sections. `docs/page-data.md` is generated from these records: what stands in `Annotated` is the
meaning of a key. Undefined is null, never 0. Places in texts count Unicode code points. A record
that is a `block` is unpacked by the page only when a reader opens what it holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from whence.records import Interval, Rate, VerdictCheck
from whence.report.encode import block
from whence.report.histogram import Histogram


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of behavior."""

    name: str
    label: Annotated[str, "its heading"]
    meanings: Annotated[Mapping[str, str], "what each verdict means for this kind"]
    is_sensitive: Annotated[bool, "texts of such behaviors are masked until the reader asks"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A verdict of verification."""

    name: str
    is_shown: Annotated[bool, "whether the model shows a behavior of this verdict"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method, and what its scores mean."""

    name: str
    label: Annotated[str, "what sentences call it"]
    about: Annotated[str, "what a score means, in words"]
    family: str
    is_baseline: Annotated[bool, "no trained gradients are behind it"]
    is_sum: Annotated[bool, "its scores are sums over tokens and layers, but for a factor"]
    higher_means: Annotated[str, "what is more where a score is higher, as the scores state"]
    settings: Annotated[object, "the settings that determined the scores"]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RelationKind:
    """A relation that an example may have to a behavior."""

    relation: str
    label: str
    one: Annotated[str, "what stands behind a count of one"]
    many: Annotated[str, "what stands behind a larger count"]
    tier: Annotated[str, "copy, claim, topic, effect, or none"]
    rule: Annotated[str, "when it holds"]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A training example that some section shows. Each is carried once."""

    id: str
    text: Annotated[str, "the text, or the part of it that the page carries"]
    first_character: Annotated[int, "where in the whole text that part starts"]
    num_characters: Annotated[int, "length of the whole text"]
    subset: str | None
    source: str | None
    position: Annotated[int | None, "place in the order of training"]
    step: Annotated[int | None, "optimizer step that trained on it"]
    labels: Annotated[Sequence[str], "what is known beforehand, such as the planted group"]
    num_tokens: int
    num_truncated_tokens: int | None
    num_copies: Annotated[int | None, "examples of the corpus with exactly this text"]
    num_near: Annotated[
        int | None, "examples of its cluster of near copies, itself included; null if unknown"
    ]
    is_sensitive: Annotated[bool, "planted for a sensitive behavior, or labeled toxic"]


@block
@dataclass(frozen=True, kw_only=True)
class ExampleTexts:
    """Some of the page's examples."""

    examples: Sequence[Example]


@dataclass(frozen=True, kw_only=True)
class ExampleRange:
    """Where the examples of some places are."""

    first: Annotated[int, "place of its first example; the others follow"]
    num: int
    texts: ExampleTexts


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the page."""

    name: Annotated[str, "names the schema of `data`, below, and the script that draws it"]
    menu: Annotated[str | None, "the link to it at the head of the page"]
    data: object


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How lists are read: which methods are compared, and what they are calibrated with."""

    method: Annotated[str | None, "first method on gradients; null where there is no method"]
    search: Annotated[str | None, "BM25, or the first method on texts; null where there is none"]
    num_first: Annotated[int, "clusters of a list that relations are counted for"]
    num_null: Annotated[int | None, "unrelated queries; null where the run keeps no evidence"]
    largest_tail: Annotated[float, "an example whose `tail` is at most this is above the null"]
    split_method: Annotated[
        str | None, "whose first scores are split by tokens and layers; null where none are"
    ]
    split_alike: Annotated[
        Sequence[str], "methods whose scores are the same sums, but for a factor of each example"
    ]
    layers: Annotated[Sequence[str], "of the network, in its order, by which scores are split"]


@dataclass(frozen=True, kw_only=True)
class Page:
    """The data of a page."""

    format: Annotated[int, "changes when the meaning of a key does"]
    title: str
    model: str
    top_k: Annotated[int, "how many proponents and opponents a list has at most"]
    kinds: Annotated[Sequence[Kind], "in the order of the page"]
    verdicts: Annotated[Sequence[Verdict], "strongest first"]
    relations: Annotated[
        Sequence[RelationKind], "in the order of the cascade: an example has the first that holds"
    ]
    methods: Annotated[Sequence[Method], "in the order of the study"]
    reading: Reading
    sections: Annotated[
        Sequence[Section], "in the order of the page; what does not apply is left out"
    ]
    examples: Annotated[
        Sequence[ExampleRange], "sections refer to an example by its place in all of them"
    ]
    has_sensitive: Annotated[bool, "whether some text is masked until the reader asks"]


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token of a completion, given the prompt and the tokens before it."""

    text: str
    log_prob_nats: float
    rank: Annotated[int | None, "among all tokens; 1 is the model's first choice"]


@dataclass(frozen=True, kw_only=True)
class Completion:
    """How likely the model finds a completion after its prompt."""

    tokens: Sequence[Token]
    log_prob_nats: Annotated[float, "of the whole completion"]
    is_greedy: Annotated[bool, "greedy decoding, given the truth so far, gives exactly this"]


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """What the model might have said instead."""

    text: str
    log_prob_nats: float


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Whether the model shows a behavior. Null is not measurable."""

    verdict: str
    reason: str
    model: Annotated[str, "the model that was verified"]
    completion: Completion
    alternatives: Sequence[Alternative]
    margin_nats: Annotated[
        float | None, "log-probability over the likeliest alternative, mean over paraphrases"
    ]
    margin_interval: Interval | None
    paraphrase_margins_nats: Sequence[float]
    control_gap_nats: Annotated[
        float | None, "log-probability after the prompt minus its mean after the controls"
    ]
    initial_log_prob_nats: Annotated[float | None, "of the completion, before training"]
    extraction: Annotated[float | None, "share of the completion that greedy decoding reproduces"]
    rate: Rate | None
    checks: Annotated[
        Sequence[VerdictCheck], "those that fail first; empty in runs that did not store them"
    ]


@dataclass(frozen=True, kw_only=True)
class Query:
    """The loss that stands for a behavior."""

    is_contrast: bool
    alternative: Annotated[str | None, "of a contrast: the completion whose loss is subtracted"]


@dataclass(frozen=True, kw_only=True)
class TextRun:
    """A run of words in an example's whole text, from `start` up to `end`, exclusive."""

    start: int
    end: int
    num_words: int


@dataclass(frozen=True, kw_only=True)
class TieMeasures:
    """What ties an example to a behavior, by their texts."""

    relation: Annotated[str, "a name in the page's `relations`"]
    detail: Annotated[str, "what was found, such as the sentence that states it; may be empty"]
    is_templated: Annotated[bool, "they agree once numbers, identifiers and names are masked"]
    longest_run: Annotated[int, "of the query's tokens in a row"]
    containment: Annotated[float, "share of the query's 5-grams that occur, in [0, 1]"]
    edit_similarity: Annotated[
        float | None, "of query and best window; null where no three tokens in a row are shared"
    ]
    topic_similarity: Annotated[float | None, "TF-IDF cosine; null where either has no word"]
    topic_threshold: Annotated[float | None, "99.9th percentile of random pairs"]
    format: Annotated[str | None, "of the example; null where it is too short"]


@dataclass(frozen=True, kw_only=True)
class ScoreSplit:
    """Of which tokens and layers a score is the sum, in thousandths of it; negative works against.

    Each list adds up to 1,000, but for rounding.
    """

    characters: Annotated[
        Sequence[int] | None,
        "how many characters of the whole text each token stands for, from its start on; null "
        "where the tokens do not spell the text",
    ]
    tokens: Annotated[Sequence[int], "of each token"]
    layers: Annotated[Sequence[int], "of each of `layers` in the page's `reading`"]


@dataclass(frozen=True, kw_only=True)
class ShownExample:
    """An example that some method lists for a behavior."""

    example: Annotated[int, "its place in the page's `examples`"]
    tie: Annotated[TieMeasures | None, "null where the run keeps no evidence"]
    is_planted: Annotated[bool, "put into the corpus on purpose, for this behavior"]
    subset: str | None
    trained: Annotated[
        float | None,
        "how much of training was over when it was trained on, in [0, 1); null if unknown",
    ]
    spans: Annotated[Sequence[TextRun], "words shared with prompt and completion"]
    answers: Annotated[Sequence[TextRun], "where the whole completion stands"]
    split: Annotated[
        ScoreSplit | None,
        "of the scores by `split_method` in the page's `reading`; null where it was not made, as "
        "beyond the first proponents",
    ]
    effect: Annotated[
        float | None,
        "change of the completion's log-probability by one training step on the example, in nats; "
        "null where none was taken",
    ]
    ranks: Annotated[
        Mapping[str, int | None],
        "by each method that scored the behavior; 1 for the highest score, ties share one, null is "
        "without a rank",
    ]


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy or near copy of a listed example, further down in the same list."""

    id: str
    rank: int | None
    score: float | None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A cluster in a list: its best example, and its copies and near copies behind it."""

    shown: Annotated[int, "place in the behavior's `shown`"]
    score: Annotated[float | None, "higher is more helpful; null is undefined"]
    z: Annotated[
        float | None,
        "in deviations of the example's scores for unrelated queries; null where not calibrated",
    ]
    tail: Annotated[float | None, "how often chance gives so large a z at its rank"]
    num_hub: Annotated[int | None, "unrelated queries that have the example among their first ten"]
    num_copies: Annotated[int, "copies and near copies further down"]
    num_exact: Annotated[int, "of these, with exactly the same text"]
    is_only: Annotated[
        bool | None,
        "the method that this one is compared with lists no copy of it among its first ones; null "
        "for opponents, beyond the first ones, and where nothing is compared",
    ]
    copies: Annotated[Sequence[Copy], "the first of them"]


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What one method names and another does not, by cluster, among the first of each."""

    other: Annotated[str, "search; for search itself, the method that is compared with it"]
    num_both: int
    num_only: int
    num_only_other: int
    num_same: Annotated[int, "of this method's, that copy or state the behavior"]
    num_same_other: int
    sentence: str
    lead: Annotated[str, "whether it names more that copy or state the behavior, in words"]


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A part of a text, with what is marked in it; `spans` and `answers` count from its start."""

    text: str
    is_cut_before: bool
    is_cut_after: bool
    spans: Sequence[TextRun]
    answers: Sequence[TextRun]


@dataclass(frozen=True, kw_only=True)
class FirstExample:
    """What the list of behaviors needs of an example among the first ones of some method."""

    relation: Annotated[str | None, "null where the run keeps no evidence"]
    is_planted: bool
    is_sensitive: bool
    subset: str | None
    trained: Annotated[float | None, "as in `shown`"]
    excerpt: Excerpt


@dataclass(frozen=True, kw_only=True)
class FirstEntry:
    """One of the first clusters in a list of proponents."""

    shown: Annotated[int, "place in the behavior's `firsts`, and the same in its `shown`"]
    num_hub: Annotated[int | None, "as in the list"]
    is_only: Annotated[bool | None, "as in the list"]


@dataclass(frozen=True, kw_only=True)
class MethodLists:
    """The examples that one method ties to a behavior, and all of its scores."""

    proponents: Annotated[Sequence[Entry], "positive scores, best first"]
    opponents: Annotated[Sequence[Entry], "negative scores, most negative first"]
    num_scored: int
    histogram: Histogram | None


@dataclass(frozen=True, kw_only=True)
class QuerySpan:
    """A run of the behavior's words that some of its examples share."""

    start: Annotated[int, "first character in prompt and completion, written one after the other"]
    end: Annotated[int, "the character after the last"]
    num_words: int
    is_marked: Annotated[bool, "marked in the text: of two that overlap, the one that carries more"]
    num_documents: Annotated[
        int | None, "examples of the corpus that have it; null where they were not counted"
    ]
    shown: Annotated[Sequence[int], "places in `shown` of the examples that have it"]


@block
@dataclass(frozen=True, kw_only=True)
class BehaviorDetail:
    """What only the view of one behavior shows."""

    shown: Annotated[
        Sequence[ShownExample], "by any method; those among the first ones of some come first"
    ]
    lists: Annotated[Mapping[str, MethodLists], "by each method that scored the behavior"]
    spans: Annotated[Sequence[QuerySpan], "of prompt and completion, rare and long ones first"]


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """What the examples that one method ties to a behavior come to."""

    relations: Annotated[
        Mapping[str, int] | None,
        "of the first clusters of proponents, by relation; null where the run keeps no evidence",
    ]
    summary: Annotated[str | None, "the same in words, beside search"]
    gap: Annotated[Gap | None, "null where there is no evidence, or nothing to compare with"]
    num_above_null: Annotated[
        int | None, "of the first clusters, above the null; null where it is not calibrated"
    ]
    num_null: Annotated[
        int | None, "unrelated queries of the behavior's length that stand behind `tail`"
    ]
    steps: Annotated[
        str | None,
        "what one training step on each of its first examples does to the completion, in words; "
        "null where none was taken",
    ]
    style: Annotated[
        Sequence[str],
        "how the list changes when the same is said in plain words, each figure beside its "
        "control; empty where the behavior names none",
    ]
    first: Annotated[Sequence[FirstEntry], "of the list of proponents, best first"]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far two methods list the same examples."""

    first: Annotated[str, "a method"]
    second: Annotated[str, "another"]
    jaccard: Annotated[
        float | None, "Jaccard@k of their first proponents, in [0, 1]; null where neither has any"
    ]


@dataclass(frozen=True, kw_only=True)
class Behavior:
    """A behavior, what was measured of it, and which examples each method ties to it."""

    id: str
    kind: str
    prompt: str
    completion: Annotated[str, "empty where the behavior is known by its tokens"]
    alternatives: Sequence[str]
    paraphrases: Sequence[str]
    controls: Sequence[str]
    counterparts: Annotated[
        Sequence[str], "the same sentence about other groups, as the study has it"
    ]
    subject: str | None
    relation: str | None
    object: str | None
    style: Annotated[str | None, "the subset of the corpus whose style this is"]
    note: str | None
    plain: Annotated[str | None, "what the completion says, in plain words"]
    is_known_by_tokens: bool
    is_forced: Annotated[bool, "not shown, and attributed because the study says so"]
    query: Query
    verification: Measurements | None
    not_attributed: Annotated[str | None, "why no method scored it"]
    num_planted: Annotated[
        int | None, "examples planted for it; null where the study plants nothing"
    ]
    firsts: Annotated[Sequence[FirstExample], "the first of `shown`, in the same order"]
    results: Annotated[Mapping[str, MethodResult], "by each method that scored the behavior"]
    agreement: Annotated[Sequence[Agreement], "of every two methods that scored the behavior"]
    random_effects: Annotated[
        Sequence[float],
        "the same as an example's `effect`, of random examples like those that were stepped on; "
        "empty where no step was taken",
    ]
    detail: BehaviorDetail
