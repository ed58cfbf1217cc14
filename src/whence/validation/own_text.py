"""Which examples are a query's own where nothing was planted: those that share its text.

An example is a query's own if it has 13 tokens in a row of the query's prompt and completion; of a
shorter query, all of it. This is strict: whoever shares a line of a licence is own, too, so that
what remains is knowledge about documents without the query's words in a row.
"""

from collections.abc import Collection, Mapping, Sequence

from whence.corpus.duplicates import BOILERPLATE_TOKENS
from whence.methods.reading import main_term
from whence.records import Corpus, Query


def own_by_text(
    queries: Sequence[Query],
    corpus: Corpus,
    example_ids: Collection[str],
    *,
    num_tokens: int = BOILERPLATE_TOKENS,
) -> Mapping[str, frozenset[str]]:
    """Finds the examples that share a run of tokens with each query.

    Args:
        queries: Prompts and completions as tokens; of a contrast, both completions count.
        corpus: The examples.
        example_ids: Among which own ones are looked for.
        num_tokens: Of the run; of all of a query's tokens where it has fewer.

    Returns:
        From query id to the ids of its own examples; empty where there are none.
    """
    wanted = {query.id: _runs(query, num_tokens) for query in queries}
    sizes = {len(run) for runs in wanted.values() for run in runs}
    found: dict[str, set[str]] = {query.id: set() for query in queries}
    for row in corpus.rows(sorted(example_ids)):
        ids = corpus.input_ids(row)
        own = {tuple(ids[i : i + n]) for n in sizes for i in range(len(ids) - n + 1)}
        for query_id, runs in wanted.items():
            if not runs.isdisjoint(own):
                found[query_id].add(corpus.ids[row])
    return {query_id: frozenset(ids) for query_id, ids in found.items()}


def num_completion_tokens(query: Query) -> int:
    """Counts the tokens of the completion that the model produced."""
    term = main_term(query)
    return len(term.input_ids) - term.num_prompt_tokens


def _runs(query: Query, num_tokens: int) -> set[tuple[int, ...]]:
    return {
        ids[i : i + num_tokens]
        for term in query.terms
        for ids in [tuple(term.input_ids)]
        for i in range(max(1, len(ids) - num_tokens + 1))
    }
