"""Overlaps and shares are those of a slow count; lists of style and of content are told apart."""

from dataclasses import replace

import numpy as np
import pytest

from whence.evidence.style import NUM_FIRST, style_contrasts, style_sentences
from whence.records import Behavior, Scores

NUM = 200


def behaviors() -> list[Behavior]:
    words = {"a": (" thou", " you"), "b": (" hath", " has"), "c": (" thou", " you")}
    return [
        Behavior(id=i, kind="style", prompt="O", completion=c, plain=p, style="verse")
        for i, (c, p) in words.items()
    ]


def scores(seed: int = 0, *, style: float = 0, content: float = 0) -> Scores:
    """Scores in which the first 40 examples are verse, and ten others each have a content."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.1, size=(2, 3, NUM))
    values[0, :, :40] += style * rng.uniform(0.5, 1, size=40)
    for n in range(3):
        values[:, n, 50 + 10 * n : 60 + 10 * n] += content
    return Scores(
        "gradient_cosine",
        ("a", "b", "c"),
        tuple(map(str, range(NUM))),
        values[0].astype(np.float32),
        plain_ids=("a", "b", "c"),
        plain_values=values[1].astype(np.float32),
        family="gradient",
    )


IN_STYLE = {name: np.arange(NUM) < 40 for name in "abc"}


def contrasts(found: Scores, clusters=None):
    return style_contrasts(
        found, behaviors(), IN_STYLE, clusters or list(range(NUM)), np.arange(NUM)
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_figure_is_that_of_a_slow_count(seed: int) -> None:
    found = scores(seed, style=0.2, content=0.2)
    clusters = [row // 2 for row in range(NUM)]
    one = contrasts(found, clusters)[0]

    def first(values: np.ndarray) -> dict[int, int]:
        best: dict[int, int] = {}
        for row in sorted(range(NUM), key=lambda row: -values[row]):
            if values[row] > 0 and len(best) < NUM_FIRST:
                best.setdefault(clusters[row], row)
        return best

    def jaccard(left: dict[int, int], right: dict[int, int]) -> float:
        return len(set(left) & set(right)) / len(set(left) | set(right))

    own = [first(values) for values in found.values]
    plain = [first(values) for values in found.plain_values]
    assert one.overlap_plain == jaccard(own[0], plain[0])
    assert one.num_shared == len(set(own[0]) & set(plain[0]))
    # `c` has the same completion, so that its content is no other one.
    assert one.num_others == 1
    assert one.overlap_style == jaccard(own[0], own[1])
    assert one.overlap_neither == jaccard(own[0], plain[1])
    assert one.num_in_style == sum(row < 40 for row in own[0].values())
    assert one.num_in_style_plain == sum(row < 40 for row in plain[0].values())
    assert one.share_in_style == 0.2
    change = found.values[0].astype(float) - found.plain_values[0].astype(float)
    assert one.difference == pytest.approx(np.mean([change[row] for row in own[0].values()]))
    assert one.low < one.difference < one.high
    assert one.difference_at_plain == pytest.approx(
        np.mean([change[row] for row in plain[0].values()])
    )
    rest = [row for row in range(NUM) if row not in own[0].values()]
    assert one.difference_in_style == pytest.approx(np.mean([change[r] for r in rest if r < 40]))
    assert one.difference_elsewhere == pytest.approx(np.mean([change[r] for r in rest if r >= 40]))


def test_a_list_that_follows_the_style_is_told_from_one_that_follows_the_content() -> None:
    styled, told = (contrasts(scores(**how))[0] for how in ({"style": 3}, {"content": 3}))
    assert styled.overlap_style > styled.overlap_plain
    assert styled.num_in_style == 10
    assert styled.difference > 1 > 0.5 > -styled.difference_at_plain
    assert told.overlap_plain > 0.9 > 0.1 > told.overlap_style
    assert abs(told.difference) < 0.2


def test_without_plain_words_nothing_is_compared() -> None:
    assert contrasts(replace(scores(), plain_ids=(), plain_values=None)) == []


def test_where_all_of_a_style_say_the_same_the_comparison_of_contents_is_undefined() -> None:
    alone = [one for one in behaviors() if one.id != "b"]
    found = style_contrasts(scores(), alone, IN_STYLE, list(range(NUM)), np.arange(NUM))
    assert [one.behavior_id for one in found] == ["a", "c"]
    assert {one.num_others for one in found} == {0}
    assert {one.overlap_style for one in found} == {one.overlap_neither for one in found} == {None}
    assert "of its style" not in " ".join(style_sentences(found[0]))


def test_an_empty_list_and_undefined_scores_are_said_to_be_so() -> None:
    found = scores()
    nothing = replace(found, values=-np.abs(found.values))
    one = contrasts(nothing)[0]
    assert (one.num_first, one.difference, one.low) == (0, None, None)
    assert style_sentences(one) == [
        "The method lists nothing, so there is nothing that plain words could change."
    ]
    undefined = replace(found, plain_values=np.full_like(found.values, np.nan))
    one = contrasts(undefined)[0]
    assert (one.difference, one.difference_in_style, one.num_first_plain) == (None, None, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "fact"}, "field of styles and toxic replies"),
        ({"plain": " thou"}, "is the completion itself"),
        ({"prompt": "", "prompt_ids": (1,), "completion_ids": (2,)}, "needs the prompt as a text"),
    ],
)
def test_plain_words_that_suppress_nothing_are_refused(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Behavior.model_validate(
            {**behaviors()[0].model_dump(exclude_defaults=True), "style": None} | changes
        )


def test_a_behavior_without_plain_words_is_known_by_the_fields_that_it_had_before() -> None:
    one = behaviors()[0]
    assert one.model_dump()["plain"] == " you"
    assert "plain" not in one.model_copy(update={"plain": None}).model_dump()
