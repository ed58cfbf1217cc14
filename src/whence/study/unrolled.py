"""Is all of a model's training known, so that an example's effect can be followed through it?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from whence.errors import SettingsError
from whence.methods import View
from whence.records import Corpus, GradientProducts, LoadedModel
from whence.settings import StudySettings
from whence.study import inputs as sources


@dataclass(frozen=True)
class Unrolled:
    """What stands for products where training is followed.

    `origin` tells what determines it beside model, corpus and queries; `products` takes those, and
    by name modules, batch size and progress.
    """

    origin: Mapping[str, Any]
    products: Callable[..., GradientProducts]


def testbed_training(study: StudySettings, *, method: str) -> str:
    """Finds the testbed that was trained on exactly this corpus, up to its last step.

    Raises:
        SettingsError: The study's model is none, or was not trained on the study's corpus.
    """
    from whence.testbed import last_step

    size = sources.testbed_size(study.model.name)
    if size is None:
        raise SettingsError(
            f"`{method}` is undefined for {study.model.name}, because the learning rate and the "
            "examples of its every step are not known.",
            "Leave the method out, or take a testbed, whose training is known.",
        )
    if sources.testbed_size(study.corpus.source) != size:
        raise SettingsError(
            f"`{method}` is undefined for {study.corpus.source}, on which {study.model.name} was "
            "not trained.",
            f"Set `corpus.source` to {study.model.name!r}, or leave the method out.",
        )
    if (step := sources.checkpoint_step(study.model)) != (last := last_step(size)):
        raise SettingsError(
            f"`{method}` follows training to its end, step {last}, and the model's checkpoint is "
            f"step {step}.",
            "Leave `model.revision` out, or leave the method out.",
        )
    return size


def magic_training(study: StudySettings) -> Unrolled:
    """Repeats a testbed's training.

    Raises:
        SettingsError: Training is not known.
    """
    from whence.testbed import recipe, training_weights

    size = testbed_training(study, method="magic")
    since = study.attribution.magic.since

    def products(_end: LoadedModel, *arguments: Any, **named: Any) -> GradientProducts:
        from whence.gradients.magic import magic_products
        from whence.testbed import initial_checkpoint

        return magic_products(
            initial_checkpoint(size),
            *arguments,
            recipe=recipe(size),
            weights=training_weights(size).tolist(),
            since=since,
            progress=named["progress"],
        )

    return Unrolled({"recipe": recipe(size).model_dump(mode="json"), "since": since}, products)


def source_training(
    study: StudySettings, *, open_view: "Callable[[View, LoadedModel, Corpus], Any]"
) -> Unrolled:
    """Cuts a testbed's training into the segments that end with the study's checkpoints.

    Args:
        study: The study.
        open_view: Gives a checkpoint's model and its second moments.

    Raises:
        SettingsError: Training is not known, or the checkpoints do not end with its last step.
    """
    from whence.testbed import last_step, learning_rate_after, recipe

    size = testbed_training(study, method="source")
    settings, decay = study.attribution.source, recipe(size).weight_decay
    ends = settings.checkpoints
    if ends[-1] != (last := last_step(size)):
        raise SettingsError(
            f"The last of `source.checkpoints` is {ends[-1]}, and the training of {study.model.name} "
            f"ends with step {last}.",
            f"Add {last}, so that the segments of `source` make up the whole training.",
        )
    bounds = list(zip((0, *ends[:-1]), ends, strict=True))
    sums = [sum(learning_rate_after(size, k) for k in range(a, b)) for a, b in bounds]

    def products(model: LoadedModel, corpus: Corpus, *arguments: Any, **named: Any) -> Any:
        from whence.gradients.source import Segment, source_products

        segments = [
            Segment(a, b, total, decay, lambda b=b: open_view(View(b, "adam_step"), model, corpus))
            for (a, b), total in zip(bounds, sums, strict=True)
        ]
        return source_products(
            model,
            corpus,
            *arguments,
            segments=segments,
            labels=settings.labels,
            label_seed=settings.seed,
            **named,
        )

    origin = {
        "segments": bounds,
        "learning_rate_sums": sums,
        "weight_decay": decay,
        "labels": settings.labels,
        "label_seed": settings.seed,
    }
    return Unrolled(origin, products)
