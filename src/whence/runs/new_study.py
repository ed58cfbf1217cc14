"""Writes a first study: one behavior of each kind, explained, and the study about them."""

import os
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from whence.artifacts import new_folder, write_new
from whence.errors import SettingsError
from whence.models.load import RANDOM_WEIGHTS
from whence.runs.opening import TESTBED

STUDY, BEHAVIORS = "study.toml", "behaviors.toml"
_PYTHIA = "EleutherAI/pythia"


class NewStudy(NamedTuple):
    """The files that were written."""

    study: Path
    behaviors: Path


def write_new_study(
    directory: Path,
    *,
    model: str,
    corpus: str,
    title: str | None = None,
    initial: str | None = None,
) -> NewStudy:
    """Writes `study.toml` and `behaviors.toml` into a folder.

    Args:
        directory: The folder; it is made where it is missing.
        model: A Hub id, a folder, or a testbed.
        corpus: A Hub dataset, a file, a folder, or a testbed.
        title: The question; by default one that names the model.
        initial: The untrained weights to compare with. By default `step0` of a Pythia model and
            weights drawn anew of any other; a testbed has its own.

    Raises:
        ArtifactError: One of the files is there already, or the folder cannot be written.
        SettingsError: A value is empty, or not what a study may have.
    """
    from whence.behaviors import load_behaviors
    from whence.settings import StudySettings, load_study, parse

    for name, value in (("model", model), ("corpus", corpus)):
        if not value.strip():
            raise SettingsError(f"The {name} is empty.", f"Name one with `--{name}`.")
    found = NewStudy(directory / STUDY, directory / BEHAVIORS)
    own: dict[str, Any] = {
        "title": title or f"Whence does {Path(model).name} know this?",
        "model": {"name": _seen_from(directory, model)},
        "corpus": {"source": _seen_from(directory, corpus)},
        "behaviors": {"file": BEHAVIORS},
    }
    initial = _initial(model) if initial is None else _seen_from(directory, initial)
    if initial is not None:
        own["model"]["initial"] = initial
    parse(StudySettings, own, where="The command line")
    text = _template(STUDY).format(
        title=_line("title", own["title"]),
        model=_line("name", own["model"]["name"]),
        initial="# A testbed has its own." if initial is None else _line("initial", initial),
        corpus=_line("source", own["corpus"]["source"]),
    )
    with new_folder(directory):
        write_new({found.behaviors: _template(BEHAVIORS), found.study: text})
    load_study(found.study)
    load_behaviors(found.behaviors)
    return found


def _initial(model: str) -> str | None:
    if model.startswith(TESTBED):
        return None
    return "step0" if model.startswith(_PYTHIA) else RANDOM_WEIGHTS


def _seen_from(directory: Path, name: str) -> str:
    """Writes a path as seen from the study's folder, where a study's paths start; no other name."""
    path = Path(name)
    if name.startswith(TESTBED) or path.is_absolute() or not path.exists():
        return name
    return os.path.relpath(os.path.realpath(path), os.path.realpath(directory))


def _line(key: str, value: str) -> str:
    """Writes one setting as TOML."""
    import tomli_w

    return tomli_w.dumps({key: value}).strip()


def _template(name: str) -> str:
    return files("whence.runs").joinpath("templates", name).read_text(encoding="utf-8")
