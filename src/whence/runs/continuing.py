"""Banks of a user's own checkpoint, from a study's TOML file."""

from pathlib import Path

from whence.progress import SILENT, Progress
from whence.runs import opening
from whence.settings import parse, read_toml
from whence.validation import BankProgress, ContinuationStudy, Unit, make_continuations


def load_continuation_study(path: Path) -> ContinuationStudy:
    """Reads the study of a continued training; relative paths in it start from its folder.

    Raises:
        SettingsError: The file cannot be read, or a setting is unknown or out of range.
    """
    return _resolved(parse(ContinuationStudy, read_toml(path), where=str(path)), path.parent)


def continue_training(
    study: Path,
    directory: Path,
    *,
    unit: Unit = "document",
    num_masks: int = 64,
    jobs: int = 1,
    most: int | None = None,
    progress: Progress = SILENT,
) -> BankProgress:
    """Trains the checkpoint of a study on, on everything and under random masks.

    Args:
        study: Its TOML file; see `ContinuationStudy`.
        directory: Where banks are kept.
        unit: What is in or out as a whole: an example, or all near copies of it in the window.
        num_masks: Random masks.
        jobs: Processes, of one thread each.
        most: Train at most so many now.
        progress: Reports progress.

    Returns:
        The numbers of trainings in all and still to be made.

    Raises:
        WhenceError: The study cannot be used, or the directory cannot be written.
    """
    return make_continuations(
        load_continuation_study(study),
        directory.resolve(),
        unit=unit,
        num_masks=num_masks,
        jobs=jobs,
        most=most,
        progress=progress,
    )


def _resolved(study: ContinuationStudy, base: Path) -> ContinuationStudy:
    window, end = study.window, study.end
    state = window.state
    if state not in ("rebuild", "fresh"):
        state = opening.absolute_pattern(state, base)
    return study.model_copy(
        update={
            "model": opening.absolute_model(study.model, base),
            "corpus": study.corpus.model_copy(
                update={"source": opening.absolute_name(study.corpus.source, base)}
            ),
            "behaviors": study.behaviors.model_copy(
                update={"file": opening.absolute_name(study.behaviors.file, base)}
            ),
            "window": window.model_copy(update={"state": state}),
            "end": None if end is None else opening.absolute_model(end, base),
        }
    )
