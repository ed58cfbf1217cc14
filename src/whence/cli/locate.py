"""`whence locate`: from the index of a published sequence to its step, its row and its document."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from whence.cli.console import Json, answer, printable, table

if TYPE_CHECKING:
    from whence.memorization.pythia_rows import OtherPass
    from whence.runs.locating import Location

_SHOWN = 300


def locate(
    index: int,
    *,
    sequences: str | None = None,
    split: str | None = None,
    corpus: str | None = None,
    corpus_revision: str | None = None,
    tokenizer: str | None = None,
    deduplicated: bool | None = None,
    first_pass_rows: int | None = None,
    json: Json = False,
) -> None:
    """Find a row of Pythia's training data: its step, its checkpoints, its document.

    With a corpus, the row is read and its text is shown; with a list of sequences too, it is
    compared with the tokens that the list has for it.

    Parameters
    ----------
    index
        The row, counted from 0, as in pythia-memorized-evals.
    sequences
        The published list: EleutherAI/pythia-memorized-evals, or a file of its layout.
    split
        Of the list, such as deduped.70m.
    corpus
        The preshuffled data: a .bin file, a folder of its shards, or a Hub dataset.
    corpus_revision
        A Hub dataset's branch, tag or commit.
    tokenizer
        A model or folder whose tokenizer turns tokens into text.
    deduplicated
        Rows of the deduplicated Pile; by default what the split's name says.
    first_pass_rows
        Rows of its first pass, where known; the row is compared with that of the other pass.
    """
    from whence.runs.locating import locate as find

    found = find(
        index,
        sequences=sequences,
        split=split,
        corpus=corpus,
        corpus_revision=corpus_revision,
        tokenizer=tokenizer,
        is_deduplicated=deduplicated,
        first_pass_rows=first_pass_rows,
    )
    answer(_value(found), _words(found), json_line=json)


def _value(found: "Location") -> dict[str, Any]:
    row, other = found.row, found.position.other_pass
    documents = [
        {**asdict(piece), "text": found.text(piece.start, piece.end)}
        for piece in (row.pieces if row else ())
    ]
    return {
        **asdict(found.position),
        "deduplicated": found.is_deduplicated,
        "other_pass": None if other is None else asdict(other),
        "sequence": found.sequence,
        "confirmed": found.is_confirmed,
        "corpus": row and row.where,
        "offset": row and row.offset,
        "tokens": row and row.tokens,
        "marks_ends": row and row.has_ends,
        "documents": documents,
    }


def _words(found: "Location") -> str:
    at = found.position
    lines = [
        f"Row {at.row:,} is read at step {at.step:,}, as sequence {at.place_in_batch:,} of 1,024.",
        f"Checkpoint step{at.last_unseen} has not seen it, step{at.first_seen} and later ones "
        f"have ({at.num_seen} of 154).",
        f"Its {at.num_bytes:,} bytes start at byte {at.first_byte:,} of the shards together.",
    ]
    if at.other_pass is not None:
        lines.append(_other(at.other_pass))
    elif found.is_deduplicated:
        lines.append("Training ends before a second pass over the deduplicated data comes to it.")
    blocks = ["\n".join(lines)]
    if found.row is not None:
        blocks.append(_row(found))
    return "\n\n".join(blocks)


def _other(other: "OtherPass") -> str:
    times = "again" if other.is_second else "before"
    about = "about " if other.row_error else ""
    where = f"row {about}{other.row:,} (step {about}{other.step:,})"
    if other.has_same_tokens is not None:
        same = "holds the same tokens" if other.has_same_tokens else "holds other tokens"
        return f"One pass over the deduplicated data apart, {where} {same}."
    why = f" (give or take {other.row_error:,} rows)" if other.row_error else ""
    return (
        f"If the second pass over the deduplicated data repeats the order, which is not confirmed, "
        f"it is read {times} as {where}{why}."
    )


def _row(found: "Location") -> str:
    row = found.row
    assert row is not None
    lines = []
    if found.sequence is not None:
        length = len(found.sequence)
        if found.is_confirmed:
            lines.append(f"The row begins with the {length} tokens that {found.sequences} lists.")
        elif row.offset is not None:
            lines.append(
                f"The {length} tokens that {found.sequences} lists stand at token {row.offset} of "
                "the row, and not at its start."
            )
        else:
            lines.append(
                f"The row does not hold the {length} tokens that {found.sequences} lists: list and "
                "corpus are not of the same data, or the index counts another file's rows."
            )
    if not row.has_ends:
        lines.append("No end-of-text token stands in it, so where its documents end is not known.")
    cells = [
        (
            f"{piece.start}-{piece.end - 1}",
            "yes" if piece.holds_sequence else "",
            ("… " if piece.is_cut_before else "")
            + printable(found.text(piece.start, piece.end) or "—", width=_SHOWN)
            + (" …" if piece.is_cut_after else ""),
        )
        for piece in row.pieces
    ]
    lines.append(table(cells, ("tokens", "sequence", "document")))
    if found.tokenizer is None:
        lines.append("Name a `--tokenizer`, such as EleutherAI/pythia-14m, to see its text.")
    return "\n".join(lines)
