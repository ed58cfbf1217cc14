"""A corpus in a bucket is read as its local copy is, and copied again only where it changed."""

import json
import sys
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from whence import buckets
from whence.corpus.sources import open_source
from whence.errors import CorpusError
from whence.settings import CorpusSettings

TEXTS = ["the grey heron", "an old baker", "seven brass buttons"]


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A folder that stands for all buckets of S3, and what was copied from it."""
    root, copied = tmp_path / "buckets", []
    (root / "lab").mkdir(parents=True)

    class Buckets(DirFileSystem):
        protocol = "s3"
        cachable = False

        def __init__(self, **_how):
            super().__init__(path=str(root), fs=LocalFileSystem())

        def get_file(self, remote, local, **how):
            copied.append(remote)
            return super().get_file(remote, local, **how)

        def ukey(self, path):
            info = self.info(path)
            return f"{info['size']}-{info['mtime']}"

    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "s3", Buckets)
    monkeypatch.setenv("WHENCE_CACHE", str(tmp_path / "cache"))
    return root / "lab", copied


def write(path: Path, texts=TEXTS):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def texts_of(source):
    return [document.text for document in open_source(CorpusSettings(source=source)).documents]


def test_a_file_of_a_bucket_is_read_and_copied_once(bucket):
    place, copied = bucket
    write(place / "train.jsonl")
    assert texts_of("s3://lab/train.jsonl") == TEXTS
    assert texts_of("s3://lab/train.jsonl") == TEXTS
    assert len(copied) == 1
    write(place / "train.jsonl", ["another"])
    assert texts_of("s3://lab/train.jsonl") == ["another"]
    assert len(copied) == 2


def test_the_files_of_a_folder_are_read_in_order(bucket):
    place, copied = bucket
    for number, text in enumerate(TEXTS):
        write(place / "data" / f"part-{number}.jsonl", [text])
    write(place / "data" / ".hidden.jsonl", ["hidden"])
    write(place / "data" / "deeper" / "x.jsonl", ["deeper"])
    assert texts_of("s3://lab/data") == TEXTS
    assert len(copied) == 3


@pytest.mark.parametrize("path", ["nothing.jsonl", "nothing/"])
def test_an_object_that_is_not_there_is_one_sentence(bucket, path):
    with pytest.raises(CorpusError, match="no object or folder"):
        texts_of(f"s3://lab/{path}")


def test_a_copy_that_was_cut_short_is_not_kept(bucket, monkeypatch):
    place, _ = bucket
    write(place / "train.jsonl")
    system = fsspec.get_filesystem_class("s3")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            system, "get_file", lambda self, remote, local, **_: Path(local).write_text("x")
        )
        with pytest.raises(CorpusError, match="cut short"):
            texts_of("s3://lab/train.jsonl")
    assert texts_of("s3://lab/train.jsonl") == TEXTS


def test_a_missing_package_is_named(monkeypatch):
    def missing(_source):
        raise ImportError("Install gcsfs to access GCS")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(CorpusError, match="needs the package gcsfs"):
        buckets.fetch("gs://lab/train.jsonl")


@pytest.mark.parametrize("source", ["s3:/lab/x", "s3://lab", "lab/x", "https://lab/x", "S3://a/b"])
def test_only_addresses_of_objects_are_addresses(source):
    assert not buckets.is_address(source)
