"""`whence find` on a run and on a corpus: right counts, safe output, nothing claimed of absence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from whence.artifacts import read_manifest_json
from whence.cli.find import find
from whence.errors import ArtifactError, SettingsError

MODEL = {"model": "model", "corpus": "corpus.jsonl"}
Ask = Callable[..., dict]


@pytest.fixture(scope="module")
def finished(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run `done` of the tiny study; read only."""
    from whence.api import run

    folder = Path(shutil.copytree(tiny_files, tmp_path_factory.mktemp("find") / "tiny"))
    study = folder / "study.toml"
    study.write_text(study.read_text() + '[attribution]\nmethods = ["bm25"]\n')
    run(study, folder / "done")
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(shutil.copytree(finished, tmp_path / "tiny"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def ask(place: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    def asked(text: str, directory: str = "done", **flags: object) -> dict:
        find(text, Path(directory), json=True, **flags)  # pyright: ignore
        return json.loads(capsys.readouterr().out)

    return asked


def lines(place: Path) -> list[dict]:
    return [json.loads(line) for line in (place / "corpus.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("text", ["the capital", "the", "france", " is", "saw a", "nobody"])
def test_counts_are_those_of_the_texts(text: str, ask: Ask, place: Path) -> None:
    found = ask(text, limit=100)
    words = text.split()
    texts = [row["text"].split() for row in lines(place)]
    count = [
        sum(t[i : i + len(words)] == words for i in range(len(t)) if text[0] != " " or i)
        for t in texts
    ]
    assert found["occurrences"] == sum(count)
    assert [p["row"] for p in found["places"]] == [r for r, n in enumerate(count) for _ in range(n)]
    assert all(p["match"].split() == words for p in found["places"])
    subsets = {part["subset"]: part["documents"] for part in found["subsets"]}
    assert subsets == {
        name: n
        for name in ("facts", "filler", "passage")
        if (n := sum(count[r] > 0 and row["subset"] == name for r, row in enumerate(lines(place))))
    }


def test_a_text_is_found_as_given_and_after_a_space(ask: Ask) -> None:
    found = ask("france", limit=3)
    assert {form["form"]: form["documents"] for form in found["forms"]} == {
        "as given": 1,
        "after a space": 2,
    }
    assert [form["form"] for form in ask(" france")["forms"]] == ["as given"]


def test_a_finished_run_gets_the_array_once_and_stays_as_it_was(ask: Ask, place: Path) -> None:
    before = read_manifest_json(place / "done")
    ask("france")
    after = read_manifest_json(place / "done")
    added = {"suffix-array": after["stages"]["suffix-array"]}
    assert after["stages"] == {**before["stages"], **added}
    assert after["key"] == before["key"]
    ask("spain")
    assert read_manifest_json(place / "done") == after


def test_the_array_goes_with_the_corpus_that_it_is_about(ask: Ask, place: Path) -> None:
    from whence.api import run

    study = place / "study.toml"
    run(study, place / "done")
    ask("france")
    run(study, place / "done")
    assert "suffix-array" in read_manifest_json(place / "done")["stages"]
    with (place / "corpus.jsonl").open("a") as file:
        file.write(json.dumps({"id": "new", "text": "the ship saw france", "subset": None}) + "\n")
    run(study, place / "done")
    assert "suffix-array" not in read_manifest_json(place / "done")["stages"]
    found = ask("saw france", limit=1)
    assert [p["id"] for p in found["places"]] == ["new"]


def test_a_corpus_without_a_run_is_kept_and_read_again(ask: Ask, place: Path) -> None:
    first = ask("the capital", "kept", **MODEL)
    stages = sorted(path.name for path in (place / "kept" / "stages").iterdir())
    assert [name.split("-")[0] for name in stages] == ["corpus", "model.own", "suffix"]
    again = ask("the capital", "kept", **MODEL)
    assert {**first, "seconds": 0} == {**again, "seconds": 0}
    assert first["occurrences"] == ask("the capital")["occurrences"]


def test_token_ids_are_found_as_they_stand(ask: Ask) -> None:
    tokens = ask("the capital of")["forms"][0]["tokens"]
    for text in (" ".join(map(str, tokens)), str(tokens)):
        found = ask(text, ids=True)
        assert found["forms"][0]["tokens"] == tokens
        assert found["occurrences"] == ask("the capital of")["forms"][0]["occurrences"]


def test_what_is_not_found_is_not_called_absent(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    find("the capital of france saw", Path("done"))
    said = capsys.readouterr().out
    assert said.startswith("Not found in 23 documents")
    assert "does not mean absent from the training data" in said
    # The tiny tokenizer decodes with two spaces.
    longest = (
        "The longest part that occurs: 'the capital of france' (4 tokens), 1 time in 1 document."
    )
    assert longest in " ".join(said.split())


def test_steps_are_told_where_they_are_known(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    find("france", Path("done"))
    assert "No document that holds it has a training step." in capsys.readouterr().out
    rows = [{**row, "step": 1 + i // 4} for i, row in enumerate(lines(place))]
    (place / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    find("france", Path("kept"), model="model", corpus="steps.jsonl", before_step=1)
    said = capsys.readouterr().out
    assert "Training steps 1 to 1. Before step 1: 0 occurrences in 0 documents." in said


def test_escapes_in_text_and_corpus_move_no_cursor(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": "a\x1b[2J", "text": "the dog saw a cat", "subset": "\x1b]0;x\x07"}]
    (place / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for text in ("the dog", "dog \x1b[31m"):
        for json_line in (False, True):
            find(text, Path("odd"), model="model", corpus="odd.jsonl", json=json_line)
            said = capsys.readouterr().out
            assert "\x1b" not in said
            assert "\x07" not in said


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ("", {}, "no text"),
        ("france", {"limit": -1}, "-1"),
        ("a b", {"ids": True}, "'a' is no token id"),
        ("", {"ids": True}, "'' is no token id"),
        ("-1", {"ids": True}, "'-1' is no token id"),
        ("x", {"model": "model"}, "no `--corpus` is named"),
        ("x", {"corpus": "corpus.jsonl"}, "no `--model` is named"),
        ("x", {"revision": "step3"}, "--revision"),
        ("x", MODEL, "is a finished run"),
    ],
)
def test_a_mistake_is_refused(text: str, flags: dict, message: str, place: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        find(text, Path("done"), **flags)


def test_a_place_without_a_run_is_refused_and_not_made(place: Path) -> None:
    with pytest.raises(ArtifactError, match=r"Name a finished run, or a corpus"):
        find("x", Path("nowhere"))
    assert not Path("nowhere").exists()


def test_another_tokenizer_in_the_model_s_place_is_refused(place: Path) -> None:
    path = place / "model" / "tokenizer.json"
    rules = json.loads(path.read_text())
    vocabulary = rules["model"]["vocab"]
    one, other = list(vocabulary)[5:7]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    path.write_text(json.dumps(rules))
    with pytest.raises(ArtifactError, match="is not the one that the corpus was tokenized with"):
        find("france", Path("done"))
