"""What does a page know? One strict JSON object, made from a run.

The page shows this object and offers it for download. `format` changes when the meaning of a key
does. Examples are referred to by their place in `examples`; a rank of 0 stands for an example that
a method gives no score.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from whence.evidence.agreement import hubs
from whence.evidence.overlap import word_shares
from whence.evidence.planted import gold_rate
from whence.records import Corpus, Coverage, Plan, RunRecord, Scores
from whence.report.behaviors import ask, behavior_data
from whence.report.encode import strict
from whence.report.examples import Shown
from whence.report.wording import (
    GRADIENT_LIMIT,
    LIMITS,
    RETRIEVAL_LIMIT,
    TESTBED_LIMIT,
    method_wording,
    parts_left_out,
)

FORMAT = 1
_NUM_HUBS = 12
# Shares of words are needed to a percent or so; more documents would cost seconds.
_NUM_TEXTS_FOR_SHARES = 4_000


def page_data(record: RunRecord) -> dict[str, Any]:
    """Turns a run into everything that its page shows.

    Args:
        record: What the run found.

    Returns:
        An object that `json.dumps(..., allow_nan=False)` takes: NaN has become null.
    """
    shown = Shown(record.corpus)
    texts = record.corpus.texts()
    stride = max(1, len(texts) // _NUM_TEXTS_FOR_SHARES)
    shares = word_shares(text or "" for text in texts[::stride])
    asked = ask(record, shown, shares=shares, has_gold=_has_gold(record))
    methods = [_method(scores) for scores in record.scores]
    behaviors = [behavior_data(behavior, asked) for behavior in record.behaviors]
    across = _across(record, shown)
    return strict(
        {
            "format": FORMAT,
            "title": record.title,
            "model": record.model,
            "top_k": record.top_k,
            "corpus": _corpus(record.corpus),
            "coverage": _coverage(record.coverage),
            "plan": _plan(record.plan),
            "forced": record.forced,
            "skipped": record.skipped,
            "warnings": record.warnings,
            "limits": _limits(record),
            "has_gold": _has_gold(record),
            "methods": methods,
            "behaviors": behaviors,
            "across": across,
            "validation": _validation(record.validation),
            "examples": _examples(record, shown),
            "commands": record.commands,
            "manifest": record.manifest,
        }
    )


def _corpus(corpus: Corpus) -> dict[str, Any]:
    counts = Counter(corpus.table.column("subset").to_pylist())
    return {
        "name": corpus.name,
        "description": corpus.description,
        "num_examples": len(corpus),
        "num_tokens": int(corpus.lengths.sum()),
        "num_truncated_tokens": corpus.num_truncated_tokens,
        "num_empty": corpus.num_empty,
        "searched_fraction": corpus.searched_fraction,
        "fingerprint": corpus.fingerprint,
        "subsets": counts.most_common(),
    }


def _coverage(coverage: Coverage | None) -> dict[str, Any] | None:
    if coverage is None:
        return None
    return {
        "num_parameters": coverage.num_parameters,
        "num_attributed": coverage.num_attributed,
        "parts_left_out": parts_left_out(coverage.left_out),
        "modules": coverage.modules,
        "left_out": coverage.left_out,
    }


def _plan(plan: Plan | None) -> dict[str, Any] | None:
    return None if plan is None else asdict(plan)


def _limits(record: RunRecord) -> list[str]:
    families = {method_wording(s.method, s.orientation).family for s in record.scores}
    limits = list(LIMITS)
    if "gradient" in families:
        limits.append(GRADIENT_LIMIT)
        if _has_gold(record):
            limits.append(RETRIEVAL_LIMIT)
    if record.model.startswith("testbed:"):
        limits.append(TESTBED_LIMIT)
    return limits


def _method(scores: Scores) -> dict[str, Any]:
    wording = method_wording(scores.method, scores.orientation)
    return {
        "name": scores.method,
        "about": wording.about,
        "family": wording.family,
        "orientation": scores.orientation,
        "settings": _jsonable(scores.settings),
        "seconds": scores.seconds,
    }


def _validation(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The leaderboard: what methods are compared by, and what it says in words."""
    if found is None:
        return None
    names = dict.fromkeys(figure["measure"] for figure in found["figures"])
    return {
        "measures": [_measure(found, name) for name in found["compared"] if name in names],
        "undefined": {
            name: why
            for name, why in found["undefined"].items()
            if any(compared.startswith(name) for compared in found["compared"])
        },
        "sentences": found["sentences"],
    }


def _measure(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    figures = [figure for figure in found["figures"] if figure["measure"] == name]
    estimate = ("value", "low", "high", "n")
    return {
        "name": name,
        "unit": figures[0]["unit"],
        "figures": [{key: f[key] for key in ("method", "kind", *estimate)} for f in figures],
        "controls": {
            f["kind"]: {key: f["control"][key] for key in ("name", *estimate)} for f in figures
        },
    }


def _across(record: RunRecord, shown: Shown) -> dict[str, Any]:
    kinds: Mapping[str, str] = {b.id: b.kind for b in record.behaviors}
    found_hubs = []
    for scores in record.scores:
        best = hubs(scores, record.top_k, groups=kinds)[:_NUM_HUBS]
        rows = record.corpus.rows([hub.example_id for hub in best])
        found_hubs.append(
            [
                [shown.place(row), hub.num_queries, hub.num_groups]
                for row, hub in zip(rows, best, strict=True)
            ]
        )
    rates = [
        [asdict(rate) for rate in found.values()]
        for found in (
            gold_rate(s, record.gold, record.behaviors, record.verifications) for s in record.scores
        )
    ]
    return {"gold_rates": rates if _has_gold(record) else None, "hubs": found_hubs}


def _examples(record: RunRecord, shown: Shown) -> list[dict[str, Any]]:
    toxic = {b.id for b in record.behaviors if b.kind == "toxic"}
    planted = frozenset().union(*(record.gold.get(i, frozenset()) for i in toxic))
    examples = shown.records()
    for example in examples:
        labeled = any("toxic" in label.lower() for label in example["labels"])
        example["is_sensitive"] = labeled or example["id"] in planted
    return examples


def _has_gold(record: RunRecord) -> bool:
    return any(record.gold.values())


def _jsonable(value: Any) -> Any:
    """Settings may hold anything; what JSON lacks is written as text."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)
