"""Which examples share the query's rare words?"""

from importlib.metadata import version

import numpy as np

from whence.methods.contract import LIKENESS, Found, Inputs, Method
from whence.methods.words import WORD, words

K1, B = 1.5, 0.75


def compute(inputs: Inputs) -> Found:
    """Scores examples by Okapi BM25, with the query's prompt and completion as the search.

    The sum over the words w of the query of idf(w) · tf / (tf + k1 · (1 − b + b · length / mean)),
    where tf counts w in the example; k1 = 1.5, b = 0.75, idf as in Lucene. Words are runs of
    letters, digits and underscores, in lower case; of scripts without spaces between words, such as
    Chinese and Thai, characters and pairs of them. Nothing is stemmed and no word is left out.

    Returns:
        Scores ≥ 0, without unit; 0 means that no word is shared. NaN for an example without words,
        and for every example where the query has none.

    Use it as the first thing that a gradient method has to beat: it finds the documents that
    *contain* the words of the query, and on copies and stated facts it is hard to beat. It knows
    nothing of the model, so it has no opponents, and is blind to paraphrase.

    Cost: about a second per ten thousand short documents.

    Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009;
        the variant is `bm25s`'s `lucene` (Lù, arXiv 2407.03618).
    """
    import bm25s

    documents = [words(text) for text in inputs.corpus.texts()]
    values = np.full((len(inputs.queries), len(documents)), np.nan, dtype=np.float32)
    has_words = np.array([bool(document) for document in documents])
    settings = {"k1": K1, "b": B, "words": WORD, "library": f"bm25s {version('bm25s')}"}
    if not has_words.any():
        return Found(values, settings)
    search = bm25s.BM25(k1=K1, b=B, method="lucene", idf_method="lucene")
    search.index([document for document in documents if document], show_progress=False)
    for row, query in enumerate(inputs.queries):
        if wanted := words(query.text):
            known = [word for word in wanted if word in search.vocab_dict]
            values[row, has_words] = search.get_scores(known) if known else 0.0
    return Found(values, settings)


METHOD = Method("bm25", compute, LIKENESS)
