"""Verification of behaviors without a study."""

from typing import Any

from whence.progress import SILENT, Progress
from whence.runs import opening
from whence.settings import BehaviorFile, CorpusSettings, ModelSettings, VerifySettings


def verify_behaviors(
    behaviors: BehaviorFile,
    model: ModelSettings,
    *,
    corpus: CorpusSettings | None = None,
    settings: VerifySettings | None = None,
    progress: Progress = SILENT,
) -> list[dict[str, Any]]:
    """Verifies behaviors from a file.

    Args:
        behaviors: Where they come from.
        model: The model, and its step-0 weights where known.
        corpus: Documents among which memorized passages are looked up, and from whose subsets the
            judge of style is trained.
        settings: How a behavior is proved.
        progress: Reports progress.

    Returns:
        One JSON-able record per behavior, in the file's order.

    Raises:
        WhenceError: Some input is wrong.
    """
    from whence.behaviors import verification_to_json, verify

    found = opening.open_behaviors(behaviors)
    loaded = opening.open_model(model, progress=progress)
    if corpus is None and opening.testbed_size(behaviors.file) is not None:
        corpus = CorpusSettings(source=behaviors.file)
    examples, texts = None, {}
    if corpus is not None:
        examples = opening.open_corpus(corpus, loaded, progress=progress)
        texts = opening.texts_for_judges(examples, corpus.source)
    verdicts = verify(
        found,
        loaded,
        settings=settings or VerifySettings(),
        initial=opening.open_initial(model),
        texts_by_subset=texts,
        corpus=examples,
        progress=progress,
    )
    return [verification_to_json(verdict) for verdict in verdicts]
