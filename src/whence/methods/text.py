"""Text search as a baseline: BM25, TF-IDF and overlap of token n-grams.

These methods read the texts or tokens of query (prompt and completion) and example, and nothing of
the model. What they find is retrieval; a gradient method has to beat them.

    bm25            Σ_w idf(w) tf / (tf + k1 (1 − b + b length / mean)),  over the query's words w
    tfidf           the cosine of vectors tf(w) idf(w)
    ngram_overlap   the share of the query's distinct token 3-grams that occur in the example
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.methods.contract import Method, MethodInputs, MethodResult, needs_nothing
from whence.methods.reading import main_term
from whence.methods.words import WORD, words
from whence.settings import NoSettings

if TYPE_CHECKING:
    from jaxtyping import Float

K1, B = 1.5, 0.75
N = 3

_NOT_TRAINING = "it says nothing about training"


class Bm25:
    """BM25 over the words of some texts, kept for any number of queries.

    Args:
        texts: One per document; None has no words.

    Cost:
        About 130 microseconds per document of 230 tokens, once; a query takes a millisecond.
    """

    settings = {"k1": K1, "b": B, "words": WORD}  # noqa: RUF012 - read only

    def __init__(self, texts: Sequence[str | None]) -> None:
        import bm25s

        documents = [words(text) for text in texts]
        self._has_words = np.array([bool(document) for document in documents], dtype=bool)
        self._search = None
        if self._has_words.any():
            self._search = bm25s.BM25(k1=K1, b=B, method="lucene", idf_method="lucene")
            self._search.index([one for one in documents if one], show_progress=False)

    def scores(self, text: str) -> "Float[np.ndarray, ' documents']":
        """Scores every document for a text.

        Returns:
            Numbers of at least 0, without unit; 0: no word is shared. NaN for a document without
            words, and for all of them where the text has none.
        """
        values = np.full(len(self._has_words), np.nan, dtype=np.float32)
        if self._search is not None and (wanted := words(text)):
            known = [word for word in wanted if word in self._search.vocab_dict]
            values[self._has_words] = self._search.get_scores(known) if known else 0.0
        return values


def _bm25(inputs: MethodInputs, own: NoSettings) -> MethodResult:
    search = Bm25(inputs.corpus.texts())
    values = np.empty((len(inputs.queries), len(inputs.corpus)), dtype=np.float32)
    for row, query in enumerate(inputs.queries):
        values[row] = search.scores(query.text)
    return MethodResult(values, {**Bm25.settings, "library": f"bm25s {version('bm25s')}"})


def _tfidf(inputs: MethodInputs, own: NoSettings) -> MethodResult:
    from sklearn.feature_extraction import text as sklearn_text

    texts = [text or "" for text in inputs.corpus.texts()]
    asked = [query.text for query in inputs.queries]
    values = np.full((len(asked), len(texts)), np.nan, dtype=np.float32)
    settings = {"words": WORD, "library": f"scikit-learn {version('scikit-learn')}"}
    with_words, wordy = (
        np.array([bool(words(text)) for text in part], dtype=bool) for part in (texts, asked)
    )
    if with_words.any() and wordy.any():
        make: Any = sklearn_text.TfidfVectorizer  # its annotations know no callable analyzer
        vectorizer = make(analyzer=words, dtype=np.float32)
        examples = vectorizer.fit_transform(
            [t for t, w in zip(texts, with_words, strict=True) if w]
        )
        queries = vectorizer.transform([t for t, w in zip(asked, wordy, strict=True) if w])
        values[np.ix_(wordy, with_words)] = np.clip((queries @ examples.T).toarray(), 0, 1)
    return MethodResult(values, settings)


def _ngram_overlap(inputs: MethodInputs, own: NoSettings) -> MethodResult:
    tokens, example_of, room = _flattened(inputs)
    values = np.zeros((len(inputs.queries), len(inputs.corpus)), dtype=np.float32)
    sequences = [main_term(query).input_ids for query in inputs.queries]
    for n in sorted({min(N, len(sequence)) for sequence in sequences}):
        rows = [row for row, s in enumerate(sequences) if min(N, len(s)) == n]
        wanted = {row: np.unique(_codes(np.asarray(sequences[row]), n)) for row in rows}
        pairs = _occurrences(tokens, example_of, room, np.concatenate([*wanted.values()]), n)
        for row in rows:
            hits = pairs[np.isin(pairs[:, 1], wanted[row]), 0]
            values[row] = np.bincount(hits, minlength=values.shape[1]) / len(wanted[row])
    values[:, inputs.corpus.lengths == 0] = np.nan
    return MethodResult(values, {"n": N, "unit": "token"})


def _flattened(inputs: MethodInputs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All tokens in a row, the example of each, and how many tokens its example still has."""
    lengths = inputs.corpus.lengths
    chunks: Sequence[np.ndarray] = [
        chunk.flatten().to_numpy(zero_copy_only=False)
        for chunk in inputs.corpus.table.column("input_ids").chunks
    ]
    tokens = np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.int64)
    example_of = np.repeat(np.arange(len(lengths)), lengths)
    room = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))
    return tokens, example_of, room


