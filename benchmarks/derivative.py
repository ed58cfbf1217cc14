"""How well does each method rank the last examples of nano's training against the exact derivative?

Runs every second behavior of nano with `magic.since`, so that `magic` holds the exact derivative of
the query's loss by the weight of each example of the last steps, and prints, for every method,
Spearman's correlation with it over those examples: the mean over queries with its 95 % interval,
and that of the difference to BM25. Over so few steps the derivative says what other weights do
(tests/gradients/test_magic.py); over the whole run it does not. The figures are about the testbed.
About four minutes of one core.
"""

import sys
from pathlib import Path

import numpy as np
from measure import report

from whence.cli.console import progress
from whence.runs.record import load_run
from whence.runs.study import run_study
from whence.settings import MagicSettings, load_study
from whence.statistics import mean_estimate, paired_estimate, spearman
from whence.testbed import behaviors

ROOT = Path(__file__).parents[1]
METHODS = (
    "magic", "source", "ekfac", "gradient_dot", "gradient_cosine", "gradient_cosine_adam",
    "tracin_adam", "tracin", "gradient_cosine_initial", "bm25", "tfidf", "ngram_overlap",
    "embedding", "document_loss", "length", "random",
)  # fmt: skip


def main(since: int = 464, every: int = 2) -> None:
    """Runs the study and writes `results/latest/derivative.json`."""
    study = load_study(ROOT / "examples" / "nano.toml")
    chosen = tuple(behavior.id for behavior in behaviors("nano"))[::every]
    changes = {
        "attribution": study.attribution.model_copy(
            update={"methods": METHODS, "magic": MagicSettings(since=since)}
        ),
        "behaviors": study.behaviors.model_copy(update={"ids": chosen}),
    }
    place = ROOT / "runs" / f"derivative-{since}"
    run_study(study.model_copy(update=changes), place, progress=progress())
    record = load_run(place)
    found = {scores.method: scores.values for scores in record.scores}
    is_late = np.isfinite(found["magic"]).all(axis=0)
    ranks = {
        name: [
            spearman(one[is_late].tolist(), truth[is_late].tolist())
            for one, truth in zip(values, found["magic"], strict=True)
        ]
        for name, values in found.items()
        if name != "magic"
    }
    rows = [
        {
            "method": name,
            "spearman": mean_estimate(values).as_dict(),
            "beyond_bm25": paired_estimate(values, ranks["bm25"]).as_dict(),
        }
        for name, values in ranks.items()
    ]
    num_late = int(is_late.sum())
    report("derivative.json", rows, since, every, since_step=since, num_examples=num_late)
    print(f"{num_late} examples seen after step {since}, {len(found['magic'])} queries")
    for row in rows:
        value, gap = row["spearman"], row["beyond_bm25"]
        print(
            f"{row['method']:<25}{value['value']:+.2f} [{value['low']:+.2f}, {value['high']:+.2f}]"
            f"   beyond bm25 {gap['value']:+.2f} [{gap['low']:+.2f}, {gap['high']:+.2f}]"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
