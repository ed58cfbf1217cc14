"""Discovered behaviors, written to a file for a study."""

from collections.abc import Sequence
from pathlib import Path

from whence.artifacts import check_generated, write_generated
from whence.behaviors.kinds import DISCOVERABLE, KINDS, RULES
from whence.errors import BehaviorError, SettingsError
from whence.progress import SILENT, Progress
from whence.records import Behavior
from whence.runs import opening
from whence.settings import CorpusSettings, Kind, ModelSettings


def discover_behaviors(
    model: ModelSettings,
    corpus: CorpusSettings,
    out: Path,
    *,
    kinds: Sequence[Kind],
    num: int,
    progress: Progress = SILENT,
) -> tuple[Behavior, ...]:
    """Proposes behaviors and writes them to a TOML file.

    Args:
        model: The model.
        corpus: Its training documents.
        out: The file to write.
        kinds: Which; each of `whence.behaviors.kinds.DISCOVERABLE`.
        num: How many of each kind at most.
        progress: Reports progress.

    Raises:
        BehaviorError: Nothing was found, or the corpus has too few subsets for styles.
        SettingsError: Behaviors of a kind cannot be found in documents.
        ArtifactError: A file stands there that this did not write, or that was edited since.
    """
    from whence.behaviors import dump_behaviors

    discoverers = {kind: RULES[kind].discover for kind in KINDS if kind in kinds}
    if unknown := [kind for kind, discover in discoverers.items() if discover is None]:
        raise SettingsError(
            f"Behaviors of the kind {unknown[0]} cannot be found in documents.",
            f"Look for {' or '.join(DISCOVERABLE)}.",
        )
    check_generated(out)
    loaded = opening.open_model(model, progress=progress)
    examples = opening.open_corpus(corpus, loaded, progress=progress)
    behaviors = tuple(
        behavior
        for discover in discoverers.values()
        if discover is not None
        for behavior in discover(loaded, examples, num=num, progress=progress)
    )
    if not behaviors:
        raise BehaviorError(
            f"{loaded.label} reproduces none of the {len(examples)} examples of {examples.name}.",
            "Try more documents, or the model's own training corpus.",
        )
    write_generated(out, dump_behaviors(behaviors))
    return behaviors
