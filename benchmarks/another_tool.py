"""Another tool's scores of the same tokens on the same board: dattri's on nano's last 24 steps.

Computes dattri's Grad-Cos of the run's own model for the examples of the window, with its default
random projection of all gradients onto 512 numbers, imports them as `whence import` does, and ranks
them with this project's methods by the window's own-removed LDS. A few minutes of one core;
finished work is kept in runs/another-tool.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from dattri.algorithm.tracin import TracInAttributor
from dattri.task import AttributionTask
from measure import report
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from whence.cli.console import progress
from whence.runs.importing import import_scores
from whence.runs.opening import open_model
from whence.runs.study import run_study
from whence.runs.validating import make_retrainings, read_subject
from whence.settings import ModelSettings, load_study
from whence.testbed import RetrainingSettings, window_ids
from whence.validation.leaderboard import ALL, leaderboard
from whence.validation.measures import retraining_measures
from whence.validation.subject import Subject

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "runs" / "another-tool"
WINDOW = RetrainingSettings(size="nano", since=464)
METHODS = ("gradient_cosine", "gradient_cosine_initial", "bm25", "random")
NAME = "dattri_grad_cos"


def main() -> None:
    """Writes `results/latest/another_tool.json`."""
    make_retrainings(
        PLACE / "bank", size="nano", num_masks=96, since=WINDOW.since, progress=progress()
    )
    study = load_study(ROOT / "examples" / "nano.toml")
    attribution = study.attribution.model_copy(update={"methods": METHODS})
    evidence = study.evidence.model_copy(update={"num_null": 0})
    run_study(
        study.model_copy(update={"attribution": attribution, "evidence": evidence}),
        PLACE / "run",
        progress=progress(),
    )
    subject = read_subject(PLACE / "run")
    if NAME not in {one.method for one in subject.scores}:
        pq.write_table(pa.Table.from_pylist(_theirs(subject)), PLACE / "theirs.parquet")
        import_scores(PLACE / "run", PLACE / "theirs.parquet", method=NAME, orientation="higher")
        subject = read_subject(PLACE / "run")
    found = retraining_measures(subject, [PLACE / "bank"], num_masks=2, num_second=0)
    (window,) = found.windows
    methods = tuple(scores.method for scores in subject.scores)
    board = leaderboard(found.measures, methods, subject.kinds, families=subject.families)
    rows = [
        {"method": figure.method, "window": window.label, "masks": window.masks}
        | figure.estimate.as_dict()
        for figure in board.figures
        if figure.measure == window.measure_own_removed and figure.kind == ALL
    ]
    report("another_tool.json", rows)
    for row in rows:
        print(row)


def _theirs(subject: Subject) -> list[dict[str, Any]]:
    """The cosines of gradients of all weights, between the queries and the window's examples."""
    network = open_model(ModelSettings(name="testbed:nano")).model
    network.config._attn_implementation = "eager"
    ids = window_ids(WINDOW)
    examples = [(subject.corpus.input_ids(row), 1) for row in subject.corpus.rows(ids)]
    queries = [(list(q.terms[0].input_ids), q.terms[0].num_prompt_tokens) for q in subject.queries]
    width = max(len(tokens) for tokens, _ in (*examples, *queries))

    def loss(parameters: Any, pair: Any) -> Any:
        tokens, labels = pair
        weights = {name.removeprefix("model."): value for name, value in parameters.items()}
        logits = torch.func.functional_call(network, weights, tokens.unsqueeze(0)).logits
        return cross_entropy(logits[0, :-1], labels[1:], ignore_index=-100, reduction="sum")

    task = AttributionTask(loss_func=loss, model=network, checkpoints=network.state_dict())
    attributor = TracInAttributor(task, torch.ones(1), normalized_grad=True)
    found = attributor.attribute(_loader(examples, width), _loader(queries, width))
    return [
        {"query": query.id, "example": example, "score": float(found[row, column])}
        for column, query in enumerate(subject.queries)
        for row, example in enumerate(ids)
    ]


def _loader(rows: list[tuple[list[int], int]], width: int) -> DataLoader[Any]:
    """Tokens, padded, and labels from the first one that is predicted on."""
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full_like(tokens, -100)
    for row, (ids, given) in enumerate(rows):
        tokens[row, : len(ids)] = torch.tensor(ids)
        labels[row, given : len(ids)] = torch.tensor(ids[given:])
    return DataLoader(TensorDataset(tokens, labels), 48)


if __name__ == "__main__":
    main()
