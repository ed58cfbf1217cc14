"""What kind of tie is there between a behavior and the examples that a method names?"""

from whence.evidence.agreement import Hub, Hubness, hubness, hubs, jaccard_at_k, overlap_matrix
from whence.evidence.overlap import Span, shared_spans, word_shares
from whence.evidence.planted import GoldRate, gold_places, gold_rate, wilson
from whence.evidence.proponents import check_count, hits, opponents, proponents, ranking, ranks

__all__ = [
    "GoldRate",
    "Hub",
    "Hubness",
    "Span",
    "check_count",
    "gold_places",
    "gold_rate",
    "hits",
    "hubness",
    "hubs",
    "jaccard_at_k",
    "opponents",
    "overlap_matrix",
    "proponents",
    "ranking",
    "ranks",
    "shared_spans",
    "wilson",
    "word_shares",
]
