"""Do AdamW-influence, EK-FAC with conjugate gradients and group solves foresee removal better?

`windows` measures AdamW-influence, with and without curvature, beside the standing methods with and
without the training weights: own-removed LDS on nano's last 24 and last 122 steps. `solve` measures
EK-FAC with conjugate gradients on the same banks, for one query of each family. `groups` removes
copies from a convex model and trains it again. `concept` puts a direction of hidden states in the
place of a string, for toxic replies and styles, in two worlds. About ten minutes of one core for
`windows`, which comes before `solve`, three for `concept`, and one for each other part; finished
work is kept in runs/newer.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measure import report
from newer_concept import concept_rows

from whence.behaviors.query import make_queries
from whence.cli.console import progress
from whence.models.coverage import attributed_modules
from whence.records import Behavior, Corpus, LoadedModel, Query, Scores
from whence.runs.record import load_run
from whence.runs.study import run_study
from whence.runs.validating import make_retrainings, read_subject
from whence.settings import StudySettings
from whence.statistics import Spread, estimate_of, p_value
from whence.testbed import initial_checkpoint, load_checkpoint, recipe, window
from whence.testbed.tables import training_weights
from whence.training import Curvature
from whence.validation.bank import (
    BankSettings,
    Unit,
    find_banks,
    load_bank,
    own_groups,
    window_order,
)
from whence.validation.lds import lds, lds_difference, predict
from whence.validation.subject import Subject

SIZE, SEED, LAST_STEP = "nano", 0, 488
SOLVER: Any = {"num_examples": 48, "tolerance": 0.05, "max_iterations": 8}
PLACE = Path(__file__).parents[1] / "runs" / "newer"
BANKS: tuple[tuple[int, Unit, int], ...] = (
    (464, "document", 96),
    (464, "group", 80),
    (366, "document", 96),
)
METHODS = (
    "gradient_cosine", "gradient_dot", "gradient_cosine_adam", "tracin_adam", "ekfac", "source",
    "gradient_cosine_initial", "bm25",
)  # fmt: skip
# Their sums are also taken without the documents of weight zero, which every retraining leaves out.
WEIGHTED = ("gradient_cosine", "gradient_cosine_adam", "tracin_adam", "ekfac")
SWEEPS: tuple[tuple[int, Curvature], ...] = ((464, "none"), (464, "fisher"), (366, "none"))
REFERENCES = ("gradient_cosine", "ekfac")
PENALTY = 0.02


def main(*parts: str) -> None:
    """Runs some parts, by default all, each of which writes `results/latest/newer_PART.json`."""
    known = {
        "windows": windows,
        "solve": solve,
        "groups": groups,
        "concept": lambda: concept_rows(PLACE / "concept"),
    }
    for part in parts or known:
        rows = known[part]()
        report(f"newer_{part}.json", rows, part)
        for row in rows:
            print(*(f"{key}={_short(value)}" for key, value in row.items()))


def windows() -> list[dict[str, Any]]:
    """Own-removed LDS of each method on each bank."""
    for since, unit, masks in BANKS:
        make_retrainings(
            PLACE / "bank", size=SIZE, num_masks=masks, since=since, unit=unit, progress=progress()
        )
    run_study(_study(), PLACE / SIZE, progress=progress())
    subject = read_subject(PLACE / SIZE)
    found = {scores.method: scores for scores in subject.scores}
    weights = training_weights(SIZE)
    for name in WEIGHTED:
        label = f"{name}, weighted"
        found[label] = _scores(label, found[name], found[name].values * (weights > 0))
    for since, curvature in SWEEPS:
        label = f"adamw_influence, {curvature}, last {LAST_STEP - since} steps"
        found[label] = _scores(label, found["bm25"], _sweep(subject.corpus, since, curvature))
    references = (*REFERENCES, "gradient_cosine, weighted", "ekfac, weighted")
    return [
        row
        for settings in sorted(find_banks(SIZE, PLACE / "bank"), key=window_order)
        for row in _bank_rows(settings, found, subject, references)
    ]


def solve() -> list[dict[str, Any]]:
    """Own-removed LDS of EK-FAC with conjugate gradients, for one query of each family."""
    from whence.gradients.curvature.ekfac_cg import ekfac_cg_products
    from whence.methods.views import dots

    subject = read_subject(PLACE / SIZE)
    model, own = load_checkpoint(SIZE), subject.gold
    first = {subject.families[q]: q for q in reversed(subject.scores[0].query_ids) if own.get(q)}
    products = ekfac_cg_products(
        model,
        subject.corpus,
        [query for query in _queries(model, _behaviors()) if query.id in first.values()],
        modules=list(attributed_modules(model, modules="*")),
        token_batch_size=512,
        damping=0.1,
        **SOLVER,
        progress=progress(),
    )
    solved = Scores(
        "ekfac_cg", products.query_ids, products.example_ids, dots(products).astype(np.float32)
    )
    found = {"ekfac_cg": solved}
    for scores in subject.scores:
        rows = [scores.query_ids.index(query_id) for query_id in solved.query_ids]
        found[scores.method] = replace(
            scores, query_ids=solved.query_ids, values=scores.values[rows], null_values=None
        )
    about = {key: products.settings[key] for key in ("residual", "num_iterations", "num_examples")}
    return [
        about | row
        for settings in sorted(find_banks(SIZE, PLACE / "bank"), key=window_order)
        for row in _bank_rows(settings, found, subject, REFERENCES)
    ]


def _study() -> StudySettings:
    return StudySettings.model_validate(
        {
            "title": "newer",
            "model": {"name": f"testbed:{SIZE}"},
            "corpus": {"source": f"testbed:{SIZE}"},
            "behaviors": {"file": f"testbed:{SIZE}"},
            "attribution": {
                "methods": METHODS,
                "tracin": {"checkpoints": (488,)},
                "source": {"checkpoints": (64, 128, 256, 488)},
            },
        }
    )


def _sweep(corpus: Corpus, since: int, curvature: Curvature) -> np.ndarray:
    """Walks back through training, for the queries of the run, in their order."""
    from whence.gradients.curvature.adamw_influence import adamw_influence_scores

    record, kept = load_run(PLACE / SIZE), PLACE / "sweeps" / f"{since}-{curvature}.npz"
    query_ids = record.scores[0].query_ids
    if not kept.is_file():
        model = load_checkpoint(SIZE)
        queries = [query for query in _queries(model, _behaviors()) if query.id in query_ids]
        found = adamw_influence_scores(
            initial_checkpoint(SIZE),
            corpus,
            queries,
            recipe=recipe(SIZE),
            weights=training_weights(SIZE).tolist(),
            since=since,
            curvature=curvature,
            progress=progress(),
        )
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, values=found.values, query_ids=np.array(found.query_ids))
    with np.load(kept) as stored:
        place = {query_id: row for row, query_id in enumerate(stored["query_ids"].tolist())}
        return stored["values"][[place[query_id] for query_id in query_ids]]


def _bank_rows(
    settings: BankSettings,
    found: Mapping[str, Scores],
    subject: Subject,
    references: Sequence[str],
) -> list[dict[str, Any]]:
    bank = load_bank(settings, PLACE / "bank")
    own = own_groups(bank, subject.gold)
    about = {
        "measure": "own-removed LDS",
        "window": f"steps {window(settings.retraining)[0] + 1}-{LAST_STEP}, {settings.unit}s",
        "masks": bank.num_runs,
        "units": len(bank.groups),
    }
    predicted = {n: predict(s, bank, own=own, own_removed=True) for n, s in found.items()}
    return [
        about
        | {"method": name, **lds(one, families=subject.families).as_dict()}
        | {
            f"beyond {reference}": _difference(
                lds_difference(one, predicted[reference], families=subject.families)
            )
            for reference in references
        }
        for name, one in predicted.items()
    ]


def groups() -> list[dict[str, Any]]:
    """Removes k copies of a document from a convex model, and compares predictions with training.

    The model is softmax regression with an L2 penalty, trained to its optimum in float64. For a
    removed group S, with H the Hessian of the whole objective, H_S that of S's losses and g_S the
    sum of its gradients, the change of the query's loss is predicted as

        sum            g_q · H⁻¹ g_S                      what scores of single documents add up to
        second order   g_q · (H⁻¹ + H⁻¹ H_S H⁻¹) g_S      with the first interaction
        solve          g_q · (H − H_S)⁻¹ g_S              one Newton step without the group
    """
    import torch

    torch.manual_seed(SEED)
    num, width, classes = 240, 8, 3
    inputs = torch.randn(num, width, dtype=torch.float64)
    truth = torch.randn(width, classes, dtype=torch.float64)
    labels = (inputs @ truth + 0.7 * torch.randn(num, classes)).argmax(1)
    ratios: dict[tuple[int, str], list[float]] = {}
    pairs: dict[str, list[tuple[float, float]]] = {}
    for k in (1, 2, 4, 8, 16, 32):
        for document in range(12):
            # Copies of a wrong answer, which nothing else in the data supports.
            wrong = (labels[document] + 1) % classes
            copied = torch.cat([inputs, inputs[document].expand(k, -1)])
            answers = torch.cat([labels, wrong.expand(k)])
            predicted, actual = _removal(copied, answers, num, inputs[document], wrong)
            for name, value in predicted.items():
                ratios.setdefault((k, name), []).append(value / actual)
                pairs.setdefault(name, []).append((value, actual))
    return [
        {"copies": k, "prediction": name, "n": len(values)}
        | {"median of predicted / actual": float(np.median(values))}
        | {"smallest": min(values), "largest": max(values)}
        for (k, name), values in ratios.items()
    ] + [
        {
            "copies": "all",
            "prediction": name,
            "n": len(values),
            "mean |predicted - actual|, nats": float(np.mean([abs(a - b) for a, b in values])),
            "mean |actual|, nats": float(np.mean([abs(b) for _, b in values])),
        }
        for name, values in pairs.items()
    ]


def _removal(
    inputs: Any, labels: Any, num_kept: int, query: Any, answer: Any
) -> tuple[dict[str, float], float]:
    """Predicts how much the query's loss rises without all rows after some, and measures it."""
    import torch
    from torch.nn.functional import cross_entropy

    size, classes = inputs.shape[1], 3

    def losses(weights: Any, first: int, last: int) -> Any:
        found = inputs[first:last] @ weights.view(size, classes)
        return cross_entropy(found, labels[first:last], reduction="sum") / len(inputs)

    def penalized(weights: Any, last: int) -> Any:
        return losses(weights, 0, last) + PENALTY / 2 * weights.square().sum()

    def whole(weights: Any) -> Any:
        return penalized(weights, len(inputs))

    def kept(weights: Any) -> Any:
        return penalized(weights, num_kept)

    def removed(weights: Any) -> Any:
        return losses(weights, num_kept, len(inputs))

    def query_loss(weights: Any) -> Any:
        return cross_entropy((query @ weights.view(size, classes))[None], answer[None])

    before, after = (_optimum(one, size * classes) for one in (whole, kept))
    g_q, g_s = torch.func.grad(query_loss)(before), torch.func.grad(removed)(before)
    h, h_s = torch.func.hessian(whole)(before), torch.func.hessian(removed)(before)
    step = torch.linalg.solve(h, g_s)
    predicted = {
        "sum": g_q @ step,
        "second order": g_q @ (step + torch.linalg.solve(h, h_s @ step)),
        "solve": g_q @ torch.linalg.solve(h - h_s, g_s),
    }
    actual = float(query_loss(after) - query_loss(before))
    return {name: float(value) for name, value in predicted.items()}, actual


