"""Requests: what a method needs computed beforehand, each with its own cache key.

A method's `needs` lists requests; a study computes each once, whichever methods share it, and keeps
those that go over the corpus. Three sorts exist: products and stored rows of gradients
(`whence.methods.products`), what is cheap and kept in memory only (`Readings`, `LearningRates`),
and a method's own pass over the corpus (`OwnPass`), by which an algorithm such as EK-FAC, SOURCE or
MAGIC computes scores itself.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar

from whence.errors import SettingsError
from whence.methods.reading import Reading, read_examples, read_queries
from whence.methods.views import FINAL, View
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel, PairScores, Plan, Query
from whence.settings import AttributionSettings, IndexSettings

if TYPE_CHECKING:
    from whence.models import SecondMoments
    from whence.training import Recipe

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Moments:
    """Second moments that can be loaded; `origin` determines them."""

    origin: Mapping[str, object]
    load: "Callable[[LoadedModel, Corpus], SecondMoments]"


@dataclass(frozen=True)
class Training:
    """A training run that can be followed, because every step's examples and rate are known.

    `weights` gives each example's factor in its step's loss, in corpus order; `open_start` the
    model before its first step.
    """

    recipe: "Recipe"
    last_step: int
    learning_rate_after: Callable[[int], float]
    weights: Callable[[], Sequence[float]]
    open_start: Callable[[], LoadedModel]


class Models(Protocol):
    """The models that a study names, and what is known of their training.

    Every call but `open` and `fingerprint` is cheap and loads nothing, and raises a SettingsError
    where the study does not name what is needed.
    """

    def check(self, view: View) -> None:
        """Refuses a view whose model the study does not name."""
        ...

    def open(self, view: View) -> LoadedModel:
        """Loads a view's model."""
        ...

    def fingerprint(self, view: View) -> str:
        """Gives the fingerprint of a view's model, which may be known without loading it."""
        ...

    def second_moments(self, view: View) -> Moments:
        """Finds the optimizer's second moments at a view's checkpoint."""
        ...

    def learning_rates(self, steps: Sequence[int]) -> tuple[float, ...] | None:
        """Gives the rate of the step after each of some steps; None where they are not known."""
        ...

    def training(self, method: str) -> Training:
        """Gives the whole training run of the study's model, for a method that follows it."""
        ...


@dataclass(frozen=True)
class Context:
    """Everything that a request may use.

    `own` loads the study's own model, once. `index` are the study's settings for gradients;
    `modules` are the attributed layers, `path` and `projection_dim` those of the plan. `nulls` are
    the ids of the null queries among `queries`. `keep` gives a place to an artifact that keeps
    itself, such as an index, by its name and by what determines it; `work` is an empty place for
    what a pass that is cut short can continue from.
    """

    own: Callable[[], LoadedModel]
    own_fingerprint: str
    corpus: Corpus
    queries: tuple[Query, ...]
    models: Models
    settings: AttributionSettings
    index: IndexSettings
    keep: Callable[[str, Mapping[str, object]], Path]
    modules: tuple[str, ...] = ()
    path: Literal["streamed", "stored"] = "streamed"
    projection_dim: int | None = None
    nulls: frozenset[str] = frozenset()
    work: Path | None = None
    progress: Progress = SILENT

    def of(self, request: "Request[object]") -> "Context":
        """What a request may use: without the null queries where it does not score them."""
        if request.has_nulls or not self.nulls:
            return self
        queries = tuple(query for query in self.queries if query.id not in self.nulls)
        return replace(self, queries=queries, nulls=frozenset())

    @property
    def model(self) -> LoadedModel:
        """The study's own model."""
        return self.own()

    def open(self, view: View) -> LoadedModel:
        """Loads a view's model; the study's own is not loaded again."""
        return self.model if view.checkpoint == FINAL.checkpoint else self.models.open(view)

    def fingerprint(self, view: View) -> str:
        """Gives the fingerprint of a view's model."""
        is_own = view.checkpoint == FINAL.checkpoint
        return self.own_fingerprint if is_own else self.models.fingerprint(view)

    def second_moments(self, view: View) -> "SecondMoments":
        """Loads or estimates the second moments at a view's checkpoint."""
        return self.models.second_moments(view).load(self.open(view), self.corpus)


