"""A memorization study: one command, resumed without work, refused in one sentence."""

import html
from dataclasses import replace
from pathlib import Path

import pytest

import whence
from whence.errors import ArtifactError, ModelError, SettingsError
from whence.memorization.answers import answers
from whence.memorization.record import Memorization
from whence.memorization.settings import MemorizationStudy
from whence.memorization.tables import describe, summarize
from whence.report.memorization import write_memorization_page
from whence.runs.memorizing import load_memorization, load_memorization_study, run_memorization
from whence.settings import ModelSettings, parse

STUDY = """
title = "nano"
model = { name = "testbed:nano" }
corpus = { source = "testbed:nano" }
[checkpoints]
steps = [0, 128]
dense_steps = [256]
[targets]
attribution_steps = [0]
per_family = 1
[pool]
num_random = 40
num_weak = 10
[causes]
step_checkpoints = [128]
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memorization") / "study.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def run(study: Path) -> tuple[Path, Memorization]:
    directory = study.parent / "run"
    settings = load_memorization_study(study)
    return directory, run_memorization(settings, directory, base=study.parent, source=study)


def test_planted_passages_are_found_memorized(run: tuple[Path, Memorization]) -> None:
    _, found = run
    by_subset = {name: hits for name, hits, _ in found.checkpoints[-1].by_subset}
    assert found.num_memorized == by_subset["notices"] > 100
    assert [one.step for one in found.checkpoints] == [0, 128, 488]
    # The dense checkpoint tells onsets apart that the others do not.
    stable = next(one for one in found.onsets if one.definition == "stable")
    assert {step for step, _ in stable.by_step} <= {0, 128, 256, 488}
    assert 256 in dict(stable.by_step)
    assert sum(num for _, num in stable.by_step) == found.num_memorized
    recited = {at.threshold: at.kinds[0].num_windows for at in found.taxonomy}
    assert recited[6] >= recited[10] > 0


def test_exact_copies_are_first_by_gradients_of_any_model(
    run: tuple[Path, Memorization],
) -> None:
    attributed = run[1].attributed
    assert attributed is not None
    for method in ("cosine untrained", "cosine 488", "bm25"):
        share = attributed.share(method, "memorized", "examples", "exact")
        assert share is not None
        assert share.value == pytest.approx(1.0)
    chance = attributed.share("random", "memorized", "examples", "exact")
    assert chance is not None
    assert chance.value is not None
    assert chance.value < 0.1
    steps = run[1].causes.steps
    assert [one.step for one in steps] == [128, 488]
    first = dict(steps[0].classes)
    assert (first["exact"].value or 0) > 10 * abs(first["rest"].value or 0)


def test_answers_and_tables_are_written(run: tuple[Path, Memorization]) -> None:
    found = run[1]
    questions = [one.question for one in answers(found)]
    assert len(questions) == len(set(questions)) == 4
    assert all(one.short for one in answers(found))
    text = summarize(found) + describe(found)
    assert "nan" not in text.split()
    early = answers(found)[1]
    # Five families tell nothing.
    assert early.verdict == "cannot be told"


def test_the_page_shows_every_text_as_text_and_runs_nothing(
    run: tuple[Path, Memorization], tmp_path: Path
) -> None:
    directory, found = run
    page = (directory / "index.html").read_text(encoding="utf-8")
    for one in answers(found):
        for text in (one.question, one.short, *one.points):
            assert html.escape(text) in page
    hostile = "<script>alert(1)</script> & \x1b[31m \u202e"
    bad = replace(found, model=hostile, corpus="</pre><img src=x onerror=alert(1)>")
    path = write_memorization_page(bad, hostile, tmp_path / "page.html")
    text = path.read_text(encoding="utf-8")
    for part in ("<script", "<img", "\x1b", "\u202e", "onerror=alert(1)>"):
        assert part not in text
    assert "&lt;script&gt;" in text
    assert text.count('role="img"') == text.count("<svg") > 3


def test_commands_know_a_run_of_memorization(run: tuple[Path, Memorization]) -> None:
    directory, found = run
    (listed,) = whence.list_runs(directory)
    assert (listed.state, listed.title, listed.model) == ("finished", "nano", found.model)
    assert whence.write_report(directory) == directory / "index.html"
    with pytest.raises(ArtifactError, match="has no behaviors"):
        whence.show(directory, "fact/capital-france")
    assert whence.find(" the", directory).counts.num_documents > 10


def test_a_second_run_makes_nothing_again(
    run: tuple[Path, Memorization], study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whence.runs import opening

    def refuse(settings: ModelSettings, **_: object) -> None:
        raise AssertionError(f"{settings.name} was loaded")

    monkeypatch.setattr(opening, "open_model", refuse)
    directory, first = run
    settings = load_memorization_study(study)
    again = run_memorization(settings, directory, base=study.parent, source=study)
    assert again == first
    assert load_memorization(directory) == first
    assert whence.load_memorization(directory) == first


def test_a_run_of_behaviors_is_no_memorization_study(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        load_memorization(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checkpoints": {"steps": [128, 0]}}, "steps ascend"),
        ({"targets": {"attribution_steps": [7]}}, "names step 7"),
        ({"causes": {"since": 8}, "checkpoints": {"steps": [8]}}, "needs the table `recipe`"),
        ({"causes": {"since": 0}, "checkpoints": {"steps": [0]}, "recipe": {}}, "since"),
        (
            {
                "causes": {"since": 8, "num_examples": 20},
                "checkpoints": {"steps": [8]},
                "recipe": {"batch_size": 16},
            },
            "no whole number of batches of 16",
        ),
        ({"checkpoints": {"name": "x", "steps": [0]}}, "where the step stands"),
        ({"sequences": {"num_prompt_token": 3}}, "unknown setting"),
        ({"sequences": {"controls": "x.jsonl"}}, "`controls` belongs to a published list"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, object], message: str) -> None:
    values: dict[str, object] = {
        "title": "x",
        "model": {"name": "testbed:nano"},
        "corpus": {"source": "testbed:nano"},
        **change,
    }
    with pytest.raises(SettingsError, match=message):
        parse(MemorizationStudy, values, where="study.toml")


def test_a_checkpoint_after_the_model_is_refused(tmp_path: Path) -> None:
    study = MemorizationStudy.model_validate(
        {
            "title": "x",
            "model": {"name": "testbed:nano", "revision": "step128"},
            "corpus": {"source": "testbed:nano"},
            "checkpoints": {"steps": (256,)},
        }
    )
    with pytest.raises(SettingsError, match="step 256"):
        run_memorization(study, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_checkpoint_is_named_before_any_work(tmp_path: Path) -> None:
    study = MemorizationStudy.model_validate(
        {
            "title": "x",
            "model": {"name": "testbed:nano"},
            "corpus": {"source": "testbed:nano"},
            "checkpoints": {"steps": (0,), "name": f"{tmp_path}/step{{step}}"},
        }
    )
    with pytest.raises(ModelError, match=r"no checkpoint .*step0"):
        run_memorization(study, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_memorized_nothing_has_an_answer(tmp_path: Path) -> None:
    study = MemorizationStudy.model_validate(
        {
            "title": "x",
            "model": {"name": "testbed:nano", "revision": "step0"},
            "corpus": {"source": "testbed:nano"},
        }
    )
    found = run_memorization(study, tmp_path / "run")
    assert found.num_memorized == 0
    assert {one.verdict for one in answers(found)} <= {"not measured", "told"}
    assert "0 of 935 windows" in summarize(found)
    assert describe(found)
