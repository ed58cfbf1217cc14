"""What does every method take, and what does it give?

A method turns queries and examples into one number per pair. All of them give the same frozen
record, by one code path, and pass one common suite of tests.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from whence.errors import SettingsError
from whence.records import Corpus, GradientProducts, LoadedModel, Query, Scores, Term
from whence.settings import AttributionSettings

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray

    from whence.methods.reading import Reading

INFLUENCE = "higher: a small step of training on the example lowers the query's loss"
LIKENESS = "higher: the example is more like the query; a hint of influence, not a measure of it"
CONTROL = "higher: nothing is claimed; a control that every method has to beat"

Need = Literal["model", "products"]


@dataclass(frozen=True)
class Inputs:
    """Everything that methods may use. `model` and `products` are None where there are none."""

    queries: tuple[Query, ...]
    corpus: Corpus
    model: LoadedModel | None
    products: GradientProducts | None
    settings: AttributionSettings

    @cached_property
    def reading(self) -> "Reading":
        """One pass of the model over the examples, shared by the methods that need one."""
        from whence.methods.reading import read_examples

        assert self.model is not None, "a method that reads must say that it needs the model"
        return read_examples(self.model, self.corpus, settings=self.settings)

    @cached_property
    def is_empty(self) -> "NDArray[np.bool_]":
        """Examples without a token or with an empty text: no method says anything about them.

        A text that is not known, as in an index that Bergson made, is not an empty one.
        """
        texts = self.corpus.texts()
        known = np.fromiter((text is not None for text in texts), bool, len(texts))
        blank = np.fromiter((not (text or "").strip() for text in texts), bool, len(texts))
        return known & (blank | (self.corpus.lengths == 0))


class Found(NamedTuple):
    """What one method computes, and the choices that determined it."""

    values: "Float[np.ndarray, 'queries examples']"
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """One way to tie examples to queries.

    `needs` names what of the inputs must be there; `is_control` marks a method that knows nothing
    of the query.
    """

    name: str
    compute: Callable[[Inputs], Found]
    orientation: str
    needs: frozenset[Need] = field(default_factory=frozenset)
    is_control: bool = False

    def score(self, inputs: Inputs) -> Scores:
        """Scores every example for every query.

        Returns:
            Scores in float32, higher is more helpful. NaN where the method has nothing to say,
            such as an empty document; such examples are in no ranking.

        Raises:
            SettingsError: The inputs lack something that the method needs.
        """
        for need in sorted(self.needs):
            if getattr(inputs, need) is None:
                raise SettingsError(
                    f"The method `{self.name}` needs {_MISSING[need]}, and there is none.",
                    "Provide it, or leave the method out.",
                )
        started = time.perf_counter()
        found = self.compute(inputs)
        values = np.array(found.values, dtype=np.float32)
        shape = (len(inputs.queries), len(inputs.corpus))
        assert values.shape == shape, f"{self.name}: {values.shape} instead of {shape}"
        values[:, inputs.is_empty] = np.nan
        values.setflags(write=False)
        return Scores(
            method=self.name,
            query_ids=tuple(query.id for query in inputs.queries),
            example_ids=inputs.corpus.ids,
            values=values,
            settings=dict(found.settings),
            seconds=time.perf_counter() - started,
            orientation=self.orientation,
        )


def main_term(query: Query) -> Term:
    """Picks the sequence that the model produced: of a contrast, the part that is not subtracted.

    Methods that compare texts have no use for the alternative.
    """
    return max(query.terms, key=lambda term: term.weight)


_MISSING: Mapping[str, str] = {
    "model": "a model",
    "products": "the inner products of gradients",
}
