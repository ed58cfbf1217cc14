"""How large is the page of a large study, and how fast does a browser open it?

100 behaviors, 8 methods, 50 proponents each and as many opponents where a method has any, examples
of 1 KB, all of it generated: words of a made-up vocabulary with the frequencies of Zipf's law,
which compress about as far as English does; one example in a hundred shares a few words with a
behavior, and the first five scores of each are split by token and by 24 layers. Two cases: methods
that agree in part, so that the page shows some ten thousand examples, and methods that list nothing
in common. A browser without a window opens each page several times; measured are the seconds until
the first view is drawn, and until a behavior is, from the click, and how long the page's main
thread had a processor, which others on the machine do not lengthen. Printed and written to
`results/latest/page.json`.

    python benchmarks/page.py [--repeats 7] [--browser /usr/bin/chromium]
"""

import argparse
import hashlib
import os
import re
import statistics
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from measure import report
from numpy.typing import NDArray
from playwright.sync_api import Page, sync_playwright

from whence.evidence.listing import entries, opponent_rows, proponent_rows
from whence.evidence.record import BehaviorEvidence, Calibration, Evidence, Strength
from whence.evidence.relations import RELATIONS, Relation
from whence.evidence.splits import NUM_SPLIT, Split, Splits, TokenPart
from whence.evidence.ties import Tie
from whence.records import Behavior, Corpus, Family, Measured, Scores, Verification
from whence.report import write_page
from whence.report.examples import Examples
from whence.report.run_record import RunRecord

NUM_BEHAVIORS, TOP_K, NUM_CHARACTERS, NUM_NULL = 100, 50, 1024, 200
NUM_LAYERS = 24
FAMILIES: dict[str, Family] = {
    "gradient_cosine": "gradient",
    "gradient_dot": "gradient",
    "trackstar": "gradient",
    "tracin": "gradient",
    "untrained_cosine": "untrained",
    "bm25": "text",
    "tfidf": "text",
    "embedding": "states",
}
HAS_OPPONENTS = {"gradient", "untrained"}
# From the start of the click, or of the navigation, to the first picture after the drawing.
_DRAWN = """async () => {
  const drawn = (selector) => new Promise((done) => {
    const look = () => {
      if (document.querySelector(selector)) requestAnimationFrame(() => setTimeout(done));
      else setTimeout(look, 1);
    };
    look();
  });
  await drawn(".verdict");
  return performance.now();
}"""
_OPENED = """async (id) => {
  const started = performance.now();
  const view = "#behavior=" + id;
  location.hash = view;
  await new Promise((done) => {
    const look = () => {
      const isThere = document.title.startsWith(id) && document.querySelector(".card");
      if (isThere) requestAnimationFrame(() => setTimeout(done));
      else setTimeout(look, 1);
    };
    look();
  });
  return performance.now() - started;
}"""


