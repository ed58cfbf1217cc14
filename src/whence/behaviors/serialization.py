"""Verifications as JSON, read back unchanged."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from whence.errors import ArtifactError
from whence.records import Held, Measured, Rate, VerdictCheck, Verification
from whence.statistics import Interval

_INTERVAL_FIELDS = (
    (Verification, ("margin_interval",)),
    (Rate, ("interval", "control_interval", "judge_error_interval")),
)


def verification_to_json(verification: Verification) -> dict[str, object]:
    """Turns a verification into what JSON can hold: undefined is null, and NaN does not occur.

    Args:
        verification: One verdict with its measurements.

    Returns:
        A dict of dicts, lists, strings, numbers and None, with the records' own field names.
    """
    values = _plain(verification)
    values["completion"] = _plain(verification.completion)
    values["alternatives_nats"] = dict(verification.alternatives_nats)
    values["rate"] = _plain(verification.rate) if verification.rate else None
    values["held"] = _plain(verification.held) if verification.held else None
    values["checks"] = [_plain(check) for check in verification.checks]
    return values


def verification_from_json(values: Mapping[str, Any]) -> Verification:
    """Reads a verification back.

    Args:
        values: What `verification_to_json` made, also after a way through a file.

    Returns:
        A verification equal to the one that was written.

    Raises:
        ArtifactError: A field is missing, unknown or of another shape.
    """
    try:
        completion = values["completion"]
        rate = values["rate"]
        return Verification(
            **{
                **_with_intervals(Verification, values),
                "completion": Measured(
                    **{name: tuple(items) for name, items in completion.items()}
                ),
                "alternatives_nats": dict(values["alternatives_nats"]),
                "paraphrase_margins_nats": tuple(values["paraphrase_margins_nats"]),
                "rate": None if rate is None else Rate(**_with_intervals(Rate, rate)),
                "held": None if values.get("held") is None else Held(**values["held"]),
                "checks": tuple(VerdictCheck(**check) for check in values.get("checks", ())),
            }
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"A stored verification is not of this version's form ({error}).",
            "Verify the behaviors again.",
        ) from None


def _plain(record: Verification | Measured | Rate | Held | VerdictCheck) -> dict[str, object]:
    """Takes a record's fields, with tuples as lists and intervals by the names of their parts."""
    values = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Interval):
            value = value._asdict()
        values[field.name] = list(value) if isinstance(value, tuple) else value
    return values


def _with_intervals(record: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = next(names for owner, names in _INTERVAL_FIELDS if owner is record)
    read = {name: Interval(**values[name]) for name in names if values[name] is not None}
    return {**values, **read}
