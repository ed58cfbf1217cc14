"""What makes a passage memorized, in a world where every copy was planted?

Trains the testbed's world `recall` once, measures its passages at every checkpoint, and prints how
memorization depends on the number of exact copies, on what share of the words of near copies is
replaced, on where the copies stand in training and in their documents, and what is forgotten.
Then it trains again without the exact copies, the near copies or both of the passages that have
both: four trainings for each placement, in which every passage passes once through each of the
four conditions while a quarter of the others share it. These are the true causal shares with which
shares of attribution can be compared. All of it is about this world and not about Pythia.

A training takes about 100 seconds of one core, and a world is one training, four of its first
third and five and a half of its last; `--placements uniform` adds four whole ones. Finished work is
kept in runs/recall, and goes on there.

    python benchmarks/recall.py [recall recall@1] [--removals recall] [--placements early late]
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measure import report

from whence import testbed
from whence.artifacts import write_json
from whence.cli.console import progress
from whence.evidence.alignment import edit_similarity
from whence.memorization.dose import (
    dose_curve,
    dose_means,
    exact_equivalent,
    extraction_by_dose,
    forgetting,
    half_lives,
    placement_differences,
)
from whence.models.forward import token_log_probs
from whence.records import Behavior, LoadedModel
from whence.statistics import Estimate, Interval, mean_estimate, proportion
from whence.testbed import passages
from whence.testbed.passages import Passage
from whence.testbed.sizes import size_named
from whence.testbed.tables import tokenizer

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "runs" / "recall"
# Shilov et al., "The Mosaic Memory of Large Language Models", arXiv 2405.15523: by membership
# inference on a pretrained GPT-Neo 1.3B, fine-tuned on sequences of 100 tokens, R of them replaced.
MOSAIC = {1: 0.90, 5: 0.78, 10: 0.65, 25: 0.40, 50: 0.19, 75: 0.08}
# docs/validation.md, A3: mini in four worlds, two passages at each distance.
MINI = {5: (0.49, 0.92), 10: (0.38, 0.49), 30: (0.14, 0.22), 50: (0.05, 0.08)}
ARMS = ("full", "no-exact", "no-near", "neither")
LEADS = (0, 20, 60)
# Eighty per cent of the 32 tokens: the laxer of the two definitions of memorized.
MOST_TOKENS = 26
_RESAMPLES = 4_000


class Scan(NamedTuple):
    """Every passage at every checkpoint: nats per token, and how many tokens are predicted."""

    steps: tuple[int, ...]
    log_probs: np.ndarray
    num_right: np.ndarray


@dataclass(frozen=True)
class World:
    """A testbed with its passages, in the order of its behaviors."""

    size: str
    passages: tuple[Passage, ...]
    behaviors: tuple[Behavior, ...]

    @property
    def cache(self) -> Path:
        """Where checkpoints are kept."""
        return PLACE / "models"

    def rows(self, *names: str, **wanted: object) -> list[int]:
        """Places of the passages whose name starts with one of these and a hyphen."""
        return [
            row
            for row, p in enumerate(self.passages)
            if p.name.startswith(tuple(f"{name}-0" for name in names))
            and all(getattr(p, key) == value for key, value in wanted.items())
        ]


def main() -> None:
    """Measures every world and writes `results/latest/recall.json`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("worlds", nargs="*", default=["recall"])
    parser.add_argument("--removals", nargs="*", default=["recall"], help="of these worlds")
    parser.add_argument("--placements", nargs="*", default=["early", "late"])
    asked = parser.parse_args()
    worlds = [_world(size) for size in asked.worlds]
    removed = [_world(size) for size in asked.removals]
    scans = {world.size: _scan(world) for world in worlds}
    rows = [
        *_doses(worlds, scans),
        *_equivalents(worlds, scans),
        *_placements(worlds, scans),
        *_forgetting(worlds, scans),
        *_leads(worlds),
        *(row for place in asked.placements for row in _removals(removed, place)),
    ]
    report("recall.json", rows, *sys.argv[1:])
    for row in rows:
        if row["table"] != "family":
            print("  ".join(f"{key} {_short(value)}" for key, value in row.items()))


def _world(size: str) -> World:
    return World(size, size_named(size).passages, testbed.behaviors(size))


def _windows(world: World) -> list[list[int]]:
    return [[*(b.prompt_ids or ()), *(b.completion_ids or ())] for b in world.behaviors]


