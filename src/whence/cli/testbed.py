"""`whence testbed`: export the testbed, or train it again."""

from pathlib import Path

from whence.cli.console import Json, answer, progress


def testbed(
    out: Path,
    *,
    size: str = "mini",
    train: bool = False,
    json: Json = False,
) -> None:
    """Export the testbed's corpus and its truth, or train it again.

    Parameters
    ----------
    out
        A directory: examples.jsonl, behaviors.toml and truth.json; with --train also checkpoints.
    size
        Which testbed: mini, nano, recall, or one in another world, such as nano@7.
    train
        Train the model from scratch and keep every checkpoint.
    """
    from whence.testbed.export import export_testbed

    made = export_testbed(out, size, train=train, progress=progress())
    answer(
        {"testbed": str(out), **made},
        f"Testbed  {out}\n{made['examples']:,} examples, {made['behaviors']} behaviors"
        + (f", {len(made.get('checkpoints', ()))} checkpoints" if train else ""),
        json_line=json,
    )
