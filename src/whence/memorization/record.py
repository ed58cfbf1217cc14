"""What a memorization study found: the stored record, from which tables, page and docs are made."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from whence.artifacts import write_text
from whence.errors import ArtifactError
from whence.memorization.class_steps import ClassDifference
from whence.memorization.copies import CopyClass
from whence.memorization.copy_scores import CopyScores
from whence.memorization.dose import DoseBin
from whence.memorization.early_late import EarlyLate
from whence.memorization.families import FamilyRule
from whence.memorization.near_definitions import DefinitionRow
from whence.memorization.onset import Definition, Flow
from whence.memorization.shares import Difference, OwnRank, Share
from whence.memorization.taxonomy import KindShare
from whence.memorization.twin_effects import TwinEffects
from whence.statistics import Estimate

FILE = "memorization.json"


class CheckpointCount(NamedTuple):
    """Windows that one checkpoint reproduces, by subset; None is no subset."""

    step: int
    num_extractible: int
    by_subset: tuple[tuple[str | None, int, int], ...]


class OnsetCount(NamedTuple):
    """Windows by the checkpoint of their onset, by one definition."""

    definition: Definition
    by_step: tuple[tuple[int, int], ...]


class Agreement(NamedTuple):
    """Kendall's tau-b of the onsets by two definitions; None where one does not vary."""

    one: Definition
    other: Definition
    tau: float | None


class FamilyCount(NamedTuple):
    """How many families one rule finds among the memorized windows, and the largest."""

    rule: FamilyRule
    num_families: int
    largest: tuple[int, ...]


class CopiesAtOnset(NamedTuple):
    """Copies that windows of one onset had behind them.

    Attributes:
        step: The checkpoint of the stable onset.
        num_windows: Windows memorized then.
        num_families: Their families, by a shared run of 13 tokens.
        largest_family: Windows of the largest of these.
        medians: By class, the median number of copies seen before the onset.
    """

    step: int
    num_windows: int
    num_families: int
    largest_family: int
    medians: tuple[tuple[CopyClass, float], ...]


class Part(NamedTuple):
    """So many of so many."""

    num: int
    of: int


class TaxonomyAt(NamedTuple):
    """The kinds of memorized windows; a recitation has at least `threshold` copies."""

    threshold: int
    kinds: tuple[KindShare, ...]


class StepEffects(NamedTuple):
    """What one step on an example of each class does at one checkpoint, in nats."""

    step: int
    classes: tuple[tuple[str, Estimate], ...]
    log_odds: tuple[tuple[str, Estimate], ...]
    differences: tuple[ClassDifference, ...]


@dataclass(frozen=True)
class Causes:
    """What interventions did.

    Attributes:
        steps: One step on an example of each class, at some checkpoints.
        twins: Training without exact copies, near copies or both; None where it was not run.
        twin_families: Families in it; `twin_left_out` had too few copies of one class.
        twin_left_out: Their number.
        twin_step: The step that it went on from.
        twin_num_steps: Its steps.
    """

    steps: tuple[StepEffects, ...]
    twins: TwinEffects | None = None
    twin_families: int = 0
    twin_left_out: int = 0
    twin_step: int = 0
    twin_num_steps: int = 0


class Matching(NamedTuple):
    """How far controls are from their targets: geometric means of copies, mean loss in nats."""

    group: str
    num: int
    documents: float
    target_documents: float
    log_prob_nats: float
    target_log_prob_nats: float


