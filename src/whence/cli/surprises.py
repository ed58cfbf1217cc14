"""`whence surprises`: check whether examples without a visible tie have an effect."""

from dataclasses import asdict
from pathlib import Path

from whence.cli.console import Json, answer, printable, progress, table


def surprises(
    run: Path,
    *,
    checkpoint: str,
    candidates: int = 60,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Check whether a run's examples without a visible tie have an effect.

    Each candidate is stepped on once, at the run's checkpoint and then at another one with another
    optimizer, against controls like it. The result is stored in the run and shown on its page.

    Parameters
    ----------
    run
        The run's directory.
    checkpoint
        Another checkpoint of the run's model: a revision such as step1000, or a folder.
    candidates
        Try so many at most, the strongest first.
    seed
        Of the control examples.
    """
    from whence.runs.surprising import check_surprises

    found = check_surprises(
        run, checkpoint=checkpoint, max_candidates=candidates, seed=seed, progress=progress()
    )
    tried = [one for one in found.candidates if one.fate != "not tried"]
    lines = [f"{step.num_left:>7}  {step.name}" for step in found.funnel]
    if found.undefined is not None:
        lines += ["", f"Nothing could be tried: {found.undefined}"]
    elif not tried:
        lines += ["", "No example was left to try."]
    cells = [
        (
            one.fate,
            printable(one.behavior_id, width=36),
            printable(one.example_id, width=28),
            _number(one.screen_nats),
            _number(one.confirm_nats),
            _number(one.holm_p),
        )
        for one in tried
    ]
    header = ("what became of it", "behavior", "example", "screen", "confirm", "Holm p")
    if cells:
        lines += ["", table(cells, header)]
        lines += [
            "",
            "screen, confirm: change of the completion's log-probability in nats by one step on "
            "the example.",
            f"Controls: {found.num_screen_controls} and {found.num_confirm_controls}.",
        ]
    values = {"run": str(run), **asdict(found)}
    answer(values, "\n".join(lines), json_line=json)


def _number(value: float | None) -> str:
    return "\u2014" if value is None else f"{value:+.3g}"
