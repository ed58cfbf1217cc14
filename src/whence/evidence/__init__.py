"""Evidence: what ties an example to a behavior, how strong it is against chance, who lists it."""

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
from whence.evidence.collect import collect
from whence.evidence.comparison import compare
from whence.evidence.comparison_record import Comparison, read_comparison, save_comparison
from whence.evidence.comparison_text import format_comparison
from whence.evidence.null import Judged, Null, calibrate, judge
from whence.evidence.null_queries import length_class
from whence.evidence.overlap import Marks, Span, mark_text, shared_spans, word_shares
from whence.evidence.planted import GoldRate, gold_places, gold_rate
from whence.evidence.proponents import check_count, hits, opponents, proponents, ranking, ranks
from whence.evidence.record import (
    BehaviorEvidence,
    Calibration,
    Evidence,
    Strength,
    read_evidence,
    save_evidence,
)
from whence.evidence.relations import RELATIONS, Relation, RelationKind, is_visible
from whence.evidence.ties import Tie

__all__ = [
    "RELATIONS",
    "BehaviorEvidence",
    "Calibration",
    "Comparison",
    "Evidence",
    "GoldRate",
    "Hub",
    "Hubness",
    "Judged",
    "Marks",
    "Null",
    "PairAgreement",
    "Relation",
    "RelationKind",
    "Span",
    "Strength",
    "Tie",
    "calibrate",
    "check_count",
    "collect",
    "compare",
    "format_comparison",
    "gold_places",
    "gold_rate",
    "hits",
    "hubness",
    "hubs",
    "is_visible",
    "jaccard_at_k",
    "judge",
    "length_class",
    "mark_text",
    "mean_agreements",
    "opponents",
    "pair_agreements",
    "proponents",
    "ranking",
    "ranks",
    "read_comparison",
    "read_evidence",
    "save_comparison",
    "save_evidence",
    "shared_spans",
    "word_shares",
]
