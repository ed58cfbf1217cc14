"""`whence bank`: train a testbed, or one's own checkpoint, without some examples."""

from pathlib import Path
from typing import Literal

from whence.cli.console import Json, answer, progress
from whence.errors import SettingsError


def bank(
    out: Path,
    *,
    size: str = "nano",
    study: Path | None = None,
    since: int | None = None,
    until: int | None = None,
    unit: Literal["group", "document"] | None = None,
    masks: int = 64,
    second: int | None = None,
    run: Path | None = None,
    jobs: int = 1,
    most: int | None = None,
    json: Json = False,
) -> None:
    """Train a testbed, or one's own checkpoint, many times without some groups or documents.

    If interrupted, run the same command again: it trains what is missing. A training needs about 8
    seconds of a core for nano and 75 for mini, whose bank is best limited to --masks 24 --second 0:
    a quarter of an hour of two cores. With --since, training resumes from its state after that
    step and only what the window trains on is left out; the last 24 steps of nano take 0.4 seconds.
    With --study, a checkpoint of any model goes on over a corpus of any kind, by a stated recipe.

    Parameters
    ----------
    out
        A directory for retrainings of every testbed.
    size
        Which testbed: mini, nano, recall, or one in another world, such as nano@7.
    study
        A TOML file that names a checkpoint, its corpus, behaviors, recipe and window; of --unit,
        `group` then stands for all near copies of an example in the window.
    since
        Resume the uninterrupted training after this step; by default, train from the beginning.
    until
        End, and measure, after this step; by default at the end.
    unit
        What is in or out as a whole: `group`, or, by default in a window, `document`.
    masks
        Random masks, in each of which every unit is in or out with probability one half.
    second
        How many masks are trained again with other first weights and another order; by default 32,
        in a window none.
    run
        A run: train also without what its methods name first, and without random examples.
    jobs
        Processes, each with one thread.
    most
        Train at most so many now.
    """
    from whence.runs.continuing import continue_training
    from whence.runs.validating import make_retrainings

    if study is not None:
        given = {"--since": since, "--until": until, "--second": second, "--run": run}
        if named := [name for name, value in given.items() if value is not None]:
            raise SettingsError(
                f"{named[0]} and --study do not go together.",
                "The window of one's own checkpoint stands in the study's table `window`.",
            )
        num_all, num_left = continue_training(
            study,
            out,
            unit=unit or "document",
            num_masks=masks,
            jobs=jobs,
            most=most,
            progress=progress(),
        )
        answer(
            {"bank": str(out), "retrainings": num_all, "left": num_left},
            f"Bank  {out}\n{num_all} continuations of {study}, {num_left} to do",
            json_line=json,
        )
        return
    made = make_retrainings(
        out,
        size=size,
        since=since,
        until=until,
        unit=unit,
        num_masks=masks,
        num_second=second,
        run=run,
        jobs=jobs,
        most=most,
        progress=progress(),
    )
    num_all, num_left = made
    answer(
        {"bank": str(out), "retrainings": num_all, "left": num_left},
        f"Bank  {out}\n{num_all} retrainings of testbed:{size}, {num_left} to do",
        json_line=json,
    )
