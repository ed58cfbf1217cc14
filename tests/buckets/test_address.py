"""What an address is, and that nothing else is one."""

from pathlib import Path

import pytest

from whence import buckets
from whence.errors import CorpusError, SettingsError


@pytest.mark.parametrize("source", ["s3:/lab/x", "s3://lab", "lab/x", "https://lab/x", "S3://a/b"])
def test_only_addresses_of_objects_are_addresses(source):
    assert not buckets.is_address(source)


@pytest.mark.parametrize("place", ["runs/index", Path("runs/index"), "C:\\index", "s3", "", "."])
def test_a_path_is_no_address(place):
    assert buckets.address_of(place) is None


def test_a_slash_at_the_end_is_no_part_of_an_address():
    assert buckets.address_of("gs://lab/deep/idx/") == "gs://lab/deep/idx"


@pytest.mark.parametrize(
    "place",
    [
        "s3:/lab/x",
        Path("s3://lab/x"),
        "s3://lab",
        "s3://lab/",
        "s3://lab//x",
        "s3://lab/x//y",
        "s3://lab/./x",
        "s3://lab/x/../y",
        "az://lab/x",
        "s3://lab/\udcff",
        f"s3://lab/{chr(0xD800)}",
        "s3://lab/x?versionId=1",
    ],
)
def test_what_only_looks_like_an_address_is_refused_before_any_work(place):
    with pytest.raises(SettingsError, match="no folder in a bucket"):
        buckets.address_of(place)


def test_a_name_that_no_folder_on_this_machine_can_have_is_refused():
    assert buckets.address_of(f"s3://{'b' * 63}/{'d' * 300}/{'ü' * 100}")
    with pytest.raises(SettingsError, match=r"has 202 bytes, and .* at most 200"):
        buckets.address_of(f"s3://lab/{'ü' * 101}")


def test_a_missing_package_is_named(monkeypatch):
    def missing(_source):
        raise ImportError("Install gcsfs to access GCS")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(CorpusError, match=r"needs the package gcsfs .*whence\[gcs\]"):
        buckets.fetch("gs://lab/train.jsonl")
