"""Corpora and indexes in a bucket of a real S3 server are those on the disk, or one sentence."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import whence
from whence import buckets
from whence.artifacts import MANIFEST
from whence.buckets import copies, uploads
from whence.cli import make_app
from whence.corpus.sources import open_source
from whence.errors import ArtifactError, CorpusError, IndexFormatError, SettingsError
from whence.settings import CorpusSettings

ADDRESS, FOLDER = "s3://lab/deep/idx", "lab/deep/idx"
MARK = copies.MARK
PROMPT = ("--prompt", "the capital of france is", "--completion", " paris")


def run(*arguments: str) -> None:
    make_app()(
        list(arguments), exit_on_error=False, print_error=False, result_action="return_value"
    )


def build(tiny: Path, out: str, *more: str) -> None:
    corpus = str(tiny / "corpus.jsonl")
    run("index", out, "--model", str(tiny / "model"), "--corpus", corpus, *more)


@pytest.fixture(scope="module")
def local(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index on the disk."""
    place = tmp_path_factory.mktemp("local") / "idx"
    build(tiny_files, str(place))
    return place


@pytest.fixture(scope="module")
def other(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the same examples, with factorized rows."""
    place = tmp_path_factory.mktemp("other") / "idx"
    build(tiny_files, str(place), "--rank", "1")
    return place


@pytest.fixture
def put(tmp_path: Path):
    """Uploads an index as the command does, from one folder of this machine."""

    def upload(index: Path) -> None:
        built = tmp_path / "built" / "idx"
        shutil.rmtree(built, ignore_errors=True)
        shutil.copytree(index, built)
        buckets.upload(ADDRESS, built, kind="index")

    return upload


@contextmanager
def spied(module, name: str, *, limit: int | None = None) -> Iterator[list[str]]:
    """Lists the objects that a function copies or uploads; the one after `limit` kills it."""
    act, seen = getattr(module, name), []

    def spy(*arguments):
        if len(seen) == limit:
            raise KeyboardInterrupt
        done = act(*arguments)
        paths = [str(getattr(part, "path", part)) for part in arguments]
        seen.append(next(path for path in paths if path.startswith("lab/")))
        return done

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, name, spy)
        yield seen


def copied(limit: int | None = None):
    return spied(copies, "_copy", limit=limit)


def uploaded(limit: int | None = None):
    return spied(uploads, "_upload", limit=limit)


def names(s3) -> set[str]:
    s3.invalidate_cache()
    return {name.removeprefix(f"{FOLDER}/") for name in s3.find(FOLDER)}


def files(index: Path) -> set[str]:
    return {*json.loads((index / MANIFEST).read_text())["files"], MANIFEST}


def texts_of(source: str) -> list[str]:
    return [document.text for document in open_source(CorpusSettings(source=source)).documents]


def lines(*texts: str) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


def test_a_corpus_is_one_object_or_all_directly_in_a_folder(s3) -> None:
    s3.pipe_file("lab/data/part-0.jsonl", lines("a", "b"))
    s3.pipe_file("lab/data/part-1.jsonl", lines("c"))
    s3.pipe_file("lab/data/", b"")  # The console of S3 makes a folder so.
    s3.pipe_file("lab/data/.hidden.jsonl", lines("hidden"))
    s3.pipe_file("lab/data/deeper/x.jsonl", lines("deeper"))
    assert texts_of("s3://lab/data/part-0.jsonl") == ["a", "b"]
    assert texts_of("s3://lab/data") == ["a", "b", "c"]


@pytest.mark.parametrize("source", ["s3://lab/data/part-0.jsonl", "s3://lab/data"])
def test_a_corpus_is_copied_once_and_again_when_it_was_replaced(s3, source: str) -> None:
    s3.pipe_file("lab/data/part-0.jsonl", lines("a"))
    with copied() as seen:
        assert texts_of(source) == texts_of(source) == ["a"]
        assert len(seen) == 1
        s3.pipe_file("lab/data/part-0.jsonl", lines("b"))
        assert texts_of(source) == texts_of(source) == ["b"]
        assert len(seen) == 2


@pytest.mark.parametrize("path", ["lab/nothing.jsonl", "lab/nothing/", "lab/nothing"])
def test_a_corpus_that_is_not_there_is_one_sentence(s3, path: str) -> None:
    with pytest.raises(CorpusError, match=f"no object or folder 's3://{path}'"):
        texts_of(f"s3://{path}")
    with pytest.raises(CorpusError, match="no bucket 'nowhere'"):
        texts_of("s3://nowhere/corpus.jsonl")


def test_a_copy_that_was_cut_short_is_not_kept(s3, monkeypatch) -> None:
    s3.pipe_file("lab/data.jsonl", lines("a"))
    with monkeypatch.context() as patched:
        patched.setattr(s3, "get_file", lambda _, local, **how: Path(local).write_text("x"))
        with pytest.raises(CorpusError, match="cut short"):
            texts_of("s3://lab/data.jsonl")
    assert texts_of("s3://lab/data.jsonl") == ["a"]


def test_a_corpus_that_changes_while_it_is_copied_is_refused(s3, monkeypatch) -> None:
    s3.pipe_file("lab/data/part-0.jsonl", lines("a"))
    s3.pipe_file("lab/data/part-1.jsonl", lines("b"))
    copy = copies._copy

    def disturbed(*arguments) -> None:
        copy(*arguments)
        s3.pipe_file("lab/data/part-0.jsonl", lines("c"))

    with monkeypatch.context() as patched:
        patched.setattr(copies, "_copy", disturbed)
        with pytest.raises(CorpusError, match="was changed while it was copied"):
            texts_of("s3://lab/data")
    assert texts_of("s3://lab/data") == ["c", "b"]


def test_an_index_that_another_changes_while_it_is_written_gets_no_manifest(
    s3, put, local: Path, monkeypatch
) -> None:
    upload = uploads._upload

    def disturbed(system, source, path, task):
        written = upload(system, source, path, task)
        s3.pipe_file(f"{FOLDER}/corpus.json", b"theirs")
        return written

    with monkeypatch.context() as patched:
        patched.setattr(uploads, "_upload", disturbed)
        with pytest.raises(ArtifactError, match="was changed while it was written"):
            put(local)
    assert MANIFEST not in names(s3)
    put(local)
    assert whence.verify_index(ADDRESS).damage == ()


def test_an_old_index_stays_until_its_successor_is_uploaded(s3, put, local: Path) -> None:
    put(local)
    buckets.reserve(ADDRESS, kind="index")
    assert names(s3) == files(local) | {MARK}
    assert whence.open_index(ADDRESS).num_examples == 23
    put(local)
    assert names(s3) == files(local)


def test_an_index_built_into_a_bucket_answers_as_one_on_the_disk(
    s3, tiny_files: Path, local: Path, capsys
) -> None:
    s3.put_file(str(tiny_files / "corpus.jsonl"), "lab/corpus.jsonl")
    model = str(tiny_files / "model")
    run("index", ADDRESS, "--model", model, "--corpus", "s3://lab/corpus.jsonl")
    assert names(s3) == files(local)
    with copied() as seen:
        ours, theirs = whence.open_index(local), whence.open_index(ADDRESS)
    assert seen == [f"{FOLDER}/{MANIFEST}"]  # All else is here, where it was built.
    assert np.array_equal(ours.gradients, theirs.gradients)
    assert ours.ids == theirs.ids
    capsys.readouterr()
    run("query", str(local), *PROMPT, "--json")
    run("query", ADDRESS, *PROMPT, "--json")
    on_disk, in_bucket = map(json.loads, capsys.readouterr().out.splitlines())
    assert (on_disk.pop("index"), in_bucket.pop("index")) == (str(local), ADDRESS)
    assert on_disk == in_bucket
    run("verify-index", ADDRESS)
    assert f"{ADDRESS} is whole" in capsys.readouterr().out


def test_an_index_in_a_bucket_is_searched_with_one_on_the_disk(
    s3, put, tiny_files: Path, local: Path, tmp_path: Path, capsys
) -> None:
    put(local)
    (tmp_path / "more.jsonl").write_bytes(lines("the capital of france is paris"))
    model = str(tiny_files / "model")
    more = ("--corpus", str(tmp_path / "more.jsonl"), "--id-column", "text")
    run("index", str(tmp_path / "more"), "--model", model, *more)
    capsys.readouterr()
    run("query", str(tmp_path / "more"), ADDRESS, *PROMPT, "--json")
    mixed = json.loads(capsys.readouterr().out)
    run("query", str(tmp_path / "more"), str(local), *PROMPT, "--json")
    assert mixed["proponents"] == json.loads(capsys.readouterr().out)["proponents"]


def test_an_error_names_an_index_by_its_address(s3, put, local: Path, other: Path) -> None:
    put(local)
    with pytest.raises(IndexFormatError, match=f"{ADDRESS} and {other} differ in"):
        run("query", ADDRESS, str(other), *PROMPT)


def test_an_index_is_copied_once_and_again_when_it_was_replaced(
    s3, put, local: Path, other: Path
) -> None:
    put(local)
    with copied() as seen:
        first = whence.open_index(ADDRESS)
        assert len(seen) == len(files(local))
        again = whence.open_index(f"{ADDRESS}/")
        assert len(seen) == len(files(local))
    assert again.path == first.path
    put(other)
    assert names(s3) == files(other)
    assert whence.open_index(ADDRESS).rank == 1
    assert np.array_equal(first.gradients, whence.open_index(local).gradients)


def test_what_was_built_here_is_copied_where_it_differs_from_the_bucket(s3, local: Path) -> None:
    built = buckets.built_folder(ADDRESS)
    shutil.copytree(local, built)
    buckets.upload(ADDRESS, built, kind="index")
    rows = (local / "gradients.bin").read_bytes()
    (built / "gradients.bin").write_bytes(b"x" * len(rows))
    s3.pipe_file(f"{FOLDER}/norms.npy", b"x" * (local / "norms.npy").stat().st_size)
    with (
        copied() as seen,
        pytest.raises(IndexFormatError, match=r"another norms\.npy than its manifest"),
    ):
        whence.open_index(ADDRESS)
    assert seen == [f"{FOLDER}/gradients.bin", f"{FOLDER}/norms.npy"]


def test_only_what_is_missing_in_a_copy_is_copied_again(s3, put, local: Path) -> None:
    put(local)
    place = whence.open_index(ADDRESS).path
    (place / "gradients.bin").unlink()
    (place / "info.json").write_text("x" * (place / "info.json").stat().st_size)
    with copied() as seen:
        assert np.array_equal(
            whence.open_index(ADDRESS).gradients, whence.open_index(local).gradients
        )
    assert seen == [f"{FOLDER}/gradients.bin", f"{FOLDER}/info.json"]


@pytest.mark.parametrize("limit", [0, 1, 4])
def test_a_copy_that_was_killed_is_none_and_goes_on_where_it_stopped(
    s3, put, local: Path, limit: int
) -> None:
    put(local)
    with copied(limit) as seen, pytest.raises(KeyboardInterrupt):
        whence.open_index(ADDRESS)
    assert len(seen) == limit
    with copied() as seen:
        index = whence.open_index(ADDRESS)
    assert len(seen) == len(files(local)) - limit
    assert whence.verify_index(index.path).damage == ()


@pytest.mark.parametrize("limit", [0, 1, 4])
def test_an_upload_that_was_killed_leaves_no_index_and_goes_on_where_it_stopped(
    s3, put, local: Path, limit: int
) -> None:
    with uploaded(limit), pytest.raises(KeyboardInterrupt):
        put(local)
    assert MANIFEST not in names(s3)
    with pytest.raises(IndexFormatError, match="is unfinished"):
        whence.open_index(ADDRESS)
    with uploaded() as seen:
        put(local)
    assert len(seen) == len(files(local)) - 1 - limit
    assert names(s3) == files(local)
    assert whence.verify_index(ADDRESS).damage == ()


def test_an_index_whose_replacement_was_killed_is_none(s3, put, local: Path, other: Path) -> None:
    put(local)
    with uploaded(2), pytest.raises(KeyboardInterrupt):
        put(other)
    with pytest.raises(IndexFormatError, match="is unfinished"):
        whence.open_index(ADDRESS)
    put(other)
    assert names(s3) == files(other)
    assert whence.verify_index(ADDRESS).damage == ()


def test_an_object_that_another_has_replaced_is_uploaded_again(s3, put, local: Path) -> None:
    put(local)
    with uploaded() as seen:
        put(local)
    assert seen == []
    size = (local / "gradients.bin").stat().st_size
    s3.pipe_file(f"{FOLDER}/gradients.bin", b"x" * size)
    with pytest.raises(IndexFormatError, match=r"another gradients\.bin than its manifest"):
        whence.open_index(ADDRESS)
    with uploaded() as seen:
        put(local)
    assert seen == [f"{FOLDER}/gradients.bin"]
    assert whence.verify_index(ADDRESS).damage == ()


def test_an_index_that_lacks_an_object_is_one_sentence(s3, put, local: Path) -> None:
    put(local)
    s3.rm_file(f"{FOLDER}/gradients.bin")
    with pytest.raises(IndexFormatError, match=r"lacks gradients\.bin"):
        whence.open_index(ADDRESS)


def test_a_manifest_that_names_files_elsewhere_is_refused(s3, put, local: Path) -> None:
    put(local)
    manifest = json.loads((local / MANIFEST).read_text())
    manifest["files"]["../../out"] = {"bytes": 1, "sha256": ""}
    s3.pipe_file(f"{FOLDER}/{MANIFEST}", json.dumps(manifest).encode())
    s3.pipe_file(f"{FOLDER}/../../out", b"x")
    with pytest.raises(IndexFormatError, match="is damaged"):
        whence.open_index(ADDRESS)


def test_the_empty_objects_that_a_browser_makes_of_folders_do_not_count(
    s3, put, local: Path
) -> None:
    s3.pipe_file(f"{FOLDER}/", b"")
    s3.pipe_file(f"{FOLDER}/data.hf/", b"")
    put(local)
    assert whence.verify_index(ADDRESS).damage == ()


def test_a_folder_with_anything_else_in_it_is_not_replaced(s3, put, local: Path) -> None:
    s3.pipe_file(f"{FOLDER}/thesis.tex", b"mine")
    with pytest.raises(ArtifactError, match="was not made by whence"):
        put(local)
    assert names(s3) == {"thesis.tex"}
    s3.rm_file(f"{FOLDER}/thesis.tex")
    put(local)
    s3.pipe_file(f"{FOLDER}/notes/thesis.tex", b"mine")
    with pytest.raises(ArtifactError, match=r"holds notes/thesis\.tex, which whence did not"):
        put(local)
    assert names(s3) == files(local) | {"notes/thesis.tex"}
    s3.pipe_file("lab/other/manifest.json", json.dumps(_manifest_of("run")).encode())
    with pytest.raises(ArtifactError, match="holds a run, and not the index"):
        buckets.check_address("s3://lab/other", kind="index")
    with pytest.raises(ArtifactError, match="is an object, and no folder"):
        buckets.check_address("s3://lab/other/manifest.json", kind="index")


def _manifest_of(kind: str) -> dict:
    return {"format": 1, "kind": kind, "key": "", "files": {}}


@pytest.mark.parametrize("state", [MANIFEST, MARK])
@pytest.mark.parametrize("inner", ["sub", "data.hf/deep"])
def test_an_index_is_not_built_within_another_one(s3, state: str, inner: str) -> None:
    s3.pipe_file(f"{FOLDER}/{state}", json.dumps(_manifest_of("index")).encode())
    for check in (buckets.check_address, buckets.reserve):
        with pytest.raises(ArtifactError, match=f"lies within the index {ADDRESS}, and would go"):
            check(f"{ADDRESS}/{inner}", kind="index")
    assert names(s3) == {state}


@pytest.mark.parametrize("state", [MANIFEST, MARK])
def test_an_index_that_holds_another_one_is_not_replaced(s3, put, local: Path, state: str) -> None:
    put(local)
    s3.pipe_file(f"{FOLDER}/sub/{state}", json.dumps(_manifest_of("index")).encode())
    with pytest.raises(ArtifactError, match=f"holds another index, {ADDRESS}/sub, which would go"):
        buckets.check_address(ADDRESS, kind="index")
    s3.rm_file(f"{FOLDER}/{MANIFEST}")
    with pytest.raises(ArtifactError, match="was not made by whence"):
        buckets.check_address(ADDRESS, kind="index")


def test_credentials_for_one_folder_alone_suffice(s3, put, local: Path, monkeypatch) -> None:
    read = s3.cat_file

    def refused(path: str, *more, **how):
        if not path.startswith(FOLDER):
            raise PermissionError("Access Denied")
        return read(path, *more, **how)

    with monkeypatch.context() as patched:
        patched.setattr(s3, "cat_file", refused)
        put(local)
    assert whence.verify_index(ADDRESS).damage == ()


def test_a_place_that_is_refused_is_refused_before_any_work(s3) -> None:
    s3.pipe_file(f"{FOLDER}/thesis.tex", b"mine")
    arguments = ("--model", "testbed:nowhere", "--corpus", "nowhere.jsonl")
    with pytest.raises(ArtifactError, match="was not made by whence"):
        run("index", ADDRESS, *arguments)
    with pytest.raises(ArtifactError, match="no bucket 'nowhere'"):
        run("index", "s3://nowhere/idx", *arguments)


def test_a_folder_that_gets_its_first_object_while_it_is_listed_is_no_object(
    s3, put, local: Path, monkeypatch
) -> None:
    look = type(s3)._info

    async def late(self, path, *more, **how):
        if path == FOLDER:
            await self._pipe_file(f"{FOLDER}/{MARK}", json.dumps(_manifest_of("index")).encode())
        return await look(self, path, *more, **how)

    with monkeypatch.context() as patched:
        patched.setattr(type(s3), "_info", late)
        buckets.check_address(ADDRESS, kind="index")
    assert names(s3) == {MARK}


@pytest.mark.parametrize("state", [MANIFEST, MARK])
def test_a_record_that_goes_while_it_is_read_means_that_another_writes(
    s3, monkeypatch, state: str
) -> None:
    s3.pipe_file(f"{FOLDER}/{state}", json.dumps(_manifest_of("index")).encode())
    read = s3.cat_file

    def late(path: str, *more, **how):
        if path == f"{FOLDER}/{state}":
            s3.rm_file(path)
        return read(path, *more, **how)

    with monkeypatch.context() as patched:
        patched.setattr(s3, "cat_file", late)
        with pytest.raises(ArtifactError, match="was changed while it was written"):
            buckets.check_address(ADDRESS, kind="index")


@pytest.mark.parametrize("what", ["posix_fallocate", "fsync"])
def test_a_full_cache_names_whence_cache(
    s3, tiny_files: Path, tmp_path: Path, monkeypatch, what: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, what, full)
        with pytest.raises(ArtifactError, match="No space left on device") as caught:
            build(tiny_files, ADDRESS)
    assert str(tmp_path / "cache") in caught.value.problem
    assert caught.value.remedy == "Free some disk space or name another folder in WHENCE_CACHE."
    assert names(s3) == {MARK}


def test_a_cache_that_cannot_be_written_names_whence_cache(s3, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WHENCE_CACHE", str(tmp_path / "file"))
    with pytest.raises(ArtifactError) as caught:
        run("index", ADDRESS, "--model", "testbed:nowhere", "--corpus", "nowhere.jsonl")
    assert "WHENCE_CACHE" in caught.value.remedy


@pytest.mark.parametrize(
    "flag", [("--shard", "0/2"), ("--missing", "2"), ("--merge",), ("--print-slurm", "2")]
)
def test_shards_of_an_index_in_a_bucket_are_refused(flag: tuple[str, ...]) -> None:
    arguments = ("--model", "testbed:mini", "--corpus", "testbed:mini", *flag)
    with pytest.raises(SettingsError, match=f"`{flag[0]}` needs a file system"):
        run("index", ADDRESS, *arguments)


def test_processes_of_torchrun_do_not_build_into_a_bucket(monkeypatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="`torchrun` needs a file system"):
        run("index", ADDRESS, "--model", "testbed:mini", "--corpus", "testbed:mini")


@pytest.mark.parametrize("place", ["s3://lab", "s3://lab/", "S3://lab/idx", "az://lab/idx"])
def test_what_only_looks_like_an_address_makes_no_folder(
    place: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="is no folder in a bucket"):
        run("index", place, "--model", "testbed:mini", "--corpus", "testbed:mini")
    with pytest.raises(SettingsError, match="is no folder in a bucket"):
        whence.open_index(place)
    with pytest.raises(SettingsError, match="as text and not as a path"):
        whence.open_index(Path(ADDRESS))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "clause"),
    [
        ("s3://nowhere/idx", "no bucket 'nowhere'"),
        ("s3://lab/nowhere", "no index s3://lab/nowhere"),
        ("s3://lab/corpus.jsonl", "is an object, and no folder"),
        ("s3://lab/data", "has no manifest.json, so it is no finished index"),
    ],
)
def test_what_is_no_index_is_one_sentence(s3, address: str, clause: str) -> None:
    s3.pipe_file("lab/corpus.jsonl", lines("a"))
    s3.pipe_file("lab/data/corpus.jsonl", lines("a"))
    with pytest.raises(IndexFormatError, match=clause):
        whence.open_index(address)


def test_a_bucket_that_cannot_have_its_name_is_one_sentence(s3) -> None:
    with pytest.raises(ArtifactError, match=r"no address in a bucket \(.*Invalid bucket name"):
        buckets.check_address("s3://lab:80/idx", kind="index")


def test_wrong_credentials_are_one_sentence(
    server, sessions, put, local: Path, monkeypatch
) -> None:
    import requests

    put(local)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    sessions()
    requests.post(f"{server}/moto-api/reset-auth", data="0", timeout=10)
    try:
        for attempt in (whence.open_index, whence.verify_index):
            with pytest.raises(IndexFormatError, match="may not be read with these credentials"):
                attempt(ADDRESS)
        with pytest.raises(CorpusError, match="may not be read with these credentials"):
            texts_of("s3://lab/corpus.jsonl")
        with pytest.raises(ArtifactError, match="may not be written with these credentials"):
            put(local)
    finally:
        requests.post(f"{server}/moto-api/reset-auth", data="inf", timeout=10)


def test_missing_credentials_are_one_sentence(sessions, monkeypatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    sessions()
    with pytest.raises(IndexFormatError, match="with these credentials"):
        whence.open_index(ADDRESS)


def test_a_server_that_cannot_be_reached_is_one_sentence(sessions, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    sessions()
    with pytest.raises(IndexFormatError, match="its server cannot be reached"):
        whence.open_index(ADDRESS)
    with pytest.raises(ArtifactError, match="its server cannot be reached"):
        buckets.check_address(ADDRESS, kind="index")


def test_a_bucket_that_is_not_there_ends_the_command_with_2_and_no_traceback(s3) -> None:
    code = "from whence.cli import main; main()"
    arguments = ("query", "s3://nowhere/idx", *PROMPT)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "whence: There is no bucket 'nowhere'.\nCheck its name.\n"
