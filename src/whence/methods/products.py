"""Requests for per-example gradients: inner products of a view, or its stored, projected rows."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from whence.errors import SettingsError
from whence.methods.requests import Context, CorpusPass, Models
from whence.methods.rows import GradientRows
from whence.methods.views import FINAL, View
from whence.records import GradientProducts, Plan
from whence.settings import IndexSettings

if TYPE_CHECKING:
    from whence.gradients import Index
    from whence.models import SecondMoments

ROWS_DIM = 32


@dataclass(frozen=True)
class Products(CorpusPass[GradientProducts]):
    """Inner products of every query's and every example's gradient under one view."""

    view: View = FINAL
    kind = "products"

    @property
    def label(self) -> str:
        """The view's label."""
        return self.view.label

    @property
    def stage(self) -> str:
        """The directory of the run; that of the study's own gradients has the plain name."""
        return _named("products", self.view)

    @property
    def directories(self) -> tuple[str, ...]:
        """The products, and the index that the stored path makes for them."""
        return (self.stage, _named("index", self.view))

    @property
    def holds(self) -> Literal["planned", "stored", "streamed"]:
        """As planned, but for the layers that an index in Bergson's format has no place for."""
        return "planned" if self.view.layers == "attributed" else "streamed"

    @property
    def uses_engine(self) -> bool:
        """The streamed path does without."""
        return False

    def num_passes(self, *, num_queries: int) -> int:
        """One, whatever the number of queries."""
        return 1

    def check(self, models: Models) -> None:
        """Refuses a view whose model or second moments the study does not name."""
        models.check(self.view)
        if self.view.correction != "none":
            models.second_moments(self.view)

    def check_plan(self, plan: Plan) -> None:
        """Refuses a correction on the stored path."""
        if plan.path == "stored" and self.holds == "planned" and self.view.correction != "none":
            raise SettingsError(
                f"The view {self.view.label} is corrected by second moments, which a stored index "
                "does not do.",
                'Set `path = "streamed"`, or leave the method out.',
            )

    def inputs(self, context: Context) -> Mapping[str, object]:
        """Model, moments, modules, and where rows are stored what determines them."""
        is_stored = self._path(context) == "stored"
        return {
            "model": context.fingerprint(self.view),
            "view": self.view.label,
            "moments": _origin(self.view, context),
            "modules": self._modules(context),
            "path": self._path(context),
            "rows": self._index_settings(context).key() if is_stored else None,
        }

    def compute(self, context: Context) -> GradientProducts:
        """Multiplies gradients, by the planned path."""
        found = self._stored(context) if self._path(context) == "stored" else self._stream(context)
        told = {**found.settings, "view": self.view.label, **_origin(self.view, context)}
        return replace(found, settings=told)

    def save(self, result: GradientProducts, directory: Path) -> None:
        """Writes `products.npz` and the details."""
        import numpy as np

        from whence.artifacts import write_json

        np.savez(
            directory / "products.npz",
            dots=result.dots,
            query_norms=result.query_norms,
            example_norms=result.example_norms,
        )
        write_json(
            directory / "details.json",
            {"settings": dict(result.settings), "seconds": result.seconds},
        )

    def load(self, directory: Path, context: Context) -> GradientProducts:
        """Reads `products.npz`."""
        import numpy as np

        from whence.artifacts import read_manifest

        details = read_manifest(directory).details
        with np.load(directory / "products.npz", allow_pickle=False) as stored:
            return GradientProducts(
                query_ids=tuple(query.id for query in context.queries),
                example_ids=context.corpus.ids,
                dots=stored["dots"],
                query_norms=stored["query_norms"],
                example_norms=stored["example_norms"],
                path=self._path(context),
                settings=details["settings"],
                seconds=details["seconds"],
            )

    def _path(self, context: Context) -> Literal["streamed", "stored"]:
        return context.path if self.holds == "planned" else "streamed"

    def _modules(self, context: Context) -> list[str]:
        from whence.gradients.passes.capture import VOCABULARY

        return list(VOCABULARY if self.view.layers == "vocabulary" else context.modules)

    def _layers(self, context: Context) -> list[str]:
        from whence.gradients.passes.capture import vocabulary_layers

        if self.view.layers == "vocabulary":
            return list(vocabulary_layers(context.open(self.view)))
        return list(context.modules)

    def _stream(self, context: Context) -> GradientProducts:
        from whence.gradients import streamed_products

        moments = None
        if self.view.correction != "none":
            moments = context.second_moments(self.view)
        if self.view.correction == "adam_step":
            assert moments is not None
            moments = shared_between_sides(moments)
        return streamed_products(
            context.open(self.view),
            context.corpus,
            context.queries,
            modules=self._layers(context),
            token_batch_size=context.index.token_batch_size,
            second_moments=moments,
            work=context.work,
            progress=context.progress,
        )

    def _stored(self, context: Context) -> GradientProducts:
        from whence.gradients import build_index, stored_products

        model = context.open(self.view)
        index = build_index(
            model,
            context.corpus,
            self._index_place(context),
            self._index_settings(context),
            progress=context.progress,
        )
        assert index is not None, "only a share of an index can leave it unfinished"
        return stored_products(index, model, context.queries, progress=context.progress)

    def artifacts(self, context: Context) -> tuple[Path, ...]:
        """The index of the stored path."""
        return (self._index_place(context),) if self._path(context) == "stored" else ()

    def _index_place(self, context: Context) -> Path:
        return context.keep(_named("index", self.view), self.inputs(context))

    def _index_settings(self, context: Context) -> IndexSettings:
        return context.index.model_copy(update={"projection_dim": context.projection_dim})


