"""Which retrainings does a testbed's bank hold, and which does a run still need?"""

from pathlib import Path
from typing import Any

from whence.progress import SILENT, Progress
from whence.records import RunRecord
from whence.study import inputs as sources
from whence.testbed import RetrainingSettings


def make_retrainings(
    directory: Path,
    *,
    size: str,
    num_masks: int,
    num_second: int,
    run: Path | None = None,
    jobs: int = 1,
    most: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Trains the runs of a factorial bank, and the removals that validating a run asks for.

    Args:
        directory: Where retrainings of all testbeds are kept.
        size: Which testbed.
        num_masks: Masks of the bank.
        num_second: Masks trained again with a second seed.
        run: A run directory whose methods' first proponents are also removed.
        jobs: Processes, of one thread each.
        most: Train at most so many now.
        progress: Told of each finished run.

    Returns:
        The numbers of trainings in all and still to be made.
    """
    from whence.validation.bank import BankSettings, bank_runs
    from whence.validation.retraining import make_outcomes

    settings = BankSettings(
        retraining=RetrainingSettings(size=size), num_masks=num_masks, num_second=num_second
    )
    runs = list(bank_runs(settings))
    if run is not None:
        runs += removals_of(_record(run), size).runs
    left = make_outcomes(
        settings.retraining, runs, directory, jobs=jobs, most=most, progress=progress
    )
    return {"bank": str(directory), "retrainings": len(set(runs)), "left": left}


def removals_of(record: RunRecord, size: str) -> Any:
    """Plans the removals of a run's first proponents; see `whence.validation.removal`."""
    from whence.validation.removal import QUERIES, plan_removals

    return plan_removals(record.scores, record.corpus, query_ids=QUERIES.get(size, ()))


def _record(run: Path) -> RunRecord:
    from whence.artifacts import read_manifest
    from whence.errors import SettingsError
    from whence.study.load import load_run, read_run_file

    record = load_run(run, manifest=read_manifest(run))
    source = read_run_file(run).study.corpus.source
    if sources.testbed_size(source) is None:
        raise SettingsError(
            f"{run} is about {source}, which cannot be trained again here.",
            "Only runs on a testbed have retrainings.",
        )
    return record
