"""BM25 agrees with an implementation that is not ours, on equal inputs."""

import math
from dataclasses import replace

import numpy as np
import pytest

from whence.methods import MethodInputs, score
from whence.methods.words import words
from whence.records import Query, Term
from whence.settings import AttributionSettings

theirs = pytest.importorskip(
    "rank_bm25", reason="rank-bm25, of the dev dependency group, is not installed"
)


def _texts() -> list[str]:
    """Sixty documents of Zipf-distributed words, of very different lengths."""
    generator = np.random.default_rng(8)
    chances = 1 / np.arange(1, 41)
    return [
        " ".join(
            f"w{word}" for word in generator.choice(40, size=int(size), p=chances / chances.sum())
        )
        for size in generator.integers(3, 120, size=60)
    ]


def _ours(lab, texts: list[str], query: str) -> np.ndarray:
    corpus = lab.corpus_of([[1, 2]] * len(texts), [f"t{i}" for i in range(len(texts))])
    corpus = replace(corpus, table=corpus.table.set_column(1, "text", [texts]))
    asked = (Query("q", (Term((1, 2), 1, 1.0),), query),)
    return score("bm25", MethodInputs(asked, corpus, None, {}, AttributionSettings())).values[0]


class Lucene(theirs.BM25Okapi):
    """Their sum over words and their use of lengths, with the idf that we state."""

    def _calc_idf(self, nd: dict[str, int]) -> None:
        for word, count in nd.items():
            self.idf[word] = math.log(1 + (self.corpus_size - count + 0.5) / (count + 0.5))


@pytest.mark.parametrize("query", ["w39 w2 w17", "w0 w1 w2 w3 w4", "w30 w30 w12 unheard"])
def test_the_sum_over_words_is_theirs(lab, query: str) -> None:
    texts = _texts()
    found = Lucene([words(text) for text in texts], k1=1.5, b=0.75).get_scores(words(query))
    # They keep Okapi's constant factor k1 + 1, which Lucene leaves out.
    np.testing.assert_allclose(_ours(lab, texts, query), found / 2.5, rtol=1e-5, atol=1e-7)


def test_a_single_rare_word_orders_documents_as_their_own_idf_does(lab) -> None:
    texts = _texts()
    found = theirs.BM25Okapi([words(text) for text in texts], k1=1.5, b=0.75).get_scores(["w25"])
    ours = _ours(lab, texts, "w25")
    held = found > 0
    assert 3 <= held.sum() < 30
    np.testing.assert_array_equal(held, ours > 0)
    ratios = ours[held] / found[held]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-5)
