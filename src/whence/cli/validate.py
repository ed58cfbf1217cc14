"""`whence validate`: compare a run's methods with known causes and counterfactuals."""

from pathlib import Path

from whence.cli.console import Json, answer, progress


def validate(
    run: Path,
    *,
    bank: tuple[Path, ...] = (),
    masks: int = 64,
    second: int = 32,
    against: tuple[Path, ...] = (),
    queries_per_kind: int = 8,
    json: Json = False,
) -> None:
    """Compare a run's methods with planted truth, one more step, retraining and each other.

    The figures are stored in the run, and the leaderboard is added to its page.

    Parameters
    ----------
    run
        The run's directory.
    bank
        Directories that `whence bank` filled, with whole trainings and windows of it, and Parquet
        tables of masks and outcomes that another tool made; without any, measures of retraining
        are undefined.
    masks
        Masks of the bank of whole trainings.
    second
        Masks of its second seed.
    against
        Runs of the same study with another projection seed, checkpoint or precision.
    queries_per_kind
        How many behaviors of each kind get training steps.
    """
    from whence.runs.validating import validate_run
    from whence.validation import format_validation

    validation = validate_run(
        run,
        banks=bank,
        num_masks=masks,
        num_second=second,
        against=against,
        queries_per_kind=queries_per_kind,
        progress=progress(),
    )
    answer({**validation.to_json(), "run": str(run)}, format_validation(validation), json_line=json)
