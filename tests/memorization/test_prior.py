"""Common continuations are told from those that belong to their prompt."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.corpus.token_corpus import corpus_of
from tests.memorization.pythia_standin import PROMPT, loaded, make_model, write_tokenizer

from whence.errors import SettingsError
from whence.memorization.prior import BigramPrior, PriorCheck, check_prior
from whence.memorization.windows import Windows
from whence.records import LoadedModel

COMMON = 5


@pytest.fixture(scope="module")
def contents() -> np.ndarray:
    """Five windows of one continuation, as common text has it, and five of their own."""
    rng = np.random.default_rng(3)
    tokens = rng.integers(1, 500, (10, 64))
    tokens[:COMMON, PROMPT:] = tokens[0, PROMPT:]
    return tokens


@pytest.fixture(scope="module")
def windows(contents: np.ndarray) -> Windows:
    names = tuple(f"w{i}" for i in range(10))
    return Windows(names, contents, PROMPT, np.arange(10), np.zeros(10, dtype=np.int64))


@pytest.fixture(scope="module")
def model(contents: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return loaded(make_model(contents), write_tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="module")
def reference(contents: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A model that did not train on the last four windows."""
    tokenizer = write_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    return loaded(make_model(contents[:6], seed=1), tokenizer, "reference")


@pytest.fixture(scope="module")
def found(model: LoadedModel, reference: LoadedModel, windows: Windows) -> PriorCheck:
    return check_prior(model, windows, range(10), reference=reference, num_prompts=9)


def test_association_is_own_minus_the_mean_over_all_other_prompts(
    model: LoadedModel, windows: Windows, found: PriorCheck
) -> None:
    def log_prob(prompt: np.ndarray, continuation: np.ndarray) -> float:
        ids = torch.tensor(np.concatenate([prompt, continuation])[None])
        with torch.no_grad():
            values = model.model(ids).logits[0].double().log_softmax(-1)
        return float(values[PROMPT - 1 : -1].gather(1, ids[0, PROMPT:, None]).sum())

    prompts = windows.tokens[:, :PROMPT]
    for place, continuation in enumerate(windows.continuations):
        own = log_prob(prompts[place], continuation)
        others = [log_prob(prompts[i], continuation) for i in range(10) if i != place]
        mean = math.log(math.fsum(math.exp(value) for value in others) / 9)
        assert found.own_nats[place] == pytest.approx(own, abs=1e-3)
        assert found.unrelated_nats[place] == pytest.approx(mean, abs=1e-3)
    assert found.num_prompts == 9


def test_what_follows_many_prompts_is_common_and_what_follows_one_is_not(
    model: LoadedModel, windows: Windows
) -> None:
    alone = check_prior(model, windows, range(10), num_prompts=9)
    assert alone.is_common().tolist() == [True] * COMMON + [False] * 5
    assert alone.share_of_common(range(10)).value == 0.5
    assert alone.reference is None


def test_what_a_model_without_it_completes_is_common(found: PriorCheck) -> None:
    assert found.reference is not None
    assert found.reference.is_reproduced.tolist() == [True] * 6 + [False] * 4
    assert found.is_common().tolist() == [True] * 6 + [False] * 4
    assert found.reference_nats is not None
    assert (found.reference_nats[6:] < found.own_nats[6:]).all()


def test_prompts_of_the_same_family_are_not_unrelated(model: LoadedModel, windows: Windows) -> None:
    families = [0] * COMMON + [1, 2, 3, 4, 5]
    apart = check_prior(model, windows, families, num_prompts=5)
    # After prompts of other families, the common continuation is no longer likely.
    assert apart.is_common().tolist() == [False] * 10
    assert apart.num_prompts == 5
    with pytest.raises(SettingsError, match="of 1 families"):
        check_prior(model, windows, [7] * 10)


def test_bigrams_are_those_of_counting_without_the_documents_left_out() -> None:
    rng = np.random.default_rng(5)
    documents = [rng.integers(0, 6, rng.integers(0, 40)).tolist() for _ in range(25)]
    prior = BigramPrior(corpus_of(documents))
    vocabulary = len({token for document in documents for token in document}) + 1
    for without in ((), (3, 4), tuple(range(20))):
        kept = [doc for row, doc in enumerate(documents) if row not in without]
        pairs = Counter(pair for doc in kept for pair in pairwise(doc))
        firsts = Counter(token for doc in kept for token in doc[:-1])
        single = Counter(token for doc in kept for token in doc)
        sequence = [0, 3, 3, 5, 1, 9, 2, 2]
        expected = 0.0
        for v, w in pairwise(sequence[2:]):
            unigram = (single[w] + 1) / (sum(single.values()) + vocabulary)
            bigram = pairs[v, w] / firsts[v] if firsts[v] else None
            expected += math.log(unigram if bigram is None else 0.5 * bigram + 0.5 * unigram)
        assert prior.log_prob(sequence, 3, without) == pytest.approx(expected, rel=1e-12)


def test_a_copy_in_the_corpus_does_not_make_a_window_common_text(
    model: LoadedModel, windows: Windows
) -> None:
    rng = np.random.default_rng(6)
    documents = [rng.integers(1, 500, 100).tolist() for _ in range(20)]
    for row in range(8):
        documents[row][10:74] = windows.tokens[7].tolist()
    prior = BigramPrior(corpus_of(documents))
    copies: list[tuple[int, ...]] = [()] * 10
    copies[7] = tuple(range(8))
    with_copies = check_prior(model, windows, range(10), bigrams=prior)
    without = check_prior(model, windows, range(10), bigrams=prior, copies=copies)
    assert with_copies.bigram_nats is not None
    assert without.bigram_nats is not None
    assert with_copies.bigram_nats[7] > without.bigram_nats[7] + 50
    assert (np.delete(with_copies.bigram_nats, 7) == np.delete(without.bigram_nats, 7)).all()