def _measure(model: LoadedModel, world: World) -> tuple[list[float], list[int]]:
    given = [len(b.prompt_ids or ()) for b in world.behaviors]
    found = token_log_probs(model, _windows(world), given)
    return (
        [float(one.log_probs_nats.mean()) for one in found],
        [int((one.ranks == 1).sum()) for one in found],
    )


def _scan(world: World) -> Scan:
    path = PLACE / "scans" / f"{world.size}.json"
    key = testbed.corpus_hash(world.size)
    kept = json.loads(path.read_text()) if path.is_file() else {}
    if kept.get("corpus") != key:
        testbed.train_testbed(
            world.size, world.cache / f"testbed-{world.size}", progress=progress()
        )
        steps = testbed.all_steps(world.size)
        found = [
            _measure(testbed.load_checkpoint(world.size, step=s, cache=world.cache), world)
            for s in steps
        ]
        kept = {
            "corpus": key,
            "steps": list(steps),
            "log_probs": [one[0] for one in found],
            "num_right": [one[1] for one in found],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, kept)
    return Scan(tuple(kept["steps"]), np.array(kept["log_probs"]), np.array(kept["num_right"]))


def _doses(worlds: Sequence[World], scans: Mapping[str, Scan]) -> list[dict[str, Any]]:
    """Exact copies spread over the whole training, measured at its end."""
    copies, values, right = _exact(worlds, scans)
    means = dose_means(copies, values)
    most = dose_means(copies, (right >= MOST_TOKENS).astype(float))
    extractible = right == 32
    bins = extraction_by_dose(
        copies, extractible, continuations=range(len(copies)), starts=sorted(means)
    )
    rows = [
        {
            "table": "dose",
            "copies": one.low,
            "nats_per_token": means[one.low].as_dict(),
            "extractible": one.sequences.as_dict(),
            "most_tokens": most[one.low].value,
        }
        for one in bins
    ]
    half = {
        name: dose_curve(copies, hits.astype(float)).copies_for(0.5)
        for name, hits in (("extractible", extractible), ("most_tokens", right >= MOST_TOKENS))
    }
    return [*rows, {"table": "half dose", **{k: _finite(v) for k, v in half.items()}}]


