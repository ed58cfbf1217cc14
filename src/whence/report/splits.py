"""Scores split by tokens and layers, as a page shows them."""

from collections.abc import Sequence
from itertools import pairwise

from whence.evidence.splits import Split, layer_of
from whence.methods import find_method, is_method
from whence.report.context import Context
from whence.report.schema import ScoreSplit

_THOUSANDTHS = 1000


def split_alike(page: Context) -> list[str]:
    """Lists the methods of a run whose scores are the sums that it keeps, but for a factor.

    Gradient cosine and inner product of one view, for example: the norms are the factor.
    """
    splits = page.record.splits
    if splits is None:
        return []
    terms = {
        one.method: found
        for one in page.record.scores
        if is_method(one.method) and (found := find_method(one.method).terms(one.settings))
    }
    own = terms.get(splits.method)
    return [name for name, of_method in terms.items() if of_method == own]


def split_record(split: Split | None, layers: Sequence[str]) -> ScoreSplit | None:
    """Lays a split out for the page; None where there is none, or no positive score to share.

    Args:
        split: What the run keeps of a behavior and an example.
        layers: Of the network, in its order.
    """
    if split is None:
        return None
    tokens = split.shares([token.part for token in split.tokens])
    modules = split.shares(list(split.modules.values()))
    if tokens is None or modules is None:
        return None
    by_layer = dict.fromkeys(layers, 0.0)
    for name, share in zip(split.modules, modules, strict=True):
        by_layer[layer_of(name)] += share
    ends = [token.end for token in split.tokens if token.end is not None]
    is_spelled = len(ends) == len(split.tokens)
    return ScoreSplit(
        characters=[b - a for a, b in pairwise([0, *ends])] if is_spelled else None,
        tokens=[round(share * _THOUSANDTHS) for share in tokens],
        layers=[round(share * _THOUSANDTHS) for share in by_layer.values()],
    )
