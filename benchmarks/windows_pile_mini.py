"""The bank of the last window of pile-mini's training, and a run about the window's documents."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

from inputs import test_data

from whence.api import discover
from whence.progress import Progress
from whence.runs.continuing import continue_training
from whence.runs.study import run_study
from whence.settings import StudySettings, load_study

PILE_MINI = "pile-mini"
SINCE, LAST, BATCH_SIZE = 2400, 2530, 8
MASKS = 96
# Steps of the retraining by the published recipe that methods sum over, beside the window's end.
EARLIER = (1500, 2000, 2400)
ROOT = Path(__file__).parents[1]
STUDY = """
title = "Which methods foresee what the last passages of pile-mini's training did?"
[model]
name = "checkpoints"
revision = "step2530"
initial = "step0"
[corpus]
source = "window.jsonl"
append_eos = true
[behaviors]
file = "behaviors.toml"
[attribution]
methods = [
    "gradient_cosine", "gradient_dot", "gradient_cosine_initial", "bm25", "random",
    "gradient_cosine_adam", "ekfac", "trak", "trackstar", "tracin", "tracin_cosine",
]
[attribution.adam]
training_batch_size = 8
[attribution.tracin]
checkpoints = [2400, 2530]
learning_rates = [3.2e-4, 3.0e-4]
[evidence]
num_null = 0
"""


def pile_mini_run(place: Path, *, progress: Progress, masks: int | None = None) -> Path:
    """Makes the bank and the run that is compared with it; what is there is not made again.

    Args:
        place: Where all of it is kept. `place/pile-mini/steps` may be linked to a folder that
            pile_mini_checkpoints.py made before.
        progress: Reports progress.
        masks: Of the bank; 96, or what WHENCE_MASKS says.

    Returns:
        The run's directory.
    """
    folder = place / PILE_MINI
    folder.mkdir(parents=True, exist_ok=True)
    data = test_data() / "pile-mini"
    if not (folder / "steps" / f"step{SINCE}").is_dir():
        script = Path(__file__).parent / "pile_mini_checkpoints.py"
        subprocess.run([sys.executable, script, folder / "steps"], check=True)
    if not (folder / "behaviors.toml").is_file():
        model, corpus = str(data / "checkpoints" / f"step{LAST}"), str(data / "train.jsonl.gz")
        discover(model, corpus, folder / "behaviors.toml", num=40, progress=progress)
    # A bank that is there is used, also where another retraining by the recipe went before it.
    if not list((place / "bank").glob("continuation-*/end")):
        continue_training(
            _bank_study(folder),
            place / "bank",
            num_masks=masks or int(os.environ.get("WHENCE_MASKS", MASKS)),
            progress=progress,
        )
    (end,) = (place / "bank").glob("continuation-*/end")
    links = {f"step{s}": folder / "steps" / f"step{s}" for s in EARLIER}
    links |= {f"step{LAST}": end, "step0": data / "checkpoints" / "step0"}
    for name, target in links.items():
        _link(folder / "checkpoints" / name, target)
    _write_window(data / "train.jsonl.gz", folder / "window.jsonl")
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    run = place / "pile-mini-run"
    run_study(_study(folder), run, base=folder, progress=progress)
    return run


def _study(folder: Path) -> StudySettings:
    """The study; without some methods, where WHENCE_METHODS names those that shall run."""
    study = load_study(folder / "study.toml")
    chosen = os.environ.get("WHENCE_METHODS")
    if not chosen:
        return study
    attribution = study.attribution.model_copy(update={"methods": tuple(chosen.split(","))})
    return study.model_copy(update={"attribution": attribution})


def _bank_study(folder: Path) -> Path:
    """The example's study, with the places of this benchmark."""
    text = (ROOT / "examples" / "pile-mini-bank.toml").read_text(encoding="utf-8")
    text = text.replace("../runs/pile-mini-steps", "steps")
    text = text.replace("../runs/pile-mini-behaviors.toml", "behaviors.toml")
    path = folder / "bank.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target.resolve(), target_is_directory=True)


def _write_window(source: Path, path: Path) -> None:
    """Writes the documents that the window trains on; their ids are those of the whole corpus."""
    if path.is_file():
        return
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        window = [json.loads(line) for line in list(lines)[SINCE * BATCH_SIZE :]]
    path.write_text("".join(json.dumps(one) + "\n" for one in window), encoding="utf-8")