def _codes(tokens: np.ndarray, n: int) -> np.ndarray:
    """Gives each window of n tokens one number; 21 bits a token are enough for any vocabulary."""
    size = max(0, len(tokens) - n + 1)
    codes = np.zeros(size, dtype=np.int64)
    for shift in range(n):
        codes = (codes << 21) | tokens[shift : shift + size].astype(np.int64)
    return codes


def _occurrences(
    tokens: np.ndarray, example_of: np.ndarray, room: np.ndarray, wanted: np.ndarray, n: int
) -> np.ndarray:
    """Lists the distinct pairs (example, code) of the wanted n-grams."""
    codes = _codes(tokens, n)
    size = len(codes)
    hit = np.isin(codes, wanted) & (room[:size] >= n)
    pairs = np.stack([example_of[:size][hit], codes[hit]], axis=1)
    return np.unique(pairs, axis=0)


METHODS = (
    Method(
        name="bm25",
        compute=_bm25,
        needs=needs_nothing,
        settings=NoSettings,
        family="text",
        about="Shares rare words with the query. A plain search: it knows the texts, not the "
        "model.",
        reads="texts",
        formula="Σ_w idf(w) tf / (tf + k1 (1 − b + b length / mean)), over the query's words w",
        returns="Scores ≥ 0, without unit; 0: no word is shared. NaN for an example without words, "
        "and for every example where the query has none.",
        higher_means=f"the example has more of the query's rare words; {_NOT_TRAINING}",
        cost="about a second per ten thousand short documents",
        source='Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", '
        "2009; the variant is `bm25s`'s `lucene` (Lù, arXiv 2407.03618), with k1 = 1.5 and "
        "b = 0.75. Words are runs of letters, digits and underscores, in lower case; nothing is "
        "stemmed and no word is left out.",
        avoid="For paraphrases, and for opponents: it has none. On copies and stated facts it is "
        "hard to beat.",
    ),
    Method(
        name="tfidf",
        compute=_tfidf,
        needs=needs_nothing,
        settings=NoSettings,
        family="text",
        about="Uses the query's words in similar proportions. A plain search: it knows the texts, "
        "not the model.",
        reads="texts",
        formula="the cosine of vectors tf(w) idf(w), idf(w) = ln((1 + N) / (1 + df(w))) + 1",
        returns="Cosines in [0, 1], without unit; 0: no word is shared. NaN for an example without "
        "words, and for every example where the query has none.",
        higher_means=f"the example has the query's words in more nearly the same proportions, rare "
        f"words counting most; {_NOT_TRAINING}",
        cost="about a second per ten thousand short documents",
        source='Salton and Buckley, "Term-weighting Approaches in Automatic Text Retrieval", 1988; '
        "the smoothed idf is scikit-learn's, over the N examples that have words, of which df(w) "
        "contain w. Words are those of bm25.",
        avoid="For a long document that contains the whole query among other things: a cosine "
        "compares mixtures of words. It has no opponents.",
    ),
    Method(
        name="ngram_overlap",
        compute=_ngram_overlap,
        needs=needs_nothing,
        settings=NoSettings,
        family="text",
        about="Contains runs of the query's tokens. It knows the texts, not the model.",
        reads="tokens",
        formula="|3-grams of the query that occur in the example| / |3-grams of the query|",
        returns="Containment in [0, 1]; 1: every distinct 3-gram of prompt and completion occurs. "
        "An example shorter than the n-grams contains none: 0. NaN for an empty example. For a "
        "query of fewer than three tokens the n-grams are as long as the query; of a contrast only "
        "the completion itself counts, with its prompt.",
        higher_means=f"the example contains a larger share of the query's runs of three tokens; "
        f"{_NOT_TRAINING}",
        cost="seconds per million tokens",
        source='Broder, "On the Resemblance and Containment of Documents", 1997, with token '
        "3-grams.",
        avoid="For anything but verbatim spans: it ignores order beyond three tokens and how rare "
        "a phrase is.",
    ),
)
