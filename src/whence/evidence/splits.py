"""Scores of the first proponents split by token and by layer: the record, and where tokens stand.

Two tidy tables, stored as Parquet:

    tokens      one row per behavior, example and token: its text, its place in the text, its part
    layers      one row per behavior, example and attributed layer: its part

A part is in the unit of `Split.products`: the inner products of which the method's score is a sum.
Parts of an example add up to that sum over tokens, and over layers; positive parts help.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from whence.artifacts import write_json
from whence.errors import ArtifactError

# So many proponents of each behavior are split: of the list by example, and of that by cluster.
NUM_SPLIT = 5
_RECORD = "splits.json"
_LAYER = re.compile(r"\.(\d+)\.")
_PARTIAL = "\ufffd"


class TokenPart(NamedTuple):
    """A token of an example, and its part of the inner product; positive parts help.

    `start` and `end` count characters of the example's text; None where the tokens do not spell it.
    """

    text: str
    part: float
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True)
class Split:
    """One example's inner product with a behavior's query, split.

    Attributes:
        behavior_id: The behavior.
        example_id: The example.
        tokens: Every token of the example; their parts add up to the product.
        modules: From each attributed layer to its part; these add up to the product, too.
    """

    behavior_id: str
    example_id: str
    tokens: tuple[TokenPart, ...]
    modules: Mapping[str, float]

    @property
    def total(self) -> float:
        """The inner product."""
        return sum(self.modules.values())

    def shares(self, parts: Sequence[float]) -> list[float] | None:
        """Divides parts by the inner product; None where that is not positive.

        Returns:
            Shares without unit, which add up to 1 over all tokens or layers. What works against the
            behavior has a negative share, so that others may be above 1.
        """
        total = self.total
        return [part / total for part in parts] if total > 0 else None


@dataclass(frozen=True)
class Splits:
    """The splits of a run's first proponents, by one method.

    Attributes:
        method: Whose proponents they are, and whose score is split.
        products: The inner products that are added up, with their weights, in words.
        splits: One per behavior and example.
    """

    method: str
    products: str
    splits: tuple[Split, ...]

    def find(self, behavior_id: str, example_id: str) -> Split | None:
        """Finds the split of a behavior and an example; None where it was not made."""
        return self._splits.get((behavior_id, example_id))

    @cached_property
    def _splits(self) -> dict[tuple[str, str], Split]:
        return {(one.behavior_id, one.example_id): one for one in self.splits}

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """The attributed layers, in the order of the model."""
        return tuple(self.splits[0].modules) if self.splits else ()

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The network's layers that have attributed ones, in its order."""
        return tuple(dict.fromkeys(map(layer_of, self.modules)))


def layer_of(module: str) -> str:
    """Names the layer of the network that a module is in, such as `layer 3`.

    A module outside the numbered layers, such as an embedding, is a layer of its own name.
    """
    found = _LAYER.search(f".{module}.")
    return f"layer {found[1]}" if found else module


def part_of(module: str) -> str:
    """Names the part of its layer that a module is in: attention, MLP, or its own name."""
    name = module.lower()
    if "attn" in name or "attention" in name:
        return "attention"
    return "MLP" if "mlp" in name or "feed_forward" in name else module


def token_places(
    texts: Sequence[str], text: str, *, decode: Callable[[int, int], str]
) -> list[tuple[int, int]] | None:
    """Finds where each token stands in a text.

    Args:
        texts: The tokens' own texts.
        text: What they spell from its beginning on; it may go on after the last.
        decode: Decodes the tokens from one place up to another, exclusive, together.

    Returns:
        First character of each token, and the character after its last. Tokens that spell a
        character together stand for it at the first of them, and the others for nothing; so do
        tokens that no text has, such as that of its end. None where the tokens do not spell it.
    """
    places: list[tuple[int, int]] = []
    at, first = 0, 0
    while first < len(texts):
        last = first + 1
        piece = texts[first]
        # A character of several tokens shows whole only when they are decoded together.
        while _PARTIAL in piece and not text.startswith(piece, at) and last < len(texts):
            last += 1
            piece = decode(first, last)
        start = _start(piece, text, at)
        if start is None:
            if at == len(text):
                start, piece = at, ""
            else:
                return None
        end = start + len(piece)
        places += [(at, end), *([(end, end)] * (last - first - 1))]
        at, first = end, last
    return places


def _start(piece: str, text: str, at: int) -> int | None:
    """Where a piece begins: here, or after blanks that a tokenizer leaves out of its texts."""
    if text.startswith(piece, at):
        return at
    after = at + len(text[at:]) - len(text[at:].lstrip())
    return after if piece and text.startswith(piece, after) else None


def save_splits(splits: Splits, directory: Path) -> None:
    """Writes two tables as Parquet, and the rest as JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tokens = [(one, *part) for one in splits.splits for part in one.tokens]
    modules = [(one, *part) for one in splits.splits for part in one.modules.items()]
    pq.write_table(
        pa.table(
            {
                "behavior_id": pa.array([one.behavior_id for one, *_ in tokens], pa.string()),
                "example_id": pa.array([one.example_id for one, *_ in tokens], pa.string()),
                "text": pa.array([row[1] for row in tokens], pa.string()),
                "part": pa.array([row[2] for row in tokens], pa.float64()),
                "start": pa.array([row[3] for row in tokens], pa.int64()),
                "end": pa.array([row[4] for row in tokens], pa.int64()),
            }
        ),
        directory / "tokens.parquet",
        compression="zstd",
    )
    pq.write_table(
        pa.table(
            {
                "behavior_id": pa.array([one.behavior_id for one, *_ in modules], pa.string()),
                "example_id": pa.array([one.example_id for one, *_ in modules], pa.string()),
                "module": pa.array([row[1] for row in modules], pa.string()),
                "part": pa.array([row[2] for row in modules], pa.float64()),
            }
        ),
        directory / "layers.parquet",
        compression="zstd",
    )
    write_json(
        directory / _RECORD,
        {
            "method": splits.method,
            "products": splits.products,
            "pairs": [[one.behavior_id, one.example_id] for one in splits.splits],
        },
    )


def read_splits(directory: Path) -> Splits:
    """Reads what `save_splits` wrote.

    Raises:
        ArtifactError: A file is missing or broken.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        record = json.loads((directory / _RECORD).read_text(encoding="utf-8"))
        tokens: dict[tuple[str, str], list[TokenPart]] = {}
        for row in pq.read_table(directory / "tokens.parquet").to_pylist():
            part = TokenPart(row["text"], row["part"], row["start"], row["end"])
            tokens.setdefault((row["behavior_id"], row["example_id"]), []).append(part)
        modules: dict[tuple[str, str], dict[str, float]] = {}
        for row in pq.read_table(directory / "layers.parquet").to_pylist():
            key = (row["behavior_id"], row["example_id"])
            modules.setdefault(key, {})[row["module"]] = row["part"]
        return Splits(
            method=record["method"],
            products=record["products"],
            splits=tuple(
                Split(b, e, tuple(tokens.get((b, e), ())), modules.get((b, e), {}))
                for b, e in record["pairs"]
            ),
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ArtifactError(
            f"The splits in {directory} cannot be read ({reason}).", "Run the study again."
        ) from None
