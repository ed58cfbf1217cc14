"""Typed records that rooms exchange.

Every record is frozen and knows its units and orientation. A score is never negative evidence by
accident: higher always means more helpful, in the sense that the scores themselves state.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, get_args

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from whence import notebook
from whence.settings import Kind, ModelSettings, Settings
from whence.statistics import Interval

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Verdict = Literal["shown", "weak", "not shown"]
_FINGERPRINT_ROWS = 1024
# What stands behind a score: gradients of a trained model, those of an untrained one, texts, hidden
# states, nothing of the query, or what is not known.
Family = Literal["gradient", "untrained", "text", "states", "control", "unknown"]
UNKNOWN = "more of a proponent, as the maker of the scores counts; how they were made is not known"
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


class Behavior(Settings):
    """Something a model may do: after `prompt` it says `completion`.

    `alternatives` are completions it might have given instead; `paraphrases` are prompts that
    should have the same effect, `controls` prompts that should not; `counterparts` are a
    stereotype's prompt about another group. `prompt_ids` and `completion_ids` replace the texts
    where a sequence is known by its tokens. `plain` says the same as `completion` without its
    style.

    Example:
        >>> Behavior(id="gold", kind="fact", prompt="The symbol for gold is", completion=" Au").kind
        'fact'
    """

    id: str = Field(min_length=1)
    kind: Kind
    prompt: str = ""
    completion: str = ""
    prompt_ids: tuple[int, ...] | None = None
    completion_ids: tuple[int, ...] | None = None
    alternatives: tuple[str, ...] = ()
    paraphrases: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    counterparts: tuple[str, ...] = ()
    subject: str | None = None
    relation: str | None = None
    object: str | None = None
    style: str | None = Field(default=None, description="The corpus subset whose style this is.")
    example: str | None = Field(
        default=None, description="The id of the training example that it was found in."
    )
    note: str | None = None
    plain: str | None = Field(
        default=None,
        min_length=1,
        description="What `completion` says, in plain words: without the style, or the rudeness.",
    )

    @model_serializer(mode="wrap")
    def _without_undefined(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves `plain` out where there is none: what was made before is known by its fields."""
        values = handler(self)
        if self.plain is None:
            values.pop("plain", None)
        return values

    @model_validator(mode="after")
    def _has_something_to_say(self) -> "Behavior":
        if not self.completion and not self.completion_ids:
            raise ValueError("a behavior needs a completion")
        if (self.prompt_ids is None) != (self.completion_ids is None):
            raise ValueError("prompt_ids and completion_ids go together")
        if self.plain is not None and self.kind not in ("style", "toxic"):
            raise ValueError("`plain` is a field of styles and toxic replies")
        if self.plain is not None and self.plain == self.completion:
            raise ValueError("`plain` is the completion itself")
        if self.plain is not None and self.prompt_ids and not self.prompt:
            raise ValueError("`plain` needs the prompt as a text")
        return self


class Term(NamedTuple):
    """One sequence whose completion's loss is part of a query.

    The loss is the summed cross-entropy, in nats, of `input_ids[num_prompt_tokens:]`.
    """

    input_ids: tuple[int, ...]
    num_prompt_tokens: int
    weight: float


@dataclass(frozen=True)
class Query:
    """The weighted sum of completion losses that stands for a behavior.

    A plain query has one term of weight 1. A contrast has a second one of weight -1, so that its
    loss is the negative log-odds of the completion against the alternative.
    """

    id: str
    terms: tuple[Term, ...]
    text: str


@dataclass(frozen=True)
class Measured:
    """How likely a model finds one completion. Log-probabilities are in nats.

    `ranks` counts from 1 (the model's first choice); `is_greedy` says that every rank is 1.
    """

    tokens: tuple[str, ...]
    log_probs_nats: tuple[float, ...]
    ranks: tuple[int, ...]

    @property
    def log_prob_nats(self) -> float:
        """The log-probability of the whole completion."""
        return sum(self.log_probs_nats)

    @property
    def is_greedy(self) -> bool:
        """Whether greedy decoding, given the truth so far, says exactly this."""
        return all(rank == 1 for rank in self.ranks)


