"""The table of kinds is the only place that knows them."""

from typing import get_args

import pytest

from whence.behaviors import discover as discover_module
from whence.behaviors.generate import Continuation
from whence.behaviors.judges import Judge
from whence.behaviors.kinds import (
    DISCOVERABLE,
    KINDS,
    LABELS,
    RULES,
    VERDICTS,
    Observations,
    Samples,
    needs_texts,
)
from whence.behaviors.readings import Reading, Readings
from whence.behaviors.verdicts import Hits
from whence.errors import SettingsError
from whence.records import Behavior, Measured, Verdict
from whence.settings import BehaviorFile, CorpusSettings, Kind, ModelSettings


def test_every_kind_has_one_row_in_the_order_of_the_settings():
    assert tuple(RULES) == KINDS == get_args(Kind) == BehaviorFile(file="f").kinds
    assert tuple(LABELS) == KINDS
    assert len(set(LABELS.values())) == len(KINDS)
    assert get_args(Verdict) == VERDICTS


def _observations(*, rank: int = 1) -> Observations:
    """Everything is measured, and by itself each measurement would decide otherwise."""
    likely = Measured(("x",), (-0.1,), (rank,))
    readings = Readings((Reading(likely, ()),), ())
    return Observations(
        readings=readings,
        initial=None,
        lead=None,
        initial_lead=None,
        continuation=Continuation((1, 2), 1.0),
        extraction=0.5,
        judge=Judge("yes", lambda texts: [True] * len(texts), 0.0, None),
        no_judge=None,
        samples=Samples(Hits(0, 25), Hits(0, 25), "text"),
        initial_samples=None,
        confidence=0.95,
    )


def test_the_kind_and_not_what_was_measured_selects_the_rule():
    verdicts = {kind: rule.conclude(_observations(), rule).verdict for kind, rule in RULES.items()}
    assert verdicts == {
        "fact": "shown",
        # Nothing stands against it.
        "stereotype": "not shown",
        "memorized": "weak",
        "toxic": "not shown",
        "style": "not shown",
    }


def test_only_kinds_with_a_discoverer_can_be_looked_for(tmp_path):
    from whence.cli.discover import discover
    from whence.runs.discover import discover_behaviors

    choices = get_args(get_args(discover.__annotations__["kinds"])[0])
    assert choices == DISCOVERABLE == ("memorized", "style")
    assert RULES["style"].discover is discover_module.find_styles
    with pytest.raises(SettingsError, match="kind fact cannot be found in documents"):
        discover_behaviors(
            ModelSettings(name="m"),
            CorpusSettings(source="c"),
            tmp_path / "out.toml",
            kinds=["fact"],
            num=1,
        )


def test_only_a_style_needs_texts_for_its_judge():
    behaviors = {
        kind: Behavior.model_validate({"id": kind, "kind": kind, "completion": "x"})
        for kind in KINDS
    }
    assert [kind for kind in KINDS if needs_texts([behaviors[kind]])] == ["style"]
    assert needs_texts(behaviors.values())
