"""Which model, and which of the optimizer's second moments, stand for a view in a study?"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import SettingsError
from whence.methods import FINAL, View
from whence.records import Corpus, LoadedModel
from whence.settings import ModelSettings, StudySettings
from whence.study import inputs as sources
from whence.study.unrolled import Unrolled, magic_training, source_training

if TYPE_CHECKING:
    from whence.models import SecondMoments

NUM_ESTIMATION_EXAMPLES = 256


@dataclass(frozen=True)
class Moments:
    """Second moments that can be had: what determines them, and how they are got."""

    origin: Mapping[str, Any]
    load: "Callable[[LoadedModel, Corpus], SecondMoments]"


@dataclass(frozen=True)
class ViewSource:
    """A view that can be opened: nothing is loaded yet.

    `moments` is None where Adam corrects nothing, `unrolled` where training is not followed,
    and `member` names another model of the ensemble.
    """

    view: View
    settings: ModelSettings
    cache: Path
    moments: Moments | None
    unrolled: Unrolled | None = None
    member: str | None = None

    def num_passes(self, *, num_queries: int) -> int:
        """About how many passes over the corpus it takes.

        EK-FAC fits its factors in two more; MAGIC trains twice, and thrice for each query.
        """
        if self.view.correction == "magic":
            return 2 + 3 * num_queries
        return 3 if self.view.correction in ("ekfac", "source") else 1

    @property
    def projection_shift(self) -> int:
        """What is added to the projection's seed, so that each model has a projection of its own.

        A model of an ensemble is numbered from 1.
        """
        return 0 if self.member is None else int(str(self.view.checkpoint).removeprefix("member"))

    def open(self, model: LoadedModel) -> LoadedModel:
        """Loads the view's model; `model` is the study's own, which is not loaded again."""
        if self.member is not None:
            return sources.open_member(self.settings, self.member, cache=self.cache)
        if self.view.checkpoint == "final":
            return model
        if self.view.checkpoint == "initial":
            initial = sources.open_initial(self.settings, cache=self.cache)
            assert initial is not None, "view_source has checked that there is one"
            return initial
        revision = f"step{self.view.checkpoint}"
        return sources.open_model(
            self.settings.model_copy(update={"revision": revision}), cache=self.cache
        )


def view_source(study: StudySettings, view: View, *, cache: Path) -> ViewSource:
    """Finds out how a view can be opened, before anything long starts.

    Raises:
        SettingsError: The study does not name what the view needs.
    """
    testbed = sources.testbed_size(study.model.name)
    if view.checkpoint == "initial" and testbed is None and study.model.initial is None:
        raise SettingsError(
            f"The study names no step-0 weights of {study.model.name}, and a method needs its "
            "randomly initialised model.",
            "Set `model.initial`, such as `step0` or `random`, or leave the method out.",
        )
    if testbed is not None and isinstance(view.checkpoint, int):
        from whence.testbed import all_steps

        if view.checkpoint not in all_steps(testbed):
            raise SettingsError(
                f"{study.model.name} has no checkpoint at step {view.checkpoint}.",
                f"Take some of {', '.join(map(str, all_steps(testbed)))}.",
            )
    moments = _moments(study, view, cache) if view.correction.startswith("adam") else None
    unrolled = _unrolled(study, view, cache)
    member = _member(study, view)
    return ViewSource(view, study.model, cache, moments, unrolled, member)


def _member(study: StudySettings, view: View) -> str | None:
    if isinstance(view.checkpoint, int) or not view.checkpoint.startswith("member"):
        return None
    name = study.attribution.trak.ensemble[int(view.checkpoint.removeprefix("member")) - 1]
    if study.attribution.trak.ensemble.count(name) > 1 or name == study.model.name:
        raise SettingsError(
            f"`trak.ensemble` names {name} although it is averaged over already.", "Name it once."
        )
    if sources.member_seed(name) is not None and sources.testbed_size(study.model.name) is None:
        raise SettingsError(
            f"`trak.ensemble` names {name}, and {study.model.name} is no testbed that could be "
            "trained with another seed.",
            "Name folders or Hub ids of models.",
        )
    return name


def _unrolled(study: StudySettings, view: View, cache: Path) -> Unrolled | None:
    if view.correction == "magic":
        return magic_training(study)
    if view.correction != "source":
        return None

    def open_view(
        view: View, model: LoadedModel, corpus: Corpus
    ) -> "tuple[LoadedModel, SecondMoments]":
        source = view_source(study, view, cache=cache)
        assert source.moments is not None, "what Adam corrects has second moments"
        seen = source.open(model)
        return seen, source.moments.load(seen, corpus)

    return source_training(study, open_view=open_view)


def with_learning_rates(study: StudySettings) -> StudySettings:
    """Fills in the learning rates of the checkpoints, where the testbed's recipe knows them."""
    settings = study.attribution.tracin
    size = sources.testbed_size(study.model.name)
    if settings.learning_rates is None and size is not None and settings.checkpoints:
        from whence.testbed import learning_rate_after

        rates = tuple(learning_rate_after(size, step) for step in settings.checkpoints)
        table = settings.model_copy(update={"learning_rates": rates})
        changed = study.attribution.model_copy(update={"tracin": table})
        return study.model_copy(update={"attribution": changed})
    return study


