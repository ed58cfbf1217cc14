"""Which examples use the query's words in the same proportions, rare words counting most?"""

from importlib.metadata import version
from typing import Any

import numpy as np

from whence.methods.contract import LIKENESS, Found, Inputs, Method
from whence.methods.words import WORD, words


def compute(inputs: Inputs) -> Found:
    """Takes the cosine between TF-IDF vectors of the query (prompt and completion) and the example.

    A text's vector has tf(w) · idf(w) for each word w, with idf(w) = ln((1 + N) / (1 + df(w))) + 1
    over the N examples that have words, of which df(w) contain w. Words are those of `bm25`.

    Returns:
        Cosines in [0, 1], without unit; 0 means that no word is shared. NaN for an example without
        words, and for every example where the query has none.

    Use it beside `bm25`, which it differs from in what it does with length and repetition: a cosine
    asks for the same mixture of words, so a document that repeats one of the query's words often is
    no better, and a long document that contains the whole query among other things is worse. Like
    `bm25` it knows nothing of the model and has no opponents.

    Cost: about a second per ten thousand short documents.

    Source: Salton and Buckley, "Term-weighting Approaches in Automatic Text Retrieval", 1988; the
        smoothed idf is scikit-learn's.
    """
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
    return Found(values, settings)


METHOD = Method("tfidf", compute, LIKENESS)
