"""What was measured of a behavior, as the page shows it."""

from itertools import zip_longest

from whence.records import Measured, Verification
from whence.report.schema import Alternative, Completion, Measurements, Token


def measurements(verification: Verification) -> Measurements:
    """Lays a verification out for the page."""
    return Measurements(
        verdict=verification.verdict,
        reason=verification.reason,
        model=verification.model,
        completion=_completion(verification.completion),
        alternatives=[
            Alternative(text=text, log_prob_nats=value)
            for text, value in verification.alternatives_nats.items()
        ],
        margin_nats=verification.margin_nats,
        margin_interval=verification.margin_interval,
        paraphrase_margins_nats=verification.paraphrase_margins_nats,
        control_gap_nats=verification.control_gap_nats,
        initial_log_prob_nats=verification.initial_log_prob_nats,
        extraction=verification.extraction,
        rate=verification.rate,
        checks=verification.checks,
    )


def _completion(measured: Measured) -> Completion:
    return Completion(
        tokens=[
            Token(text=text, log_prob_nats=log_prob, rank=rank)
            for text, log_prob, rank in zip_longest(
                measured.tokens, measured.log_probs_nats, measured.ranks
            )
        ],
        log_prob_nats=measured.log_prob_nats,
        is_greedy=measured.is_greedy,
    )
