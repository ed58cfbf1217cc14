"""How does a stored leaderboard read, on a terminal or in a document?"""

from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH = 26


def tell(values: Mapping[str, Any], *, printed: Sequence[str]) -> str:
    """Lays a validation's values out: tables, what they rest on, and what they say.

    Args:
        values: The content of `validation.json`.
        printed: Names of the measures that get a table, in this order.
    """
    lines: list[str] = []
    for name in printed:
        rows = [f for f in values["figures"] if f["measure"] == name]
        if rows:
            lines += [*_table(name, rows, tuple(values["kinds"])), ""]
    lines += [*_retraining(values["retraining"]), *_removal(values["removal"])]
    lines += [*_agreement(values["agreement"]), *_noise(values["signal_to_noise"])]
    lines += ["seconds, passes over the corpus included, and bytes of index per example"]
    lines += [
        f"  {method:<{_WIDTH}}{cost['seconds']:>10.1f} s{cost['bytes_per_example']:>14,.0f} B"
        for method, cost in values["methods"].items()
    ]
    return "\n".join([*lines, "", *values["sentences"]])


def cell(estimate: Mapping[str, Any]) -> str:
    """Writes a value with its interval and the number of units behind it."""
    if estimate["value"] is None:
        return "undefined"
    if estimate["low"] is None:
        return f"{estimate['value']:+.3f} n={estimate['n']}"
    low, high = estimate["low"], estimate["high"]
    return f"{estimate['value']:+.3f} [{low:+.2f},{high:+.2f}] n={estimate['n']}"


def _table(name: str, rows: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> list[str]:
    kinds = [k for k in kinds if any(row["kind"] == k and row["n"] for row in rows)]
    by_place = {(row["method"], row["kind"]): row for row in rows}
    methods = dict.fromkeys(row["method"] for row in rows)
    controls = [next(row["control"] for row in rows if row["kind"] == kind) for kind in kinds]
    label = f"[{controls[0]['name']}]" if controls else "[control]"
    unit = rows[0]["unit"]
    return [
        f"{name} ({unit})",
        _line(["method", *kinds]),
        *(_line([m, *(cell(by_place[m, kind]) for kind in kinds)]) for m in methods),
        _line([label[: _WIDTH - 1], *(cell(control) for control in controls)]),
    ]


def _line(cells: Sequence[str]) -> str:
    return "  " + "".join(f"{text:<{_WIDTH}}" for text in cells).rstrip()


def _retraining(about: Mapping[str, Any] | None) -> list[str]:
    if about is None:
        return []
    return [
        f"bank: {about['masks']} masks of {about['groups']} groups, "
        f"{about['masks_of_second_seed']} of them again with a second seed; "
        f"{about['seconds_per_retraining']:.1f} s a run",
        f"  reliability of one seed's outcomes: {cell(about['reliability'])}; own groups removed: "
        f"{cell(about['reliability_own_removed'])}",
        f"  ceilings of the LDS against one seed: {_share(about['ceiling'])}; own groups removed: "
        f"{_share(about['ceiling_own_removed'])}",
        "  |z| > 1.96 of groups that do not exist: "
        f"{_share(about['significant_share_of_phantom_groups'])}; of inert groups: "
        f"{_share(about['significant_share_of_inert_groups'])}; of groups planted for other "
        f"queries: {_share(about['significant_share_off_the_diagonal'])}",
        "",
    ]


def _removal(about: Mapping[str, Any] | None) -> list[str]:
    if about is None:
        return []
    lines = [
        f"removals of {about['num_removed']} examples: queries whose loss rose more than after "
        f"each of {about['num_random']} random removals (p = {1 / (1 + about['num_random']):.2f})"
    ]
    lines += [
        f"  {method:<{_WIDTH}}{found['num_beyond_all_random']} of {len(found['p_values'])}"
        for method, found in about["methods"].items()
    ]
    return [*lines, ""]


def _agreement(found: Sequence[Mapping[str, Any]]) -> list[str]:
    if not found:
        return []
    lines = ["agreement of the first proponents (Jaccard, rank-biased overlap)"]
    lines += [
        f"  {one['method']} and {one['reference']}: {cell(one['jaccard'])} at {one['k']} "
        f"(chance {one['chance_jaccard']:.3f}), {cell(one['rank_biased_overlap'])}"
        for one in found
    ]
    return [*lines, ""]


def _noise(found: Mapping[str, Any] | None) -> list[str]:
    if not found:
        return []
    lines = ["signal to noise of a score between the runs (variances)"]
    return [*lines, *(f"  {method:<{_WIDTH}}{cell(one)}" for method, one in found.items()), ""]


def _share(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
