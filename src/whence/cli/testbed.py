"""`whence testbed`: what is planted, and can it be made again?"""

from pathlib import Path
from typing import Literal

from whence.cli.console import Json, answer, progress


def testbed(
    out: Path,
    *,
    size: Literal["mini", "nano"] = "mini",
    train: bool = False,
    json: Json = False,
) -> None:
    """Write the testbed's corpus and its truth, or train it again.

    Parameters
    ----------
    out
        A directory: examples.jsonl, behaviors.toml and truth.json; with --train also checkpoints.
    size
        Which testbed.
    train
        Train the model from scratch and keep every checkpoint.
    """
    from whence.study.testbed import export_testbed

    made = export_testbed(out, size, train=train, progress=progress())
    answer(
        {"testbed": str(out), **made},
        f"Testbed  {out}\n{made['examples']:,} examples, {made['behaviors']} behaviors"
        + (f", {len(made['checkpoints'])} checkpoints" if train else ""),
        json_line=json,
    )
