"""What a method is, what it may use, and what it gives.

A method turns queries and examples into one number per pair. All of them give the same frozen
record, by one code path, and pass one common suite of tests.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

import numpy as np

from whence.errors import SettingsError
from whence.methods.requests import ReadingPair, Readings, Request, read_both
from whence.methods.views import View
from whence.progress import SILENT, Progress
from whence.records import (
    Corpus,
    Family,
    GradientProducts,
    LoadedModel,
    PairScores,
    Query,
    Scores,
)
from whence.settings import AttributionSettings, IndexSettings, Settings

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray

S = TypeVar("S", bound=Settings)
T = TypeVar("T")


@dataclass(frozen=True)
class MethodInputs:
    """Everything that methods may use.

    `results` maps the requests that methods make to what was computed for them; all have the same
    queries and examples, in the order of `queries` and `corpus`. `model` alone is enough for
    methods that need one forward pass of it. `references` are the ids of queries that others are
    compared with and that are in no result, `nulls` those of unrelated queries, by which scores are
    calibrated, and of the plain counterparts of behaviors, which `plains` maps to these.
    `index` has the batch size of a forward pass. With `last_step`, an example that training saw
    after that step has no score.
    """

    queries: tuple[Query, ...]
    corpus: Corpus
    model: LoadedModel | None = None
    results: Mapping[Request[object], Any] = field(default_factory=dict)
    settings: AttributionSettings = field(default_factory=AttributionSettings)
    index: IndexSettings = field(default_factory=IndexSettings)
    references: frozenset[str] = frozenset()
    nulls: frozenset[str] = frozenset()
    plains: Mapping[str, str] = field(default_factory=dict)
    last_step: int | None = None
    progress: Progress = SILENT

    def has(self, request: Request[object]) -> bool:
        """Tells whether a request has a result."""
        return request in self.results or (request == Readings() and self.model is not None)

    def result(self, request: Request[T]) -> T:
        """Gives what was computed for a request.

        Raises:
            SettingsError: Nothing was.
        """
        if request in self.results:
            return self.results[request]
        if request == Readings() and self.model is not None:
            return cast(T, self._own_readings)
        raise SettingsError(
            f"There is no result of the request `{request.label}`.", "Compute it beforehand."
        )

    @cached_property
    def _own_readings(self) -> ReadingPair:
        assert self.model is not None
        return read_both(
            self.model,
            self.corpus,
            self.queries,
            settings=self.index,
            progress=self.progress,
        )

    @property
    def without_nulls(self) -> "MethodInputs":
        """The same without the null queries; results have their rows still."""
        queries = tuple(query for query in self.queries if query.id not in self.nulls)
        return replace(self, queries=queries, nulls=frozenset())

    @cached_property
    def is_empty(self) -> "NDArray[np.bool_]":
        """Examples without a token or with an empty text: no method says anything about them.

        A text that is not known, as in an index that Bergson made, is not an empty one.
        """
        texts = self.corpus.texts()
        known = np.fromiter((text is not None for text in texts), bool, len(texts))
        blank = np.fromiter((not (text or "").strip() for text in texts), bool, len(texts))
        return known & (blank | (self.corpus.lengths == 0))

    @cached_property
    def is_unseen(self) -> "NDArray[np.bool_]":
        """Examples that the checkpoint cannot have learned from, as training saw them later.

        Raises:
            SettingsError: It is not known when an example was seen.
        """
        if self.last_step is None:
            return np.zeros(len(self.corpus), dtype=np.bool_)
        steps = self.corpus.table.column("step")
        if steps.null_count:
            raise SettingsError(
                f"{steps.null_count} of {len(self.corpus)} examples do not say at which step "
                "training saw them, so that those from the future cannot be left out.",
                "Name the column in `corpus.step_column`, or leave `checkpoint_local` out.",
            )
        return steps.to_numpy() > self.last_step


class MethodResult(NamedTuple):
    """What one method computes, and the choices that determined it.

    A method that does not score null queries, because each costs too much or because it compares a
    query with the others, leaves their rows out.
    """

    values: "Float[np.ndarray, 'queries examples']"
    settings: Mapping[str, object]


Needs = Callable[[AttributionSettings], tuple[Request[object], ...]]


class SplitTerm(NamedTuple):
    """One view's inner products, and the positive weight with which they are part of a score."""

    view: View
    weight: float


# From the settings that scores state to the inner products which they are sums of.
Split = Callable[[Mapping[str, Any]], tuple[SplitTerm, ...]]


# Refuses settings for rows of so many numbers per module, of so many examples.
CheckRows = Callable[[AttributionSettings, Mapping[str, int], int], None]


def split_of(view: View) -> Split:
    """The split of a method that reads the inner products of one view."""
    return lambda settings: (SplitTerm(view, 1.0),)


