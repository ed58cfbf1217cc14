"""Command-line flags for each setting of `[corpus]`.

The names are those of the settings; `--corpus-revision` and `--corpus-config` say whose they are.
"""

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from whence.errors import SettingsError

if TYPE_CHECKING:
    from whence.settings import CorpusSettings

_GROUP = "How the corpus is read"


@dataclass(frozen=True, kw_only=True)
class CorpusFlags:
    """The settings of a corpus, as flags; see `CorpusSettings`.

    Parameters
    ----------
    format
        Recognized by the ending.
    split
        Of a dataset, or of a folder whose files are named after splits; "" reads every file.
    corpus_config
        A Hub dataset's configuration.
    corpus_revision
        A Hub dataset's branch, tag or commit.
    text_column
        The column of the text, or of token ids.
    id_column
        By default id where present, else the row; "" for the row in any case.
    duplicate_ids
        Whether an id that occurs again is an error, or is numbered: x, x#2, x#3.
    subset_column
        By default subset or meta.pile_set_name; "" for none.
    position_column
        The place in training, by default position; "" for the row.
    step_column
        By default step where present; "" for none.
    max_documents
        Read no more documents.
    max_tokens
        Keep no more tokens.
    first_row
        Of a memory map.
    num_rows
        Of a memory map.
    mmap_dtype
        A memory map's type of a token, by default what its .idx says, else uint16.
    row_length
        A memory map's tokens per row, by default its .idx's documents, else 2,049.
    max_line_mb
        The longest line or paragraph of text, in MiB.
    long_documents
        Cut what is longer than the context, or make several examples of it.
    max_length
        The longest example, by default the context length.
    append_eos
        End every document with the end-of-text token.
    stream
        Read a Hub dataset row by row, without downloading it.
    """

    format: Literal["auto", "jsonl", "parquet", "arrow", "text", "mmap", "hub"] = "auto"
    split: str = "train"
    corpus_config: str | None = None
    corpus_revision: str | None = None
    text_column: str = "text"
    id_column: str | None = None
    duplicate_ids: Literal["refuse", "number"] = "refuse"
    subset_column: str | None = None
    position_column: str | None = None
    step_column: str | None = None
    max_documents: int | None = None
    max_tokens: int | None = None
    first_row: int = 0
    num_rows: int | None = None
    mmap_dtype: Literal["uint8", "uint16", "uint32", "int32", "int64"] | None = None
    row_length: int | None = None
    max_line_mb: float = 64
    long_documents: Literal["truncate", "window"] = "truncate"
    max_length: int | None = None
    append_eos: bool = False
    stream: bool = False

    def settings(self, source: str) -> "CorpusSettings":
        """Makes the settings of a corpus.

        Raises:
            SettingsError: A value is out of range.
        """
        from whence.settings import CorpusSettings, parse

        values = asdict(self)
        for name in ("config", "revision"):
            values[name] = values.pop(f"corpus_{name}")
        return parse(CorpusSettings, {"source": source, **values}, where="The command line")

    def settings_if(self, source: str | None) -> "CorpusSettings | None":
        """Makes the settings of a corpus that may be left out.

        Raises:
            SettingsError: A value is out of range, or a flag is about a corpus that is left out.
        """
        if source is not None:
            return self.settings(source)
        for field in fields(self):
            if getattr(self, field.name) != field.default:
                flag = field.name.replace("_", "-")
                raise SettingsError(
                    f"`--{flag}` is about a corpus, and no `--corpus` is named.",
                    "Name the corpus, or leave it out.",
                )
        return None


ReadAs = Annotated[CorpusFlags, Parameter(name="*", group=_GROUP)]
DEFAULT = CorpusFlags()
