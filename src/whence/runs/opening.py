"""Opening the model, corpus and behaviors that a study names.

The testbed is one more source: `testbed:mini` stands wherever a Hub id or a path may stand.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from whence.artifacts import user_cache
from whence.errors import ArtifactError, SettingsError
from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, LoadedModel
from whence.settings import (
    AttributionSettings,
    BehaviorFile,
    CorpusSettings,
    ModelSettings,
    Settings,
    StudySettings,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TESTBED = "testbed:"
S = TypeVar("S", bound=Settings)


def testbed_size(source: str) -> str | None:
    """The size named by `testbed:mini`; None for any other source."""
    return source.removeprefix(TESTBED) if source.startswith(TESTBED) else None


def resolve(study: StudySettings, base: Path) -> StudySettings:
    """Makes the study's relative paths absolute; a name that is no path there stays as it is.

    Raises:
        SettingsError: A path names an environment variable that is not set.
    """

    def absolute(name: str) -> str:
        return absolute_name(name, base)

    def attribution(settings: AttributionSettings) -> AttributionSettings:
        moments, reference = settings.adam.second_moments, settings.reference_behaviors
        members = tuple(absolute(name) for name in settings.trak.ensemble)
        if moments not in ("auto", "estimate"):
            moments = absolute_pattern(moments, base)
        return settings.model_copy(
            update={
                "adam": settings.adam.model_copy(update={"second_moments": moments}),
                "reference_behaviors": absolute(reference) if reference else None,
                "trak": settings.trak.model_copy(update={"ensemble": members}),
            }
        )

    null_texts = study.evidence.null_texts
    return study.model_copy(
        update={
            "attribution": attribution(study.attribution),
            "evidence": study.evidence.model_copy(
                update={"null_texts": absolute(null_texts) if null_texts else None}
            ),
            "model": absolute_model(study.model, base),
            "verify_model": absolute_model(study.verify_model, base)
            if study.verify_model
            else None,
            "corpus": study.corpus.model_copy(update={"source": absolute(study.corpus.source)}),
            "behaviors": study.behaviors.model_copy(
                update={"file": absolute(study.behaviors.file)}
            ),
        }
    )


def absolute_name(name: str, base: Path) -> str:
    """Makes a relative path absolute; a name that is no path from there stays as it is.

    Raises:
        SettingsError: It names an environment variable that is not set.
    """
    expanded = _expanded(name, base)
    is_path = not expanded.startswith(TESTBED) and _exists(base / expanded)
    return os.path.realpath(base / expanded) if is_path else expanded


def absolute_pattern(name: str, base: Path) -> str:
    """Makes a path with `{step}` absolute; no such file exists by that name."""
    return os.path.realpath(base / _expanded(name, base))


def absolute_model(settings: ModelSettings, base: Path) -> ModelSettings:
    """Makes the paths of a model absolute."""
    changes = {
        key: absolute_name(value, base)
        for key in ("name", "tokenizer", "initial")
        if (value := getattr(settings, key))
    }
    return settings.model_copy(update=changes)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL: who opens it says so
        return False


def _expanded(name: str, base: Path) -> str:
    """Replaces environment variables in a path.

    Only in the path of something that exists, so that a study from elsewhere cannot make the value
    of any other variable appear.

    Raises:
        SettingsError: A variable is not set, or the path leads nowhere.
    """
    if "$" not in name:
        return name
    path = os.path.expandvars(name)
    if "$" in path:
        raise SettingsError(
            f"The study names `{name}`, but that environment variable is not set.",
            "Set it, or write the path out.",
        )
    # `{step}` may stand in a file's name, so that no such file exists; its folder does.
    place = os.path.dirname(name.partition("{step}")[0]) if "{step}" in name else name  # noqa: PTH120
    if "$" in name[len(place) :] or not _exists(base / os.path.expandvars(place)):
        raise SettingsError(
            f"The study names `{name}`, which is no file or folder here.",
            "Check the variable and the path; variables stand for paths only.",
        )
    return path


def portable(study: S, directory: Path) -> S:
    """Writes a study's absolute paths relative to a directory; `resolve` turns them back.

    A record that others may see then names no folders of this machine, nor whose they are.
    """

    def shortened(value: object) -> object:
        if isinstance(value, dict):
            return {key: shortened(part) for key, part in value.items()}
        if isinstance(value, list):
            return [shortened(part) for part in value]
        if isinstance(value, str) and os.path.isabs(value):  # noqa: PTH117
            return os.path.relpath(value, os.path.realpath(directory))
        return value

    values = study.model_dump(mode="json")
    found = {key: value if key == "title" else shortened(value) for key, value in values.items()}
    return type(study).model_validate(found)


def open_model(
    settings: ModelSettings, *, cache: Path | None = None, progress: Progress = SILENT
) -> LoadedModel:
    """Loads a model from the testbed, a folder or the Hub.

    Args:
        settings: Which model.
        cache: Where a testbed that has to be trained is kept; by default `user_cache`.
        progress: Reports progress, where a testbed has to be trained.

    Raises:
        ModelError: It cannot be loaded, or its tokenizer does not fit.
    """
    size = testbed_size(settings.name)
    if size is None:
        from whence.models import load_model

        return load_model(settings)
    from whence.models import in_dtype
    from whence.testbed import load_checkpoint

    step = _step(settings.revision)
    try:
        loaded = load_checkpoint(size, step=step, cache=cache or user_cache(), progress=progress)
    except ArtifactError:
        if cache is not None:
            raise
        # The user's cache cannot be written, or another process is filling it.
        loaded = load_checkpoint(size, step=step, progress=progress)
    return replace(in_dtype(loaded, settings.dtype), settings=settings)


def open_tokenizer(
    settings: ModelSettings, *, cache: Path | None = None
) -> "PreTrainedTokenizerBase":
    """Loads the tokenizer of a model, without the weights unless they are a testbed's.

    Raises:
        ModelError: There is no such model or tokenizer.
    """
    if testbed_size(settings.name) is not None:
        return open_model(settings.model_copy(update={"revision": None}), cache=cache).tokenizer
    from whence.models import open_tokenizer as load

    return load(settings)


def open_member(
    settings: ModelSettings, name: str, *, cache: Path, progress: Progress = SILENT
) -> LoadedModel:
    """Loads another model that was trained on the same corpus: of a folder, the Hub or a seed.

    Raises:
        ModelError: It cannot be loaded.
    """
    seed, size = member_seed(name), testbed_size(settings.name)
    if seed is None or size is None:
        other = settings.model_copy(update={"name": name, "revision": None})
        return open_model(other, progress=progress)
    from whence.testbed import seeded_model

    return seeded_model(size, seed=seed, cache=cache, progress=progress)


def member_seed(name: str) -> int | None:
    """Reads the number of `seed1`; None where a name is none of a seed."""
    number = name.removeprefix("seed")
    return int(number) if number != name and number.isdigit() and int(number) else None


def open_initial(settings: ModelSettings, *, cache: Path | None = None) -> LoadedModel | None:
    """Loads the step-0 model that behaviors are compared with, where one is known."""
    if testbed_size(settings.name) is not None:
        return open_model(settings.model_copy(update={"revision": "step0"}), cache=cache)
    from whence.models import load_initial

    return load_initial(settings)


def checkpoint_step(settings: ModelSettings) -> int:
    """Tells after which step of training a model was kept.

    Raises:
        SettingsError: Its revision does not say.
    """
    size = testbed_size(settings.name)
    if size is not None and settings.revision is None:
        from whence.testbed import last_step

        return last_step(size)
    number = (settings.revision or "").removeprefix("step")
    if not number.isdigit():
        raise SettingsError(
            f"The study does not say after which step {settings.name} was kept, so that examples "
            "from its future cannot be left out.",
            "Name the checkpoint in `model.revision`, such as `step512`, or leave "
            "`checkpoint_local` out.",
        )
    return int(number)


def open_corpus(
    settings: CorpusSettings, model: LoadedModel, *, progress: Progress = SILENT
) -> Corpus:
    """Reads a corpus from the testbed, files or the Hub, in the model's tokens.

    Raises:
        CorpusError: It cannot be read, or is empty, ambiguous or broken.
    """
    size = testbed_size(settings.source)
    if size is None:
        from whence.corpus import load_corpus

        return load_corpus(
            settings, model.tokenizer, context_length=model.context_length, progress=progress
        )
    _refuse_changes(settings)
    from whence.testbed import corpus

    return corpus(size)


def open_behaviors(settings: BehaviorFile) -> tuple[Behavior, ...]:
    """Reads the behaviors that a study asks about, in the file's order.

    Raises:
        SettingsError: The file cannot be read, or the choice of kinds and ids leaves none.
    """
    size = testbed_size(settings.file)
    if size is None:
        from whence.behaviors import load_behaviors

        found = load_behaviors(Path(settings.file))
    else:
        from whence.testbed import behaviors

        found = behaviors(size)
    if settings.ids is not None:
        known = {behavior.id for behavior in found}
        if unknown := [i for i in settings.ids if i not in known]:
            raise SettingsError(
                f"{settings.file} has no behavior `{unknown[0]}`.",
                f"It has {len(known)}, such as `{found[0].id}`.",
            )
        found = tuple(behavior for behavior in found if behavior.id in settings.ids)
    chosen = tuple(behavior for behavior in found if behavior.kind in settings.kinds)
    if not chosen:
        raise SettingsError(
            f"{settings.file} has no behavior of the kinds {', '.join(settings.kinds)}.",
            "Widen `behaviors.kinds` or `behaviors.ids`.",
        )
    return chosen


def planted(settings: BehaviorFile) -> Mapping[str, frozenset[str]]:
    """The examples planted for each testbed behavior; empty where truth is not on file."""
    size = testbed_size(settings.file)
    if size is None:
        return {}
    from whence.testbed import gold

    return gold(size)


def texts_for_judges(
    corpus: Corpus, source: str, *, per_subset: int = 400
) -> Mapping[str, list[str]]:
    """Texts of each subset for the style judge: held-out ones where the testbed makes them."""
    size = testbed_size(source)
    subsets = corpus.table.column("subset").to_pylist()
    names = sorted({name for name in subsets if name is not None})
    if size is not None:
        from whence.testbed import held_out_texts

        return {name: held_out_texts(name, num=per_subset, seed=1) for name in names}
    found: dict[str, list[str]] = {name: [] for name in names}
    for name, text in zip(subsets, corpus.texts(), strict=True):
        if name is not None and text and len(found[name]) < per_subset:
            found[name].append(text)
    return found


def _refuse_changes(settings: CorpusSettings) -> None:
    usual = CorpusSettings(source=settings.source)
    for name, value in settings:
        if value != getattr(usual, name):
            raise SettingsError(
                f"The testbed is read whole, as it was trained on, so `{name} = {value!r}` has no "
                "meaning.",
                f"Leave `{name}` out.",
            )


def _step(revision: str | None) -> int | None:
    if revision is None:
        return None
    number = revision.removeprefix("step")
    if not number.isdigit():
        raise SettingsError(
            f"The testbed has no revision `{revision}`.", "Use a step such as `step64`."
        )
    return int(number)