def needs_nothing(settings: AttributionSettings) -> tuple[Request[object], ...]:
    """Queries and examples are enough."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Method(Generic[S]):
    """One way to score examples for queries, with everything that is stated about it.

    The page, the docs' table and `whence methods` are made from these fields.

    Attributes:
        name: What it is called everywhere.
        compute: Computes the scores from the inputs and the method's own settings, no others.
        needs: What has to be computed beforehand; refuses settings that make no sense.
        settings: The class of the method's table in `[attribution]`. Its values, the version and
            the keys of what the method reads determine the scores.
        family: What stands behind the scores; baselines and controls look at no gradient of a
            trained model.
        about: What a score means, for a reader of the page.
        reads: What is looked at.
        formula: The score of query q and example i.
        returns: Range and unit, and when a score is undefined.
        higher_means: What is measured to be more where a score is higher, after "Higher means:".
        cost: Passes, operations, memory.
        source: The paper, and how we differ.
        avoid: When not to use it.
        version: Raised when equal inputs shall give other scores.
        split: The inner products whose weighted sum is the score, but for a positive factor of each
            pair; such a score is a sum over tokens and layers. None where it is no such sum.
        check_rows: Refuses, before the pass that stores rows, settings that make no sense for their
            numbers per module and the number of examples. None where any will do.
    """

    name: str
    compute: Callable[[MethodInputs, S], MethodResult]
    needs: Needs
    settings: type[S]
    family: Family
    about: str
    reads: str
    formula: str
    returns: str
    higher_means: str
    cost: str
    source: str
    avoid: str
    version: int = 1
    split: Split | None = None
    check_rows: CheckRows | None = None

    @property
    def is_control(self) -> bool:
        """Whether it ignores the query."""
        return self.family == "control"

    def terms(self, settings: Mapping[str, Any]) -> tuple[SplitTerm, ...]:
        """Lists the inner products that scores with these settings are sums of; empty for none."""
        return self.split(settings) if self.split is not None else ()

    def score(self, inputs: MethodInputs) -> Scores:
        """Scores every example for every query.

        Returns:
            Scores in float32, higher is more helpful. NaN where the method has nothing to say,
            such as an empty document; such examples are in no ranking.

        Raises:
            SettingsError: The inputs lack something that the method needs.
        """
        self._check(inputs)
        started = time.perf_counter()
        found = self.compute(inputs, inputs.settings.table(self.settings))
        values = np.array(found.values, dtype=np.float32)
        ids = [query.id for query in inputs.queries]
        if len(values) < len(ids):
            ids = [query.id for query in inputs.without_nulls.queries]
        shape = (len(ids), len(inputs.corpus))
        assert values.shape == shape, f"{self.name}: {values.shape} instead of {shape}"
        values[:, inputs.is_empty | inputs.is_unseen] = np.nan
        nulls = [row for row, i in enumerate(ids) if i in inputs.nulls - inputs.plains.keys()]
        plains = [row for row, i in enumerate(ids) if i in inputs.plains]
        kept = [row for row, i in enumerate(ids) if i not in inputs.nulls | inputs.references]
        return Scores(
            method=self.name,
            query_ids=tuple(ids[row] for row in kept),
            example_ids=inputs.corpus.ids,
            values=_frozen(values[kept]),
            null_values=_frozen(values[nulls]) if nulls else None,
            plain_ids=tuple(inputs.plains[ids[row]] for row in plains),
            plain_values=_frozen(values[plains]) if plains else None,
            settings=dict(found.settings) | _filter(inputs),
            seconds=time.perf_counter() - started,
            family=self.family,
            higher_means=self.higher_means,
        )

    def _check(self, inputs: MethodInputs) -> None:
        for request in self.needs(inputs.settings):
            if not inputs.has(request):
                raise SettingsError(
                    f"The method `{self.name}` needs {request.kind} ({request.label}), and there "
                    "are none.",
                    "Provide them, or leave the method out.",
                )


def _frozen(values: "NDArray[np.float32]") -> "NDArray[np.float32]":
    values.setflags(write=False)
    return values


def _filter(inputs: MethodInputs) -> dict[str, object]:
    if inputs.last_step is None:
        return {}
    return {"last_step": inputs.last_step, "num_unseen": int(inputs.is_unseen.sum())}


def from_products(products: GradientProducts, values: "Float[np.ndarray, 'q n']") -> MethodResult:
    """Wraps what was computed from one view's products, with what determined them."""
    return MethodResult(values, {"path": products.path, **products.settings})


def from_pass(scores: PairScores) -> MethodResult:
    """Wraps what a method's own pass computed."""
    return MethodResult(scores.values, scores.settings)
