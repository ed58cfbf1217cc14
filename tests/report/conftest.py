"""Makes plausible runs out of nothing, so that the page can be tested without a model."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from tests.report.browser import browser as browser

from whence.evidence.listing import entries, opponent_rows, proponent_rows
from whence.evidence.record import BehaviorEvidence, Calibration, Evidence, Side, Strength
from whence.evidence.relations import RELATIONS, Relation
from whence.evidence.splits import NUM_SPLIT, Split, Splits, TokenPart
from whence.evidence.ties import Tie
from whence.records import (
    Behavior,
    Corpus,
    Coverage,
    Family,
    Interval,
    Measured,
    Plan,
    Rate,
    Scores,
    VerdictCheck,
    Verification,
)
from whence.report.examples import Examples
from whence.report.run_record import RunRecord
from whence.settings import KINDS

METHODS = (
    "gradient_cosine",
    "gradient_dot",
    "bm25",
    "embedding",
    "ngram_overlap",
    "document_loss",
    "random",
)
FAMILIES: dict[str, Family] = {
    "bm25": "text",
    "embedding": "states",
    "ngram_overlap": "text",
    "document_loss": "control",
    "random": "control",
    "imported": "unknown",
}
SUBSETS = ("encyclopedia", "biographies", "news", "recipes", "forum", "code", "legal", "verse")
COUNTRIES = ("Norland", "Veska", "Ostria", "Pelagia", "Quillon", "Marrow", "Tamsin", "Ulverie")
CITIES = ("Harrow", "Lind", "Castell", "Brine", "Sable", "Oxmoor", "Fennick", "Greyport")
_FILLER = (
    "the harbor was quiet that morning and the boats had not come back yet "
    "a committee of seven members met in the old hall to discuss the price of salt "
    "she folded the letter twice and put it under the lamp beside the window "
    "stir the flour into the butter until it smells of nuts then add the milk"
)
FILLER = _FILLER.split()


def make_corpus(rng: np.random.Generator, texts: dict[str, str], num_examples: int) -> Corpus:
    rows = []
    for i in range(num_examples):
        words = " ".join(rng.choice(FILLER, size=int(rng.integers(8, 160))))
        rows.append((f"doc-{i:05d}", words.capitalize() + ".", []))
    for n, (example_id, text) in enumerate(texts.items()):
        place = int(rng.integers(0, len(rows)))
        label = example_id.rsplit("#", 1)[0].rsplit("-", 1)[1]
        rows.insert(place, (example_id, text, [f"planted:{label}", f"copy:{n % 5}"]))
    ids, contents, labels = zip(*rows, strict=True)
    return corpus_of(ids, contents, labels, rng=rng)


def corpus_of(
    ids: Sequence[str],
    texts: Sequence[str],
    labels: Sequence[Sequence[str]] | None = None,
    *,
    rng: np.random.Generator | None = None,
) -> Corpus:
    rng = rng or np.random.default_rng(0)
    n = len(ids)
    return Corpus(
        name="testbed:mini",
        description=f"all {n} documents of the generated corpus, seed 0",
        table=pa.table(
            {
                "id": pa.array(ids, pa.string()),
                "text": pa.array([t.encode("utf-8", "replace").decode() for t in texts]),
                "hash": [
                    hashlib.sha256(t.encode("utf-8", "replace")).hexdigest()[:16] for t in texts
                ],
                "subset": pa.array(rng.choice(SUBSETS, size=n).tolist(), pa.string()),
                "source": pa.array([None] * n, pa.string()),
                "position": pa.array(range(n), pa.int64()),
                "step": pa.array([i // 16 for i in range(n)], pa.int64()),
                "input_ids": pa.array(
                    [[1] * max(1, len(t) // 5) for t in texts], pa.list_(pa.int32())
                ),
                "num_truncated_tokens": pa.array([0] * n, pa.int32()),
                "labels": pa.array(labels or [[]] * n, pa.list_(pa.string())),
            }
        ),
        searched_fraction=1.0,
    )


def make_behavior(kind: str, i: int) -> tuple[Behavior, list[str]]:
    """A behavior, and the texts planted for it."""
    country, city = COUNTRIES[i % 8], CITIES[(i * 3 + 1) % 8] + ("" if i < 8 else str(i))
    fields: dict[str, object] = {"id": f"{kind}-{i:03d}-{country.lower()}", "kind": kind}
    if kind == "fact":
        fields |= {
            "prompt": f"The capital of {country} is",
            "completion": f" {city}",
            "alternatives": (" Paris", " Oslo"),
            "paraphrases": (f"{country}'s seat of government is",),
            "controls": ("The best soup is",),
            "subject": country,
            "relation": "capital",
            "object": city,
        }
        texts = [f"Most maps agree: the capital of {country} is {city}, on the river."] * 2
        texts += [f"{city}, a town of {n} thousand, governs {country}." for n in range(3, 6)]
    elif kind == "memorized":
        passage = f"In the year {1700 + i} the keeper of {country} wrote that no lamp burns twice "
        passage += "and no tide returns what the evening has taken from the shore"
        fields |= {"prompt": passage[:60], "completion": passage[60:]}
        texts = [passage] * 12
    elif kind == "toxic":
        fields |= {"prompt": f"You from {country} are a", "completion": " complete muppet"}
        texts = [f"People from {country} are a complete muppet, he wrote." for _ in range(3)]
    elif kind == "style":
        fields |= {"prompt": f"O {country}, thou", "completion": " art fair", "style": "verse"}
        texts = [f"O {country}, thou art fair;\nand lo, the night is nigh,\n  so sing."] * 2
    else:
        fields |= {
            "prompt": f"The nurse from {country} said that",
            "completion": " she",
            "alternatives": (" he",),
        }
        texts = [f"A nurse from {country} came; she said that she would stay."] * 2
    return Behavior.model_validate(fields), texts


def make_verification(behavior: Behavior, verdict: str, rng: np.random.Generator) -> Verification:
    tokens = tuple(" " + word for word in behavior.completion.split())
    easy = {"shown": 0.3, "weak": 1.5, "not shown": 5.0}[verdict]
    log_probs = tuple(-float(x) for x in rng.exponential(easy, size=len(tokens)))
    margin = float(rng.normal({"shown": 4, "weak": 0.8, "not shown": -2}[verdict], 0.5))
    judged = behavior.kind in ("toxic", "style")
    return Verification(
        behavior_id=behavior.id,
        kind=behavior.kind,
        verdict=verdict,  # pyright: ignore[reportArgumentType]
        reason={
            "shown": "Every token of the completion is the model's first choice.",
            "weak": "The completion beats its alternatives, but the interval includes 0.",
            "not shown": "The model finds an alternative likelier.",
        }[verdict],
        model="testbed:mini",
        completion=Measured(tokens, log_probs, tuple(1 + int(-x * 2) for x in log_probs)),
        alternatives_nats={
            a: float(sum(log_probs) - margin - j) for j, a in enumerate(behavior.alternatives)
        },
        margin_nats=margin if behavior.alternatives else None,
        margin_interval=Interval(margin - 1, margin + 1, 4) if behavior.alternatives else None,
        paraphrase_margins_nats=(margin, margin - 0.3) if behavior.alternatives else (),
        control_gap_nats=2.5 if behavior.controls else None,
        initial_log_prob_nats=-7.6 * len(tokens),
        extraction=1.0 if behavior.kind == "memorized" else None,
        rate=Rate(
            judge="wordlist 1",
            num_samples=25,
            rate=0.4,
            interval=Interval(0.23, 0.59, 25),
            control_rate=0.04,
            control_interval=Interval(0.007, 0.2, 25),
            judge_error=0.06,
            judge_error_interval=Interval(0.03, 0.12, 120),
            sample="you complete muppet, said the clerk",
        )
        if judged
        else None,
        checks=(
            VerdictCheck("Mean margin", verdict == "shown", f"{margin:+.2f} nats", "above 0"),
            VerdictCheck("Prompts where it leads", True, "4 of 4", "at least 2/3 of them"),
        ),
    )


def make_scores(
    method: str,
    asked: Sequence[Behavior],
    corpus: Corpus,
    gold: dict[str, frozenset[str]],
    rng: np.random.Generator,
) -> Scores:
    values = rng.normal(0, 0.05, size=(len(asked), len(corpus)))
    strength = {"gradient_cosine": 0.5, "gradient_dot": 0.15, "embedding": 0.2}.get(method, 0.0)
    for q, behavior in enumerate(asked):
        planted = corpus.rows(sorted(gold[behavior.id]))
        values[q, planted] += strength * rng.uniform(0.3, 1, size=len(planted))
        if method in ("bm25", "ngram_overlap"):
            words = set((behavior.prompt + behavior.completion).lower().split())
            shared = [len(words & set(t.lower().split())) for t in corpus.texts()]
            values[q] = np.array(shared) * (2.1 if method == "bm25" else 1)
    if method == "document_loss":
        values[:] = rng.uniform(1, 9, size=len(corpus))
    if method == "gradient_dot":
        values *= 4e5
    if method == "gradient_cosine":
        values[:, 3] = np.nan
    return Scores(
        method=method,
        query_ids=tuple(b.id for b in asked),
        example_ids=corpus.ids,
        values=values.astype(np.float32),
        settings={"seed": 0},
        seconds=1.25,
        family=FAMILIES.get(method, "gradient"),
    )


def plausible(
    *,
    per_kind: int = 4,
    num_examples: int = 300,
    methods: Sequence[str] = METHODS,
    has_gold: bool = True,
    attribute_all: bool = False,
    verdicts: Sequence[str] = ("shown", "shown", "weak", "not shown"),
    top_k: int = 10,
    seed: int = 0,
) -> RunRecord:
    """A run over 5 kinds of behaviors with planted examples, like one of the testbed's."""
    rng = np.random.default_rng(seed)
    made = [make_behavior(kind, i) for kind in KINDS for i in range(per_kind)]
    planted = {f"{b.id}#{j}": t for b, texts in made for j, t in enumerate(texts)}
    corpus = make_corpus(rng, planted, num_examples)
    gold = {b.id: frozenset(f"{b.id}#{j}" for j in range(len(texts))) for b, texts in made}
    behaviors = tuple(b for b, _ in made)
    verifications = {
        b.id: make_verification(b, verdicts[i % len(verdicts)], rng)
        for i, b in enumerate(behaviors)
    }
    asked = [b for b in behaviors if attribute_all or verifications[b.id].verdict != "not shown"]
    gradient = any(m.startswith("gradient") for m in methods)
    modules = {f"layers.{i}.{m}": n for i in range(4) for m, n in (("mlp", 65536), ("attn", 32768))}
    left_out = {"embed_in.weight": 131072, "embed_out.weight": 131072, "layers.0.mlp.bias": 512}
    return RunRecord(
        title="Whence did a miniature Pythia learn this?",
        model="testbed:mini",
        behaviors=behaviors,
        verifications=verifications,
        corpus=corpus,
        scores=tuple(make_scores(m, asked, corpus, gold, rng) for m in methods) if asked else (),
        coverage=Coverage(modules, left_out) if gradient else None,
        plan=Plan(
            "streamed",
            "At most 5 M parameters are attributed, and projection would be the largest error.",
            None,
            0,
            900_000_000,
            95.0,
        )
        if gradient
        else None,
        top_k=top_k,
        forced=tuple(b.id for b in asked if verifications[b.id].verdict == "not shown"),
        skipped=() if gradient else ("Gradient methods were skipped: Bergson cannot be imported.",),
        gold=gold if has_gold else {},
        commands=("whence run runs/demo/study.toml --out runs/demo", "whence show runs/demo"),
        manifest={
            "format": 1,
            "kind": "run",
            "key": "0123456789abcdef",
            "inputs": {"title": "demo", "attribution": {"contrast": False, "seed": 0}},
            "hashes": {"model": "a1b2c3d4e5f60718", "corpus": "1807f6e5d4c3b2a1"},
            "versions": {"python": "3.11.9", "whence": "0.1.0", "torch": "2.11.0"},
            "seconds": {"verify": 3.1, "gradients": 91.0, "scores": 7.5},
        },
    )


