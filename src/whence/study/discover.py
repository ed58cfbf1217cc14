"""Which behaviors does a model's training corpus suggest, written down for a study?"""

from collections.abc import Sequence
from pathlib import Path

from whence.artifacts import check_generated, write_generated
from whence.errors import BehaviorError
from whence.progress import SILENT, Progress
from whence.records import Behavior
from whence.settings import CorpusSettings, Kind, ModelSettings
from whence.study import inputs as sources


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
        kinds: `memorized`, `style`, or both.
        num: How many of each kind at most.
        progress: Is told how far the work is.

    Raises:
        BehaviorError: Nothing was found, or the corpus has too few subsets for styles.
        ArtifactError: A file stands there that this did not write, or that was edited since.
    """
    from whence.behaviors import dump_behaviors, find_memorized, find_styles

    check_generated(out)
    loaded = sources.open_model(model)
    examples = sources.open_corpus(corpus, loaded, progress=progress)
    found: tuple[Behavior, ...] = ()
    if "memorized" in kinds:
        found += find_memorized(loaded, examples, num=num, progress=progress)
    if "style" in kinds:
        found += find_styles(loaded, examples, num=num)
    if not found:
        raise BehaviorError(
            f"{loaded.label} reproduces none of the {len(examples)} examples of {examples.name}.",
            "Try more documents, or the model's own training corpus.",
        )
    write_generated(out, dump_behaviors(found))
    return found
