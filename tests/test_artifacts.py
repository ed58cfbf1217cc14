"""A directory that has its final name is whole, whatever happens while it is filled."""

import json
from pathlib import Path

import pytest

from whence import artifacts
from whence.errors import ArtifactError


def test_an_interrupted_build_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        artifacts.building(tmp_path / "a", kind="t", inputs={"x": 1}) as partial,
    ):
        (partial / "half").write_text("half")
        raise KeyboardInterrupt
    assert not (tmp_path / "a").exists()


def test_a_build_with_the_same_inputs_resumes_and_with_others_starts_anew(tmp_path: Path) -> None:
    def interrupt(inputs: dict[str, int]) -> bool:
        with (
            pytest.raises(KeyboardInterrupt),
            artifacts.building(tmp_path / "a", kind="t", inputs=inputs, resume=True) as partial,
        ):
            block = artifacts.progress_directory(partial) / "block"
            found = block.exists()
            block.write_text("done")
            raise KeyboardInterrupt
        return found

    assert [interrupt({"x": 1}), interrupt({"x": 1}), interrupt({"x": 2})] == [False, True, False]


def test_the_manifest_names_inputs_versions_and_details(tmp_path: Path) -> None:
    with artifacts.building(tmp_path / "a", kind="t", inputs={"x": 1}) as partial:
        artifacts.write_json(partial / "details.json", {"found": 3})
    manifest = artifacts.read_manifest(tmp_path / "a")
    assert (manifest.inputs, manifest.details) == ({"x": 1}, {"found": 3})
    assert "python" in manifest.versions
    assert artifacts.is_current(tmp_path / "a", kind="t", inputs={"x": 1})
    assert not artifacts.is_current(tmp_path / "a", kind="t", inputs={"x": 2})
    assert not artifacts.is_current(tmp_path / "a", kind="other", inputs={"x": 1})


def test_a_finished_artifact_is_replaced_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    with artifacts.building(tmp_path / "a", kind="t", inputs={"x": 1}) as partial:
        (partial / "old").write_text("old")
    with (
        pytest.raises(ValueError, match="broken"),
        artifacts.building(tmp_path / "a", kind="t", inputs={"x": 2}),
    ):
        raise ValueError("broken")
    assert (tmp_path / "a" / "old").read_text() == "old"


def test_a_directory_of_someone_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("years of work")
    with (
        pytest.raises(ArtifactError, match="was not made by whence"),
        artifacts.building(tmp_path / "theirs", kind="t", inputs={}),
    ):
        pass
    assert (tmp_path / "theirs" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "cannot be read"), ("[]", "not a manifest"), (None, "not a finished")],
)
def test_a_broken_manifest_is_one_clear_sentence(
    tmp_path: Path, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / artifacts.MANIFEST).write_text(content)
    with pytest.raises(ArtifactError, match=said):
        artifacts.read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        *((name, None, f"'{name}' is missing") for name in ("kind", "key", "inputs", "started")),
        ("seconds", "long", "`seconds` is of the type str"),
        ("details", [1], "`details` is of the type list"),
        ("files", [], "`files` is of the type list"),
        ("files", {"a": {"bytes": -1, "sha256": "0"}}, "-1 is no number of bytes"),
        ("files", {"a": {"bytes": 1}}, "'sha256' is missing"),
        ("files", {"a": 1}, "not subscriptable"),
    ],
)
def test_a_manifest_with_a_missing_or_odd_field_is_one_sentence_with_its_path(
    tmp_path: Path, name: str, value: object, said: str
) -> None:
    with artifacts.building(tmp_path / "a", kind="t", inputs={}):
        pass
    path = tmp_path / "a" / artifacts.MANIFEST
    values = json.loads(path.read_text())
    values[name] = value
    if value is None:
        del values[name]
    path.write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match=said) as caught:
        artifacts.read_manifest(tmp_path / "a")
    assert str(path) in caught.value.problem
    assert not artifacts.is_current(tmp_path / "a", kind="t", inputs={})


def test_the_shipped_manifest_of_the_testbed_which_lists_no_files_is_read() -> None:
    from whence.testbed.tables import DATA

    found = artifacts.read_manifest(Path(str(DATA)) / "mini")
    assert (found.kind, found.inputs["size"], found.files) == ("testbed-checkpoints", "mini", None)


def test_a_full_disk_is_one_clear_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(ArtifactError, match=r"cannot be written \(No space left on device\)"),
        artifacts.building(tmp_path / "a", kind="t", inputs={}),
    ):
        raise OSError(28, "No space left on device")
    assert not (tmp_path / "a").exists()


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        artifacts.write_json(tmp_path / "x.json", {"x": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_the_fingerprint_depends_on_content_and_not_on_the_order_of_keys() -> None:
    assert artifacts.fingerprint({"a": 1, "b": 2}) == artifacts.fingerprint({"b": 2, "a": 1})
    assert artifacts.fingerprint("ab", "c") != artifacts.fingerprint("a", "bc")
    assert artifacts.fingerprint(json.dumps({})) != artifacts.fingerprint({"a": 1})
