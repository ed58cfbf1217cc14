"""`whence discover`: memorized passages and styles in a model's training documents."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from whence.behaviors.kinds import DISCOVERABLE
from whence.cli.console import Json, answer, progress
from whence.cli.corpus_flags import DEFAULT, ReadAs

if TYPE_CHECKING:
    from whence.settings import Kind as Discoverable
else:
    # The choices that `--help` lists are those of the table of kinds.
    Discoverable = Literal[DISCOVERABLE]


def discover(
    out: Path,
    *,
    model: str,
    corpus: str,
    revision: str | None = None,
    tokenizer: str | None = None,
    read_as: ReadAs = DEFAULT,
    kinds: tuple[Discoverable, ...] = DISCOVERABLE,
    num: int = 24,
    json: Json = False,
) -> None:
    """Look for memorized passages and styles in a model's training documents.

    Parameters
    ----------
    out
        The TOML file of behaviors to write.
    model
        A Hub id, a folder, or testbed:mini.
    corpus
        A Hub dataset, a file or folder, or testbed:mini.
    revision
        A checkpoint, such as step143000.
    tokenizer
        Another tokenizer's Hub id or folder.
    kinds
        What to look for.
    num
        How many behaviors of each kind at most.
    """
    from whence.runs.discover import discover_behaviors
    from whence.settings import ModelSettings

    found = discover_behaviors(
        ModelSettings(name=model, revision=revision, tokenizer=tokenizer),
        read_as.settings(corpus),
        out,
        kinds=kinds,
        num=num,
        progress=progress(),
    )
    counts = {kind: sum(behavior.kind == kind for behavior in found) for kind in kinds}
    counted = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    answer({"behaviors": str(out), "found": counts}, f"{out}: {counted}", json_line=json)