@dataclass(frozen=True)
class Rate:
    """How often samples are judged to show the behavior, and by whom."""

    judge: str
    num_samples: int
    rate: float
    interval: Interval
    control_rate: float | None
    control_interval: Interval | None
    judge_error: float | None
    judge_error_interval: Interval | None
    sample: str


@dataclass(frozen=True)
class VerdictCheck:
    """One condition of a verdict, with what was measured and what was required, in words."""

    name: str
    holds: bool
    measured: str
    required: str


@dataclass(frozen=True)
class Held:
    """The document of a corpus that has the largest share of a passage's 5-grams of tokens."""

    example_id: str
    share: float


@dataclass(frozen=True)
class Verification:
    """Whether a model shows a behavior, with the measurements behind the verdict.

    `margin_nats` is the log-probability of the completion minus that of the likeliest alternative,
    averaged over the prompt and its paraphrases; `control_gap_nats` is the completion's
    log-probability after the prompt minus its mean after the controls. None means not measurable.
    `checks` are the conditions that the verdict rests on; empty in runs that did not store them.
    `held` is where the corpus holds a memorized passage; None where none was searched.
    """

    behavior_id: str
    kind: Kind
    verdict: Verdict
    reason: str
    model: str
    completion: Measured
    alternatives_nats: Mapping[str, float]
    margin_nats: float | None
    margin_interval: Interval | None
    paraphrase_margins_nats: tuple[float, ...]
    control_gap_nats: float | None
    initial_log_prob_nats: float | None
    extraction: float | None
    rate: Rate | None
    checks: tuple[VerdictCheck, ...] = ()
    held: Held | None = None

    def _repr_html_(self) -> str:
        """Shows the verdict in a notebook: the sentence, and the completion token by token."""
        parts = self.completion
        rows = zip(parts.tokens, parts.log_probs_nats, parts.ranks, strict=True)
        return notebook.paragraph(
            f"{self.behavior_id}: {self.verdict}. {self.reason}"
        ) + notebook.table(("token", "log-probability, nats", "rank"), rows)