@dataclass(frozen=True)
class Rows(CorpusPass[GradientRows]):
    """Projected gradients of examples, stored in Bergson's format, and of queries.

    The examples' rows are an index of their own, which other queries find again; this stage holds
    the queries' rows.
    """

    view: View = FINAL
    kind = "rows"

    @property
    def label(self) -> str:
        """The view's label, and that rows are stored."""
        return f"{self.view.label} (rows)"

    @property
    def stage(self) -> str:
        """The directory of the run that holds the queries' rows."""
        return _named("query-rows", self.view)

    @property
    def directories(self) -> tuple[str, ...]:
        """The index, and the queries' rows."""
        return (_named("rows", self.view), self.stage)

    @property
    def holds(self) -> Literal["planned", "stored", "streamed"]:
        """Rows are stored on either path."""
        return "stored"

    @property
    def uses_engine(self) -> bool:
        """The index is in Bergson's format."""
        return True

    def num_passes(self, *, num_queries: int) -> int:
        """One, whatever the number of queries."""
        return 1

    def check(self, models: Models) -> None:
        """Refuses a view whose model or second moments the study does not name."""
        models.check(self.view)
        if self.view.correction != "none":
            models.second_moments(self.view)

    def check_plan(self, plan: Plan) -> None:
        """Either path will do."""

    def inputs(self, context: Context) -> Mapping[str, object]:
        """Model, moments, modules and the projection."""
        return {
            "model": context.fingerprint(self.view),
            "view": self.view.label,
            "moments": _origin(self.view, context),
            "modules": list(context.modules),
            "rows": self._index_settings(context).key(),
        }

    def compute(self, context: Context) -> GradientRows:
        """Builds the index, and projects the queries' gradients likewise."""
        import numpy as np

        from whence.gradients.index.stored import query_rows

        settings = self._index_settings(context)
        model, moments = context.open(self.view), self._moments(context)
        index = self._index(context, moments)
        started = time.perf_counter()
        by_module = query_rows(index, model, context.queries, second_moments=moments)
        columns = [by_module[name].float().cpu().numpy() for name in index.modules]
        told = {
            **_origin(self.view, context),
            "view": self.view.label,
            "projection_dim": settings.projection_dim,
            "projection_seed": settings.projection_seed,
            "modules": list(index.modules),
            "model": model.fingerprint,
            "corpus": context.corpus.fingerprint,
        }
        return GradientRows(
            index.gradients,
            np.concatenate(columns, axis=1),
            dict(index.grad_sizes),
            told,
            seconds=time.perf_counter() - started,
        )

    def save(self, result: GradientRows, directory: Path) -> None:
        """Writes `queries.npy` and the details; the index has the examples' rows."""
        import numpy as np

        from whence.artifacts import write_json

        np.save(directory / "queries.npy", result.queries, allow_pickle=False)
        write_json(
            directory / "details.json",
            {"settings": dict(result.settings), "seconds": result.seconds},
        )

    def load(self, directory: Path, context: Context) -> GradientRows:
        """Opens the index, built again where it is gone, and reads `queries.npy`."""
        import numpy as np

        from whence.artifacts import read_manifest

        details = read_manifest(directory).details
        index = self._index(context, self._moments(context))
        return GradientRows(
            index.gradients,
            np.load(directory / "queries.npy", allow_pickle=False),
            dict(index.grad_sizes),
            details["settings"],
            seconds=details["seconds"],
        )

    def artifacts(self, context: Context) -> tuple[Path, ...]:
        """The index of the examples' rows."""
        return (self._index_place(context),)

    def _index_place(self, context: Context) -> Path:
        return context.keep(_named("rows", self.view), self.inputs(context))

    def _moments(self, context: Context) -> "SecondMoments | None":
        return None if self.view.correction == "none" else context.second_moments(self.view)

    def _index(self, context: Context, moments: "SecondMoments | None") -> "Index":
        from whence.gradients import build_index

        index = build_index(
            context.open(self.view),
            context.corpus,
            self._index_place(context),
            self._index_settings(context),
            second_moments=moments,
            progress=context.progress,
        )
        assert index is not None, "only a share of an index can leave it unfinished"
        return index

    def _index_settings(self, context: Context) -> IndexSettings:
        """Each model of an ensemble has a projection of its own."""
        seed = context.index.projection_seed + self.view.member
        return context.index.model_copy(
            update={"projection_dim": rows_dim(context.index), "projection_seed": seed}
        )


def rows_dim(settings: IndexSettings) -> int:
    """Chooses the projection of stored rows, whose curvature has p⁴ entries for each module."""
    return settings.projection_dim or ROWS_DIM


def shared_between_sides(moments: "SecondMoments") -> "SecondMoments":
    """Transforms second moments, so that correcting both sides divides by √v + ε, not its square.

    Each side is divided by √u + ε, and their product is to be √v + ε, so √u = √(√v + ε) − ε. Of
    Adafactor, which divides by √v, it is u = √v.
    """
    from whence.gradients.passes.correction import EPSILON
    from whence.models import Factored

    return {
        name: values.root()
        if isinstance(values, Factored)
        else ((values.double().sqrt() + EPSILON).sqrt() - EPSILON).square()
        for name, values in moments.items()
    }


def _origin(view: View, context: Context) -> dict[str, object]:
    if view.correction == "none":
        return {}
    return dict(context.models.second_moments(view).origin)


def _named(stage: str, view: View) -> str:
    return stage if view == FINAL else f"{stage}/{view.label}"
