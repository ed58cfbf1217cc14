"""A new method is what it states of itself: no other file knows it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.report.unpacked import unpacked

from whence.artifacts import read_manifest
from whence.methods import METHODS, Products
from whence.methods.contract import MethodInputs, MethodResult, from_pass
from whence.methods.requests import Context, Models, OwnPass
from whence.records import PairScores
from whence.runs.directory import open_run
from whence.runs.record import load_run
from whence.runs.study import run_study
from whence.settings import NoSettings, StudySettings, load_study


@dataclass(frozen=True)
class SharedTokens(OwnPass):
    """Counts the tokens that a query's completion and an example share."""

    least: int

    @property
    def label(self) -> str:
        return "shared_tokens"

    @property
    def uses_engine(self) -> bool:
        return False

    def num_passes(self, *, num_queries: int) -> int:
        return 1

    def check(self, models: Models) -> None:
        pass

    def inputs(self, context: Context) -> Mapping[str, Any]:
        return {"least": self.least}

    def compute(self, context: Context) -> PairScores:
        examples = [set(context.corpus.input_ids(row)) for row in range(len(context.corpus))]
        wanted = [set(query.terms[0].input_ids) for query in context.queries]
        counts = [[len(one & other) for other in examples] for one in wanted]
        values = np.array(counts, dtype=np.float32)
        values[values < self.least] = np.nan
        ids = tuple(query.id for query in context.queries)
        return PairScores(ids, context.corpus.ids, values, {"least": self.least}, 0.5)


def _product(inputs: MethodInputs, own: NoSettings) -> MethodResult:
    return MethodResult(np.sign(inputs.result(Products()).dots), {})


def _shared(inputs: MethodInputs, own: NoSettings) -> MethodResult:
    return from_pass(inputs.result(SharedTokens(1)))


NEW = [
    replace(
        METHODS["gradient_dot"],
        name="gradient_sign",
        compute=_product,
        about="The sign alone.",
        higher_means="the sign is positive",
    ),
    replace(
        METHODS["bm25"],
        name="shared_tokens",
        compute=_shared,
        needs=lambda settings: (SharedTokens(1),),
        about="Tokens in common.",
        higher_means="more tokens are shared",
    ),
]


def test_a_new_method_runs_from_study_to_page(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for method in NEW:
        monkeypatch.setitem(METHODS, method.name, method)  # pyright: ignore[reportArgumentType]
    names = ("gradient_dot", "gradient_sign", "shared_tokens", "shared_tokens_centered")
    study = load_study(tiny / "study.toml").model_dump() | {"attribution": {"methods": names}}
    run = run_study(StudySettings.model_validate(study), tiny / "run", base=tiny)
    record = load_run(run.directory)
    assert [scores.method for scores in record.scores] == list(names)
    dots, signs, shared, _ = record.scores
    np.testing.assert_array_equal(signs.values, np.sign(dots.values))
    assert (signs.family, shared.family) == ("gradient", "text")
    assert shared.settings == {"least": 1}
    place = open_run(run.directory).find("pass/shared_tokens")
    assert place is not None
    np.testing.assert_array_equal(np.load(place / "scores.npy"), shared.values)
    assert read_manifest(place).inputs["least"] == 1
    assert record.plan is not None
    assert "final, shared_tokens" in record.plan.reason
    page = json.dumps(unpacked(run.page), ensure_ascii=False)
    for method in NEW:
        assert method.about in page
        assert method.higher_means in page