def view_directory(directory: Path, stage: str, view: View) -> Path:
    """The directory of a view's stage; that of the study's own model has the plain name."""
    return directory / (stage if view == FINAL else f"{stage}-{view.label}")


def shared_between_sides(moments: "SecondMoments") -> "SecondMoments":
    """Turns second moments into those whose correction of both sides is √v + ε, and not its square.

    Each side is divided by √u + ε, and their product is to be √v + ε, so √u = √(√v + ε) − ε. Of
    Adafactor, which divides by √v, it is u = √v.
    """
    from whence.gradients.correction import EPSILON
    from whence.models import Factored

    return {
        name: values.root()
        if isinstance(values, Factored)
        else ((values.double().sqrt() + EPSILON).sqrt() - EPSILON).square()
        for name, values in moments.items()
    }


def _moments(study: StudySettings, view: View, cache: Path) -> Moments:
    settings = study.attribution.adam
    step = view.checkpoint if isinstance(view.checkpoint, int) else None
    size = sources.testbed_size(study.model.name)
    if settings.second_moments == "estimate":
        return _estimate(study, view, size)
    if settings.second_moments != "auto":
        return _file(settings.second_moments, view)
    if size is not None and view.checkpoint != "initial":
        from whence.testbed import last_step, second_moment_steps, second_moments

        place = last_step(size) if step is None else step
        if place in second_moment_steps(size, cache=cache) or (size == "nano" and place > 0):
            return Moments(
                {"second_moments": f"the optimizer's, after step {place}"},
                lambda model, corpus: second_moments(size, step=place, cache=cache),
            )
    return _estimate(study, view, size)


def _estimate(study: StudySettings, view: View, size: str | None) -> Moments:
    settings = study.attribution.adam
    batch_size = settings.training_batch_size
    if batch_size is None and size is not None:
        from whence.testbed import recipe

        batch_size = recipe(size).batch_size
    if batch_size is None:
        raise SettingsError(
            f"The second moments of {study.model.name} ({view.label}) have to be estimated, and "
            "the study does not say how many sequences a training step had.",
            "Set `attribution.adam.training_batch_size` (Pythia: 1024), or name the optimizer's file "
            "in `attribution.adam.second_moments`.",
        )

    def load(model: LoadedModel, corpus: Corpus) -> "SecondMoments":
        from whence.models import estimate_second_moments

        sequences = _sample(corpus, seed=settings.seed)
        return estimate_second_moments(model, sequences, batch_size=batch_size)

    origin = {
        "second_moments": f"estimated from at most {NUM_ESTIMATION_EXAMPLES} examples, for batches "
        f"of {batch_size}",
        "second_moments_seed": settings.seed,
    }
    return Moments(origin, load)


def _file(name: str, view: View) -> Moments:
    if "{step}" in name and not isinstance(view.checkpoint, int):
        raise SettingsError(
            f"`adam.second_moments = {name!r}` names a file for each step, and a method needs that "
            f"of the {view.checkpoint} model.",
            "Name one file, or use `auto`.",
        )
    if "{step}" not in name and view.checkpoint != "final":
        raise SettingsError(
            f"`adam.second_moments = {name!r}` names one file, and a method needs another "
            f"checkpoint's ({view.label}).",
            "Write `{step}` where the step's number stands in the file's name, or use `auto`.",
        )
    path = Path(name.replace("{step}", str(view.checkpoint)))
    if not path.is_file():
        raise SettingsError(f"There is no file {path} of second moments.", "Check the path.")

    def load(model: LoadedModel, corpus: Corpus) -> "SecondMoments":
        from whence.models import load_second_moments

        return load_second_moments(path, model)

    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Moments({"second_moments": path.name, "second_moments_sha256": digest}, load)


def _sample(corpus: Corpus, *, seed: int) -> list[list[int]]:
    """Draws examples of at least two tokens, without replacement and in corpus order."""
    import numpy as np

    rows = np.flatnonzero(corpus.lengths >= 2)
    size = min(NUM_ESTIMATION_EXAMPLES, len(rows))
    drawn = np.random.default_rng(seed).choice(rows, size=size, replace=False)
    return [corpus.input_ids(int(row)) for row in np.sort(drawn)]
