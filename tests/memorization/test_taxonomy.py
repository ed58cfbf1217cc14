"""Kinds of memorization follow the cascade, at every threshold that published work has chosen."""

from collections import Counter

import numpy as np
import pytest
from tests.corpus.token_corpus import corpus_of
from tests.memorization.pythia_standin import write_tokenizer

from whence.corpus.duplicates import build_suffix_array
from whence.errors import SettingsError
from whence.memorization.taxonomy import (
    AT_LEAST_10,
    KINDS,
    MORE_THAN_5,
    Forms,
    count_copies,
    find_forms,
    taxonomy,
)
from whence.memorization.windows import Windows
from whence.statistics import wilson


def windows_of(tokens: np.ndarray, num_prompt_tokens: int = 32) -> Windows:
    count = len(tokens)
    names = tuple(f"w{i}" for i in range(count))
    return Windows(names, tokens, num_prompt_tokens, np.arange(count), np.zeros(count, np.int64))


def forms(incrementing: list[bool], repeating: list[bool]) -> Forms:
    return Forms(np.array(incrementing, dtype=bool), np.array(repeating, dtype=bool))


def plain(copies: int, is_template: bool, least: int) -> str:
    if copies >= least:
        return "recitation"
    return "reconstruction" if is_template else "recollection"


def test_the_first_kind_that_fits_is_the_kind_at_every_threshold() -> None:
    rng = np.random.default_rng(0)
    copies = rng.integers(1, 15, 200)
    found = forms((rng.random(200) < 0.2).tolist(), (rng.random(200) < 0.2).tolist())
    result = taxonomy(copies, found, threshold=3)
    assert list(result.kinds) == [3, MORE_THAN_5, AT_LEAST_10]
    for least, kinds in result.kinds.items():
        template = found.is_incrementing | found.is_repeating
        expected = [plain(*pair, least) for pair in zip(copies, template, strict=True)]
        assert [KINDS[kind] for kind in kinds] == expected
    assert result.num_undecided == int(((copies >= 3) & (copies < 10)).sum())


def test_more_than_5_and_at_least_10_are_both_shown_and_differ_between_6_and_9() -> None:
    result = taxonomy(range(1, 13), forms([False] * 12, [False] * 12))
    recited = {least: [i + 1 for i in np.flatnonzero(k == 0)] for least, k in result.kinds.items()}
    assert recited == {6: list(range(6, 13)), 10: list(range(10, 13))}
    assert result.num_undecided == 4


def test_shares_are_counted_over_families_too() -> None:
    copies = [20] * 8 + [1, 1, 1, 1, 20, 20, 1, 1]
    families = [0] * 8 + [1, 1, 2, 3, 3, 3, 4, 4]
    result = taxonomy(copies, forms([False] * 15 + [True], [False] * 16))
    shares = {share.kind: share for share in result.shares(6, families)}
    assert {kind: share.num_windows for kind, share in shares.items()} == {
        "recitation": 10,
        "reconstruction": 1,
        "recollection": 5,
    }
    # Family 3 has two recitations of three windows, family 4 a tie, which the earlier kind gets.
    assert {kind: share.num_families for kind, share in shares.items()} == {
        "recitation": 2,
        "reconstruction": 1,
        "recollection": 2,
    }
    assert shares["recitation"].family_share.interval == wilson(2, 5)
    assert shares["recitation"].share.value == 10 / 16
    # 8 of the 10 are one family: the interval is that of 5 units, not of 16.
    interval = shares["recitation"].share.interval
    assert interval is not None
    assert interval.high - interval.low > wilson(10, 16).high - wilson(10, 16).low


def test_copies_are_occurrences_of_the_continuation_in_any_context() -> None:
    rng = np.random.default_rng(1)
    content = rng.integers(1, 400, 64)
    documents = [rng.integers(1, 400, 150) for _ in range(12)]
    documents[0][:64] = content
    documents[3][10:74] = content
    documents[5][40:72] = content[32:]
    documents[7][0:32], documents[7][60:92] = content[32:], content[32:]
    documents[8][0:31] = content[32:63]
    array = build_suffix_array(corpus_of([doc.tolist() for doc in documents]))
    windows = windows_of(np.stack([content, documents[2][:64], rng.integers(1, 400, 64)]))
    assert count_copies(windows, array).tolist() == [5, 1, 0]


def test_counting_and_repeating_windows_are_told_from_text_and_tokens(tmp_path) -> None:
    tokenizer = write_tokenizer(tmp_path)
    counting = np.arange(5, 69)  # " w5 w6 w7 …"
    repeating = np.tile([7, 300, 12, 9], 16)
    other = np.random.default_rng(0).integers(1, 500, 64)
    found = find_forms(windows_of(np.stack([counting, repeating, other])), tokenizer)
    assert found.is_incrementing.tolist() == [True, False, False]
    assert found.is_repeating.tolist() == [False, True, False]


def test_thresholds_that_mean_nothing_are_refused() -> None:
    nothing = forms([False], [False])
    with pytest.raises(SettingsError, match="threshold of 1 copies"):
        taxonomy([1], nothing, threshold=1)
    with pytest.raises(SettingsError, match="not made for a threshold of 4"):
        taxonomy([1], nothing).shares(4, [0])
    with pytest.raises(SettingsError, match="no window"):
        taxonomy([], forms([], [])).shares(6, [])


def test_counts_add_up_to_all_windows() -> None:
    rng = np.random.default_rng(2)
    result = taxonomy(rng.integers(1, 20, 50), forms([False] * 50, (rng.random(50) < 0.5).tolist()))
    for least in result.kinds:
        shares = result.shares(least, rng.integers(0, 9, 50))
        assert sum(share.num_windows for share in shares) == 50
        assert Counter(result.kinds[least].tolist()) == {
            place: share.num_windows for place, share in enumerate(shares) if share.num_windows
        }
