"""`whence index`: builds an index of per-example gradients."""

import os
import re
from pathlib import Path
from typing import Literal

from whence.cli.console import Json, answer, flags, progress
from whence.cli.corpus_flags import DEFAULT, ReadAs
from whence.errors import SettingsError


def index(
    out: Path,
    *,
    model: str,
    corpus: str,
    revision: str | None = None,
    tokenizer: str | None = None,
    read_as: ReadAs = DEFAULT,
    modules: str = "*",
    projection_dim: int | None = None,
    projection_seed: int = 0,
    disk_budget_gb: float = 2.0,
    token_batch_size: int = 4096,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    precision: Literal["float32", "mixed", "int8", "int4"] = "float32",
    storage: Literal["float32", "float16", "bfloat16"] = "float32",
    collector: Literal["whence", "bergson"] = "whence",
    include_bias: bool = False,
    loss_reduction: Literal["sum", "mean"] = "sum",
    fsdp: bool = False,
    shard: str | None = None,
    json: Json = False,
) -> None:
    """Build a gradient index of a corpus, in Bergson's format.

    If interrupted, run the same command again: it resumes. With `--shard 0/4`, or under `torchrun`,
    several processes that share a disk build shards of one index; the last to finish merges them.

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
    tokenizer
        Another tokenizer's Hub id or folder.
    modules
        Globs of modules to attribute, comma-separated; one with `!` excludes, as in `*,!*router*`.
    projection_dim
        Rows and columns per module; by default the largest that fits the disk budget.
    dtype
        The model's own precision.
    precision
        `mixed` multiplies the output layer in bfloat16 where the processor or GPU does, which is
        faster, and else in float32. `int8` and `int4` are Bergson's, on a GPU.
    storage
        The precision of the rows on disk.
    collector
        Whose code computes the gradients: `bergson` is the reference, and slower.
    include_bias
        Attribute the layers' biases too.
    loss_reduction
        An example's loss is the sum over its tokens, or their mean: then long examples weigh no
        more than short ones.
    fsdp
        Let Bergson's own build spread the weights over all GPUs.
    shard
        Compute only this share of the work, such as 0/4.
    """
    from whence.artifacts import check_place
    from whence.runs.indexing import index_corpus
    from whence.runs.opening import open_corpus, open_model
    from whence.settings import IndexSettings, ModelSettings

    settings = flags(
        IndexSettings,
        modules=modules,
        projection_dim=projection_dim,
        projection_seed=projection_seed,
        include_bias=include_bias,
        loss_reduction=loss_reduction,
        collector=collector,
        precision=precision,
        storage=storage,
        fsdp=fsdp,
        disk_budget_gb=disk_budget_gb,
        token_batch_size=token_batch_size,
    )
    share = _share(shard)
    check_place(out, kind="index")
    told = progress()
    chosen = flags(ModelSettings, name=model, revision=revision, tokenizer=tokenizer, dtype=dtype)
    reading = read_as.settings(corpus)
    loaded = open_model(chosen)
    examples = open_corpus(reading, loaded, progress=told)
    made = index_corpus(
        out,
        loaded,
        examples,
        settings,
        shard=share,
        reference=lambda: open_model(chosen.model_copy(update={"dtype": "float32"})),
        progress=told,
    )
    if made is None:
        answer(
            {"index": None, "shard": shard},
            f"This share of {out} is done; the index is finished when all are.",
            json_line=json,
        )
        return
    answer(
        {
            "index": str(out),
            "examples": made.num_examples,
            "projection_dim": made.projection_dim,
            "deviation": made.deviation,
        },
        f"Index  {out}  ({made.num_examples:,} examples, projection {made.projection_dim})",
        json_line=json,
    )


def _share(shard: str | None) -> tuple[int, int] | None:
    """Reads `k/n`; without it, the place among the processes that `torchrun` started."""
    if shard is None:
        rank, size = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
        if not rank or not size:
            return None
        shard = f"{rank}/{size}"
    found = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", shard)
    if not found or int(found[1]) >= int(found[2]):
        raise SettingsError(
            f"There is no share {shard[:40]} of the work.",
            "Write it like 0/4, counting from 0, with at most a million shares.",
        )
    return int(found[1]), int(found[2])
