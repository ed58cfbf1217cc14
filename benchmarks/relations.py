"""Which relation do planted examples get, by what they were planted as?

On the testbed: copies, near copies and templates of passages, statements and decoys of facts, and
background. Beside it the time that aligning a window of 64 tokens with an example of 300 takes, by
edlib and by vectors. `make bench` runs it; tests/evidence/test_ties.py asserts what must hold.

    python benchmarks/relations.py [--size mini] [--background 30]
"""

import argparse
import time
from collections import Counter
from statistics import median

import numpy as np
from measure import report

from whence.evidence.alignment import _best_window, best_window
from whence.evidence.ties import Relater
from whence.records import Behavior, Query, Term
from whence.testbed import behaviors, corpus
from whence.testbed.tables import tokenizer


def main() -> None:
    """Relates every planted example, and writes `results/latest/relations.json`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="mini")
    parser.add_argument("--background", type=int, default=30)
    asked = parser.parse_args()
    examples, subjects = corpus(asked.size), behaviors(asked.size)
    started = time.process_time()
    relater = Relater(examples, subjects, [query_of(behavior) for behavior in subjects])
    found: dict[str, Counter[str]] = {}
    rng = np.random.default_rng(0)
    num_pairs = 0
    for behavior in subjects:
        planted = planted_for(behavior, asked.size)
        free = sorted(set(range(len(examples))) - set(planted))
        drawn = rng.choice(free, asked.background, replace=False).tolist()
        rows = [*planted, *drawn]
        num_pairs += len(rows)
        for row, tie in zip(rows, relater.ties(behavior.id, rows), strict=True):
            kind = f"{behavior.kind}, {planted.get(row, 'not planted for it')}"
            found.setdefault(kind, Counter())[tie.relation] += 1
    seconds = time.process_time() - started
    table = [{"planted": kind, "n": sum(c.values()), **c} for kind, c in sorted(found.items())]
    for row in table:
        counts = {k: v for k, v in row.items() if k not in ("planted", "n")}
        listed = ", ".join(f"{k} {v}" for k, v in sorted(counts.items(), key=lambda kv: -kv[1]))
        print(f"{row['planted']:<44}{row['n']:>6}  {listed}")
    report(
        "relations.json",
        table,
        size=asked.size,
        pairs=num_pairs,
        processor_milliseconds_per_pair=round(1e3 * seconds / num_pairs, 2),
        **alignment(),
    )


def alignment(num_pairs: int = 200, num_rounds: int = 5) -> dict[str, float]:
    """Aligns random windows with examples that hold parts of them; medians over rounds."""
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(num_pairs):
        query = rng.integers(0, 5000, 64)
        example = np.concatenate([rng.integers(0, 5000, 240), query[rng.random(64) > 0.1]])
        pairs.append((query.tolist(), example.tolist()))
    ways = {"edlib": best_window, "vectors": _best_window}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(num_rounds):
        for name, align in ways.items():
            started = time.process_time()
            for query, example in pairs:
                align(query, example)
            seconds[name].append(time.process_time() - started)
    ratios = [b / a for a, b in zip(seconds["edlib"], seconds["vectors"], strict=True)]
    found = {
        f"{name}_microseconds_per_alignment": round(1e6 * median(of) / num_pairs, 1)
        for name, of in seconds.items()
    }
    return found | {"alignment_ratio": round(median(ratios), 1)}


def planted_for(behavior: Behavior, size: str) -> dict[int, str]:
    """What each example was planted as for a behavior, by its row."""
    own = behavior.id.rsplit("-", 1)[0] if behavior.kind == "toxic" else behavior.id
    found = {}
    for row, labels in enumerate(corpus(size).table.column("labels").to_pylist()):
        for label in labels or ():
            if label == own:
                found[row] = "support"
            elif label.startswith(f"{own}:"):
                found[row] = label.removeprefix(f"{own}:")
            elif label.endswith(f":{own}"):
                found[row] = label.removesuffix(f":{own}")
    return found


def query_of(behavior: Behavior) -> Query:
    """The tokens of prompt and completion."""
    encode = tokenizer().encode
    prompt = behavior.prompt_ids or tuple(encode(behavior.prompt).ids)
    whole = encode(behavior.prompt + behavior.completion).ids
    completion = behavior.completion_ids or tuple(whole[len(prompt) :])
    term = Term((*prompt, *completion), len(prompt), 1.0)
    return Query(behavior.id, (term,), behavior.prompt + behavior.completion)


if __name__ == "__main__":
    main()