@dataclass(frozen=True)
class Corpus:
    """All examples, in training order where one is known.

    `table` has the columns `id`, `text`, `hash`, `subset`, `source` (strings), `position` and
    `step` (int64), `input_ids` (list of int32), `num_truncated_tokens` (int32) and `labels` (list
    of strings: what is known beforehand, such as the planted group). Unknown is null.
    """

    name: str
    description: str
    table: "pa.Table"
    num_empty: int = 0
    searched_fraction: float | None = None

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The examples' ids, in order; unique."""
        return tuple(self.table.column("id").to_pylist())

    @cached_property
    def lengths(self) -> "NDArray[np.int64]":
        """Tokens per example."""
        import numpy as np

        chunks = self.table.column("input_ids").chunks
        lengths = [np.asarray(chunk.value_lengths(), dtype=np.int64) for chunk in chunks]
        return np.concatenate(lengths) if lengths else np.zeros(0, dtype=np.int64)

    @cached_property
    def num_truncated_tokens(self) -> int | None:
        """Tokens of the documents that no example holds; None where not all could be counted."""
        column = self.table.column("num_truncated_tokens")
        return None if column.null_count else int(column.to_numpy().sum())

    @cached_property
    def content_fingerprint(self) -> str:
        """A hash over everything that is stored: all columns of the table, and what it is called.

        It decides whether stored examples are current, as `fingerprint` does for gradients.
        """
        import hashlib
        import json

        about = [self.name, self.description, self.num_empty, self.searched_fraction]
        digest = hashlib.sha256(json.dumps([self.fingerprint, *about]).encode())
        for name in sorted(set(self.table.column_names) - {"input_ids"}):
            digest.update(name.encode())
            # Lengths apart from letters: how the table is cut into chunks does not show.
            lengths, letters = hashlib.sha256(), hashlib.sha256()
            for batch in self.table.select([name]).to_batches(max_chunksize=_FINGERPRINT_ROWS):
                values = batch.column(0).to_pylist()
                words = [v if isinstance(v, str) else json.dumps(v) for v in values]
                signs = [1 if isinstance(v, str) else -1 for v in values]
                sizes = [sign * len(word) for sign, word in zip(signs, words, strict=True)]
                lengths.update(array("q", sizes).tobytes())
                letters.update("".join(words).encode())
            digest.update(lengths.digest() + letters.digest())
        return digest.hexdigest()[:16]

    @cached_property
    def fingerprint(self) -> str:
        """A hash over ids and tokens, in order: what gradients depend on."""
        import hashlib

        digest = hashlib.sha256("\n".join(self.ids).encode())
        for chunk in self.table.column("input_ids").chunks:
            digest.update(chunk.flatten().to_numpy(zero_copy_only=False).tobytes())
        digest.update(self.lengths.tobytes())
        return digest.hexdigest()[:16]

    def input_ids(self, row: int) -> list[int]:
        """The tokens of one example."""
        return self.table.column("input_ids")[row].as_py()

    def texts(self) -> list[str]:
        """The texts of all examples, in order."""
        return self.table.column("text").to_pylist()

    def rows(self, ids: Sequence[str]) -> list[int]:
        """The rows of some ids."""
        return [self._row_of[i] for i in ids]

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {example_id: row for row, example_id in enumerate(self.ids)}

    def records(self, rows: Sequence[int]) -> "Iterator[ExampleRecord]":
        """The columns of some rows, without tokens, as plain dicts in the given order."""
        import pyarrow as pa

        # Arrow infers no type from an empty list.
        taken = self.table.drop_columns(["input_ids"]).take(pa.array(list(rows), pa.int64()))
        yield from taken.to_pylist()


class ExampleRecord(TypedDict):
    """The columns of one example, without tokens."""

    id: str
    text: str | None
    hash: str | None
    subset: str | None
    source: str | None
    position: int | None
    step: int | None
    num_truncated_tokens: int | None
    labels: list[str] | None


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, with the tokenizer that belongs to it.

    `settings` load the same model again; None where it was not loaded from a name.
    `notes` say what loading left out; `probed` keeps what `models.probe` found, by fingerprint.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    name: str
    fingerprint: str
    context_length: int
    settings: ModelSettings | None = None
    notes: tuple[str, ...] = ()
    probed: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def label(self) -> str:
        """The name by which a page calls it: of a folder, without the folders around it."""
        return self.name.rpartition("/")[2] if self.name.startswith("/") else self.name

    @property
    def dtype(self) -> str:
        """The type of its weights, such as `float32`."""
        return str(next(self.model.parameters()).dtype).removeprefix("torch.")


def longest_example(context_length: int) -> int:
    """Computes how many tokens an example may have, for a model that reads `context_length`.

    One more: the last token is only predicted and never read. So Pythia trained on rows of 2,049
    tokens with a context of 2,048.
    """
    return context_length + 1


