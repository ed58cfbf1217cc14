"""The parts of a score belong to tokens and sum up to it."""

import numpy as np
import pytest

from whence.errors import ModelError
from whence.gradients import streamed_products
from whence.gradients.passes.queries import query_gradients
from whence.gradients.passes.tokens import module_products, token_products

LENGTHS = [9, 2, 48, 1, 0, 17]


@pytest.fixture
def query(lab):
    (a,) = lab.random_sequences([12], seed=7)
    return lab.query_of("plain", (a, 9, 1.0))


def _gradient(lab, model, query):
    rows = query_gradients(model, [query], modules=lab.modules_of(model), token_batch_size=64)
    return {name: row[0] for name, row in rows.items()}


def test_parts_sum_up_to_the_product(lab, family, query):
    model = lab.tiny(family, dtype="float64")
    sequences = lab.random_sequences(LENGTHS)
    parts = token_products(model, _gradient(lab, model, query), sequences)
    whole = streamed_products(
        model,
        lab.corpus_of(sequences),
        [query],
        modules=lab.modules_of(model),
        token_batch_size=64,
    )
    assert [len(part) for part in parts] == LENGTHS
    np.testing.assert_allclose([p.sum() for p in parts], whole.dots[0], rtol=1e-4, atol=1e-5)
    assert not parts[3].any()


def test_layers_sum_up_to_the_product_and_each_is_its_own(lab, family, query):
    model = lab.tiny(family, dtype="float64")
    sequences = lab.random_sequences(LENGTHS)
    gradient = _gradient(lab, model, query)
    parts = module_products(model, gradient, sequences)
    assert parts.shape == (len(LENGTHS), len(lab.modules_of(model)))
    corpus = lab.corpus_of(sequences)
    for place, name in enumerate(gradient):
        alone = streamed_products(model, corpus, [query], modules=[name], token_batch_size=64)
        np.testing.assert_allclose(parts[:, place], alone.dots[0], rtol=1e-4, atol=1e-5)
    whole = streamed_products(
        model, corpus, [query], modules=lab.modules_of(model), token_batch_size=64
    )
    np.testing.assert_allclose(parts.sum(1), whole.dots[0], rtol=1e-4, atol=1e-5)
    assert module_products(model, gradient, []).shape == (0, len(gradient))


def test_the_last_token_is_read_for_nothing(lab, family, query):
    model = lab.tiny(family)
    (part,) = token_products(model, _gradient(lab, model, query), lab.random_sequences([9]))
    assert part[-1] == 0
    assert (part[:-1] != 0).all()


def test_a_token_in_the_future_changes_what_the_past_is_asked_for_and_not_itself(lab, query):
    model = lab.tiny("neox", dtype="float64")
    gradient = _gradient(lab, model, query)
    (sequence,) = lab.random_sequences([9])
    other = [*sequence[:8], (sequence[8] + 1) % 61]
    a, b = token_products(model, gradient, [sequence, other])
    assert (a[:8] != b[:8]).all()
    assert a[8] == b[8] == 0


def test_an_unknown_module_is_refused(lab, query):
    model = lab.tiny("neox")
    gradient = {"layers.9.nothing": next(iter(_gradient(lab, model, query).values()))}
    with pytest.raises(ModelError, match="no module"):
        token_products(model, gradient, [[1, 2, 3]])
