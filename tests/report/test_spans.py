"""Spans of a behavior are in its text and in the examples that are said to have them."""

from itertools import pairwise

import numpy as np
import pytest
from tests.report.test_data import behaviors_of, section_example

from whence.corpus.words import words
from whence.report.data import page_data
from whence.report.run_record import RunRecord
from whence.report.spans import count_documents


@pytest.mark.parametrize("seed", range(20))
def test_documents_are_counted_as_by_looking_at_each(seed: int) -> None:
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(list("abc"), size=rng.integers(0, 9))) for _ in range(30)]
    runs = {tuple(rng.choice(list("abc"), size=rng.integers(1, 4)).tolist()) for _ in range(8)}
    expected = {run: sum(f" {' '.join(run)} " in f" {text} " for text in texts) for run in runs}
    assert count_documents(runs, texts) == expected


def test_a_span_stands_in_the_query_and_in_the_examples_that_are_said_to_have_it(
    record: RunRecord,
) -> None:
    found = page_data(record)
    num = 0
    for behavior in behaviors_of(found):
        query = behavior["prompt"] + behavior["completion"]
        spans = behavior["detail"]["spans"]
        marked = sorted((s["start"], s["end"]) for s in spans if s["is_marked"])
        assert all(one[1] <= other[0] for one, other in pairwise(marked))
        assert len({(s["start"], s["end"]) for s in spans}) == len(spans)
        for span in spans:
            keys = " ".join(words(query[span["start"] : span["end"]]).keys)
            assert len(keys.split()) == span["num_words"]
            texts = [
                section_example(found, behavior["detail"]["shown"][i])["text"]
                for i in span["shown"]
            ]
            assert texts
            assert all(keys in " ".join(words(text).keys) for text in texts)
            all_texts = (" ".join(words(text or "").keys) for text in record.corpus.texts())
            assert span["num_documents"] == sum(f" {keys} " in f" {t} " for t in all_texts)
            num += 1
    assert num > 10
