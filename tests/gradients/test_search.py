"""Every row is multiplied with every query, block by block, whatever the rows are stored in."""

import os
import sys

import numpy as np
import pytest

from whence.errors import IndexFormatError
from whence.gradients import build_index, open_index
from whence.gradients.index.manifest import GRADIENTS, NORMS
from whence.gradients.index.search import multiply_rows, row_blocks, save_norms
from whence.settings import IndexSettings


@pytest.fixture
def built(lab, tmp_path):
    def build(storage="float32", lengths=(9, 2, 40, 1, 17, 0, 30, 5)):
        model = lab.tiny("neox")
        return build_index(
            model,
            lab.corpus_of(lab.random_sequences(lengths)),
            tmp_path / storage,
            IndexSettings(projection_dim=4, token_batch_size=96, storage=storage),
        )

    return build


@pytest.mark.parametrize("storage", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("block", [1, 3 * 4 * 128, 2**26])
def test_blocks_of_any_size_give_the_products_and_lengths(built, storage, block, monkeypatch):
    monkeypatch.setattr("whence.gradients.index.search.BLOCK_BYTES", block)
    index = built(storage)
    rows = np.asarray(index.gradients, dtype=np.float64)
    asked = np.random.default_rng(0).normal(size=(3, rows.shape[1]))
    found = multiply_rows(index, asked)
    np.testing.assert_allclose(found.dots, asked @ rows.T, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.norms, np.linalg.norm(rows, axis=1), rtol=1e-5)


def test_lengths_that_were_not_kept_are_computed(built):
    index = built()
    asked = np.ones((1, index.gradients.shape[1]))
    kept = multiply_rows(index, asked)
    (index.path / NORMS).unlink()
    np.testing.assert_array_equal(multiply_rows(index, asked).norms, kept.norms)


@pytest.mark.parametrize("content", [b"nothing", None])
def test_lengths_of_another_index_are_refused(built, content):
    index = built()
    if content is None:
        np.save(index.path / NORMS, np.ones(3, dtype=np.float32))
    else:
        (index.path / NORMS).write_bytes(content)
    with pytest.raises(IndexFormatError, match=NORMS):
        multiply_rows(index, np.ones((1, index.gradients.shape[1])))


def test_the_file_is_not_changed_and_no_row_is_an_index_too(built):
    index = built()
    before = (index.path / "gradients.bin").read_bytes()
    multiply_rows(index, np.ones((2, index.gradients.shape[1])))
    assert (index.path / "gradients.bin").read_bytes() == before
    assert open_index(index.path).num_examples == index.num_examples


def test_a_file_that_was_cut_after_it_was_opened_is_refused(built):
    index = built()
    path = index.path / GRADIENTS
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(IndexFormatError, match="ends before its last row"):
        multiply_rows(index, np.ones((1, sum(index.grad_sizes.values()))))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what of a map is in memory")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_that_were_read_do_not_stay_in_memory(lab, dtype, tmp_path):
    rows, width = 50_000, 1001  # blocks end within a page
    size = 4 if dtype == "float32" else 2
    (tmp_path / GRADIENTS).write_bytes(np.ones(rows * width * size, dtype=np.uint8).tobytes())
    before, most = lab.resident(), 0
    for _, block in row_blocks(tmp_path, num_rows=rows, width=width, dtype=dtype):
        assert block.sum() > 0
        most = max(most, lab.resident() - before)
    assert most < 0.5 * rows * width * size


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what of a map is in memory")
def test_lengths_of_many_rows_take_the_memory_of_a_few(lab, tmp_path):
    rows, width = 20_000, 1001
    np.ones((rows, width), dtype=np.float32).tofile(tmp_path / GRADIENTS)
    before = lab.resident()
    save_norms(tmp_path, num_rows=rows, width=width, dtype="float32")
    assert lab.resident() - before < 2**24
    np.testing.assert_allclose(np.load(tmp_path / NORMS), np.sqrt(width), rtol=1e-6)