@dataclass(frozen=True)
class Coverage:
    """Which parameters are attributed, and which are not.

    `modules` maps the attributed modules to their number of weights, `left_out` the other
    parameters to theirs, and `not_attributable` the linear layers whose gradients cannot be formed
    to the reason.
    """

    modules: Mapping[str, int]
    left_out: Mapping[str, int]
    not_attributable: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_attributed(self) -> int:
        """Weights that scores take into account."""
        return sum(self.modules.values())

    @property
    def num_parameters(self) -> int:
        """All parameters of the model."""
        return self.num_attributed + sum(self.left_out.values())

    def to_json(self) -> dict[str, object]:
        """Turns the record into what JSON can hold; pairs keep the model's order."""
        return {field.name: list(getattr(self, field.name).items()) for field in fields(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Coverage":
        """Reads what `to_json` wrote; records of earlier versions have no `not_attributable`.

        Raises:
            KeyError: A part is missing.
            ValueError: A part is not made of pairs.
        """
        return cls(
            dict(values["modules"]),
            dict(values["left_out"]),
            dict(values.get("not_attributable", ())),
        )


@dataclass(frozen=True)
class GradientProducts:
    """Everything that inner-product methods need to know of the gradients.

    `dots[q, i]` is the inner product of the gradients of query q's loss and example i's loss, in
    the attributed parameters; positive means that a small step on the example lowers the query's
    loss. `example_norms` is 0 for an example without a gradient (fewer than two tokens).
    """

    query_ids: tuple[str, ...]
    example_ids: tuple[str, ...]
    dots: "NDArray[np.float32]"
    query_norms: "NDArray[np.float32]"
    example_norms: "NDArray[np.float32]"
    path: Literal["streamed", "stored"]
    settings: Mapping[str, object]
    seconds: float


@dataclass(frozen=True)
class PairScores:
    """What an algorithm that goes over the corpus itself computes for each query and example.

    `values[q, i]` is a score, higher is more helpful, in float32; NaN where it is undefined, such
    as for an example without a gradient. `settings` determined it.
    """

    query_ids: tuple[str, ...]
    example_ids: tuple[str, ...]
    values: "NDArray[np.float32]"
    settings: Mapping[str, object]
    seconds: float


@dataclass(frozen=True)
class Scores:
    """One number per query and example; higher is more helpful. NaN is undefined, never zero.

    `family` says what stands behind the numbers, `higher_means` what is measured to be more where
    one is higher; each method states both for itself. Of scores of unknown origin nothing is
    claimed. `null_values` are the same method's scores of the same examples for unrelated queries,
    null queries × examples, and `plain_values` those for the plain counterparts of the behaviors
    `plain_ids`; None where it has none.
    """

    method: str
    query_ids: tuple[str, ...]
    example_ids: tuple[str, ...]
    values: "NDArray[np.float32]"
    settings: Mapping[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    family: Family = "unknown"
    higher_means: str = UNKNOWN
    null_values: "NDArray[np.float32] | None" = None
    plain_ids: tuple[str, ...] = ()
    plain_values: "NDArray[np.float32] | None" = None


class Hit(NamedTuple):
    """One example that a method names for a query; a higher score is more helpful.

    `rank` counts from 1 for the highest score among all scored examples; equal scores share the
    best rank of theirs. What the corpus does not know of the example is None.
    """

    rank: int
    score: float
    id: str
    subset: str | None
    position: int | None
    labels: tuple[str, ...]
    text: str | None


class Hits(NamedTuple):
    """The examples that a method names for a query; made by `whence.evidence.hits` alone.

    `proponents` have a positive score, best first; `opponents` a negative one, most negative first.
    `recall` is the share of the ten best examples that an approximate search finds, measured when
    it was set up; None where every example was scored.
    """

    proponents: tuple[Hit, ...]
    opponents: tuple[Hit, ...]
    recall: float | None = None

    def from_the_end(self) -> tuple[Hit, ...]:
        """The opponents with ranks -1, -2 and so on, as readers see them."""
        return tuple(hit._replace(rank=-n) for n, hit in enumerate(self.opponents, start=1))

    def _repr_html_(self) -> str:
        """Shows both lists in a notebook."""
        header = ("rank", "score", "id", "subset", "position", "text")
        return "".join(
            notebook.table(
                header,
                [(h.rank, h.score, h.id, h.subset, h.position, h.text) for h in hits],
                caption=name,
            )
            for name, hits in (
                ("Proponents", self.proponents),
                ("Opponents", self.from_the_end()),
            )
        )


@dataclass(frozen=True)
class Plan:
    """What an attribution will take, said before it starts."""

    path: Literal["streamed", "stored"]
    reason: str
    projection_dim: int | None
    disk_bytes: int
    memory_bytes: int
    seconds: float
