"""The record of a run: everything that its page shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from whence.records import Behavior, Corpus, Coverage, Plan, Scores, Verification

if TYPE_CHECKING:
    from whence.corpus.duplicates import Duplicates
    from whence.evidence import Evidence
    from whence.evidence.splits import Splits
    from whence.validation import ExampleEffects, Surprises, Validation


@dataclass(frozen=True)
class RunRecord:
    """Everything that a page shows.

    `validation` is what `whence validate` found of this run; `evidence` what is known of every
    example that some method lists, `splits` of which tokens and layers the first scores are made,
    `effects` what a training step on each of the first examples does, `duplicates` the corpus's
    copies, and `surprises` what `whence surprises` found; None where the
    run does not keep them.
    """

    title: str
    model: str
    behaviors: tuple[Behavior, ...]
    verifications: Mapping[str, Verification]
    corpus: Corpus
    scores: tuple[Scores, ...]
    coverage: Coverage | None
    plan: Plan | None
    top_k: int
    forced: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    gold: Mapping[str, frozenset[str]] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)
    validation: "Validation | None" = None
    evidence: "Evidence | None" = None
    splits: "Splits | None" = None
    effects: "ExampleEffects | None" = None
    duplicates: "Duplicates | None" = None
    surprises: "Surprises | None" = None