def _optimum(objective: Any, size: int) -> Any:
    """Minimizes a convex function by Newton's method, to rounding."""
    import torch

    weights = torch.zeros(size, dtype=torch.float64)
    for _ in range(50):
        gradient = torch.func.grad(objective)(weights)
        if float(gradient.norm()) < 1e-12:
            break
        step = torch.linalg.solve(torch.func.hessian(objective)(weights), gradient)
        pace = 1.0
        while float(objective(weights - pace * step)) > float(objective(weights)) + 1e-15:
            pace /= 2
        weights = weights - pace * step
    return weights


def _behaviors() -> tuple[Behavior, ...]:
    from whence.testbed import behaviors

    return behaviors(SIZE)


def _queries(model: LoadedModel, chosen: Sequence[Behavior]) -> tuple[Query, ...]:
    return make_queries(
        chosen, model.tokenizer, contrast=False, context_length=model.context_length
    )


def _scores(name: str, like: Scores, values: np.ndarray) -> Scores:
    return replace(like, method=name, values=values.astype(np.float32))


def _difference(spread: Spread) -> dict[str, Any]:
    return estimate_of(spread).as_dict() | {"p_value": p_value(spread)}


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, dict) and value.get("low") is not None:
        return f"{value['value']:+.3f}[{value['low']:+.3f},{value['high']:+.3f}]"
    return str(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
