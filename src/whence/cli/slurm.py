"""A script that submits a command to Slurm: an array of shards, and a merge that follows them."""

import shlex
from collections.abc import Sequence

FLAG = "--print-slurm"
_SCRIPT = """\
#!/bin/bash
# Submits {num_shards} shards of one index as an array, and the merge that follows them:
#     bash SCRIPT --partition=gpu --gres=gpu:1 --time=04:00:00
# Options go to `sbatch`. Hosts must share the file system. The merge runs even where a shard
# failed: it then names the shards that are missing, and computes nothing.
set -euo pipefail
array=$(sbatch --parsable --job-name=whence-index --array=0-{last} "$@" <<'JOB'
#!/bin/bash
{command} --shard "$SLURM_ARRAY_TASK_ID/{num_shards}"
JOB
)
sbatch --job-name=whence-merge --dependency="afterany:${{array%%;*}}" "$@" <<'JOB'
#!/bin/bash
{command} --merge
JOB
"""


def slurm_script(arguments: Sequence[str], num_shards: int, *, program: str) -> str:
    """Writes the script for a command that was called with `--print-slurm`.

    Args:
        arguments: The words of the command, `--print-slurm` among them.
        num_shards: The number of shards.
        program: What runs whence.
    """
    left = list(arguments)
    place = next(i for i, word in enumerate(left) if word.split("=")[0] == FLAG)
    del left[place : place + (1 if "=" in left[place] else 2)]
    kept = [word for word in left if word != "--json"]
    return _SCRIPT.format(
        num_shards=num_shards, last=num_shards - 1, command=shlex.join([program, *kept])
    ).rstrip("\n")
