"""The summary of a run, in a few lines."""

from pathlib import Path
from typing import NamedTuple

from whence.behaviors.kinds import KINDS, VERDICTS
from whence.report.run_record import RunRecord
from whence.runs.record import load_run


class Summary(NamedTuple):
    """A run in numbers, for machines, and in words."""

    values: dict[str, object]
    text: str


def summarize(directory: Path) -> Summary:
    """Counts verdicts by kind and, where truth is on file, how often the top proponent is planted.

    Raises:
        ArtifactError: The directory is not a finished run.
    """
    record = load_run(directory)
    verdicts = {
        kind: {verdict: _count(record, kind, verdict) for verdict in VERDICTS}
        for kind in KINDS
        if any(behavior.kind == kind for behavior in record.behaviors)
    }
    planted = _planted(record)
    lines = ["kind        " + "".join(f"{verdict:>10}" for verdict in VERDICTS)]
    lines += [
        f"{kind:<12}" + "".join(f"{counts[verdict]:>10}" for verdict in VERDICTS)
        for kind, counts in verdicts.items()
    ]
    if planted:
        lines += ["", "Shown behaviors whose top proponent was planted for them:"]
        for method, rates in planted.items():
            told = ", ".join(
                f"{kind} {rate['hits']}/{rate['n']}" for kind, rate in rates.items() if rate["n"]
            )
            lines.append(f"  {method:<28}{told}")
    hubs = _hubs(record)
    repeated = [
        f"  {method:<28}{found['largest_share']:.0%} of {found['num_queries']} queries"
        for method, found in hubs.items()
        if found["largest_share"] is not None and found["num_queries"] != 1
    ]
    if repeated:
        lines += ["", f"The example that most queries have among their first {record.top_k}:"]
        lines += repeated
    lines += ["", *record.skipped, *record.warnings]
    values = {
        "verdicts": verdicts,
        "planted": planted,
        "hubs": hubs,
        "skipped": list(record.skipped),
        "warnings": list(record.warnings),
        "seconds": record.manifest["seconds"],
    }
    return Summary(values, "\n".join(lines).rstrip())


def _count(record: RunRecord, kind: str, verdict: str) -> int:
    return sum(v.kind == kind and v.verdict == verdict for v in record.verifications.values())


def _hubs(record: RunRecord) -> dict[str, dict[str, object]]:
    from whence.evidence import hubness

    return {scores.method: hubness(scores, record.top_k)._asdict() for scores in record.scores}


def _planted(record: RunRecord) -> dict[str, dict[str, dict[str, object]]]:
    from whence.evidence import gold_rate

    if not record.gold:
        return {}
    found: dict[str, dict[str, dict[str, object]]] = {}
    for scores in record.scores:
        rates = gold_rate(scores, record.gold, record.behaviors, record.verifications)
        found[scores.method] = {
            kind: {"hits": rate.hits, "n": rate.n, "interval": rate.interval}
            for kind, rate in rates.items()
        }
    return found
