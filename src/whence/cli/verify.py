"""`whence verify`: whether a model shows some behaviors."""

import textwrap
from typing import Annotated

from cyclopts import Parameter

from whence.cli.console import Json, answer, progress, table
from whence.cli.corpus_flags import DEFAULT, ReadAs


def verify(
    behaviors: Annotated[str, Parameter(help="A TOML file of behaviors, or testbed:mini.")],
    *,
    model: str,
    revision: str | None = None,
    tokenizer: str | None = None,
    initial: str | None = None,
    corpus: str | None = None,
    read_as: ReadAs = DEFAULT,
    json: Json = False,
) -> None:
    """Measure whether a model shows some behaviors.

    Parameters
    ----------
    model
        A Hub id, a folder, or testbed:mini.
    revision
        A checkpoint, such as step143000.
    tokenizer
        Another tokenizer's Hub id or folder.
    initial
        The step-0 weights to compare with: a revision or a folder.
    corpus
        Documents with subsets, from which the judge of style is trained.
    """
    from whence.runs.verify import verify_behaviors
    from whence.settings import BehaviorFile, ModelSettings

    found = verify_behaviors(
        BehaviorFile(file=behaviors),
        ModelSettings(name=model, revision=revision, tokenizer=tokenizer, initial=initial),
        corpus=read_as.settings_if(corpus),
        progress=progress(),
    )
    rows = [(v["verdict"], v["kind"], v["behavior_id"]) for v in found]
    lines = table(rows, ("verdict", "kind", "behavior")).splitlines()
    reasons = [_indented(v["reason"]) for v in found]
    body = (line for pair in zip(lines[2:], reasons, strict=True) for line in pair)
    answer({"verifications": found}, "\n".join([*lines[:2], *body]), json_line=json)


def _indented(reason: str) -> str:
    """Sets a reason whole, below the line that it belongs to."""
    return textwrap.fill(
        reason, width=100, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
    )
