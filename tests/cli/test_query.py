"""`whence query` verifies, remarks on spaces, and lists searches beside the gradients; whole."""

import json
from pathlib import Path

import pytest

from whence.cli import make_app

PROMPT = ("--prompt", "the capital of france is")


@pytest.fixture(scope="module")
def index(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("query") / "idx"
    corpus = str(tiny_files / "corpus.jsonl")
    run("index", str(place), "--model", str(tiny_files / "model"), "--corpus", corpus)
    return place


def run(*arguments: str) -> None:
    make_app()(
        list(arguments), exit_on_error=False, print_error=False, result_action="return_value"
    )


def test_the_verdict_comes_first_and_bm25_beside(index: Path, capsys) -> None:
    run("query", str(index), *PROMPT, "--completion", " paris", "--top-k", "2")
    text = capsys.readouterr().out
    assert text.startswith("Shown: The completion ")
    assert text.index("Proponents by gradient_cosine") < text.index("Proponents by bm25")
    assert "Opponents by bm25" not in text
    assert "exactly one space" not in text


def test_a_missing_space_is_remarked_on_before_the_lists(index: Path, capsys) -> None:
    run("query", str(index), *PROMPT, "--completion", "paris")
    text = capsys.readouterr().out
    assert text.startswith("Not shown: ")
    assert text.index('Write the completion " paris"') < text.index("Proponents")


def test_json_has_the_verdict_the_notes_and_every_list(index: Path, capsys) -> None:
    arguments = (*PROMPT, "--completion", "paris", "--beside", "bm25", "--beside", "embedding")
    run("query", str(index), *arguments, "--json")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["verification"]["verdict"] == "not shown"
    assert len(found["notes"]) == 1
    assert set(found["beside"]) == {"bm25", "embedding"}
    assert found["beside"]["bm25"]["proponents"][0]["rank"] == 1
    assert found["proponents"]
    assert index.with_name("idx.states").is_dir()


def test_an_approximate_search_has_its_verdict_and_searches_too(index: Path, capsys) -> None:
    run("query", str(index), *PROMPT, "--completion", " paris", "--approximate", "--json")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["verification"]["verdict"] == "shown"
    assert found["proponents"]
    assert set(found["beside"]) == {"bm25"}


def test_verify_prints_every_reason_whole(tiny_files: Path, capsys) -> None:
    run("verify", str(tiny_files / "behaviors.toml"), "--model", str(tiny_files / "model"))
    text = capsys.readouterr().out
    run(
        *("verify", str(tiny_files / "behaviors.toml"), "--model", str(tiny_files / "model")),
        "--json",
    )
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["verifications"]
    assert "…" not in text
    for one in found:
        assert " ".join(one["reason"].split()) in " ".join(text.split())