@dataclass(frozen=True)
class Attributed:
    """What the methods rank first for memorized windows and for controls.

    Attributes:
        pool: Which examples were attributed.
        top_k: The first so many examples, or clusters, were counted.
        num_targets: Targets of each group.
        matching: How like their targets the controls are.
        shares: By method, group, unit and class, with intervals over the coarsest families.
        differences: By rule of families: memorized minus controls and minus the untrained model.
        own_ranks: The ranks of the windows' own examples.
        copy_scores: What each method gives exact and near copies of windows that have both.
        early_late: By rule of families: comparisons of early with late windows.
        early_until: The last step that counts as early.
    """

    pool: str
    top_k: int
    num_targets: tuple[tuple[str, int], ...]
    matching: tuple[Matching, ...]
    shares: tuple[Share, ...]
    differences: tuple[tuple[FamilyRule, tuple[Difference, ...]], ...]
    own_ranks: tuple[OwnRank, ...]
    copy_scores: tuple[CopyScores, ...]
    early_late: tuple[tuple[FamilyRule, tuple[EarlyLate, ...]], ...]
    early_until: int | None

    def share(self, method: str, group: str, unit: str, share_class: str) -> Estimate | None:
        """Finds one share by the label of its method; None where it was not computed."""
        wanted = (method, group, unit, share_class)
        for one in self.shares:
            if (one.method.label, one.group, one.unit, one.share_class) == wanted:
                return one.share
        return None


@dataclass(frozen=True)
class Memorization:
    """What a study found.

    Attributes:
        model: The model.
        corpus: The corpus.
        source: Where the windows come from.
        num_examples: Examples of the corpus.
        num_windows: Windows that were scanned.
        num_prompt_tokens: Tokens that the model is given.
        num_completion_tokens: Tokens that it has to reproduce.
        num_memorized: Windows that the model reproduces at its last checkpoint.
        num_ever: Windows that some checkpoint reproduces.
        checkpoints: How many at each checkpoint.
        flow: New, kept and forgotten windows at each checkpoint.
        onsets: When they were memorized, by definition.
        agreements: Of each two definitions.
        families: How many independent contents there are, by definition.
        copies_at_onset: Copies before the onset.
        before_self: Memorized windows whose own example comes after their onset.
        without_copy: Memorized windows that had no exact or near copy behind them at their onset.
        before_exposure: The share that the last checkpoint before the first exact copy reproduces
            already, over families, of those for which there is such a checkpoint.
        exposure_effects: By steps after a window's own example was seen, how much more likely its
            continuation is than that of windows not seen yet, in nats per token.
        taxonomy: Recitation, reconstruction and recollection, at several thresholds.
        near_definitions: Three published definitions of a near-duplicate, on the targets.
        common: The share of memorized windows whose continuation is common text; None where it
            could not be measured.
        dose: Extractible windows by the number of documents that hold their continuation.
        attributed: What the methods rank first; None where nothing was attributed.
        causes: What interventions did.
    """

    model: str
    corpus: str
    source: str
    num_examples: int
    num_windows: int
    num_prompt_tokens: int
    num_completion_tokens: int
    num_memorized: int
    num_ever: int
    checkpoints: tuple[CheckpointCount, ...]
    flow: tuple[Flow, ...]
    onsets: tuple[OnsetCount, ...]
    agreements: tuple[Agreement, ...]
    families: tuple[FamilyCount, ...]
    copies_at_onset: tuple[CopiesAtOnset, ...]
    before_self: Part
    without_copy: Part
    before_exposure: Estimate
    exposure_effects: tuple[tuple[int, Estimate], ...]
    taxonomy: tuple[TaxonomyAt, ...]
    near_definitions: tuple[DefinitionRow, ...]
    common: Estimate | None
    dose: tuple[DoseBin, ...]
    attributed: Attributed | None
    causes: Causes


_RECORD: TypeAdapter[Memorization] = TypeAdapter(Memorization)


def save_memorization(found: Memorization, directory: Path) -> None:
    """Writes the record as JSON."""
    write_text(directory / FILE, _RECORD.dump_json(found, indent=1).decode())


def memorization_json(found: Memorization) -> dict[str, object]:
    """Turns the record into what JSON can hold."""
    return _RECORD.dump_python(found, mode="json")


def read_memorization(directory: Path) -> Memorization:
    """Reads what `save_memorization` wrote.

    Raises:
        ArtifactError: The file is missing, broken or of another version.
    """
    try:
        return _RECORD.validate_json((directory / FILE).read_bytes())
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(
            f"{directory / FILE} cannot be read ({reason}).", "Run the study again."
        ) from None