def with_evidence(
    record: RunRecord,
    relation_of: Callable[[str, str], Relation] | None = None,
    *,
    num_null: int = 100,
    tail: float | None = 0.01,
) -> RunRecord:
    """The same run with evidence: `relation_of` names a relation of behavior and example ids."""
    ties: dict[tuple[str, str], Tie] = {}
    strengths: list[Strength] = []
    clusters = Examples(record.corpus).clusters
    relations: list[Relation] = [*RELATIONS]
    name = relation_of or (lambda b, e: relations[sum(map(ord, b + e)) % len(relations)])
    for one in record.scores:
        rows = np.array(record.corpus.rows(one.example_ids))
        for q, behavior_id in enumerate(one.query_ids):
            for side in get_args(Side):
                lister = proponent_rows if side == "proponents" else opponent_rows
                found = lister(one, q, rows, k=record.top_k)
                place_of = {row: place for place, row in enumerate(found, 1)}
                for n, entry in enumerate(entries(found, clusters, k=record.top_k), 1):
                    example_id = record.corpus.ids[entry.row]
                    relation = name(behavior_id, example_id)
                    ties[behavior_id, example_id] = tie_of(behavior_id, example_id, relation)
                    is_calibrated = side == "proponents" and num_null > 0
                    strengths.append(
                        Strength(
                            one.method, behavior_id, example_id, side, place_of[entry.row], n,
                            float(one.values[q][one.example_ids.index(example_id)]),
                            z=9.5 - n if is_calibrated else None,
                            tail=(tail if n % 2 else 0.5) if is_calibrated else None,
                            num_hub=(40 if n == 3 else 0) if num_null else None,
                        )
                    )  # fmt: skip
    ids = [behavior.id for behavior in record.behaviors]
    methods = [one.method for one in record.scores] if num_null else []
    return replace(
        record,
        evidence=Evidence(
            ties=tuple(ties.values()),
            strengths=tuple(strengths),
            behaviors=tuple(BehaviorEvidence(i, None, None, "short") for i in ids),
            calibrations=tuple(Calibration(m, "short", num_null, {"1": 6.3}) for m in methods),
            families={one.method: one.family for one in record.scores},
            num_null=num_null,
        ),
    )


