"""`whence index`: what does each example ask of the weights?"""

from pathlib import Path

from whence.cli.console import Json, answer, progress


def index(
    out: Path,
    *,
    model: str,
    corpus: str,
    revision: str | None = None,
    split: str = "train",
    text_column: str = "text",
    max_documents: int | None = None,
    modules: str = "*",
    projection_dim: int | None = None,
    projection_seed: int = 0,
    disk_budget_gb: float = 2.0,
    token_batch_size: int = 4096,
    json: Json = False,
) -> None:
    """Build a gradient index of a corpus, in Bergson's format.

    Interrupted or killed, the same command goes on where it stopped.

    Parameters
    ----------
    out
        The index's directory.
    model
        A Hub id, a folder, or testbed:mini.
    corpus
        A Hub dataset, a file or folder, or testbed:mini.
    revision
        A checkpoint, such as step143000.
    modules
        Globs of modules to attribute, comma-separated.
    projection_dim
        Rows and columns per module; by default the largest that fits the disk budget.
    """
    from whence.settings import AttributionSettings, CorpusSettings, ModelSettings
    from whence.study.index import index_corpus
    from whence.study.inputs import open_corpus, open_model

    told = progress()
    loaded = open_model(ModelSettings(name=model, revision=revision))
    examples = open_corpus(
        CorpusSettings(
            source=corpus, split=split, text_column=text_column, max_documents=max_documents
        ),
        loaded,
        progress=told,
    )
    made = index_corpus(
        out,
        loaded,
        examples,
        AttributionSettings(
            path="stored",
            modules=modules,
            projection_dim=projection_dim,
            projection_seed=projection_seed,
            disk_budget_gb=disk_budget_gb,
            token_batch_size=token_batch_size,
        ),
        progress=told,
    )
    answer(
        {"index": str(out), "examples": made.num_examples, "projection_dim": made.projection_dim},
        f"Index  {out}  ({made.num_examples:,} examples, projection {made.projection_dim})",
        json_line=json,
    )
