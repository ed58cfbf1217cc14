"""What the page says about a method."""

from whence.methods import find_method, is_method
from whence.records import Scores
from whence.report.encode import jsonable
from whence.report.schema import Method
from whence.report.sentences import method_label
from whence.report.wording import method_wording


def method_record(scores: Scores) -> Method:
    """Describes the method behind some scores, by what they say of themselves."""
    wording = method_wording(scores)
    return Method(
        name=scores.method,
        label=method_label(scores.method),
        about=wording.about,
        family=wording.family,
        is_baseline=wording.family == "baseline",
        is_sum=is_method(scores.method) and bool(find_method(scores.method).terms(scores.settings)),
        higher_means=scores.higher_means,
        settings=jsonable(scores.settings),
        seconds=scores.seconds,
    )
