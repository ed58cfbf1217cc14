"""A GPU gives the rows, products and factors that a CPU gives."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from whence.gradients import build_index, stored_products, streamed_products
from whence.gradients.curvature.ekfac import fit_ekfac
from whence.settings import IndexSettings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
LENGTHS = [9, 2, 40, 1, 17, 0, 30, 5, 5, 44, 3, 22]


@pytest.fixture
def both(lab, family, cuda):
    """The same model on the CPU and on the GPU, examples and queries."""
    model = lab.tiny(family)
    there = replace(model, model=copy.deepcopy(model.model).to(cuda))
    a, b = lab.random_sequences([12, 20], seed=7)
    queries = (lab.query_of("p", (a, 9, 1.0)), lab.query_of("c", (b, 15, 1.0), (a, 8, -1.0)))
    return model, there, lab.corpus_of(lab.random_sequences(LENGTHS)), queries


def cosines(a, b):
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1)[lengths > 0] / lengths[lengths > 0]


@pytest.mark.parametrize(
    ("how", "least"),
    [
        ({}, 0.999999),
        ({"projection_dim": None}, 0.999999),
        ({"rank": 4}, 0.99999),
        ({"collector": "bergson"}, 0.99999),
        ({"precision": "mixed"}, 0.999),
        ({"storage": "bfloat16"}, 0.999),
    ],
)
def test_rows_and_their_products_are_those_of_the_cpu(both, tmp_path, how, least):
    here, there, corpus, queries = both
    settings = IndexSettings(**{"projection_dim": 4, **how})
    indexes = [
        build_index(model, corpus, tmp_path / name, settings)
        for name, model in (("here", here), ("there", there))
    ]
    assert (cosines(*(index.gradients for index in indexes)) > least).all()
    found = [
        stored_products(index, model, queries).dots
        for index, model in zip(indexes, (here, there), strict=True)
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=0.05, atol=0.01 * np.abs(found[0]).max())


def test_streamed_products_are_those_of_the_cpu(lab, both):
    here, there, corpus, queries = both
    found = [
        streamed_products(
            model, corpus, queries, modules=lab.modules_of(model), token_batch_size=96
        ).dots
        for model in (here, there)
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3, atol=1e-4 * np.abs(found[0]).max())


def test_the_factors_of_the_curvature_are_those_of_the_cpu(lab, both):
    here, there, corpus, _ = both
    found = [
        fit_ekfac(model, corpus, modules=lab.modules_of(model), token_batch_size=96, labels="given")
        for model in (here, there)
    ]
    for name, (_, _, values) in found[0].factors.items():
        other = found[1].factors[name][2].cpu()
        np.testing.assert_allclose(other.sort().values, values.sort().values, rtol=0.01, atol=1e-4)
