"""Export of the testbed as files that any tool reads."""

import json
from pathlib import Path
from typing import NotRequired, TypedDict

from whence.artifacts import building, is_current, write_json
from whence.progress import SILENT, Progress


class Exported(TypedDict):
    """The numbers of examples and behaviors, and the checkpoints' folders where it was trained."""

    examples: int
    behaviors: int
    checkpoints: NotRequired[list[str]]


def export_testbed(
    directory: Path,
    size: str,
    *,
    train: bool = False,
    progress: Progress = SILENT,
) -> Exported:
    """Writes corpus, behaviors and truth, and with `train` every checkpoint made anew.

    Returns:
        The numbers of examples and behaviors, and the checkpoints' folders.

    Raises:
        ArtifactError: The directory cannot be written.
    """
    import whence.testbed as testbed
    from whence.behaviors import dump_behaviors

    corpus = testbed.corpus(size)
    behaviors = testbed.behaviors(size)
    inputs = {"size": size, "corpus": corpus.fingerprint}
    if not is_current(directory, kind="testbed", inputs=inputs):
        with building(directory, kind="testbed", inputs=inputs) as partial:
            with (partial / "examples.jsonl").open("w", encoding="utf-8") as lines:
                for record in corpus.records(range(len(corpus))):
                    lines.write(json.dumps(record, ensure_ascii=False) + "\n")
            (partial / "behaviors.toml").write_text(dump_behaviors(behaviors), encoding="utf-8")
            truth = {
                "gold": testbed.gold(size),
                "decoys": testbed.decoys(size),
                "inert": testbed.inert(size),
            }
            write_json(
                partial / "truth.json",
                {
                    name: {behavior: sorted(ids) for behavior, ids in groups.items()}
                    for name, groups in truth.items()
                },
            )
    made: Exported = {"examples": len(corpus), "behaviors": len(behaviors)}
    if train:
        testbed.train_testbed(size, directory / "checkpoints", progress=progress)
        made["checkpoints"] = sorted(
            str(path) for path in (directory / "checkpoints").iterdir() if path.is_dir()
        )
    return made
