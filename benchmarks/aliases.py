"""Does a method find support that shares no word with the query, and does removing it matter?

`testbed:aliases` states twelve facts in one vocabulary and asks for them in another. This trains
it, measures how far the model answers across vocabularies, runs the methods, and measures how often
each ranks a fact's support above that of other facts with another subject and another object, which
chance, a search of texts and an untrained model do half of the time. Then it trains again without
the support of half of the facts, and without that of the other half. About three minutes of one
core; finished work is kept in runs/aliases.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import report

from whence import testbed
from whence.behaviors.measure import measure
from whence.behaviors.query import encode_completions
from whence.cli.console import progress
from whence.records import Behavior, LoadedModel, Scores
from whence.runs.record import load_run
from whence.runs.study import run_study
from whence.settings import (
    AttributionSettings,
    BehaviorFile,
    CorpusSettings,
    EvidenceSettings,
    ModelSettings,
    StudySettings,
    TracinSettings,
)
from whence.statistics import mean_estimate, paired_estimate, probability_above, proportion
from whence.testbed.aliases import OWN_WORDS
from whence.testbed.randomness import Stream

PLACE = Path(__file__).parents[1] / "runs" / "aliases"
METHODS = (
    "gradient_cosine", "gradient_dot", "gradient_cosine_adam", "tracin_cosine", "ekfac",
    "trackstar", "embedding", "activation", "gradient_cosine_initial", "bm25", "tfidf",
    "ngram_overlap", "random",
)  # fmt: skip
NUM_SPLITS = 1
ACROSS, WITHIN = "across vocabularies", "in the support's own words"


def main(size: str = "aliases", *parts: str) -> None:
    """Measures all of it, or some of `PARTS`, and writes `results/latest/aliases.json`."""
    behaviors = testbed.behaviors(size)
    asked = {
        ACROSS: [b for b in behaviors if not b.id.endswith(OWN_WORDS)],
        WITHIN: [b for b in behaviors if b.id.endswith(OWN_WORDS)],
    }
    rows = [row for part in parts or PARTS for row in PARTS[part](size, asked)]
    report("aliases.json", rows, size, *parts)
    for row in rows:
        low = row["low"]
        between = "" if low is None else f" [{low:+.2f}, {row['high']:+.2f}]"
        value = "undefined" if row["value"] is None else f"{row['value']:+.2f}{between}"
        print(f"{row['measure']:<40}{row['about']:<28}{row['which']:<26}{value} n={row['n']}")


def _row(measure: str, about: str, which: str, estimate: Any) -> dict[str, Any]:
    return {"measure": measure, "about": about, "which": which, **estimate.as_dict()}


def _answers(size: str, asked: Mapping[str, Sequence[Behavior]]) -> list[dict[str, Any]]:
    """How often the model's likeliest object is the right one, and its log-probability."""
    model = testbed.load_checkpoint(size, cache=PLACE / "run" / "cache", progress=progress())
    initial = testbed.load_checkpoint(size, step=0)
    rows = []
    for about, behaviors in asked.items():
        chance = -math.log(1 + len(behaviors[0].alternatives))
        for which, one in (("trained", model), ("untrained", initial)):
            found = [_log_shares(b, one) for b in behaviors]
            firsts = [first for pair in found for _, first in pair]
            gains = [sum(share for share, _ in pair) / len(pair) - chance for pair in found]
            rows += [
                _row(
                    "right object first, of 8", about, which, proportion(sum(firsts), len(firsts))
                ),
                _row("log-probability above chance", about, which, mean_estimate(gains)),
            ]
    return rows


def _log_shares(behavior: Behavior, model: LoadedModel) -> list[tuple[float, bool]]:
    """For each wording, the right object's log-probability among all, and whether it is first."""
    found = []
    for prompt in (None, *behavior.paraphrases):
        pairs = encode_completions(
            behavior,
            model.tokenizer,
            completions=[None, *behavior.alternatives],
            context_length=model.context_length,
            prompt=prompt,
        )
        values = [m.log_prob_nats for m in measure(model, pairs, names=[behavior.id] * len(pairs))]
        found.append((values[0] - float(np.logaddexp.reduce(values)), values[0] > max(values[1:])))
    return found


