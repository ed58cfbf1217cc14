"""Faults of memorization studies: mistakes that were found only after the scans."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from whence.artifacts import MANIFEST
from whence.errors import ArtifactError, CorpusError, ModelError, SettingsError
from whence.memorization.answers import _early_late
from whence.memorization.early_late import EarlyLate
from whence.memorization.families import FamilyRule
from whence.memorization.prior import PriorCheck
from whence.memorization.record import Attributed, Memorization
from whence.runs.directory import UNFINISHED, open_run
from whence.runs.locating import locate
from whence.runs.memorizing import load_memorization_study, run_memorization
from whence.runs.study import run_study
from whence.settings import load_study
from whence.statistics import Estimate, Interval


@pytest.fixture
def study(memorizing: Path) -> Path:
    return memorizing / "memorization.toml"


def refused(study: Path, old: str, new: str) -> None:
    """Runs a study with a change, and asserts that no window was scanned before it failed."""
    text = study.read_text()
    assert old in text
    study.write_text(text.replace(old, new))
    run = study.parent / "run"
    try:
        run_memorization(load_memorization_study(study), run, base=study.parent, source=study)
    finally:
        assert not list(run.glob("stages/scan*"))


def test_training_from_step_0_on_was_refused_after_the_scans(study: Path) -> None:
    with pytest.raises(SettingsError, match="since"):
        refused(study, "since = 6", "since = 0")


def test_half_a_batch_was_refused_after_the_scans(study: Path) -> None:
    with pytest.raises(SettingsError, match="no whole number of batches of 6"):
        refused(study, "num_examples = 24", "num_examples = 25")


def test_a_model_in_half_precision_was_refused_after_the_scans(study: Path) -> None:
    with pytest.raises(ModelError, match="was loaded in bfloat16"):
        refused(study, 'name = "step12"', 'name = "step12", dtype = "bfloat16"')


def test_a_corpus_that_ends_before_the_checkpoint_was_refused_after_the_scans(study: Path) -> None:
    with pytest.raises(CorpusError, match="30 examples in batches of 6 end before step 6"):
        refused(study, '"copies.jsonl"', '"copies.jsonl", max_documents = 30')


def test_a_sequence_of_another_vocabulary_was_an_index_error(study: Path) -> None:
    tokens = [10**6] * 50
    (study.parent / "other.jsonl").write_text(f'{{"index": 0, "tokens": {tokens}}}\n')
    with pytest.raises(CorpusError, match="the token id 1000000, which is not in a vocabulary"):
        refused(study, "[sequences]", '[sequences]\nsource = "other.jsonl"')


def test_windows_longer_than_the_context_were_refused_after_the_corpus_was_read(
    study: Path,
) -> None:
    with pytest.raises(SettingsError, match=r"longer than the context of .*step12, 128 tokens"):
        refused(study, "num_prompt_tokens = 16", "num_prompt_tokens = 120")
    assert not (study.parent / "run").exists()


def test_a_run_of_behaviors_was_replaced_by_one_of_memorization(study: Path) -> None:
    run = study.parent / "run"
    run_study(load_study(study.parent / "study.toml"), run, base=study.parent)
    before = (run / "manifest.json").read_bytes()
    with pytest.raises(ArtifactError, match="a finished run of a study of behaviors"):
        run_memorization(load_memorization_study(study), run, base=study.parent)
    assert (run / "manifest.json").read_bytes() == before


def test_fewer_than_no_random_examples_were_a_traceback(study: Path) -> None:
    with pytest.raises(SettingsError, match="num_random"):
        refused(study, "num_random = 10", "num_random = -1")


def test_a_run_that_resumed_after_the_training_did_not_list_where_it_began(study: Path) -> None:
    settings, run = load_memorization_study(study), study.parent / "run"
    stages = []
    for _ in range(2):
        run_memorization(settings, run, base=study.parent, source=study)
        stages.append(open_run(run).manifest.stages)
    assert stages[0] == stages[1]


def test_a_list_of_other_lengths_than_64_could_not_be_located(tmp_path: Path) -> None:
    tokens = list(range(20))
    path = tmp_path / "list.jsonl"
    path.write_text(f'{{"index": 7, "tokens": {tokens}}}\n')
    assert locate(7, sequences=str(path)).sequence == tuple(tokens)


def test_a_resumed_study_forgot_the_suffix_array(study: Path) -> None:
    run = study.parent / "run"

    def stages() -> dict[str, str]:
        run_memorization(load_memorization_study(study), run, base=study.parent, source=study)
        return dict(open_run(run).manifest.stages)

    whole = stages()
    (run / MANIFEST).rename(run / UNFINISHED)  # As a kill before the last write leaves it.
    assert stages() == whole


def outcome(name: str, *, difference: float, slope: tuple[float, float]) -> EarlyLate:
    """An outcome whose difference is shown by shuffles and without any one family."""
    value = Estimate(difference, None, 12)
    return EarlyLate(
        outcome=name,
        early=value,
        late=value,
        difference=difference,
        matched=Estimate(None, None, 0),
        slope=Estimate(sum(slope) / 2, Interval(*slope, 30), 30),
        placebo_p=0.001,
        left_out=(difference / 2, 2 * difference),
        carried_by=7,
        num_families=12,
    )


def test_a_slope_that_contradicts_the_difference_counted_as_agreement() -> None:
    more_early, fewer_early = 0.5, -0.5
    assert outcome("x", difference=more_early, slope=(-0.3, -0.1)).is_told
    assert outcome("x", difference=fewer_early, slope=(0.1, 0.3)).is_told
    assert not outcome("x", difference=more_early, slope=(0.1, 0.3)).is_told
    assert not outcome("x", difference=fewer_early, slope=(-0.3, -0.1)).is_told


def early_late_answer(*by_rule: EarlyLate) -> str:
    rules: tuple[FamilyRule, ...] = ("window-13", "jaccard-30", "jaccard-80")
    attributed = Attributed(
        pool="",
        top_k=10,
        num_targets=(),
        matching=(),
        shares=(),
        differences=(),
        own_ranks=(),
        copy_scores=(),
        early_late=tuple((rule, (one,)) for rule, one in zip(rules, by_rule, strict=True)),
        early_until=100,
    )
    found = SimpleNamespace(attributed=attributed, agreements=())
    answer = _early_late(cast(Memorization, found))
    return f"{answer.verdict}: {answer.short}"


def test_one_outcome_by_one_definition_and_another_by_the_next_were_one_difference() -> None:
    one, other, reverse = (
        outcome("near copies", difference=0.5, slope=(-0.3, -0.1)),
        outcome("share of exact copies, bm25", difference=0.5, slope=(-0.3, -0.1)),
        outcome("near copies", difference=-0.5, slope=(0.1, 0.3)),
    )
    assert early_late_answer(one, one, one) == (
        "told: They do, in one outcome by every definition of a family."
    )
    not_by_all = "cannot be told: Some outcomes differ, but not by every definition of a family."
    assert early_late_answer(one, other, one) == not_by_all
    assert early_late_answer(one, one, reverse) == not_by_all


def test_no_outcome_differed_where_none_could_be_judged() -> None:
    unknown = outcome("near copies", difference=0.5, slope=(-0.3, -0.1))._replace(
        slope=Estimate(-0.2, None, 4), placebo_p=None, num_families=4
    )
    assert early_late_answer(*[unknown] * 3) == "cannot be told: No outcome could be judged."


def test_windows_of_one_licence_counted_as_independent_in_the_share_of_common_text() -> None:
    """Three licences with a hundred windows each are three families."""
    unrelated = np.repeat([-1.0, -50.0, -50.0], 100)
    ids = tuple(str(place) for place in range(300))
    found = PriorCheck(ids, np.zeros(300), unrelated, 16)
    share = found.share_of_common(np.repeat([0, 1, 2], 100).tolist())
    assert share.value == pytest.approx(1 / 3)
    assert share.interval == (0, 1, 300)
