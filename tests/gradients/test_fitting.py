"""Batches are as large as a device holds, and one that does not fit is computed in halves."""

import numpy as np
import pytest
import torch

from whence.gradients import build_index, open_index
from whence.gradients.index import build as building
from whence.gradients.index import collector
from whence.gradients.passes import fitting
from whence.gradients.passes.fitting import FIRST_TOKENS, MOST_TOKENS, Halving, fitting_tokens
from whence.settings import IndexSettings

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
LENGTHS = [9, 2, 40, 1, 17, 0, 30, 5, 5, 44, 3, 22, 12, 28]


class Simulated:
    """A device of so many bytes, on which each token needs some and a pass needs a fixed part."""

    def __init__(self, size, *, per_token=10, fixed=1000):
        self.size, self.per_token, self.fixed = size, per_token, fixed
        self.used, self.tried, self.released = 0, [], 0

    def run(self, tokens):
        self.tried.append(tokens)
        needed = self.fixed + self.per_token * tokens
        if needed > self.size:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.used = max(self.used, needed)

    def free(self):
        return self.size

    def reset_peak(self):
        self.used = 0

    def peak(self):
        return self.used

    def release(self):
        self.released += 1


def test_sizes_double_up_to_the_most():
    memory = Simulated(10**9)
    assert fitting_tokens(memory.run, memory) == MOST_TOKENS
    assert memory.tried == [4096, 8192, 16384, 32768]
    assert sum(memory.tried) < 2 * MOST_TOKENS


def test_no_size_is_tried_that_is_predicted_not_to_fit():
    memory = Simulated(200_000)
    found = fitting_tokens(memory.run, memory)
    assert found == max(memory.tried) == 8192
    assert memory.fixed + memory.per_token * found <= fitting.SHARE * memory.size
    assert not memory.released


def test_where_a_prediction_was_wrong_the_size_before_counts():
    memory = Simulated(10**9)

    def run(tokens):
        memory.run(tokens)
        if tokens > 9000:
            raise torch.OutOfMemoryError("out of memory")

    assert fitting_tokens(run, memory) == 8192
    assert memory.released == 1


def test_where_the_first_size_does_not_fit_half_of_it_is_left_to_the_pass():
    memory = Simulated(5000)
    assert fitting_tokens(memory.run, memory) == FIRST_TOKENS // 2
    assert memory.released == 1


def test_another_error_is_not_taken_for_a_lack_of_memory():
    def run(_tokens):
        raise RuntimeError("a kernel failed")

    with pytest.raises(RuntimeError, match="kernel"):
        fitting_tokens(run, Simulated(10**9))


def halving(memory):
    return Halving(
        lambda batch: (memory.run(batch.sum()), list(batch))[1],
        lambda halves: halves[0] + halves[1],
        size=lambda batch: int(batch.sum()),
        release=memory.release,
    )


def test_halves_keep_the_order_and_what_did_not_fit_is_not_tried_again():
    memory = Simulated(100, per_token=1, fixed=0)
    compute = halving(memory)
    sizes = np.array([60, 50, 40, 30, 20])
    assert compute(sizes) == sizes.tolist()
    # 200 does not fit; of its halves 110 fits no more than the first of 90.
    assert memory.tried[:4] == [200, 110, 60, 50]
    before = len(memory.tried)
    assert compute(np.array([60, 70])) == [60, 70]
    assert memory.tried[before:] == [60, 70], "130 tokens were not tried again"
    assert memory.released == 2


def test_a_single_sequence_that_does_not_fit_raises():
    memory = Simulated(100, per_token=1, fixed=0)
    with pytest.raises(torch.OutOfMemoryError):
        halving(memory)(np.array([60, 101]))


def test_a_build_on_a_device_that_overflows_has_the_same_rows_and_blocks(
    lab, tmp_path, monkeypatch
):
    """A pass that fails above 60 tokens, on a device whose probe promised 200."""
    model, corpus = lab.tiny("neox"), lab.corpus_of(lab.random_sequences(LENGTHS))
    settings = IndexSettings(projection_dim=4)
    memory = Simulated(1000, per_token=1, fixed=0)
    monkeypatch.setattr(building, "worker_count", lambda _model: 1)
    monkeypatch.setattr(building, "BLOCK_TOKENS", 1)
    monkeypatch.setattr(building, "device_memory", lambda _device: memory)
    monkeypatch.setattr(building, "fitting_tokens", lambda _run, _memory: 200)
    whole = build_index(model, corpus, tmp_path / "whole", settings)
    real, failed = collector.capturing, []

    def overflowing(*args, **how):
        from contextlib import contextmanager

        @contextmanager
        def opened():
            with real(*args, **how) as backward:

                def run(batch):
                    losses = backward(batch)
                    if batch.input_ids.numel() > 60:
                        failed.append(batch.input_ids.numel())
                        raise torch.OutOfMemoryError("CUDA out of memory.")
                    return losses

                yield run

        return opened()

    monkeypatch.setattr(collector, "capturing", overflowing)
    halved = build_index(model, corpus, tmp_path / "halved", settings)
    assert failed
    assert memory.released == len(failed)
    np.testing.assert_allclose(halved.gradients, whole.gradients, rtol=1e-4, atol=1e-4)
    from datasets import Dataset

    losses = [Dataset.load_from_disk(str(i.path / "data.hf"))["loss"] for i in (whole, halved)]
    np.testing.assert_allclose(*map(np.asarray, losses), rtol=1e-5)


def test_the_probe_runs_the_pass_itself_and_a_setting_overrides_it(lab, tmp_path, monkeypatch):
    model, corpus = lab.tiny("neox"), lab.corpus_of(lab.random_sequences(LENGTHS))
    memory, asked, notes = Simulated(1000), [], []

    def probing(run, given):
        assert given is memory
        run(100)
        asked.append(100)
        return 100

    class Listening(lab.Interrupting):
        def note(self, message):
            notes.append(message)

    monkeypatch.setattr(building, "device_memory", lambda _device: memory)
    monkeypatch.setattr(building, "fitting_tokens", probing)
    build_index(
        model, corpus, tmp_path / "a", IndexSettings(projection_dim=4), progress=Listening(1000)
    )
    assert asked == [100]
    assert any("100 tokens at once fit" in note for note in notes)
    settings = IndexSettings(projection_dim=4, token_batch_size=48)
    build_index(model, corpus, tmp_path / "b", settings)
    assert asked == [100]


def test_on_a_cpu_nothing_is_probed_and_batches_are_as_they_were(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "fitting_tokens", None)
    model, corpus = lab.tiny("neox"), lab.corpus_of(lab.random_sequences(LENGTHS))
    default = build_index(model, corpus, tmp_path / "a", IndexSettings(projection_dim=4))
    settings = IndexSettings(projection_dim=4, token_batch_size=4096)
    given = build_index(model, corpus, tmp_path / "b", settings)
    assert default.gradients.tobytes() == given.gradients.tobytes()
    assert open_index(default.path).manifest.key == given.manifest.key


@pytest.mark.gpu
def test_on_a_gpu_a_batch_is_as_large_as_the_memory_allows(cuda):
    memory = fitting.CudaMemory(cuda)
    kept = []

    def run(tokens):
        kept[:] = [torch.empty(tokens * 1000, device="cuda")]
        kept.clear()

    assert fitting_tokens(run, memory) == MOST_TOKENS
    assert memory.peak() >= MOST_TOKENS * 4000
    memory.release()
