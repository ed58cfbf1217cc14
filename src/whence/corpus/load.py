"""Loading a corpus: its examples, and the description of the pool for the page."""

from typing import TYPE_CHECKING

from whence.corpus.examples import Examples, make_examples
from whence.corpus.sources import Source, open_source
from whence.errors import CorpusError
from whence.progress import SILENT, Progress
from whence.records import Corpus, longest_example
from whence.remote import quiet
from whence.settings import CorpusSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_corpus(
    settings: CorpusSettings,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    context_length: int,
    progress: Progress = SILENT,
) -> Corpus:
    """Reads a corpus and cuts it to what the model reads.

    A folder is read file by file in natural order, `part-2` before `part-10`; where the names of
    files say of which split they are, as in `train-00000-of-00002.parquet`, only those of the split
    are read, and the description says what was left out. A text file holds one document per
    paragraph. Rows of a memory map that are one token longer than the context, such as Pythia's,
    keep it (`longest_example`; `whence.corpus.mmap` says why).

    Args:
        settings: Which documents, and how they become examples.
        tokenizer: The model's.
        context_length: Tokens that the model can read; the default and limit of `max_length`.
        progress: Reports progress.

    Returns:
        The corpus in the order of its source. `searched_fraction` is known for a memory map only:
        of another source nobody says what it is a part of.

    Raises:
        CorpusError: The source does not exist or cannot be read, a column is missing, two ids are
            the same, no document has two tokens, or `max_length` exceeds the context.
    """
    with quiet():
        source = open_source(settings)
        longest = context_length
        if source.row_tokens == longest_example(context_length):
            longest = longest_example(context_length)
        max_length = settings.max_length or longest
        if max_length > longest:
            raise CorpusError(
                f"`max_length` is {max_length:,}, but the model reads {longest:,} tokens at most.",
                "Lower it, or leave it out to use all that the model can read.",
            )
        examples = make_examples(
            source.documents,
            tokenizer,
            settings=settings,
            max_length=max_length,
            total=_expected(source, settings),
            progress=progress,
        )
    source.documents.check_columns()
    _refuse_empty(examples, source, settings)
    return Corpus(
        name=source.name,
        description=_describe(examples, source, settings=settings, max_length=max_length),
        table=examples.table,
        num_empty=examples.num_empty,
        searched_fraction=_searched_fraction(examples, source),
    )


def _expected(source: Source, settings: CorpusSettings) -> int | None:
    if source.num_documents is None:
        return settings.max_documents
    return min(source.num_documents, settings.max_documents or source.num_documents)


def _searched_fraction(examples: Examples, source: Source) -> float | None:
    if source.map_rows is None or not source.is_whole_map:
        return None
    return examples.num_documents / source.map_rows


def _refuse_empty(examples: Examples, source: Source, settings: CorpusSettings) -> None:
    if examples.table.num_rows == 0 and not examples.is_complete:
        raise CorpusError(
            f"The first document of {source.name} has more than the {settings.max_tokens} tokens "
            "that `max_tokens` allows.",
            "Raise `max_tokens`, or lower `max_length`.",
        )
    if examples.table.num_rows == 0:
        raise CorpusError(f"{source.name} holds no documents.", "Check the source and the split.")
    if examples.num_empty == examples.table.num_rows:
        raise CorpusError(
            f"None of the {examples.num_documents:,} documents of {source.name} has two tokens, "
            "so there is nothing to learn from.",
            f"Check that {settings.text_column!r} is the column that holds the text.",
        )
    texts = examples.table.column("text")
    if all(text.is_valid and not text.as_py().strip() for text in texts):
        raise CorpusError(
            f"All {examples.num_documents:,} documents of {source.name} are blank, so there is "
            "nothing to learn from.",
            f"Check that {settings.text_column!r} is the column that holds the text.",
        )


def _describe(
    examples: Examples, source: Source, *, settings: CorpusSettings, max_length: int
) -> str:
    count = f"{examples.num_documents:,} document{'s' if examples.num_documents != 1 else ''}"
    if source.map_rows:
        last = settings.first_row + examples.num_documents - 1
        rows = f"{'' if source.is_whole_map else 'first '}{source.map_rows:,} rows"
        pool = f"rows {settings.first_row:,} to {last:,} of the {rows}"
    elif examples.is_complete or examples.num_documents == source.num_documents:
        pool = f"all {count}"
    else:
        pool = f"the first {count}"
    where = source.name
    if source.left_out:
        names = ", ".join(source.left_out[:3]) + ", …" * (len(source.left_out) > 3)
        files = f"{source.num_files} file{'s' if source.num_files != 1 else ''}"
        where = f"{files} in {source.name} (left out: {names})"
    cut = "in windows of" if settings.long_documents == "window" else "each cut at"
    return f"{pool} of {where}, {cut} {max_length:,} tokens"
