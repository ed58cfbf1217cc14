"""The words of a corpus: which documents hold them, which pairs are attested, TF-IDF vectors."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from whence.corpus.words import search_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csc_array, csc_matrix, csr_matrix


class WordIndex:
    """An inverted index over the words of some texts.

    Words are those of `whence.corpus.words.search_words`, as of BM25.

    Args:
        texts: One per document; None has no words.
    """

    def __init__(self, texts: Sequence[str | None]) -> None:
        import numpy as np

        numbers = self._number = dict[str, int]()
        found: list[NDArray[np.int32]] = []
        for text in texts:
            words = [numbers.setdefault(word, len(numbers)) for word in search_words(text)]
            found.append(np.array(words, dtype=np.int32))
        self.num_documents = len(texts)
        self._words = np.concatenate(found) if found else np.zeros(0, dtype=np.int32)
        lengths = [len(words) for words in found]
        self._documents = np.repeat(np.arange(len(texts), dtype=np.int64), lengths)

    def documents_with(self, words: Iterable[str]) -> "NDArray[np.int64]":
        """Lists the documents that hold every one of some words, ascending.

        Returns:
            Places of documents; all of them for no words.
        """
        import numpy as np

        found = np.arange(self.num_documents, dtype=np.int64)
        for word in words:
            number = self._number.get(word)
            if number is None:
                return found[:0]
            first, last = self._postings.indptr[number : number + 2]
            rows = self._postings.indices[first:last].astype(np.int64)
            found = np.intersect1d(found, rows, assume_unique=True)
        return found

    def pair_counts(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """Counts the documents in which two words stand next to each other, in this order.

        Args:
            pairs: Which two words.

        Returns:
            From each pair to a number of documents, 0 included.
        """
        import numpy as np

        counts = dict.fromkeys(pairs, 0)
        codes = {
            (self._number[a] << 32) | self._number[b]: (a, b)
            for a, b in counts
            if a in self._number and b in self._number
        }
        all_codes = (self._words[:-1].astype(np.int64) << 32) | self._words[1:]
        is_pair = np.isin(all_codes, np.array(sorted(codes), dtype=np.int64))
        places = np.flatnonzero(is_pair & (self._documents[:-1] == self._documents[1:]))
        found = np.unique(np.stack([all_codes[places], self._documents[places]]), axis=1)[0]
        for code, count in zip(*np.unique(found, return_counts=True), strict=True):
            counts[codes[int(code)]] = int(count)
        return counts

    def similarity(self, text: str, documents: "NDArray[np.int64]") -> "NDArray[np.float32]":
        """Computes the TF-IDF cosine of a text with some documents.

        Returns:
            One number in [0, 1] per document; 0 where no word is shared. NaN where the text or the
            document has no word that the corpus knows.

        Source:
            The weights of the method `tfidf`: tf · (ln((1 + N) / (1 + df)) + 1).
        """
        import numpy as np
        from scipy.sparse import csr_matrix

        columns = [self._number[word] for word in search_words(text) if word in self._number]
        ones = (np.ones(len(columns)), (np.zeros(len(columns), dtype=np.int64), columns))
        query = csr_matrix(ones, shape=(1, len(self._number))).multiply(self._idf).tocsr()
        norms = np.sqrt(query.multiply(query).sum()) * self._norms[documents]
        dots = (self._vectors[documents] @ query.T).toarray()[:, 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.clip(dots / norms, 0, 1).astype(np.float32)

    def mutual_similarity(self, documents: "NDArray[np.int64]") -> "NDArray[np.float64]":
        """Computes the TF-IDF cosines of some documents with each other.

        Returns:
            Documents × documents, in [0, 1]; NaN for a document without words.
        """
        import numpy as np

        vectors = self._vectors[documents]
        norms = self._norms[documents]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.clip((vectors @ vectors.T).toarray() / np.outer(norms, norms), 0, 1)

    @cached_property
    def _counts(self) -> "csr_matrix":
        import numpy as np
        from scipy.sparse import csr_matrix

        ones = np.ones(len(self._words), dtype=np.float32)
        shape = (self.num_documents, len(self._number))
        return csr_matrix((ones, (self._documents, self._words)), shape=shape)

    @cached_property
    def _postings(self) -> "csc_matrix | csc_array":
        found = self._counts.tocsc()
        found.sort_indices()
        return found

    @cached_property
    def _idf(self) -> "NDArray[np.float64]":
        import numpy as np

        document_frequency = np.diff(self._postings.indptr)
        return np.log((1 + self.num_documents) / (1 + document_frequency)) + 1

    @cached_property
    def _vectors(self) -> "csr_matrix":
        return self._counts.multiply(self._idf).tocsr()

    @cached_property
    def _norms(self) -> "NDArray[np.float64]":
        import numpy as np

        return np.sqrt(np.asarray(self._vectors.multiply(self._vectors).sum(axis=1))[:, 0])