class Request(ABC, Generic[T_co]):
    """Something that methods share; equal requests are computed once.

    `version` is raised when equal inputs shall give other results.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    # Whether null queries are among its queries; where each costs a pass, they are not.
    has_nulls: ClassVar[bool] = True

    @property
    @abstractmethod
    def label(self) -> str:
        """A name for messages, unique among the requests of a study."""

    @abstractmethod
    def check(self, models: Models) -> None:
        """Refuses, before anything long starts, what the study does not provide for.

        Raises:
            SettingsError: The study does not name what is needed.
        """

    @abstractmethod
    def inputs(self, context: Context) -> Mapping[str, object]:
        """Lists what determines the result beside corpus and queries, as JSON values."""

    @abstractmethod
    def compute(self, context: Context) -> T_co:
        """Computes the result."""


class CorpusPass(Request[T]):
    """A request that goes over the corpus, and whose result is kept in the run.

    `holds` says what becomes of whole gradients: `planned` follows the study's path, `stored`
    always keeps projected rows on disk, `streamed` never keeps any.
    """

    @property
    @abstractmethod
    def stage(self) -> str:
        """The name of the run's stage that holds the result."""

    @property
    @abstractmethod
    def directories(self) -> tuple[str, ...]:
        """The names of all artifacts of the run whose time and disk are spent on it."""

    def artifacts(self, context: Context) -> tuple[Path, ...]:
        """Places of artifacts, beside the result, that the run keeps for it; none by default."""
        return ()

    @property
    @abstractmethod
    def holds(self) -> Literal["planned", "stored", "streamed"]:
        """What becomes of whole gradients."""

    @property
    @abstractmethod
    def uses_engine(self) -> bool:
        """Whether Bergson is needed whatever the path."""

    @abstractmethod
    def num_passes(self, *, num_queries: int) -> int:
        """About how many passes over the corpus it takes."""

    @abstractmethod
    def check_plan(self, plan: Plan) -> None:
        """Refuses a path that cannot give the result.

        Raises:
            SettingsError: The path is stored, and no index holds what is needed.
        """

    @abstractmethod
    def save(self, result: T, directory: Path) -> None:
        """Writes a result; `details.json` has `seconds` and what scores say of it."""

    @abstractmethod
    def load(self, directory: Path, context: Context) -> T:
        """Reads a result that was saved."""


class OwnPass(CorpusPass[PairScores]):
    """A method's own pass: an algorithm that computes scores, not products of gradients.

    A subclass is a frozen dataclass that holds its settings; it gives `label`, `check`, `inputs`,
    `compute`, `num_passes` and `uses_engine`.
    """

    kind = "pass"
    has_nulls = False

    @property
    def stage(self) -> str:
        """The name of the run's stage that holds the scores."""
        return f"pass/{self.label}"

    @property
    def directories(self) -> tuple[str, ...]:
        """The stage alone."""
        return (self.stage,)

    @property
    def holds(self) -> Literal["planned", "stored", "streamed"]:
        """Whole gradients are used and forgotten."""
        return "streamed"

    def check_plan(self, plan: Plan) -> None:
        """Refuses the stored path: the algorithm needs whole gradients."""
        if plan.path == "stored":
            raise SettingsError(
                f"`{self.label}` uses whole gradients, which a stored index does not hold.",
                'Set `path = "streamed"`, or leave the method out.',
            )

    def save(self, result: PairScores, directory: Path) -> None:
        """Writes `scores.npy` and the details."""
        import numpy as np

        from whence.artifacts import write_json

        np.save(directory / "scores.npy", result.values, allow_pickle=False)
        write_json(
            directory / "details.json",
            {"settings": dict(result.settings), "seconds": result.seconds},
        )

    def load(self, directory: Path, context: Context) -> PairScores:
        """Reads `scores.npy`."""
        import numpy as np

        from whence.artifacts import read_manifest

        details = read_manifest(directory).details
        return PairScores(
            query_ids=tuple(query.id for query in context.queries),
            example_ids=context.corpus.ids,
            values=np.load(directory / "scores.npy", allow_pickle=False),
            settings=details["settings"],
            seconds=details["seconds"],
        )


class ReadingPair(NamedTuple):
    """One forward pass of a model over the examples, and one over the queries' sequences."""

    examples: Reading
    queries: Reading


@dataclass(frozen=True)
class Readings(Request[ReadingPair]):
    """Hidden states, losses and probabilities of examples and queries under a view's model."""

    view: View = FINAL
    kind = "readings"

    @property
    def label(self) -> str:
        """A name for messages."""
        return f"forward pass ({self.view.label})"

    def check(self, models: Models) -> None:
        """Refuses a view whose model the study does not name."""
        models.check(self.view)

    def inputs(self, context: Context) -> Mapping[str, object]:
        """The model determines them."""
        return {"model": context.fingerprint(self.view)}

    def compute(self, context: Context) -> ReadingPair:
        """Runs the model once over everything."""
        return read_both(
            context.open(self.view),
            context.corpus,
            context.queries,
            settings=context.index,
            progress=context.progress,
        )


def read_both(
    model: LoadedModel,
    corpus: Corpus,
    queries: Sequence[Query],
    *,
    settings: IndexSettings,
    progress: Progress,
) -> ReadingPair:
    """Runs a model over examples and queries; no gradients."""
    return ReadingPair(
        read_examples(model, corpus, settings=settings, progress=progress),
        read_queries(model, queries, settings=settings),
    )


@dataclass(frozen=True)
class LearningRates(Request[tuple[float, ...]]):
    """The learning rate of the step after each checkpoint, where the model's recipe is known."""

    steps: tuple[int, ...]
    kind = "learning_rates"

    @property
    def label(self) -> str:
        """A name for messages."""
        return "learning rates"

    def check(self, models: Models) -> None:
        """Refuses a model whose recipe is not known."""
        if models.learning_rates(self.steps) is None:
            raise SettingsError(
                f"TracIn weights {len(self.steps)} checkpoints by their learning rates, and 0 are "
                "known.",
                "Set `attribution.tracin.learning_rates`, one for each checkpoint.",
            )

    def inputs(self, context: Context) -> Mapping[str, object]:
        """The rates themselves."""
        return {"learning_rates": list(self.compute(context))}

    def compute(self, context: Context) -> tuple[float, ...]:
        """Looks the rates up."""
        rates = context.models.learning_rates(self.steps)
        assert rates is not None, "`check` has refused a model whose recipe is not known"
        return rates
