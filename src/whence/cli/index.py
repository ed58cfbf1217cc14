"""`whence index`: builds an index of per-example gradients."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from whence.cli.console import Json, answer, flags, progress
from whence.cli.corpus_flags import DEFAULT, ReadAs
from whence.cli.slurm import slurm_script
from whence.errors import SettingsError

if TYPE_CHECKING:
    from whence.gradients.index.shares import ShareReport
    from whence.records import LoadedModel


def index(
    out: str | Path,
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
    token_batch_size: int | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    precision: Literal["float32", "mixed", "int8", "int4"] = "float32",
    storage: Literal["float32", "float16", "bfloat16"] = "float32",
    rank: int | None = None,
    collector: Literal["whence", "bergson"] = "whence",
    include_bias: bool = False,
    loss_reduction: Literal["sum", "mean"] = "sum",
    fsdp: bool = False,
    shard: str | None = None,
    missing: int | None = None,
    merge: bool = False,
    print_slurm: int | None = None,
    json: Json = False,
) -> None:
    """Build a gradient index of a corpus, in Bergson's format.

    If interrupted, run the same command again: it resumes. With `--shard 0/4`, or under `torchrun`,
    several processes that share a disk build shards of one index; the last to finish merges them.
    On a cluster, `--print-slurm 4` prints a script that submits them and a merge.

    Parameters
    ----------
    out
        The index's directory, or an address such as s3://bucket/index: it is then built in the
        cache and uploaded.
    model
        A Hub id, a folder, or testbed:mini.
    corpus
        A Hub dataset, a file or folder, here or in a bucket, or testbed:mini.
    revision
        A checkpoint, such as step143000.
    tokenizer
        Another tokenizer's Hub id or folder.
    modules
        Globs of modules to attribute, comma-separated; one with `!` excludes, as in `*,!*router*`.
    projection_dim
        Rows and columns per module; by default the largest that fits the disk budget.
    token_batch_size
        Tokens in a batch; by default 4,096, and on a GPU as many as fit.
    dtype
        The model's own precision.
    precision
        `mixed` multiplies the output layer in bfloat16 where the processor or GPU does, which is
        faster, and else in float32. `int8` and `int4` are Bergson's, on a GPU.
    storage
        The precision of the rows on disk.
    rank
        Store factors of this rank for each module, in a format of whence's own: fewer bytes, and
        scores that agree less with those of whole rows (measured, printed, kept in the manifest).
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
    missing
        Compute nothing, and list which of so many shards lack blocks.
    merge
        Compute nothing: check what the shards have written, and finish the index if it is whole.
    print_slurm
        Print a script that submits this command to Slurm as so many shards, and their merge.
    """
    from whence.runs.indexing import (
        check_index_place,
        find_missing,
        index_corpus,
        merge_corpus,
        refuse_shares,
    )
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
        rank=rank,
        fsdp=fsdp,
        disk_budget_gb=disk_budget_gb,
        # Not set, it is left to the device.
        **({} if token_batch_size is None else {"token_batch_size": token_batch_size}),
    )
    flag = _only_one(shard=shard, missing=missing, merge=merge or None, print_slurm=print_slurm)
    for number in (missing, print_slurm):
        if number is not None:
            _share(f"0/{number}")
    if print_slurm is not None:
        refuse_shares(out, f"--{flag}")
        program = os.path.abspath(sys.argv[0])  # noqa: PTH100  # Links, as of a venv, stay.
        script = slurm_script(sys.argv[1:], print_slurm, program=program)
        answer({"script": script}, script, json_line=json)
        return
    share = None if flag in ("missing", "merge") else _share(shard)
    if flag or share:
        refuse_shares(out, f"--{flag}" if flag else "torchrun")
    check_index_place(out)
    told = progress()
    chosen = flags(ModelSettings, name=model, revision=revision, tokenizer=tokenizer, dtype=dtype)
    reading = read_as.settings(corpus)
    loaded = open_model(chosen, progress=told)
    examples = open_corpus(reading, loaded, progress=told)
    if missing is not None:
        found = find_missing(Path(out), loaded, examples, settings, num_shares=missing)
        answer(_missing_json(out, found), _missing_text(out, found), json_line=json)
        return

    def reference() -> "LoadedModel":
        return open_model(chosen.model_copy(update={"dtype": "float32"}))

    if merge:
        place = Path(out)
        made = merge_corpus(place, loaded, examples, settings, reference=reference, progress=told)
    else:
        made = index_corpus(
            out, loaded, examples, settings, shard=share, reference=reference, progress=told
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
            "rank": made.rank,
            "deviation": made.deviation,
            "agreement": made.agreement,
        },
        f"Index  {out}  ({made.num_examples:,} examples, "
        + (f"projection {made.projection_dim}" if made.projection_dim else "not projected")
        + (")" if made.rank is None else f", factors of rank {made.rank})"),
        json_line=json,
    )


def _only_one(**values: object) -> str | None:
    """Names the flag that is set among those that exclude each other.

    Raises:
        SettingsError: More than one is.
    """
    flags = [f"--{name.replace('_', '-')}" for name, value in values.items() if value is not None]
    if len(flags) > 1:
        raise SettingsError(f"`{flags[0]}` and `{flags[1]}` exclude each other.", "Choose one.")
    return flags[0].removeprefix("--") if flags else None


def _missing_json(out: str | Path, found: "ShareReport") -> dict[str, object]:
    return {
        "index": str(out),
        "is_finished": found.is_finished,
        "shards": found.num_shares,
        "blocks": found.num_blocks,
        "missing_blocks": found.num_missing,
        "foreign_blocks": found.num_foreign,
        "missing": [
            {"shard": one.number, "blocks": one.num_blocks, "missing_blocks": one.num_missing}
            for one in found.missing
        ],
    }


def _missing_text(out: str | Path, found: "ShareReport") -> str:
    from whence.gradients.index.shares import ranges

    lines = [
        f"Shard {one.number}/{found.num_shares} lacks {one.num_missing} of its {one.num_blocks} "
        "blocks."
        for one in found.missing
    ]
    if found.is_finished:
        lines.append(f"{out} is finished.")
    elif not lines:
        lines.append(f"All {found.num_blocks} blocks of {out} are written; merge with `--merge`.")
    else:
        numbers = ranges([one.number for one in found.missing])
        lines.append(
            f"{found.num_missing} of {found.num_blocks} blocks are missing "
            f"(`sbatch --array={numbers}`)."
        )
    if found.num_foreign:
        lines.append(
            f"{found.num_foreign} blocks were written with another token batch size, and are not "
            "used."
        )
    return "\n".join(lines)


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
