"""`whence verify-index`: compares every byte of an index with its digests."""

import sys
from pathlib import Path

from whence.cli.console import Json, answer, progress


def verify_index(index: str | Path, *, json: Json = False) -> None:
    """Compare every byte of an index with the digests in its manifest.

    Exits with 2 if something is damaged. An index that Bergson made has no digests.

    Parameters
    ----------
    index
        A directory that whence index or bergson build made, or an address such as
        s3://bucket/index.
    """
    from whence.buckets import is_address
    from whence.gradients.index.verify import verify_index as verify

    found = verify(index, progress=progress())
    if found.damage:
        # What arrived from a bucket was as its manifest says.
        remedy = "Build the index again."
        if is_address(index):
            remedy = "This is the copy: remove the named files, and they are copied again."
        lines = [f"{clause}." for clause in found.damage]
        text = "\n".join([f"{index} is damaged.", *lines, remedy])
    elif found.has_digests:
        text = f"{index} is whole: {found.num_files} files, {found.num_bytes:,} bytes."
    else:
        text = f"{index} was made by Bergson and has no digests: only its sizes could be checked."
    answer(
        {
            "index": str(index),
            "has_digests": found.has_digests,
            "files": found.num_files,
            "bytes": found.num_bytes,
            "damage": list(found.damage),
        },
        text,
        json_line=json,
    )
    if found.damage:
        sys.exit(2)