def main() -> None:
    """Measures both cases and writes the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--browser", default="/usr/bin/chromium")
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=asked.browser, args=["--no-sandbox"], headless=True
        )
        version = browser.version
        for name, num, shared in (("partly alike", 10_000, 0.8), ("nothing alike", 30_000, 0.0)):
            record = make_record(num, shared)
            path = write_page(record, Path(place) / "page.html")
            opened = [measured(browser.new_page(), path, record) for _ in range(asked.repeats)]
            rows.append(row(name, record, path, opened))
            print(rows[-1])
        browser.close()
    report("page.json", rows, *(["--repeats", asked.repeats]), browser=f"Chromium {version}")


def row(
    name: str, record: RunRecord, path: Path, opened: Sequence[dict[str, list[float]]]
) -> dict[str, Any]:
    """Sums the measurements of one page up."""
    texts = " ".join(t for t in record.corpus.texts()[:300] if t).encode()
    each = {key: [seconds for one in opened for seconds in one[key]] for key in opened[0]}
    return {
        "case": name,
        "page_mb": round(path.stat().st_size / 1e6, 2),
        "num_examples": len(record.corpus),
        "deflate_ratio_of_texts": round(len(texts) / len(zlib.compress(texts, 9)), 2),
        **{f"{key}_seconds": _summary(seconds) for key, seconds in each.items()},
        "load_average": round(os.getloadavg()[0], 1),
    }


def _summary(seconds: Sequence[float]) -> dict[str, float | int]:
    return {
        "median": round(statistics.median(seconds), 3),
        "largest": round(max(seconds), 3),
        "n": len(seconds),
    }


def measured(page: Page, path: Path, record: RunRecord) -> dict[str, list[float]]:
    """Opens a page anew, and then some of its behaviors, none of them twice."""
    tools = page.context.new_cdp_session(page)
    tools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def processor() -> float:
        found = tools.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in found if one["name"] == "TaskDuration")

    page.goto(path.as_uri(), wait_until="commit")
    first = page.evaluate(_DRAWN) / 1000
    used, opening = [processor()], []
    for behavior in record.behaviors[3::12]:
        opening.append(page.evaluate(_OPENED, behavior.id) / 1000)
        used.append(processor())
    page.close()
    return {
        "first_view": [first],
        "first_view_processor": used[:1],
        "opening": opening,
        "opening_processor": [b - a for a, b in pairwise(used)],
    }


def make_record(num_examples: int, shared: float) -> RunRecord:
    """A run of made-up texts and scores; `shared` is what the methods' scores have in common."""
    rng = np.random.default_rng(0)
    texts = make_texts(rng, num_examples)
    behaviors = tuple(make_behavior(i, texts[i]) for i in range(NUM_BEHAVIORS))
    common = rng.normal(size=(NUM_BEHAVIORS, num_examples)).astype(np.float32)
    for i in range(NUM_BEHAVIORS):
        quoted = slice(NUM_BEHAVIORS + i, None, NUM_BEHAVIORS)
        common[i, quoted] += 2
        start, words = int(rng.integers(0, 30)), behaviors[i].prompt + behaviors[i].completion
        part = " ".join(words.split()[start : start + 6])
        texts[quoted] = [f"{text[:400]} {part} {text[400:]}" for text in texts[quoted]]
    corpus = make_corpus(texts)
    scores = []
    for method, family in FAMILIES.items():
        own = rng.normal(size=common.shape).astype(np.float32)
        values = shared * common + (1 - shared**2) ** 0.5 * own
        if family not in HAS_OPPONENTS:
            values = np.maximum(values - 1, 0)
        ids = tuple(b.id for b in behaviors)
        settings = {"checkpoints": [1], "learning_rates": [1.0]} if method == "tracin" else {}
        scores.append(Scores(method, ids, corpus.ids, values, settings, 1.0, family=family))
    record = RunRecord(
        title="A large study",
        model="testbed:mini",
        behaviors=behaviors,
        verifications={b.id: make_verification(b) for b in behaviors},
        corpus=corpus,
        scores=tuple(scores),
        coverage=None,
        plan=None,
        top_k=TOP_K,
    )
    return with_splits(with_evidence(record, rng), rng)


