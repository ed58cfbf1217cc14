"""Evidence: proponents and opponents, text overlap, agreement between methods, planted truth."""

from whence.evidence.agreement import (
    Hub,
    Hubness,
    PairAgreement,
    hubness,
    hubs,
    jaccard_at_k,
    mean_agreements,
    pair_agreements,
)
from whence.evidence.overlap import Marks, Span, mark_text, shared_spans, word_shares
from whence.evidence.planted import GoldRate, gold_places, gold_rate
from whence.evidence.proponents import check_count, hits, opponents, proponents, ranking, ranks

__all__ = [
    "GoldRate",
    "Hub",
    "Hubness",
    "Marks",
    "PairAgreement",
    "Span",
    "check_count",
    "gold_places",
    "gold_rate",
    "hits",
    "hubness",
    "hubs",
    "jaccard_at_k",
    "mark_text",
    "mean_agreements",
    "opponents",
    "pair_agreements",
    "proponents",
    "ranking",
    "ranks",
    "shared_spans",
    "word_shares",
]
