"""The sentence that answers: it claims an effect only where the interval excludes zero."""

import pytest

from whence.memorization.answers import _of_twins, _percent
from whence.memorization.dose import DoseBin
from whence.memorization.record import Causes
from whence.memorization.twin_effects import CONTRASTS, Effect, TwinEffects
from whence.statistics import Estimate, Interval

UP, DOWN, UNTOLD = Interval(0.1, 0.9, 12), Interval(-0.9, -0.1, 12), Interval(-1.0, 1.0, 12)


def twins(**intervals: Interval) -> TwinEffects:
    """Effects that are not told from zero, but for those named."""
    found = {name: intervals.get(name.replace(" ", "_"), UNTOLD) for name in CONTRASTS}
    effects = [
        Effect(name, Estimate((i.low + i.high) / 2, i, 12), (), None) for name, i in found.items()
    ]
    return TwinEffects(tuple(effects), Estimate(1.0, None, 12), Estimate(0.5, None, 12))


def short(num_families: int = 12, **intervals: Interval) -> str:
    causes = Causes(
        steps=(),
        twins=twins(**intervals),
        twin_families=num_families,
        twin_step=100,
        twin_num_steps=50,
    )
    assert causes.twins is not None
    return " ".join(_of_twins(causes, causes.twins))


def test_only_classes_that_help_alone_are_named() -> None:
    both = {"removing_both": UP}
    assert short(**both) == "told By copies; which of them cannot be told."
    assert short(**both, exact_alone=UP).startswith(
        "told By exact copies; near copies alone cannot be told"
    )
    assert short(**both, near_alone=UP).startswith(
        "told By near copies; exact copies alone cannot be told"
    )
    alone = {**both, "exact_alone": UP, "near_alone": UP}
    assert short(**alone).endswith("near copies; which of the two does more cannot be told.")
    assert short(**alone, exact_minus_near=UP).endswith("near copies; exact ones do more.")
    assert short(**alone, exact_minus_near=DOWN).endswith("near copies; near ones do more.")
    assert ", and either stands in for the other;" in short(**alone, interaction=DOWN)
    assert "stands in" not in short(**alone, interaction=UP)


def test_nothing_is_told_without_an_effect_or_with_too_few_families() -> None:
    assert short(exact_alone=UP).startswith("cannot be told Training without the copies")
    assert short(num_families=5, removing_both=UP).startswith("cannot be told 5 families")


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100 %"), (0.9996, "100 %"), (0.125, "12.5 %"), (0.0004, "0.04 %")]
)
def test_shares_are_written_without_an_exponent(share: float, text: str) -> None:
    whole = Estimate(share, None, 1)
    assert _percent(DoseBin(1, 1, whole, whole, 1)) == text
