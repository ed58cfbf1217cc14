"""What the page says about a method."""

from collections.abc import Mapping
from typing import NamedTuple

from whence.records import Scores
from whence.report.encode import jsonable
from whence.report.schema import Method
from whence.report.wording import method_wording


class _Claims(NamedTuple):
    """What a positive and a negative score claim."""

    proponents: str
    opponents: str


_CLAIMS: Mapping[str, _Claims] = {
    "gradient": _Claims(
        "Training on these lowers the query's loss, to first order.",
        "Training on these raises the query's loss, to first order.",
    ),
    "baseline": _Claims(
        "The highest scores of a baseline: no gradient is behind them.",
        "The most negative scores of a baseline.",
    ),
}
_NO_CLAIM = _Claims("The highest scores.", "The most negative scores.")


def method_record(scores: Scores) -> Method:
    """Describes the method behind some scores; of an unknown family nothing is claimed."""
    wording = method_wording(scores.method, scores.orientation)
    claims = _CLAIMS.get(wording.family, _NO_CLAIM)
    return Method(
        name=scores.method,
        about=wording.about,
        family=wording.family,
        is_baseline=wording.family == "baseline",
        proponents=claims.proponents,
        opponents=claims.opponents,
        orientation=scores.orientation,
        settings=jsonable(scores.settings),
        seconds=scores.seconds,
    )
