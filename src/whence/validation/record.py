"""The record of a validation, and its form as `validation.json`.

Every number stands beside its unit, its control and the number of queries behind it; what is
undefined is None, or is named with its reason in `Validation.undefined`. A mean with its interval
is four values in JSON, `value`, `low`, `high` and `n`, beside the other keys of its object.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    JsonValue,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from whence import notebook
from whence.errors import ArtifactError
from whence.statistics import Estimate, Interval

ComparisonVerdict = Literal[
    "better", "worse", "no difference shown", "too few queries", "undefined"
]


def _estimate(values: object) -> object:
    if not isinstance(values, Mapping):
        return values
    value, low, high, n = (values[key] for key in Estimate(None, None, 0).as_dict())
    return Estimate(value, None if low is None else Interval(low, high, n), n)


StoredEstimate = Annotated[Estimate, BeforeValidator(_estimate), PlainSerializer(Estimate.as_dict)]


class _Record(BaseModel):
    """The base of every record here: frozen, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The field whose four values stand in JSON beside the record's others, and not under its name.
    beside: ClassVar[str | None] = None

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, values: object) -> object:
        name = cls.beside
        if name is None or not isinstance(values, Mapping) or name in values:
            return values
        parts = Estimate(None, None, 0).as_dict()
        if missing := [key for key in parts if key not in values]:
            raise ValueError(f"`{missing[0]}` is missing")
        rest = {key: value for key, value in values.items() if key not in parts}
        return rest | {name: {key: values[key] for key in parts}}

    @model_serializer(mode="wrap")
    def _spread(self, handler: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        values = handler(self)
        return values if self.beside is None else values | values.pop(self.beside)


class Cost(_Record):
    """What a method costs: seconds, its passes over the corpus included, and bytes of its index."""

    seconds: float
    bytes_per_example: float


class Control(_Record):
    """What knowing nothing reaches by a measure, and what that is, such as `a random order`."""

    beside: ClassVar[str | None] = "estimate"

    name: str
    estimate: StoredEstimate


class Figure(_Record):
    """One cell of the leaderboard: a method's mean by one measure.

    `kind` is that of the queries it is over, or `all`. Larger is better unless the unit says so.
    `no_skill_p_value` is the probability of a mean at least as far from zero without any skill;
    None where a measure has no such test.
    """

    beside: ClassVar[str | None] = "estimate"

    measure: str
    unit: str
    kind: str
    method: str
    estimate: StoredEstimate
    no_skill_p_value: float | None = None
    control: Control


class Comparison(_Record):
    """By how much a method's mean is larger than a reference's, paired, and what that shows.

    `adjusted_p_value` is adjusted for all comparisons of the leaderboard. Both are None where
    nothing is claimed.
    """

    beside: ClassVar[str | None] = "difference"

    measure: str
    kind: str
    method: str
    reference: str
    difference: StoredEstimate
    p_value: float | None = None
    adjusted_p_value: float | None = None
    verdict: ComparisonVerdict


class Agreement(_Record):
    """How alike two rankings of the same examples are, in the mean over queries.

    `jaccard` is of the first k proponents; `rank_biased_overlap` weighs the top most. Both lie in
    [0, 1]. `chance_jaccard` is what two random orders would reach.
    """

    method: str
    reference: str
    k: int
    jaccard: StoredEstimate
    rank_biased_overlap: StoredEstimate
    chance_jaccard: float


class SignalToNoise(_Record):
    """The variance of a score over examples, over that of its noise: over queries, and for each.

    None where the noise is exactly zero.
    """

    beside: ClassVar[str | None] = "estimate"

    estimate: StoredEstimate
    per_query: Mapping[str, float | None]


class OwnEffect(_Record):
    """What training on a group that was planted for a query adds to its log-probability."""

    effect_nats: float
    standard_error_nats: float


class BankSummary(_Record):
    """What a bank of retrainings holds, and how far its outcomes can be predicted at all.

    `reliability` is the rank correlation of two seeds' outcomes on the same masks, `ceiling` its
    root: what the true effects would reach against one seed. The significant shares are those of
    |z| > 1.96, about 0.05 where nothing has an effect. `own_effects` maps a query to the groups
    that were planted for it.
    """

    masks: int
    masks_of_second_seed: int
    groups: int
    seconds_per_retraining: float
    reliability: StoredEstimate
    reliability_own_removed: StoredEstimate
    ceiling: float | None
    ceiling_own_removed: float | None
    significant_share_of_inert_groups: float | None
    significant_share_of_phantom_groups: float | None
    significant_share_off_the_diagonal: float | None
    own_effects: Mapping[str, Mapping[str, OwnEffect]]


class ClusterEffect(_Record):
    """What removing a cluster of copies does to a behavior, beside the sum of its scores.

    `effect` is in nats of the completion's log-probability, from none of the cluster's members to
    all of them; positive where they help. `num_varied` of its members are in units of the bank; the
    others always counted. For `num_others_shown` of `num_others` other behaviors the same cluster's
    interval leaves out 0, about 0.05 of them where it does nothing. `sums` maps each method to the
    sum of its scores over the members, in its own unit; None where it scores none.
    """

    beside: ClassVar[str | None] = "effect"

    behavior_id: str
    example_id: str
    num_members: int
    num_varied: int
    effect: StoredEstimate
    num_others: int
    num_others_shown: int
    sums: Mapping[str, float | None]


class WindowSummary(_Record):
    """A bank of retrainings over a window of training, and how far sums can predict its outcomes.

    Steps `since` + 1 to `until` were done again, `share` of all, without a random half of
    `num_units` units, documents or groups; the three are None for a table that another tool made.
    `label` names the window or the table, `measure` and `measure_own_removed` its figures. The
    additive ceilings are the scores of a linear model of one half of the masks on the other. Of a
    user's checkpoint, `optimizer_state` tells where Adam's moments came from, and
    `end_difference_nats` how far the behaviors' log-probabilities after the unmasked continuation
    lie from those of the checkpoint that was kept at the window's end, in the mean. `clusters` are
    the effects of removing clusters of copies among the first of each behavior.
    """

    measure: str
    measure_own_removed: str
    label: str
    since: int | None = None
    until: int | None = None
    share: float | None = None
    unit: str
    num_units: int
    masks: int
    seconds_per_retraining: float
    additive_ceiling: StoredEstimate
    additive_ceiling_own_removed: StoredEstimate
    optimizer_state: str | None = None
    end_difference_nats: float | None = None
    clusters: tuple[ClusterEffect, ...] = ()


class MethodRemovals(_Record):
    """How much the loss rose without what a method names, by query; positive means it rose.

    `num_beyond_all_random` queries rose more than after each of the random removals.
    """

    per_query_nats: Mapping[str, float]
    p_values: Mapping[str, float]
    num_beyond_all_random: int


class RemovalSummary(_Record):
    """Retrainings without `num_removed` examples each, against `num_random` random removals.

    `label` names the window of training; None for whole trainings.
    """

    num_removed: int
    num_random: int
    methods: Mapping[str, MethodRemovals]
    label: str | None = None


class Validation(_Record):
    """Every method of a run by every measure: what `whence validate` stores.

    Attributes:
        run: The key of the run's manifest; a validation of an earlier run in its place is stale.
        methods: What each method costs, in the run's order.
        kinds: The number of queries of each kind, and of `all`.
        families: The number of families of queries of each kind, and of `all`; only families are
            independent.
        figures: The leaderboard's cells.
        comparisons: Of each method with BM25, with the untrained baseline and with gradient cosine.
        undefined: From each measure that does not apply to the reason.
        retraining: About the bank of whole trainings; None where there is none.
        windows: About each bank of a part of training, the latest first, and of whole trainings.
        removal: About removals from whole trainings; None where they were not trained.
        window_removals: About removals from windows of training, the latest first.
        agreement: Of methods with BM25, and of each with itself in other runs.
        signal_to_noise: By method, over repetitions of the run; None where there are none.
        compared: The measures that methods are compared by, the first ones named.
        sentences: What the comparisons show, in words.
        versions: Of the packages that the numbers depend on.
    """

    run: str
    methods: Mapping[str, Cost]
    kinds: Mapping[str, int]
    families: Mapping[str, int] = {}
    figures: tuple[Figure, ...]
    comparisons: tuple[Comparison, ...]
    undefined: Mapping[str, str]
    retraining: BankSummary | None
    windows: tuple[WindowSummary, ...] = ()
    removal: RemovalSummary | None
    window_removals: tuple[RemovalSummary, ...] = ()
    agreement: tuple[Agreement, ...]
    signal_to_noise: Mapping[str, SignalToNoise] | None
    compared: tuple[str, ...]
    sentences: tuple[str, ...]
    versions: Mapping[str, str]

    def _repr_html_(self) -> str:
        """Shows the leaderboard in a notebook: a table for each measure, over all queries."""
        parts = [notebook.bullets(self.sentences)]
        for measure in dict.fromkeys((*self.compared, *(f.measure for f in self.figures))):
            figures = [f for f in self.figures if f.measure == measure and f.kind == "all"]
            rows = [(f.method, *_cells(f.estimate)) for f in figures]
            if rows:
                control = figures[0].control
                rows.append((f"[{control.name}]", *_cells(control.estimate)))
                header = ("method", "mean", "low", "high", "n")
                caption = f"{measure} ({figures[0].unit})"
                parts.append(notebook.table(header, rows, caption=caption))
        if self.undefined:
            header = ("not measured", "because")
            parts.append(notebook.table(header, list(self.undefined.items())))
        return "".join(parts)

    def to_json(self) -> dict[str, JsonValue]:
        """Turns the record into what JSON can hold."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, values: object) -> "Validation":
        """Reads a record back, equal to the one that was written.

        Raises:
            ArtifactError: A field is missing, unknown or of another shape.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "its whole"
            raise ArtifactError(
                f"A stored validation is not of this version's form ({place}: {first['msg']}).",
                "Run `whence validate` again, or remove the file.",
            ) from None


def _cells(estimate: Estimate) -> tuple[object, ...]:
    """A mean with its interval and what it is over, for a table."""
    low, high, _ = estimate.interval or (None, None, 0)
    return estimate.value, low, high, estimate.n
