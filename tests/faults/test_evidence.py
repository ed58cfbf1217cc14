"""One test per fault that was found in the lists of proponents and opponents."""

from pathlib import Path

import numpy as np
import pytest
from tests.report.conftest import corpus_of

import whence
from whence.errors import SettingsError
from whence.evidence import hits
from whence.evidence.comparison_record import KindOverlap, Overlap
from whence.evidence.comparison_text import sentences
from whence.evidence.kind_overlap import kind_overlaps
from whence.records import Corpus, Scores


def _corpus(num: int) -> Corpus:
    return corpus_of([f"d{i}" for i in range(num)], [f"text number {i}" for i in range(num)])


def _scores(*values: float) -> Scores:
    corpus = _corpus(len(values))
    return Scores("m", ("q",), corpus.ids, np.array([values], dtype=np.float32))


def test_negative_scores_were_listed_as_proponents_where_fewer_than_k_are_positive() -> None:
    found = hits(_scores(-1, 2, -3), 0, _corpus(3), 5)
    assert [hit.id for hit in found.proponents] == ["d1"]
    assert [hit.id for hit in found.opponents] == ["d2", "d0"]


def test_positive_scores_were_listed_as_opponents() -> None:
    assert hits(_scores(0.5, 0.25, 0.75), 0, _corpus(3), 5).opponents == ()


def test_examples_that_share_nothing_were_listed_as_proponents_and_as_opponents() -> None:
    found = hits(_scores(3, 0, 0, 2, 0, np.nan), 0, _corpus(6), 5)
    assert [hit.id for hit in found.proponents] == ["d0", "d3"]
    assert found.opponents == ()


def test_equal_scores_had_ranks_of_their_own() -> None:
    assert [h.rank for h in hits(_scores(2, 1, 2, 1), 0, _corpus(4), 5).proponents] == [1, 1, 3, 3]


@pytest.mark.parametrize("k", ["0", "-3"])
@pytest.mark.parametrize("command", ["show", "query"])
def test_a_top_k_below_one_printed_nearly_the_whole_corpus(
    k: str, command: str, tmp_path: Path
) -> None:
    from whence.cli import make_app

    rest = {"show": ("--behavior", "x"), "query": ("--prompt", "a", "--completion", "b")}[command]
    with pytest.raises(SettingsError, match=f"{k} is no number of examples"):
        make_app()([command, str(tmp_path), *rest, "--top-k", k], result_action="return_value")


def test_the_api_took_a_k_below_one() -> None:
    with pytest.raises(SettingsError, match="0 is no number of examples"):
        whence.query(None, None, None, k=0)  # pyright: ignore[reportArgumentType]


def test_an_empty_list_of_hits_died_in_the_corpus() -> None:
    assert list(_corpus(3).records([])) == []
    assert hits(_scores(np.nan, np.nan), 0, _corpus(2), 3) == ((), (), None)


def test_a_deal_of_labels_that_leaves_nothing_to_compare_counted_as_smaller() -> None:
    """Of one family with two kinds, half of the deals give one kind that family alone."""
    pairs = [("a1", "b1"), ("a1", "b2"), ("a2", "b1"), ("a2", "b2"), ("a1", "a2"), ("b1", "b2")]
    overlap = [Overlap("m", *pair, 0.5) for pair in pairs]
    kinds = {"a1": "one", "a2": "other", "b1": "one", "b2": "other"}
    families = {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}
    # All overlaps are equal, so that every deal reaches the observed difference.
    assert [one.p for one in kind_overlaps(overlap, kinds, families, seed=0)] == [1.0, 1.0]


def test_one_of_five_kinds_was_named_for_a_p_value_that_chance_gives_one_of_them() -> None:
    def said(*p_values: float) -> str:
        overlap = [KindOverlap("m", f"k{i}", 0.5, 0.1, 9, p) for i, p in enumerate(p_values)]
        return " ".join(sentences([], [], [], [], [], overlap, {}, methods=["m"]))

    assert said(0.04, 0.3, 0.5, 0.6, 0.9) == ""
    assert "k0 0.500 against 0.100 with other kinds (9 pairs, q = 0.020)" in said(
        0.004, 0.5, 1, 1, 1
    )
    assert "q = 0.030" in said(0.03, np.nan)