def _removals(size: str, asked: Mapping[str, Sequence[Behavior]]) -> list[dict[str, Any]]:
    """How much the right object's log-probability falls without the fact's support."""
    groups = testbed.groups(size)
    names = [b.id for b in asked[ACROSS]]
    with_support: dict[str, dict[str, list[float]]] = {a: {n: [] for n in names} for a in asked}
    without: dict[str, dict[str, list[float]]] = {a: {n: [] for n in names} for a in asked}
    for split in range(NUM_SPLITS):
        order = Stream(split, "aliases", "split").shuffled(names)
        for part, dropped in enumerate((order[::2], order[1::2])):
            values = _retrained(size, asked, f"split{split}-{part}", groups, dropped)
            for about, of_behaviors in values.items():
                for name, value in of_behaviors.items():
                    where = without if name in dropped else with_support
                    where[about][name].append(value)
    rows = []
    for about in asked:
        there = [float(np.mean(with_support[about][n])) for n in names]
        gone = [float(np.mean(without[about][n])) for n in names]
        lost = paired_estimate(there, gone)
        of_each = {n: a - b for n, a, b in zip(names, there, gone, strict=True)}
        rows.append(_row("log-probability lost", about, "own support", lost) | {"of each": of_each})
    return rows


def _retrained(
    size: str,
    asked: Mapping[str, Sequence[Behavior]],
    name: str,
    groups: Mapping[str, frozenset[str]],
    dropped: Sequence[str],
) -> dict[str, dict[str, float]]:
    kept = PLACE / f"{name}.json"
    inputs = json.loads(json.dumps([testbed.training_inputs(size), sorted(dropped)]))
    if kept.is_file() and (stored := json.loads(kept.read_text()))["inputs"] == inputs:
        return stored["values"]
    ids = frozenset().union(*(groups[one] for one in dropped))
    model = testbed.retrained_model(testbed.RetrainingSettings(size=size), dropped=ids)
    values = {
        about: {
            b.id.removesuffix(OWN_WORDS): float(np.mean([v for v, _ in _log_shares(b, model)]))
            for b in behaviors
        }
        for about, behaviors in asked.items()
    }
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"inputs": inputs, "values": values}, indent=1))
    return values


def _found(size: str, asked: Mapping[str, Sequence[Behavior]]) -> list[dict[str, Any]]:
    """How often each method ranks a fact's support above that of other facts."""
    last = testbed.last_step(size)
    study = StudySettings(
        title="Is support found that shares no word?",
        model=ModelSettings(name=f"testbed:{size}"),
        corpus=CorpusSettings(source=f"testbed:{size}"),
        behaviors=BehaviorFile(file=f"testbed:{size}"),
        attribution=AttributionSettings(
            methods=METHODS,
            tracin=TracinSettings(
                checkpoints=(min(testbed.all_steps(size), key=lambda s: abs(s - last / 5)),)
            ),
        ),
        evidence=EvidenceSettings(num_null=0),
        force=True,
    )
    run_study(study, PLACE / "run", progress=progress())
    record = load_run(PLACE / "run")
    rows = []
    for about, behaviors in asked.items():
        for scores in record.scores:
            values = [_above_others(scores, b, behaviors, testbed.gold(size)) for b in behaviors]
            rows.append(_row("support above others'", about, scores.method, mean_estimate(values)))
    return rows


def _above_others(
    scores: Scores,
    behavior: Behavior,
    behaviors: Sequence[Behavior],
    gold: Mapping[str, frozenset[str]],
) -> float:
    """The chance that a document of the fact's support ranks above one of another's; ties are half.

    The others have another subject and another object; NaN where a score is undefined.
    """
    place = {name: n for n, name in enumerate(scores.example_ids)}
    row = scores.values[scores.query_ids.index(behavior.id)]
    others = frozenset().union(
        *(
            gold[other.id]
            for other in behaviors
            if other.subject != behavior.subject and other.object != behavior.object
        )
    )
    own = [float(row[place[i]]) for i in sorted(gold[behavior.id])]
    rest = [float(row[place[i]]) for i in sorted(others)]
    found = probability_above(own, rest)
    return math.nan if found is None else found


# The run trains the testbed, and keeps its checkpoints for the others.
PARTS = {"found": _found, "answers": _answers, "removals": _removals}

if __name__ == "__main__":
    main(*sys.argv[1:])