def make_texts(rng: np.random.Generator, num: int) -> list[str]:
    """Texts of a vocabulary of 20,000 made-up words, frequent ones short."""
    consonants, vowels = "bcdfghjklmnprstvw", "aeiou"
    syllables = ["".join(pair) for pair in product(consonants, vowels)]
    sizes = np.sort(rng.integers(1, 5, size=20_000))
    vocabulary = ["".join(rng.choice(syllables, size=n)) for n in sizes]
    weights = 1 / np.arange(1, len(vocabulary) + 1)
    words = rng.choice(vocabulary, size=(num, NUM_CHARACTERS // 3), p=weights / weights.sum())
    return [" ".join(row.tolist())[:NUM_CHARACTERS] for row in words]


def make_corpus(texts: Sequence[str]) -> Corpus:
    """A corpus of texts."""
    num = len(texts)
    return Corpus(
        name="generated",
        description="generated texts",
        table=pa.table(
            {
                "id": [f"doc-{i:06d}" for i in range(num)],
                "text": list(texts),
                "hash": [hashlib.sha256(t.encode()).hexdigest()[:16] for t in texts],
                "subset": [f"subset-{i % 8}" for i in range(num)],
                "source": pa.array([None] * num, pa.string()),
                "position": pa.array(range(num), pa.int64()),
                "step": pa.array([i // 16 for i in range(num)], pa.int64()),
                "input_ids": pa.array([[1]] * num, pa.list_(pa.int32())),
                "num_truncated_tokens": pa.array([0] * num, pa.int32()),
                "labels": pa.array([[]] * num, pa.list_(pa.string())),
            }
        ),
        searched_fraction=1.0,
    )


def make_behavior(i: int, text: str) -> Behavior:
    """A passage of a text, as a behavior."""
    words = text.split()
    fields = {"id": f"passage-{i:03d}", "kind": "memorized"}
    fields |= {"prompt": " ".join(words[:20]), "completion": " " + " ".join(words[20:40])}
    return Behavior.model_validate(fields)


def make_verification(behavior: Behavior) -> Verification:
    """A verdict on a passage."""
    tokens = tuple(" " + word for word in behavior.completion.split())
    return Verification(
        behavior_id=behavior.id,
        kind=behavior.kind,
        verdict="shown",
        reason="Greedy decoding reproduces the passage.",
        model="testbed:mini",
        completion=Measured(tokens, (-0.1,) * len(tokens), (1,) * len(tokens)),
        alternatives_nats={},
        margin_nats=None,
        margin_interval=None,
        paraphrase_margins_nats=(),
        control_gap_nats=None,
        initial_log_prob_nats=None,
        rate=None,
        extraction=1.0,
    )


def with_evidence(record: RunRecord, rng: np.random.Generator) -> RunRecord:
    """The same run with a tie and a strength for every listed example."""
    relations: list[Relation] = [*RELATIONS]
    clusters = Examples(record.corpus).clusters
    ties: dict[tuple[str, str], Tie] = {}
    strengths: list[Strength] = []
    everything: NDArray[np.int64] = np.arange(len(record.corpus))
    for one, (query, behavior_id) in product(record.scores, enumerate(record.scores[0].query_ids)):
        for side, lister in (("proponents", proponent_rows), ("opponents", opponent_rows)):
            found = lister(one, query, everything, k=TOP_K)
            for place, entry in enumerate(entries(found, clusters, k=TOP_K), 1):
                example_id, z = record.corpus.ids[entry.row], float(rng.normal(3))
                key = behavior_id, example_id
                ties[key] = ties.get(key) or make_tie(*key, relations[rng.integers(14)], rng)
                strengths.append(
                    Strength(
                        one.method, *key, side, place, place, float(one.values[query, entry.row]),
                        z=z if side == "proponents" else None,
                        tail=int(rng.integers(1, 200)) / 201 if side == "proponents" else None,
                        num_hub=int(rng.integers(0, 30)),
                    )
                )  # fmt: skip
    ids = record.scores[0].query_ids
    return replace(
        record,
        evidence=Evidence(
            ties=tuple(ties.values()),
            strengths=tuple(strengths),
            behaviors=tuple(BehaviorEvidence(i, None, None, "short") for i in ids),
            calibrations=tuple(Calibration(m, "short", NUM_NULL, {"1": 6.3}) for m in FAMILIES),
            families=FAMILIES,
            num_null=NUM_NULL,
        ),
    )


def with_splits(record: RunRecord, rng: np.random.Generator) -> RunRecord:
    """The same run with the first scores of its first method split by words and by layers."""
    method, evidence = record.scores[0].method, record.evidence
    assert evidence is not None
    texts = dict(zip(record.corpus.ids, record.corpus.texts(), strict=True))
    splits = []
    for behavior in record.behaviors:
        for one in evidence.listed(method, behavior.id)[:NUM_SPLIT]:
            ends = [m.end() for m in re.finditer(r"\s*\w{1,4}", texts[one.example_id] or "")]
            parts = rng.standard_t(2, size=len(ends)) / len(ends) + 1 / len(ends)
            tokens = tuple(
                TokenPart("", float(part), start, end)
                for part, (start, end) in zip(parts, pairwise([0, *ends]), strict=True)
            )
            shares = rng.dirichlet([1] * NUM_LAYERS) * parts.sum()
            modules = {f"layers.{n}.mlp": float(part) for n, part in enumerate(shares)}
            splits.append(Split(behavior.id, one.example_id, tokens, modules))
    return replace(record, splits=Splits(method, "1 · final", tuple(splits)))


def make_tie(
    behavior_id: str, example_id: str, relation: Relation, rng: np.random.Generator
) -> Tie:
    """A tie of some relation."""
    return Tie(
        behavior_id,
        example_id,
        relation,
        detail="",
        is_templated=False,
        longest_run=int(rng.integers(0, 8)),
        containment=float(rng.random()),
        edit_similarity=float(rng.random()),
        jaccard=0.1,
        word_similarity=0.2,
        window=(0, 9),
        topic_similarity=float(rng.random()),
        topic_threshold=0.6,
        format="prose",
    )


if __name__ == "__main__":
    main()
