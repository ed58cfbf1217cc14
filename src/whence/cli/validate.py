"""`whence validate`: which of a run's methods may be trusted with what?"""

from pathlib import Path

from whence.cli.console import Json, answer, progress


def validate(
    run: Path,
    *,
    bank: Path | None = None,
    masks: int = 64,
    second: int = 32,
    against: tuple[Path, ...] = (),
    queries_per_kind: int = 8,
    json: Json = False,
) -> None:
    """Hold a run's methods against planted truth, one more step, retraining and each other.

    Everything is stored in the run as validation.json, and the leaderboard is put on its page.

    Parameters
    ----------
    run
        The run's directory.
    bank
        A directory that `whence bank` filled; without it nothing is said about retraining.
    masks
        Masks of the bank.
    second
        Masks of its second seed.
    against
        Runs of the same study with another projection seed, checkpoint or precision.
    queries_per_kind
        Take steps for so many behaviors of each kind.
    """
    from whence.runs.validating import validate_run
    from whence.validation import format_validation

    validation = validate_run(
        run,
        bank=bank,
        num_masks=masks,
        num_second=second,
        against=against,
        queries_per_kind=queries_per_kind,
        progress=progress(),
    )
    answer({**validation.to_json(), "run": str(run)}, format_validation(validation), json_line=json)
