"""Which document of a corpus holds a passage, by the share of its 5-grams.

A passage that a model continues word by word is extractable. That it was memorized says more: that
training held it. Long common phrases, lists and templates are extractable without.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from whence.behaviors.query import encode_completions
from whence.records import Behavior, Corpus, Held, LoadedModel

if TYPE_CHECKING:
    import numpy as np

NUM_TOKENS = 5
# Of a passage's 5-grams; a document that has them holds the passage, up to a few changed words.
MIN_SHARE = 0.8
_CHUNK = 1 << 22
# An odd multiplier of good bits (Steele et al., SplitMix64); products wrap at 64 bits.
_MULTIPLIER = 0x9E3779B97F4A7C15


def held(
    behaviors: Sequence[Behavior], corpus: Corpus, model: LoadedModel
) -> Mapping[str, Held | None]:
    """Finds, for each passage, the document that has the largest share of its 5-grams.

    Args:
        behaviors: Passages: prompt and completion are looked up together.
        corpus: The examples, in the model's tokens.
        model: The model, by whose tokenizer the passages are encoded.

    Returns:
        By behavior id. The share is over the passage's distinct 5-grams of tokens, in [0, 1], and
        the first document of the largest share stands for it; a share of 0 names the first of all.
        None for a passage of fewer than five tokens, or an empty corpus.

    Cost:
        One reading of the corpus's tokens; 5-grams are compared by a hash of 64 bits.
    """
    import numpy as np

    grams = {one.id: _distinct(_passage(one, model)) for one in behaviors}
    wanted = np.unique(np.concatenate([np.empty(0, np.uint64), *grams.values()]))
    rows, codes = _occurrences(corpus, wanted)
    found: dict[str, Held | None] = {}
    for behavior_id, own in grams.items():
        if not len(own) or not len(corpus):
            found[behavior_id] = None
            continue
        of_own = rows[np.isin(codes, np.searchsorted(wanted, own))]
        counts = np.bincount(of_own, minlength=len(corpus))
        row = int(counts.argmax())
        found[behavior_id] = Held(corpus.ids[row], float(counts[row] / len(own)))
    return found


def _passage(behavior: Behavior, model: LoadedModel) -> list[int]:
    (pair,) = encode_completions(
        behavior, model.tokenizer, completions=[None], context_length=model.context_length
    )
    return [*pair.prompt_ids, *pair.completion_ids]


def _distinct(ids: Sequence[int]) -> "np.ndarray":
    import numpy as np

    return np.unique(_hashes(np.asarray(ids, dtype=np.uint64)))


def _hashes(ids: "np.ndarray") -> "np.ndarray":
    """A number for each run of five tokens."""
    import numpy as np

    num = max(0, len(ids) - NUM_TOKENS + 1)
    hashes = np.zeros(num, dtype=np.uint64)
    for place in range(NUM_TOKENS):
        hashes = (hashes + ids[place : place + num] + np.uint64(1)) * np.uint64(_MULTIPLIER)
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _occurrences(corpus: Corpus, wanted: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Which rows of the corpus have which of some 5-grams, each pair once."""
    import numpy as np

    rows, codes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    first = 0
    for chunk in corpus.table.column("input_ids").chunks:
        offsets = chunk.offsets.to_numpy().astype(np.int64)
        for start in range(0, len(chunk), _rows_at_once(offsets)):
            stop = min(len(chunk), start + _rows_at_once(offsets))
            ids = chunk.values.slice(offsets[start], offsets[stop] - offsets[start]).to_numpy()
            hashes = _hashes(ids.astype(np.uint64))
            places = np.flatnonzero(np.isin(hashes, wanted))
            bounds = offsets[start : stop + 1] - offsets[start]
            of = np.searchsorted(bounds, places, side="right") - 1
            inside = places + NUM_TOKENS <= bounds[of + 1]  # Not across two documents.
            pairs = np.stack(
                [of[inside] + first + start, np.searchsorted(wanted, hashes[places[inside]])]
            )
            unique = np.unique(pairs, axis=1)
            rows.append(unique[0])
            codes.append(unique[1])
        first += len(chunk)
    return np.concatenate(rows), np.concatenate(codes)


def _rows_at_once(offsets: "np.ndarray") -> int:
    mean = max(1.0, float(offsets[-1] - offsets[0]) / max(1, len(offsets) - 1))
    return max(1, int(_CHUNK / mean))
