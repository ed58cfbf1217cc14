"""What a method is, what it may use, and what it gives.

A method turns queries and examples into one number per pair. All of them give the same frozen
record, by one code path, and pass one common suite of tests.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from whence.errors import SettingsError
from whence.methods.views import FINAL, View
from whence.progress import SILENT, Progress
from whence.records import Corpus, Family, GradientProducts, LoadedModel, Query, Scores
from whence.settings import AttributionSettings

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray

    from whence.methods.reading import Reading
    from whence.methods.rows import GradientRows


class Needs(NamedTuple):
    """What a method cannot do without: the model; products of gradients, or stored rows of them,
    under some views.
    """  # noqa: D205

    model: bool = False
    products: tuple[View, ...] = ()
    rows: tuple[View, ...] = ()

    @property
    def gradients(self) -> bool:
        """Whether gradients have to be computed for it."""
        return bool(self.products or self.rows)


NeedsOf = Callable[[AttributionSettings], Needs]


def needs_nothing(settings: AttributionSettings) -> Needs:
    """Queries and examples are enough."""
    return Needs()


def needs_model(settings: AttributionSettings) -> Needs:
    """The model has to be read, without gradients."""
    return Needs(model=True)


def needs_view(view: View = FINAL) -> NeedsOf:
    """Inner products of gradients under one view are needed."""
    return lambda settings: Needs(products=(view,))


def needs_rows(view: View = FINAL) -> NeedsOf:
    """Stored rows of gradients under one view are needed."""
    return lambda settings: Needs(rows=(view,))


@dataclass(frozen=True)
class Inputs:
    """Everything that methods may use.

    `model` is None, and `products` and `rows` are empty, where there are none. Those of every view
    have the same queries and examples, in the order of `queries` and `corpus`. `references` are the
    ids of queries that others are compared with and that are in no result. With `last_step`, an
    example that training saw after that step has no score. `open_view` loads the model of a view;
    `progress` watches passes over the corpus.
    """

    queries: tuple[Query, ...]
    corpus: Corpus
    model: LoadedModel | None = None
    products: Mapping[View, GradientProducts] = field(default_factory=dict)
    settings: AttributionSettings = field(default_factory=AttributionSettings)
    references: frozenset[str] = frozenset()
    last_step: int | None = None
    rows: "Mapping[View, GradientRows]" = field(default_factory=dict)
    open_view: Callable[[View], LoadedModel] | None = None
    progress: Progress = SILENT

    @cached_property
    def reading(self) -> "Reading":
        """One pass of the model over the examples, shared by the methods that need one."""
        from whence.methods.reading import read_examples

        assert self.model is not None, "a method that reads must say that it needs the model"
        return read_examples(
            self.model, self.corpus, settings=self.settings, progress=self.progress
        )

    @cached_property
    def query_reading(self) -> "Reading":
        """One pass of the model over the queries' sequences, shared likewise."""
        from whence.methods.reading import read_queries

        assert self.model is not None, "a method that reads must say that it needs the model"
        return read_queries(self.model, self.queries, settings=self.settings)

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


class Found(NamedTuple):
    """What one method computes, and the choices that determined it."""

    values: "Float[np.ndarray, 'queries examples']"
    settings: Mapping[str, Any]


Compute = Callable[[Inputs], Found]


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to tie examples to queries, with everything that is said of it anywhere.

    The page, the docs' table and `whence methods` are made from these fields.

    Attributes:
        name: What it is called everywhere.
        compute: Computes the scores.
        needs: What of the inputs must be there, by the settings.
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
    """

    name: str
    compute: Compute
    needs: NeedsOf
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

    @property
    def is_control(self) -> bool:
        """Whether it ignores the query."""
        return self.family == "control"

    def score(self, inputs: Inputs) -> Scores:
        """Scores every example for every query.

        Returns:
            Scores in float32, higher is more helpful. NaN where the method has nothing to say,
            such as an empty document; such examples are in no ranking.

        Raises:
            SettingsError: The inputs lack something that the method needs.
        """
        kept = [row for row, q in enumerate(inputs.queries) if q.id not in inputs.references]
        self._check(inputs)
        started = time.perf_counter()
        found = self.compute(inputs)
        values = np.array(found.values, dtype=np.float32)
        shape = (len(inputs.queries), len(inputs.corpus))
        assert values.shape == shape, f"{self.name}: {values.shape} instead of {shape}"
        values[:, inputs.is_empty | inputs.is_unseen] = np.nan
        values = values[kept]
        values.setflags(write=False)
        return Scores(
            method=self.name,
            query_ids=tuple(inputs.queries[row].id for row in kept),
            example_ids=inputs.corpus.ids,
            values=values,
            settings=dict(found.settings) | _filter(inputs),
            seconds=time.perf_counter() - started,
            family=self.family,
            higher_means=self.higher_means,
        )

    def _check(self, inputs: Inputs) -> None:
        needs = self.needs(inputs.settings)
        missing = ["a model"] if needs.model and inputs.model is None else []
        missing += [
            f"the inner products of gradients ({view.label})"
            for view in needs.products
            if view not in inputs.products
        ]
        missing += [
            f"stored rows of gradients ({view.label})"
            for view in needs.rows
            if view not in inputs.rows
        ]
        if missing:
            raise SettingsError(
                f"The method `{self.name}` needs {missing[0]}, and there is none.",
                "Provide it, or leave the method out.",
            )


def _filter(inputs: Inputs) -> dict[str, Any]:
    if inputs.last_step is None:
        return {}
    return {"last_step": inputs.last_step, "num_unseen": int(inputs.is_unseen.sum())}


def from_products(products: GradientProducts, values: "Float[np.ndarray, 'q n']") -> Found:
    """Wraps what was computed from one view's products, with what determined them."""
    return Found(values, {"path": products.path, **products.settings})
