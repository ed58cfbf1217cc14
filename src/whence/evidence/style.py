"""Style against content: how a method's list changes when the same is said in plain words.

A behavior that names `plain` words, such as ` you star of love,` beside ` thou star of love,`, is
scored a second time with them in the place of its completion, after the same prompt. Three lists
are then compared with its own, by Jaccard similarity of their first k clusters:

    plain       the same content in plain words: style suppressed
    style       other behaviors of its style, with other words: content suppressed
    neither     the plain counterparts of these: what any two such queries share

A list that follows the style has more in common with `style` than with `plain`, and one that
follows the content the other way round; `neither` is the control of both.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from whence.evidence.listing import entries, proponent_rows
from whence.records import Behavior, Scores
from whence.statistics import mean_estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_FIRST = 10


@dataclass(frozen=True)
class StyleContrast:
    """One behavior's list by one method, beside that of the same content in plain words.

    Attributes:
        method: The method.
        behavior_id: The behavior.
        num_first: Clusters of its list that count, at most `NUM_FIRST`.
        num_first_plain: The same, of the plain query's list.
        num_shared: Clusters that both lists have.
        overlap_plain: Jaccard of the two lists, in [0, 1]; None where both are empty.
        overlap_style: Mean Jaccard with other behaviors of its style whose completion is another.
        overlap_neither: Mean Jaccard with the plain counterparts of these.
        num_others: How many others; the two means are None where there is none.
        num_in_style: Of the first clusters, examples that are in the style: of its subset, or toxic
            by the word list.
        num_in_style_plain: The same, of the plain query's list.
        share_in_style: Of all scored examples.
        difference: Mean of the score minus the plain query's score of the same example, over the
            first clusters; in the score's unit, positive where the style raises it.
        low: Of its 95 % interval of Student's t over these clusters; None below 6 of them.
        high: Likewise.
        difference_at_plain: The same mean over the first clusters of the plain query's list. Both
            lists are chosen by a score, so that `difference` is above 0 and this one below it for
            any two queries; without a part of the style they are alike but for the sign.
        difference_in_style: The same mean over all other examples in the style.
        difference_elsewhere: The same mean over all that are not in the style.
    """

    method: str
    behavior_id: str
    num_first: int
    num_first_plain: int
    num_shared: int
    overlap_plain: float | None
    overlap_style: float | None
    overlap_neither: float | None
    num_others: int
    num_in_style: int
    num_in_style_plain: int
    share_in_style: float | None
    difference: float | None
    low: float | None
    high: float | None
    difference_at_plain: float | None
    difference_in_style: float | None
    difference_elsewhere: float | None


def style_contrasts(
    scores: Scores,
    behaviors: Sequence[Behavior],
    in_style: Mapping[str, "NDArray[np.bool_]"],
    clusters: Sequence[Hashable],
    rows: "NDArray[np.int64]",
) -> list[StyleContrast]:
    """Compares a method's lists with those of the same content in plain words.

    Args:
        scores: One method's, with `plain_values`; without them there is nothing to compare.
        behaviors: The behaviors that were scored.
        in_style: By the id of a behavior with plain words, whether each example of the corpus is in
            its style.
        clusters: The cluster of copies and near copies of every row of the corpus.
        rows: The corpus row of each scored example.
    """
    if scores.plain_values is None:
        return []
    plain = replace(scores, query_ids=scores.plain_ids, values=scores.plain_values)
    kept = [b for b in behaviors if b.id in scores.plain_ids and b.id in scores.query_ids]
    own = {b.id: _first(scores, b.id, rows, clusters) for b in kept}
    other = {b.id: _first(plain, b.id, rows, clusters) for b in kept}
    return [
        _contrast(b, scores, plain, own, other, _others(b, kept), in_style[b.id][rows])
        for b in kept
    ]


_Lists = dict[str, dict[Hashable, int]]


def _first(
    scores: Scores, query_id: str, rows: "NDArray[np.int64]", clusters: Sequence[Hashable]
) -> dict[Hashable, int]:
    """The first clusters of a list, each with the place of its best example among the scored."""
    query = scores.query_ids.index(query_id)
    place_of = {row: place for place, row in enumerate(rows.tolist())}
    listed = proponent_rows(scores, query, rows, k=NUM_FIRST)
    return {clusters[e.row]: place_of[e.row] for e in entries(listed, clusters, k=NUM_FIRST)}


def _others(behavior: Behavior, behaviors: Sequence[Behavior]) -> list[str]:
    """Behaviors of one style whose completion is another: the content is theirs, the style its."""
    return [
        one.id
        for one in behaviors
        if (one.kind, one.style) == (behavior.kind, behavior.style)
        and one.completion.strip() != behavior.completion.strip()
    ]


def _contrast(
    behavior: Behavior,
    scores: Scores,
    plain: Scores,
    own: _Lists,
    other: _Lists,
    others: Sequence[str],
    in_style: "NDArray[np.bool_]",
) -> StyleContrast:
    mine, plainly = own[behavior.id], other[behavior.id]
    values = scores.values[scores.query_ids.index(behavior.id)].astype(np.float64)
    change = values - plain.values[plain.query_ids.index(behavior.id)]
    first, first_plain = list(mine.values()), list(plainly.values())
    known = change[first][np.isfinite(change[first])]
    found = mean_estimate(known.tolist())
    low, high = (None, None) if found.interval is None else found.interval[:2]
    is_rest = np.isfinite(change)
    is_rest[first] = False
    return StyleContrast(
        method=scores.method,
        behavior_id=behavior.id,
        num_first=len(mine),
        num_first_plain=len(plainly),
        num_shared=len(mine.keys() & plainly.keys()),
        overlap_plain=_jaccard(mine, plainly),
        overlap_style=_mean([_jaccard(mine, own[name]) for name in others]),
        overlap_neither=_mean([_jaccard(mine, other[name]) for name in others]),
        num_others=len(others),
        num_in_style=int(in_style[first].sum()),
        num_in_style_plain=int(in_style[first_plain].sum()),
        share_in_style=float(in_style.mean()) if len(in_style) else None,
        difference=found.value,
        low=low,
        high=high,
        difference_at_plain=_mean(change[first_plain][np.isfinite(change[first_plain])].tolist()),
        difference_in_style=_mean(change[is_rest & in_style].tolist()),
        difference_elsewhere=_mean(change[is_rest & ~in_style].tolist()),
    )


def _jaccard(one: Mapping[Hashable, int], other: Mapping[Hashable, int]) -> float | None:
    union = one.keys() | other.keys()
    return len(one.keys() & other.keys()) / len(union) if union else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def style_sentences(one: StyleContrast) -> list[str]:
    """Puts a contrast in words, each figure beside its control."""
    if not one.num_first:
        return ["The method lists nothing, so there is nothing that plain words could change."]
    found = [
        f"With the same content in plain words, {one.num_shared} of {one.num_first} stay in the "
        f"list (overlap {_number(one.overlap_plain)})."
    ]
    if one.overlap_style is not None and one.overlap_neither is not None:
        many = "another behavior" if one.num_others == 1 else f"{one.num_others} other behaviors"
        found.append(
            f"{many.capitalize()} of its style with other words overlap by "
            f"{one.overlap_style:.2f} on average, and their plain counterparts by "
            f"{one.overlap_neither:.2f}."
        )
    share = "unknown" if one.share_in_style is None else f"{one.share_in_style:.0%} of all"
    found.append(
        f"In the style: {one.num_in_style} of {one.num_first}, of the plain query's list "
        f"{one.num_in_style_plain} of {one.num_first_plain}; {share}."
    )
    if one.difference is not None:
        interval = (
            "" if one.low is None or one.high is None else f" [{one.low:.3g}, {one.high:.3g}]"
        )
        found.append(
            f"The score of the first {one.num_first} is higher by {one.difference:.3g}{interval} "
            f"than with plain words, that of the plain query's first by "
            f"{_number(one.difference_at_plain)} (each list is chosen by its score), of others in "
            f"the style by {_number(one.difference_in_style)}, and of the rest by "
            f"{_number(one.difference_elsewhere)}."
        )
    return found


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"
