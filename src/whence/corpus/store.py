"""The table of examples beside an index or in a run, checked when it is read."""

import json
from pathlib import Path

from whence.artifacts import write_json
from whence.corpus.examples import schema
from whence.errors import CorpusError
from whence.records import Corpus

TABLE, RECORD = "examples.parquet", "corpus.json"
_REMEDY = "Make the artifact again, or copy it whole."


def save_corpus(corpus: Corpus, directory: Path) -> None:
    """Writes `examples.parquet`, then `corpus.json` with everything else and the fingerprint.

    Args:
        corpus: What to write.
        directory: Where; it is made if it does not exist, and other files in it are left alone.

    Raises:
        ArtifactError: The place cannot be written.
    """
    import pyarrow.parquet as pq

    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f".{TABLE}.partial"
    pq.write_table(corpus.table, partial, compression="zstd")
    partial.replace(directory / TABLE)
    write_json(
        directory / RECORD,
        {
            "name": corpus.name,
            "description": corpus.description,
            "num_examples": len(corpus),
            "num_empty": corpus.num_empty,
            "searched_fraction": corpus.searched_fraction,
            "fingerprint": corpus.fingerprint,
            "content_fingerprint": corpus.content_fingerprint,
        },
    )


def read_corpus(directory: Path) -> Corpus:
    """Reads what `save_corpus` wrote, and checks that it is what it wrote, to the last letter.

    Raises:
        CorpusError: A file is missing or cut short, or the examples are not those of the record.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        record = json.loads((directory / RECORD).read_text(encoding="utf-8"))
        # `read_table` would import pandas, which takes longer than reading.
        with pq.ParquetFile(directory / TABLE) as file:
            table = file.read().cast(schema())
        corpus = Corpus(
            name=record["name"],
            description=record["description"],
            table=table,
            num_empty=record["num_empty"],
            searched_fraction=record["searched_fraction"],
        )
        # Records of earlier versions have the first one only.
        is_same = record["fingerprint"] == corpus.fingerprint
        is_same &= record.get("content_fingerprint") in (None, corpus.content_fingerprint)
    except FileNotFoundError as error:
        missing = Path(error.filename or TABLE).name
        raise CorpusError(f"{directory} has no {missing}.", _REMEDY) from None
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        detail = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise CorpusError(
            f"The examples in {directory} cannot be read ({detail}).", _REMEDY
        ) from None
    if not is_same:
        raise CorpusError(
            f"The examples in {directory} are not those that {RECORD} was written for.", _REMEDY
        )
    return corpus
