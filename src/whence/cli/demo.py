"""`whence demo`: a complete run on the built-in testbed."""

from pathlib import Path
from typing import Literal

from whence.cli.console import Json, progress
from whence.cli.run import say_result


def demo(
    *,
    out: Path = Path("runs/demo"),
    size: Literal["mini", "nano"] = "mini",
    force: bool = False,
    json: Json = False,
) -> None:
    """Run a complete study on the built-in testbed, offline.

    Parameters
    ----------
    out
        The run's directory; its page is index.html there.
    size
        Which testbed: mini ships with the package, nano is trained first.
    force
        Attribute also the behaviors that the model does not show.
    """
    from whence.runs.demo import demo_study
    from whence.runs.study import run_study

    say_result(run_study(demo_study(size, force=force), out, progress=progress()), json_line=json)
