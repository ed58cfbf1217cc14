"""Trains pile-mini again by its published recipe, and keeps denser checkpoints than it ships.

The passages, the first weights and the learning rates are the published ones; the loss of every
step is compared with the published log. The checkpoints are ordinary folders that any study can
name. Takes about 20 minutes of one processor core; a run that is cut short starts again.

    python benchmarks/pile_mini_checkpoints.py FOLDER [--every 50]
"""

import argparse
import csv
import json
import statistics
from pathlib import Path

from inputs import test_data

from whence.corpus import load_corpus
from whence.models import load_model
from whence.settings import CorpusSettings, ModelSettings
from whence.training import Recipe, StepLog, TrainingState, train
from whence.training.recipe import num_steps

RECIPE = Recipe(batch_size=8, peak_learning_rate=3e-3, warmup_steps=100, weight_decay=0.01)


def main() -> None:
    """Trains, writes a folder per checkpoint, and prints how far losses are from the log."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=50)
    asked = parser.parse_args()
    source = test_data() / "pile-mini"
    model = load_model(ModelSettings(name=str(source / "checkpoints" / "step0")))
    settings = CorpusSettings(source=str(source / "train.jsonl.gz"), append_eos=True)
    corpus = load_corpus(settings, model.tokenizer, context_length=model.context_length)
    total = num_steps(RECIPE, len(corpus))

    def keep(state: TrainingState) -> None:
        place = asked.folder / f"step{state.step}"
        model.model.save_pretrained(place)
        model.tokenizer.save_pretrained(place)

    log = train(
        model.model,
        corpus.table.column("input_ids").to_pylist(),
        recipe=RECIPE,
        checkpoint_steps=sorted({*range(asked.every, total, asked.every), total}),
        on_checkpoint=keep,
    )
    print(json.dumps(compared(log, source / "train_log.csv"), indent=2))


def compared(log: tuple[StepLog, ...], path: Path) -> dict[str, float]:
    """Compares the loss of each step with the published one, in nats a token."""
    with path.open(encoding="utf-8") as file:
        published = {int(row["step"]): float(row["loss"]) for row in csv.DictReader(file)}
    apart = [one.loss_nats - published[one.step] for one in log]
    return {
        "steps": len(apart),
        "mean_difference": statistics.fmean(apart),
        "mean_absolute_difference": statistics.fmean(map(abs, apart)),
        "largest_absolute_difference": max(map(abs, apart)),
    }


if __name__ == "__main__":
    main()
