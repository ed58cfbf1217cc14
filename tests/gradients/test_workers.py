"""Batches that run at once give what they give one after the other."""

import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from whence.errors import GradientError
from whence.gradients import build_index
from whence.gradients.index import build
from whence.gradients.passes import workers
from whence.gradients.passes.workers import working
from whence.settings import IndexSettings


def _weights(network):
    return [parameter.data_ptr() for parameter in network.parameters()]


def test_workers_have_models_of_their_own_with_the_same_weights(lab, family):
    model, opened = lab.tiny(family), []

    @contextmanager
    def open_one(own):
        opened.append(own)
        yield lambda item: item

    threads = torch.get_num_threads()
    with working(model, open_one, num_workers=3) as run_all:
        assert list(run_all([4, 2, 7])) == [4, 2, 7]
    assert len({id(layer) for own in opened for layer in own.model.modules()}) == sum(
        len(list(own.model.modules())) for own in opened
    )
    assert all(_weights(own.model) == _weights(model.model) for own in opened)
    assert torch.get_num_threads() == threads


def test_results_keep_the_order_of_their_items(lab):
    @contextmanager
    def open_one(_own):
        yield lambda seconds: time.sleep(seconds) or seconds

    asked = [0.2, 0.0, 0.1, 0.0, 0.05]
    with working(lab.tiny("neox"), open_one, num_workers=2) as run_all:
        assert list(run_all(asked)) == asked


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize(("items", "times"), [(0, 1), (7, 1), (8, 2), (17, 3)])
def test_memory_is_returned_after_every_few_batches_and_at_the_end(
    lab, monkeypatch, num_workers, items, times
):
    @contextmanager
    def open_one(_own):
        yield lambda item: item

    returned = []
    monkeypatch.setattr(workers, "return_memory", lambda: returned.append(None))
    with working(lab.tiny("neox"), open_one, num_workers=num_workers) as run_all:
        assert list(run_all(range(items))) == list(range(items))
    assert len(returned) == times


def test_what_goes_wrong_in_a_worker_is_raised(lab):
    @contextmanager
    def open_one(_own):
        def run(item):
            if item == 3:
                raise GradientError("The gradient of example `3` is NaN.", "Leave it out.")
            return item

        yield run

    with (
        working(lab.tiny("neox"), open_one, num_workers=2) as run_all,
        pytest.raises(GradientError, match="example `3`"),
    ):
        list(run_all(range(6)))


@pytest.mark.parametrize("num_workers", [2, 3])
def test_rows_do_not_depend_on_the_number_of_workers(lab, tmp_path, monkeypatch, num_workers):
    model = lab.tiny("neox")
    corpus = lab.corpus_of(lab.random_sequences([9, 4, 7, 12, 3, 8, 8, 5]))

    def rows(count, name):
        monkeypatch.setattr(build, "worker_count", lambda _model: count)
        settings = IndexSettings(projection_dim=4, token_batch_size=24)
        return build_index(model, corpus, tmp_path / name, settings).gradients

    alone, together = np.array(rows(1, "alone")), np.array(rows(num_workers, "together"))
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(together, rows(num_workers, "again"))
