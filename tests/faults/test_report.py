"""One test per fault that was found in the page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.report.conftest import plausible

from whence.report import write_page
from whence.report.plots import mean_over


@pytest.mark.parametrize("ends", [(1, 1.0000001), (3e38, -3e38), (2, 2), (3e38, 3e38)])
def test_the_page_died_on_scores_that_numpy_cannot_put_into_bins(
    ends: tuple[float, float], tmp_path: Path
) -> None:
    record = plausible(per_kind=1, num_examples=12, methods=("bm25",), verdicts=("shown",))
    values = np.full_like(record.scores[0].values, ends[0])
    values[:, ::2] = ends[1]
    scores = (replace(record.scores[0], values=values),)
    assert write_page(replace(record, scores=scores), tmp_path / "index.html").is_file()


def test_four_styles_had_an_interval_where_the_caption_said_that_six_are_needed() -> None:
    shares = [0.1, 0.2, 0.3, 0.1, 0.4, 0.2, 0.3, 0.5]
    four = mean_over(shares, ["a", "a", "b", "b", "c", "c", "d", "d"])
    assert (four.value, four.interval) == (pytest.approx(0.2625), None)
    assert mean_over(shares, [*"abcdef", "f", "f"]).interval is not None
