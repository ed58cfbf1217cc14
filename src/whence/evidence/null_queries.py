"""Null queries: losses of texts that have nothing to do with any training example.

They have the shape of the study's own queries, and share no run of tokens with the corpus: a window
of the corpus would have itself and its copies as proponents.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from whence.records import Corpus, Query, Term

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A run of so many tokens in common is shared text; of a short query, half of it, but no run that
# any two texts of a language may share.
SHARED_RUN, _SHORTEST_RUN = 8, 4
_PREFIX = "null/"
# By the number of completion tokens, up to and including.
_CLASSES = (("1-2 tokens", 2), ("3-15 tokens", 15), ("16 tokens or more", 10**9))


class Shape(NamedTuple):
    """How many tokens a query has."""

    num_prompt_tokens: int
    num_completion_tokens: int


def length_class(query: Query) -> str:
    """Names the class of a query's length, within which scores are comparable by chance.

    The loss of one token and that of thirty differ in scale and spread under most methods.
    """
    term = query.terms[0]
    num_tokens = len(term.input_ids) - term.num_prompt_tokens
    return next(name for name, longest in _CLASSES if num_tokens <= longest)


def shapes(queries: Sequence[Query], num: int) -> tuple[Shape, ...]:
    """Selects the shapes of null queries: those of the study's queries.

    Args:
        queries: The study's.
        num: How many null queries; each length class that occurs has an equal share of them.
    """
    by_class: dict[str, list[Shape]] = {}
    for query in queries:
        term = query.terms[0]
        n = term.num_prompt_tokens
        shape = Shape(n, len(term.input_ids) - n)
        by_class.setdefault(length_class(query), []).append(shape)
    found = []
    for number, of_class in enumerate(by_class.values()):
        share = num // len(by_class) + (number < num % len(by_class))
        step = max(1.0, len(of_class) / share) if share else 1.0
        found += [of_class[int(place * step) % len(of_class)] for place in range(share)]
    return tuple(found)


def null_queries(
    texts: Iterable[Sequence[int]],
    wanted: Sequence[Shape],
    corpus: Corpus,
    *,
    decode: Callable[[Sequence[int]], str],
    contrast: bool = False,
) -> tuple[Query, ...]:
    """Cuts null queries out of unrelated texts.

    Args:
        texts: Token ids of each text; each gives one query at most, so that queries are
            independent.
        wanted: The shapes of the queries.
        corpus: What they must not share text with.
        decode: Turns tokens into text.
        contrast: Subtract the loss of another null query's completion, as contrasts do.

    Returns:
        At most one query per shape, fewer where the texts do not suffice. Ids are `null/1` and so
        on.
    """
    import numpy as np

    kept: dict[Shape, list[tuple[int, ...]]] = {}
    # A text may be costly, such as a sample of the model; each look at the corpus is, too. So no
    # more texts are read than are needed, in parts that double.
    left, size = _windows(texts, wanted), 2 * len(wanted)
    while not _suffice(kept, wanted) and (windows := list(islice(left, size))):
        runs = {_longest_run(shape) for shape, _ in windows}
        shared = {n: _shared(windows, corpus, n) for n in sorted(runs)}
        for place, (shape, ids) in enumerate(windows):
            if not shared[_longest_run(shape)][place]:
                kept.setdefault(shape, []).append(ids)
        size *= 2
    chosen = [(shape, kept[shape].pop(0)) for shape in wanted if kept.get(shape)]
    others = np.roll(np.arange(len(chosen)), 1)
    queries = []
    for number, (shape, ids) in enumerate(chosen):
        n = shape.num_prompt_tokens
        terms = [Term(ids, n, 1.0)]
        other_shape, other = chosen[int(others[number])]
        if contrast and len(chosen) > 1:
            completion = other[other_shape.num_prompt_tokens :]
            terms.append(Term((*ids[:n], *completion), n, -1.0))
        queries.append(Query(f"{_PREFIX}{number + 1}", tuple(terms), decode(ids)))
    return tuple(queries)


def _suffice(kept: Mapping[Shape, Sequence[object]], wanted: Sequence[Shape]) -> bool:
    """Whether there are as many windows of every shape as are wanted."""
    return all(len(kept.get(shape, ())) >= num for shape, num in Counter(wanted).items())


def _longest_run(shape: Shape) -> int:
    """How many tokens in a row make a query share text with an example."""
    return min(SHARED_RUN, max(_SHORTEST_RUN, sum(shape) // 2))


def _windows(
    texts: Iterable[Sequence[int]], wanted: Sequence[Shape]
) -> Iterator[tuple[Shape, tuple[int, ...]]]:
    """Cuts one window out of each text: of the shapes in turn, the next one that fits."""
    turn = 0
    for ids in texts:
        for ahead in range(len(wanted)):
            shape = wanted[(turn + ahead) % len(wanted)]
            if len(ids) >= sum(shape):
                yield shape, tuple(ids[: sum(shape)])
                turn += ahead + 1
                break


def _shared(
    windows: Sequence[tuple[Shape, tuple[int, ...]]], corpus: Corpus, n: int
) -> "NDArray[np.bool_]":
    """Marks the windows that have a run of n tokens in common with some example."""
    import numpy as np

    hashes = [_hashes(np.array(ids, dtype=np.int64), n) for _, ids in windows]
    owner = np.repeat(np.arange(len(windows)), [len(found) for found in hashes])
    asked = np.concatenate(hashes) if hashes else np.zeros(0, dtype=np.uint64)
    found = np.zeros(len(asked), dtype=np.bool_)
    for chunk in corpus.table.column("input_ids").chunks:
        tokens = chunk.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
        # Runs over the border of two examples are counted, too: no query is wrongly kept.
        found |= np.isin(asked, _hashes(tokens, n))
    marked = np.zeros(len(windows), dtype=np.bool_)
    marked[owner[found]] = True
    return marked


def _hashes(tokens: "NDArray[np.int64]", n: int) -> "NDArray[np.uint64]":
    """Hashes every run of n tokens; a collision may mark a window too many, never one too few."""
    import numpy as np

    size = max(0, len(tokens) - n + 1)
    found = np.zeros(size, dtype=np.uint64)
    for start in range(n):
        found *= np.uint64(0x9E3779B97F4A7C15)
        found ^= tokens[start : start + size].astype(np.uint64) + np.uint64(1)
        found ^= found >> np.uint64(29)
    return found