def _exact(
    worlds: Sequence[World], scans: Mapping[str, Scan]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    copies, values, right = [], [], []
    for world in worlds:
        rows = world.rows("exact")
        copies += [world.passages[row].copies for row in rows]
        values += scans[world.size].log_probs[-1, rows].tolist()
        right += scans[world.size].num_right[-1, rows].tolist()
    return np.array(copies), np.array(values), np.array(right)


def _equivalents(worlds: Sequence[World], scans: Mapping[str, Scan]) -> list[dict[str, Any]]:
    """What a near copy is worth in exact ones, by the share of its words that is replaced."""
    copies, values, _ = _exact(worlds, scans)
    found = []
    for share in (5, 10, 20, 30, 50, 75):
        near, right, similar = [], [], []
        for world in worlds:
            rows = world.rows(f"near{share}")
            near += scans[world.size].log_probs[-1, rows].tolist()
            right += scans[world.size].num_right[-1, rows].tolist()
            similar += _similarities(world, rows)
        num = worlds[0].passages[worlds[0].rows(f"near{share}")[0]].copies
        worth = exact_equivalent(
            copies,
            values,
            families=[str(i) for i in range(len(copies))],
            near_values=np.array(near),
            near_families=[str(i) for i in range(len(near))],
            num_near_copies=num,
            generator=np.random.default_rng(share),
        )
        found.append(
            {
                "table": "near",
                "replaced_words_percent": share,
                "replaced_tokens_percent": round(100 * (1 - float(np.mean(similar))), 1),
                "copies": num,
                "nats_per_token": mean_estimate(near).as_dict(),
                "extractible": proportion(sum(r == 32 for r in right), len(right)).as_dict(),
                "exact_equivalents": worth.rho.as_dict(),
                "share_above_curve": worth.share_above,
                "mosaic": MOSAIC.get(share),
                "mini": MINI.get(share),
            }
        )
    return found


def _similarities(world: World, rows: Sequence[int]) -> list[float]:
    """Edit similarities of the tokens of each passage and of some of its copies."""
    corpus, gold = testbed.corpus(world.size), testbed.gold(world.size)
    found = []
    for row in rows:
        text = passages.text(world.passages[row], seed=size_named(world.size).seed)
        own = tokenizer().encode(text).ids
        for i in corpus.rows(sorted(gold[world.passages[row].id]))[:8]:
            # Without the end-of-text token.
            found.append(edit_similarity(own, corpus.input_ids(i)[:-1]))
    return found


GROUPS = (
    ("48 exact", {"uniform": "exact", "early": "early", "late": "late"}),
    ("24 exact, 24 near", {"uniform": "mixed", "early": "mixed-early", "late": "mixed-late"}),
    ("96 exact", {"rehearsed": "rehearsed"}),
)


def _placements(worlds: Sequence[World], scans: Mapping[str, Scan]) -> list[dict[str, Any]]:
    """The same doses early, late and everywhere: at the end, at the best checkpoint, and when."""
    found = []
    for dose, names in GROUPS:
        values: list[float] = []
        placements: list[str] = []
        for placement, name in names.items():
            end, best, right, most, first, stable = [], [], [], [], [], []
            for world in worlds:
                scan, rows = scans[world.size], world.rows(name)
                rows = [r for r in rows if world.passages[r].num_documents == _dose_of(name)]
                known = scan.num_right[:, rows] == 32
                end += scan.log_probs[-1, rows].tolist()
                best += scan.log_probs[:, rows].max(axis=0).tolist()
                right += [bool(one.any()) for one in known.T]
                most += [bool((one >= MOST_TOKENS).any()) for one in scan.num_right[:, rows].T]
                first += [_onset(scan, k) for k in known.T]
                stable += [_onset(scan, k, is_stable=True) for k in known.T]
            values += end
            placements += [placement] * len(end)
            found.append(
                {
                    "table": "placement",
                    "copies": dose,
                    "placement": placement,
                    "families": len(end),
                    "nats_per_token_at_the_end": mean_estimate(end).as_dict(),
                    "nats_per_token_at_best": mean_estimate(best).as_dict(),
                    "ever_most_tokens": sum(most),
                    "ever_extractible": sum(right),
                    "extractible_at_the_end": sum(s is not None for s in stable),
                    "first_onset": _quartiles(first),
                    "stable_onset": _quartiles(stable),
                }
            )
        if "uniform" not in names:
            continue
        differences = placement_differences(np.array(values), placements, reference="uniform")
        found += [
            {
                "table": "placement difference",
                "copies": dose,
                "placement": f"{name} - uniform",
                "nats_per_token_at_the_end": estimate.as_dict(),
            }
            for name, estimate in differences.items()
        ]
    return found


def _dose_of(name: str) -> int:
    return next(
        p.num_documents
        for p in size_named("recall").passages
        if p.name.startswith(f"{'early' if name == 'exact' else name}-0")
    )


def _onset(scan: Scan, known: np.ndarray, *, is_stable: bool = False) -> int | None:
    """The first checkpoint at which a passage is extractible, or from which on it stays so."""
    kept = np.logical_and.accumulate(known[::-1])[::-1] if is_stable else known
    return scan.steps[int(kept.argmax())] if kept.any() else None


def _quartiles(steps: Sequence[int | None]) -> list[float] | None:
    known = [s for s in steps if s is not None]
    return np.percentile(known, [25, 50, 75]).tolist() if known else None


def _forgetting(worlds: Sequence[World], scans: Mapping[str, Scan]) -> list[dict[str, Any]]:
    """Early passages after their last copy, beside those that are rehearsed."""
    found = []
    for names in (("early", "mixed-early"), ("rehearsed",)):
        parts, lives = [], []
        for world in worlds:
            scan, corpus = scans[world.size], testbed.corpus(world.size)
            gold, batch = testbed.gold(world.size), size_named(world.size).recipe.batch_size
            rows = world.rows(*names)
            unseen = scan.log_probs[:, world.rows("exact", copies=0)].mean(axis=1)
            places = [corpus.rows(sorted(gold[world.passages[r].id])) for r in rows]
            # Of rehearsed ones, the last copy that belongs to the early part.
            early = 0.35 * len(corpus)
            last = [max(p for p in group if p <= early) // batch + 1 for group in places]
            values = scan.log_probs[:, rows]
            parts.append((scan, values, scan.num_right[:, rows] == 32, unseen, last))
            lives += half_lives(scan.steps, values, unseen=unseen, last_copies=last).tolist()
        scan = parts[0][0]
        span = scan.steps[-1]
        starts = [round(span * share) for share in (0.02, 0.05, 0.1, 0.2, 0.3, 0.45)]
        for place, bin_ in enumerate(
            forgetting(
                scan.steps,
                np.concatenate([p[1] for p in parts], axis=1),
                np.concatenate([p[2] for p in parts], axis=1),
                # Worlds have one schedule; what was never seen differs little between them.
                unseen=np.mean([p[3] for p in parts], axis=0),
                last_copies=[step for p in parts for step in p[4]],
                starts=starts,
            )
        ):
            found.append(
                {
                    "table": "forgetting",
                    "passages": " and ".join(names),
                    "steps_after_the_last_early_copy": [bin_.low, bin_.high],
                    "kept": bin_.kept.as_dict(),
                    "excess_nats": bin_.excess_nats.as_dict(),
                    "extractible": bin_.extractible.as_dict(),
                }
                | ({"half_life_median": _finite(float(np.nanmedian(lives)))} if not place else {})
            )
    return found


def _leads(worlds: Sequence[World]) -> list[dict[str, Any]]:
    """Passages planted behind other text, and asked for at the start or behind other text."""
    found = []
    for planted in LEADS:
        name = f"lead{planted}" if planted else "exact"
        for asked in LEADS:
            values = []
            for world in worlds:
                rows = [r for r in world.rows(name) if world.passages[r].copies == 48]
                model = testbed.load_checkpoint(world.size, cache=world.cache)
                values += _behind(model, world, rows, num_words=asked)
            found.append(
                {
                    "table": "lead",
                    "planted_behind_words": planted,
                    "asked_behind_words": asked,
                    "nats_per_token": mean_estimate(values).as_dict(),
                }
            )
    return found


def _behind(
    model: LoadedModel, world: World, rows: Sequence[int], *, num_words: int
) -> list[float]:
    """Each passage's nats per token behind some words of stories that were not planted."""
    leads: list[list[int]] = [[]]
    if num_words:
        texts = testbed.held_out_texts("stories", num=12, seed=9)
        both = [" ".join((a + " " + b).split()[:num_words]) for a, b in pairwise(texts)]
        leads = [tokenizer().encode(text + "\n").ids for text in both[:4]]
    sequences, given = [], []
    for row in rows:
        for lead in leads:
            sequences.append([*lead, *_windows(world)[row]])
            given.append(len(lead) + len(world.behaviors[row].prompt_ids or ()))
    found = [float(one.log_probs_nats.mean()) for one in token_log_probs(model, sequences, given)]
    return np.array(found).reshape(len(rows), len(leads)).mean(axis=1).tolist()


class Arms(NamedTuple):
    """The passages that have exact and near copies, in each of the four conditions."""

    ids: list[str]
    log_probs: np.ndarray  # passages x arms
    num_right: np.ndarray
    others_sd: float


def _removals(worlds: Sequence[World], placement: str) -> list[dict[str, Any]]:
    """Trains again without the exact copies, the near ones or both of a quarter of the passages."""
    parts = [_arms(world, placement) for world in worlds]
    values = np.concatenate([p.log_probs for p in parts])
    right = np.concatenate([p.num_right for p in parts])
    full, no_exact, no_near, neither = values.T
    effects = {
        "removing exact, near copies present": full - no_exact,
        "removing near, exact copies present": full - no_near,
        "removing both": full - neither,
        "exact alone": no_near - neither,
        "near alone": no_exact - neither,
        "exact minus near": no_near - no_exact,
        "interaction": full - no_exact - no_near + neither,
    }
    shapley = (full - no_exact + no_near - neither) / 2
    rows: list[dict[str, Any]] = [
        {"table": "removal", "placement": placement, "effect": name}
        | {"nats_per_token": mean_estimate(found.tolist()).as_dict()}
        for name, found in effects.items()
    ]
    rows += [
        {"table": "removal", "placement": placement, "effect": name, "share": share.as_dict()}
        for name, share in (
            ("share of exact copies", _ratio(shapley, full - neither)),
            ("share of near copies", _ratio(full - neither - shapley, full - neither)),
            ("near alone over exact alone", _ratio(no_exact - neither, no_near - neither)),
        )
    ]
    rows.append(
        {
            "table": "removal",
            "placement": placement,
            "effect": "other passages, standard deviation between trainings",
            "nats_per_token": float(np.mean([p.others_sd for p in parts])),
            "extractible": {arm: int((right[:, i] == 32).sum()) for i, arm in enumerate(ARMS)},
            "most_tokens": {
                arm: int((right[:, i] >= MOST_TOKENS).sum()) for i, arm in enumerate(ARMS)
            },
        }
    )
    for world, part in zip(worlds, parts, strict=True):
        for i, name in enumerate(part.ids):
            whole = float(part.log_probs[i, 0] - part.log_probs[i, 3])
            own = dict(zip(ARMS, part.log_probs[i].tolist(), strict=True))
            exact = (own["full"] - own["no-exact"] + own["no-near"] - own["neither"]) / 2
            rows.append(
                {
                    "table": "family",
                    "world": world.size,
                    "id": name,
                    "placement": placement,
                    "nats_per_token": own,
                    "tokens_right": dict(zip(ARMS, part.num_right[i].tolist(), strict=True)),
                    "removing_both": whole,
                    "exact_share": exact / whole if whole > 0 else None,
                }
            )
    return rows


def _arms(world: World, placement: str) -> Arms:
    name = "mixed" if placement == "uniform" else f"mixed-{placement}"
    rows = world.rows(name)
    settings = _settings(world.size, placement)
    log_probs, num_right = np.empty((len(rows), len(ARMS))), np.empty((len(rows), len(ARMS)), int)
    others = []
    for turn in range(len(ARMS)):
        arms = {row: ARMS[(i + turn) % len(ARMS)] for i, row in enumerate(rows)}
        values, right = _retrained(world, settings, arms, f"{placement}-{turn}")
        for i, (row, arm) in enumerate(arms.items()):
            log_probs[i, ARMS.index(arm)] = values[row]
            num_right[i, ARMS.index(arm)] = right[row]
        others.append([v for r, v in enumerate(values) if r not in arms])
    ids = [world.passages[row].id for row in rows]
    return Arms(ids, log_probs, num_right, float(np.std(others, axis=0, ddof=1).mean()))


def _settings(size: str, placement: str) -> testbed.RetrainingSettings:
    """The part of the training in which copies of that placement stand."""
    corpus, gold = testbed.corpus(size), testbed.gold(size)
    batch = size_named(size).recipe.batch_size
    ids = [p.id for p in size_named(size).passages if p.placement == placement]
    places = [row // batch for i in ids for row in corpus.rows(sorted(gold[i]))]
    last = testbed.last_step(size)
    if placement == "late":
        return testbed.RetrainingSettings(size=size, since=min(places))
    stop = min(last, max(places) + 1)
    return testbed.RetrainingSettings(size=size, stop_after=None if stop == last else stop)


def _retrained(
    world: World, settings: testbed.RetrainingSettings, arms: Mapping[int, str], name: str
) -> tuple[list[float], list[int]]:
    path = PLACE / "retrained" / world.size / f"{name}.json"
    labels = testbed.corpus(world.size).table.column("labels").to_pylist()
    without = {
        label
        for row, arm in arms.items()
        for label, arms_without in (
            (world.passages[row].label, ("no-exact", "neither")),
            (world.passages[row].near_label, ("no-near", "neither")),
        )
        if arm in arms_without
    }
    dropped = [
        i
        for i, own in zip(testbed.corpus(world.size).ids, labels, strict=True)
        if without & set(own)
    ]
    key = {**testbed.retraining_inputs(settings), "dropped": dropped}
    kept = json.loads(path.read_text()) if path.is_file() else {}
    if kept.get("key") != json.loads(json.dumps(key)):
        start = None
        if settings.since:
            start = testbed.kept_state(
                settings, PLACE / "states" / f"{world.size}-{settings.since}"
            )
        model = testbed.retrained_model(settings, dropped=dropped, start=start)
        values, right = _measure(model, world)
        kept = {"key": key, "log_probs": values, "num_right": right}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, kept)
        print(f"{world.size} {name} trained", file=sys.stderr, flush=True)
    return kept["log_probs"], kept["num_right"]


def _ratio(above: np.ndarray, below: np.ndarray) -> Estimate:
    """A ratio of sums over passages, with a percentile interval over passages."""
    dice = np.random.default_rng(0).integers(len(above), size=(_RESAMPLES, len(above)))
    drawn = above[dice].sum(axis=1) / below[dice].sum(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    interval = Interval(float(low), float(high), len(above))
    return Estimate(float(above.sum() / below.sum()), interval, len(above))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _short(value: Any) -> str:
    if isinstance(value, dict) and "value" in value:
        if value["value"] is None:
            return "none"
        bounds = f" [{value['low']:.2f}, {value['high']:.2f}]" if value["low"] is not None else ""
        return f"{value['value']:.3f}{bounds}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
