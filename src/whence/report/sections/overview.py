"""What the study is about: model, corpus, coverage, and how many behaviors the model shows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from whence.records import Plan
from whence.report.context import Context
from whence.report.run_record import RunRecord
from whence.report.sections import SectionKind
from whence.report.wording import parts_left_out


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many behaviors there are, and what became of them."""

    num_behaviors: int
    num_shown: int
    num_weak: int
    num_attributed: Annotated[int, "scored by at least one method"]


@dataclass(frozen=True, kw_only=True)
class SubsetSize:
    """A subset of the corpus."""

    name: str | None
    num_examples: int


@dataclass(frozen=True, kw_only=True)
class CorpusFacts:
    """The pool of examples that was searched."""

    name: str
    description: str
    num_examples: int
    num_tokens: int
    num_truncated_tokens: Annotated[
        int | None, "tokens of long documents that no example holds; null: not all were counted"
    ]
    num_empty: Annotated[int, "empty documents"]
    searched_fraction: Annotated[float | None, "of the training data; null is unknown"]
    fingerprint: Annotated[str, "hash of ids and tokens"]
    subsets: Annotated[Sequence[SubsetSize], "largest first"]


@dataclass(frozen=True, kw_only=True)
class NotAttributable:
    """Linear layers whose gradients cannot be formed, for one reason."""

    reason: str
    layers: Annotated[Sequence[str], "in the model's order"]


@dataclass(frozen=True, kw_only=True)
class CoverageFacts:
    """Which share of the model's parameters was attributed."""

    num_parameters: int
    num_attributed: int
    parts_left_out: Annotated[Mapping[str, int], "from part of the model to parameters"]
    not_attributable: Annotated[
        Sequence[NotAttributable], "linear layers that no choice of modules includes"
    ]


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What the study is about."""

    model: str
    other_models: Annotated[Sequence[str], "models other than `model` that were verified"]
    counts: Counts
    corpus: CorpusFacts
    coverage: Annotated[CoverageFacts | None, "null where no method uses gradients"]
    plan: Annotated[Plan | None, "how gradients were computed"]


def overview(page: Context) -> Overview:
    """Describes model, corpus and coverage of a run."""
    record = page.record
    others = (
        record.verifications[b.id].model for b in record.behaviors if _is_verified(b.id, record)
    )
    return Overview(
        model=record.model,
        other_models=[name for name in dict.fromkeys(others) if name and name != record.model],
        counts=_counts(record),
        corpus=_corpus(record),
        coverage=_coverage(record),
        plan=record.plan,
    )


def _is_verified(behavior_id: str, record: RunRecord) -> bool:
    return behavior_id in record.verifications


def _counts(record: RunRecord) -> Counts:
    ids = [behavior.id for behavior in record.behaviors]
    verdicts = Counter(record.verifications[i].verdict for i in ids if _is_verified(i, record))
    scored = {query_id for scores in record.scores for query_id in scores.query_ids}
    return Counts(
        num_behaviors=len(ids),
        num_shown=verdicts["shown"],
        num_weak=verdicts["weak"],
        num_attributed=sum(i in scored for i in ids),
    )


def _corpus(record: RunRecord) -> CorpusFacts:
    corpus = record.corpus
    sizes = Counter(corpus.table.column("subset").to_pylist())
    return CorpusFacts(
        name=corpus.name,
        description=corpus.description,
        num_examples=len(corpus),
        num_tokens=int(corpus.lengths.sum()),
        num_truncated_tokens=corpus.num_truncated_tokens,
        num_empty=corpus.num_empty,
        searched_fraction=corpus.searched_fraction,
        fingerprint=corpus.fingerprint,
        subsets=[SubsetSize(name=name, num_examples=n) for name, n in sizes.most_common()],
    )


def _coverage(record: RunRecord) -> CoverageFacts | None:
    if (coverage := record.coverage) is None:
        return None
    return CoverageFacts(
        num_parameters=coverage.num_parameters,
        num_attributed=coverage.num_attributed,
        parts_left_out=parts_left_out(coverage.left_out),
        not_attributable=_not_attributable(coverage.not_attributable),
    )


def _not_attributable(reasons: Mapping[str, str]) -> list[NotAttributable]:
    layers: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        layers.setdefault(reason, []).append(name)
    return [NotAttributable(reason=reason, layers=names) for reason, names in layers.items()]


SECTION = SectionKind(order=10, menu=None, make=overview)