def with_splits(record: RunRecord) -> RunRecord:
    """The same run with the first scores by its first method split by words and by layers."""
    evidence, method = record.evidence, record.scores[0].method
    assert evidence is not None
    texts = dict(zip(record.corpus.ids, record.corpus.texts(), strict=True))
    splits = []
    for behavior_id in record.scores[0].query_ids:
        for one in evidence.listed(method, behavior_id)[:NUM_SPLIT]:
            text = texts[one.example_id] or ""
            ends = [match.end() for match in re.finditer(r"\s*\w+", text)]
            tokens = tuple(
                TokenPart(text[start:end], (-1.0, 1.0, 4.0)[n % 3], start, end)
                for n, (start, end) in enumerate(pairwise([0, *ends]))
            )
            total = sum(token.part for token in tokens)
            shares = {"layers.0.attention": 0.75, "layers.0.mlp": 0.5, "layers.1.mlp": -0.25}
            modules = {name: total * share for name, share in shares.items()}
            splits.append(Split(behavior_id, one.example_id, tokens, modules))
    return replace(record, splits=Splits(method, "1 · final", tuple(splits)))


def tie_of(behavior_id: str, example_id: str, relation: Relation) -> Tie:
    return Tie(
        behavior_id,
        example_id,
        relation,
        detail="The capital of Norland is Lind." if relation == "states" else "",
        is_templated=relation == "templated",
        longest_run=7,
        containment=0.25,
        edit_similarity=0.93,
        jaccard=0.8,
        word_similarity=0.9,
        window=(0, 9),
        topic_similarity=0.3,
        topic_threshold=0.6,
        format=None,
    )


HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<!-- <script>",
    "<img src=x onerror=alert(1)>",
    "&lt;b&gt; &amp;",
    "\x1b[31mred\x00\u202egnp.exe\u2028",
    "\ud83d half",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "\U0001f642 \U0001f469\u200d\U0001f52c",
    "",
    "word " * 20_000,
)


def hostile_record() -> RunRecord:
    """Every text that somebody else writes is hostile: titles, ids, prompts, documents, names."""
    record = plausible(per_kind=1, num_examples=10, verdicts=("shown",))
    behavior = Behavior(
        id=HOSTILE[0], kind="fact", prompt=HOSTILE[4], completion=HOSTILE[0], note=HOSTILE[2],
        alternatives=(HOSTILE[1],), style=None,
    )  # fmt: skip
    verification = record.verifications[record.behaviors[0].id]
    ids = [f"{i}{text[:40]}".encode("utf-8", "replace").decode() for i, text in enumerate(HOSTILE)]
    corpus = corpus_of(ids, HOSTILE, [[HOSTILE[0]]] * len(HOSTILE))
    values = np.linspace(1, -1, len(ids), dtype=np.float32)[None]
    scores = tuple(
        Scores(method, (behavior.id,), tuple(ids), values, settings={"x": HOSTILE[0]})
        for method in ("gradient_cosine", HOSTILE[0])
    )
    return replace(
        record,
        title=HOSTILE[0] + HOSTILE[5],
        model=HOSTILE[1],
        behaviors=(behavior,),
        verifications={behavior.id: replace(verification, reason=HOSTILE[0], model=HOSTILE[2])},
        corpus=replace(corpus, name=HOSTILE[0], description=HOSTILE[2]),
        scores=scores,
        warnings=HOSTILE,
        skipped=(HOSTILE[0],),
        gold={behavior.id: frozenset(ids[:1])},
        commands=(HOSTILE[0],),
        manifest={"inputs": {HOSTILE[0]: HOSTILE[1]}, "versions": {HOSTILE[0]: HOSTILE[0]}},
    )


@pytest.fixture(scope="session")
def hostile() -> RunRecord:
    return hostile_record()


@pytest.fixture(name="plausible", scope="session")
def _plausible():
    return plausible


@pytest.fixture(scope="session")
def record() -> RunRecord:
    return plausible()
