"""Rows are whole or absent: whatever happens while another thread writes them."""

import errno
import os
import shutil
import threading
from contextlib import contextmanager

import pytest
import torch
from tests.gradients.conftest import corpus_of, random_sequences, tiny

from whence.errors import ArtifactError, GradientError
from whence.gradients import build_index, merge_index, missing_shares
from whence.gradients.index import build as building
from whence.gradients.index import row_file
from whence.gradients.passes.workers import worker_count
from whence.settings import IndexSettings

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
SETTINGS = IndexSettings(projection_dim=4, token_batch_size=48)
WAYS = [{}, {"rank": 1}, {"storage": "bfloat16"}, {"rank": 2, "storage": "bfloat16"}]
LENGTHS = [9, 2, 40, 1, 17, 0, 30, 5, 5, 44, 3, 22, 12, 28]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(building, "BLOCK_TOKENS", 1)


@pytest.fixture(scope="module")
def model():
    return tiny("neox")


@pytest.fixture
def corpus():
    return corpus_of(random_sequences(LENGTHS))


def _settings(way):
    return SETTINGS.model_copy(update=way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", [0, 3])
def test_what_a_writer_raises_stops_the_build_at_once_and_is_one_sentence(
    model, corpus, tmp_path, monkeypatch, way, number
):
    computed, compute = [], building.pad
    write, left = row_file._Writer.write, [number]

    def pad(sequences, **how):
        computed.append(len(sequences))
        return compute(sequences, **how)

    def fail(self, *arguments):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        write(self, *arguments)

    monkeypatch.setattr(building, "pad", pad)
    with monkeypatch.context() as patched:
        patched.setattr(row_file._Writer, "write", fail)
        with pytest.raises(ArtifactError, match=r"/index cannot be written \(Input/output error\)"):
            build_index(model, corpus, tmp_path / "index", _settings(way))
    # The batch that was refused, and at most one for the writer and one for each worker.
    assert number < len(computed) <= number + 2 + worker_count(model)
    assert not (tmp_path / "index").exists()
    assert not [t for t in threading.enumerate() if "ThreadPoolExecutor" in t.name]
    again = build_index(model, corpus, tmp_path / "index", _settings(way))
    whole = build_index(model, corpus, tmp_path / "whole", _settings(way))
    assert bytes_of(again) == bytes_of(whole)


def bytes_of(index):
    names = ("gradients.bin", "factors.bin", "norms.npy")
    return [(index.path / n).read_bytes() for n in names if (index.path / n).exists()]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", [0, 5])
def test_a_gradient_that_is_not_finite_names_its_example_and_leaves_no_index(
    model, corpus, tmp_path, monkeypatch, way, place
):
    collecting, batches = building.collecting, []

    def spoiled(*given, **how):
        @contextmanager
        def opened():
            with collecting(*given, **how) as collect:

                def run(padded):
                    found = collect(padded)
                    batches.append(1)
                    if len(batches) == place + 1:
                        for rows in found.rows.values():
                            rows[-1, 0] = torch.nan
                    return found

                yield run

        return opened()

    with monkeypatch.context() as patched:
        patched.setattr(building, "collecting", spoiled)
        with pytest.raises(GradientError, match="example `"):
            build_index(model, corpus, tmp_path / "index", _settings(way))
    assert not (tmp_path / "index").exists()
    again = build_index(model, corpus, tmp_path / "index", _settings(way))
    whole = build_index(model, corpus, tmp_path / "whole", _settings(way))
    assert bytes_of(again) == bytes_of(whole)


@pytest.mark.parametrize("cut", [0, 1, 64, -1, -132, "text", "zeros"])
def test_a_mark_that_was_cut_short_is_none(model, corpus, tmp_path, cut):
    place = tmp_path / "index"
    for number in (0, 1):
        build_index(model, corpus, place, SETTINGS, shard=(number, 3))
    marks = sorted((tmp_path / ".index.partial" / ".progress" / "blocks").glob("*.npy"))
    data = marks[0].read_bytes()
    new = {"text": b"no mark", "zeros": bytes(len(data))}
    marks[0].write_bytes(new[cut] if isinstance(cut, str) else data[:cut])
    num_known = len(marks) if cut == -132 else len(marks) - 1  # as an older version wrote it
    report = missing_shares(model, corpus, place, SETTINGS, num_shares=3)
    assert report.num_blocks - report.num_missing == num_known
    with pytest.raises(ArtifactError, match="lacks"):
        merge_index(model, corpus, place, SETTINGS)
    built = build_index(model, corpus, place, SETTINGS)
    whole = build_index(model, corpus, tmp_path / "whole", SETTINGS)
    assert bytes_of(built) == bytes_of(whole)


@pytest.mark.parametrize("shard", [None, (0, 1)])
@pytest.mark.parametrize("name", ["", "gradients.bin", ".progress/blocks"])
def test_what_is_removed_while_it_is_being_filled_is_one_sentence(
    model, corpus, tmp_path, monkeypatch, name, shard
):
    place, partial = tmp_path / "index", tmp_path / ".index.partial"
    gone = partial / name
    end = building._Build.finish

    def finish(self, *given):
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        end(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(building._Build, "finish", finish)
        with pytest.raises(ArtifactError, match=r"was removed while .*/index was being made"):
            build_index(model, corpus, place, SETTINGS, shard=shard)
    built = build_index(model, corpus, place, SETTINGS)
    whole = build_index(model, corpus, tmp_path / "whole", SETTINGS)
    assert bytes_of(built) == bytes_of(whole)
