"""`whence init`: a first study."""

import sys
from pathlib import Path

from whence.cli.console import Json, answer, say


def init(
    directory: Path = Path(),
    *,
    model: str | None = None,
    corpus: str | None = None,
    title: str | None = None,
    initial: str | None = None,
    json: Json = False,
) -> None:
    """Write a first study, with one behavior of each kind, explained; asks for what is missing.

    Parameters
    ----------
    directory
        The folder for study.toml and behaviors.toml; neither may exist.
    model
        A Hub id, a folder, or testbed:mini.
    corpus
        A Hub dataset, a file or folder, or testbed:mini.
    title
        The question that the study answers.
    initial
        The untrained weights to compare with: a checkpoint, a folder, or random.
    """
    from whence.errors import SettingsError
    from whence.runs.new_study import write_new_study

    if (model is None or corpus is None) and not sys.stdin.isatty():
        missing = "model" if model is None else "corpus"
        raise SettingsError(
            f"The study's {missing} is missing, and there is no terminal to ask on.",
            f"Name it with `--{missing}`.",
        )
    if model is None:
        model = _asked("Model: a Hub id, a folder, or testbed:mini", usual="testbed:mini")
    if corpus is None:
        usual = model if model.startswith("testbed:") else None
        corpus = _asked("Corpus: a Hub dataset, a file or folder, or testbed:mini", usual=usual)
    found = write_new_study(directory, model=model, corpus=corpus, title=title, initial=initial)
    values = {"study": str(found.study), "behaviors": str(found.behaviors)}
    text = (
        f"Study      {found.study}\nBehaviors  {found.behaviors}\n\n"
        f"Edit the behaviors, then: whence verify {found.behaviors} --model {model} "
        f"--corpus {corpus}\n"
        f"Then:                     whence run {found.study}"
    )
    answer({**values}, text, json_line=json)


def _asked(question: str, *, usual: str | None) -> str:
    """Asks on the terminal until there is an answer."""
    hint = f" [{usual}]" if usual else ""
    while True:
        say(f"{question}{hint}: ", end="")
        line = sys.stdin.readline()
        if not line:
            raise KeyboardInterrupt
        if found := line.strip() or (usual or ""):
            return found
