"""A validation laid out as text tables, for a terminal or a document."""

from collections.abc import Mapping, Sequence

from whence.statistics import Estimate
from whence.validation.above_null import ABOVE_NULL
from whence.validation.clusters import cluster_sentence
from whence.validation.leaderboard import ALL
from whence.validation.record import (
    Agreement,
    BankSummary,
    Figure,
    RemovalSummary,
    SignalToNoise,
    Validation,
    WindowSummary,
)
from whence.validation.run_validation import COMPARED

PRINTED = (*COMPARED, "inert above the rest", ABOVE_NULL)
_WIDTH = 26


def format_validation(validation: Validation, *, printed: Sequence[str] = PRINTED) -> str:
    """Lays a validation out: tables, what they rest on, and what they show.

    Args:
        validation: What was measured.
        printed: Names of the measures that get a table, in this order.
    """
    lines: list[str] = []
    for name in printed:
        figures = [figure for figure in validation.figures if figure.measure == name]
        if figures:
            lines += [*_table(name, figures, tuple(validation.kinds)), ""]
    lines += [*_windows(validation), *_retraining(validation.retraining)]
    lines += _clusters(validation)
    lines += _removal(validation.removal)
    for one in validation.window_removals:
        lines += _removal(one)
    lines += [*_agreement(validation.agreement), *_noise(validation.signal_to_noise)]
    lines += ["seconds, passes over the corpus included, and bytes of index per example"]
    lines += [
        f"  {method:<{_WIDTH}}{cost.seconds:>10.1f} s{cost.bytes_per_example:>14,.0f} B"
        for method, cost in validation.methods.items()
    ]
    return "\n".join([*lines, "", *validation.sentences])


def _cell(estimate: Estimate) -> str:
    """Writes a value with its interval and the number of units behind it."""
    if estimate.value is None:
        return "undefined"
    if estimate.interval is None:
        return f"{estimate.value:+.3f} n={estimate.n}"
    low, high, _ = estimate.interval
    return f"{estimate.value:+.3f} [{low:+.2f},{high:+.2f}] n={estimate.n}"


def _table(name: str, figures: Sequence[Figure], kinds: Sequence[str]) -> list[str]:
    kinds = [k for k in kinds if any(f.kind == k and f.estimate.n for f in figures)]
    by_place = {(figure.method, figure.kind): figure for figure in figures}
    methods = dict.fromkeys(figure.method for figure in figures)
    controls = [next(f.control for f in figures if f.kind == kind) for kind in kinds]
    label = f"[{controls[0].name}]" if controls else "[control]"
    return [
        f"{name} ({figures[0].unit})",
        _line(["method", *kinds]),
        *(_line([m, *(_cell(by_place[m, kind].estimate) for kind in kinds)]) for m in methods),
        _line([label[: _WIDTH - 1], *(_cell(control.estimate) for control in controls)]),
    ]


def _line(cells: Sequence[str]) -> str:
    return "  " + "".join(f"{text:<{_WIDTH}}" for text in cells).rstrip()


def _windows(validation: Validation) -> list[str]:
    """Lays the curve over windows of training out: own-removed scores, and ceilings."""
    windows = [w for w in validation.windows if w.measure_own_removed not in validation.undefined]
    if not windows:
        return []
    names = [one.measure_own_removed for one in windows]
    by_place = {(f.measure, f.method): f for f in validation.figures if f.kind == ALL}
    methods = dict.fromkeys(f.method for f in validation.figures if f.measure in names)
    rows = [[m, *(_cell(by_place[n, m].estimate) for n in names)] for m in methods]
    chance = [next(f.control for (n, _), f in by_place.items() if n == name) for name in names]
    return [
        "own-removed LDS over windows of training",
        _line(["window", *(one.label for one in windows)]),
        _line(
            [
                "share of training",
                *("unknown" if one.share is None else f"{one.share:.0%}" for one in windows),
            ]
        ),
        _line(["masks", *(f"{one.masks} of {one.num_units} {one.unit}s" for one in windows)]),
        *map(_line, rows),
        _line([f"[{chance[0].name}]", *(_cell(one.estimate) for one in chance)]),
        _line(["[additive ceiling]", *(_cell(w.additive_ceiling_own_removed) for w in windows)]),
        *_states(windows),
        "",
    ]


def _states(windows: Sequence[WindowSummary]) -> list[str]:
    """Tells of each continued checkpoint where its optimizer's state came from."""
    lines = []
    for one in windows:
        if one.optimizer_state is None:
            continue
        apart = (
            ""
            if one.end_difference_nats is None
            else "; without a mask, completions end "
            f"{one.end_difference_nats:.2f} nats from the kept checkpoint, in the mean"
        )
        lines.append(f"  {one.label}: {one.optimizer_state}{apart}")
    return list(dict.fromkeys(lines))


def _retraining(bank: BankSummary | None) -> list[str]:
    if bank is None:
        return []
    return [
        f"bank: {bank.masks} masks of {bank.groups} groups, "
        f"{bank.masks_of_second_seed} of them again with a second seed; "
        f"{bank.seconds_per_retraining:.1f} s a run",
        f"  reliability of one seed's outcomes: {_cell(bank.reliability)}; own groups removed: "
        f"{_cell(bank.reliability_own_removed)}",
        f"  ceilings of the LDS against one seed: {_share(bank.ceiling)}; own groups removed: "
        f"{_share(bank.ceiling_own_removed)}",
        "  |z| > 1.96 of groups that do not exist: "
        f"{_share(bank.significant_share_of_phantom_groups)}; of inert groups: "
        f"{_share(bank.significant_share_of_inert_groups)}; of groups planted for other "
        f"queries: {_share(bank.significant_share_off_the_diagonal)}",
        "",
    ]


def _clusters(validation: Validation) -> list[str]:
    """Lays the removal of clusters of copies out beside the sums of their members' scores."""
    lines: list[str] = []
    for window in validation.windows:
        if window.clusters:
            lines.append(f"clusters of copies, {window.label}: removal beside summed scores")
        for one in window.clusters:
            sums = (f"{m} {'undefined' if s is None else f'{s:.3g}'}" for m, s in one.sums.items())
            lines += [f"  {one.behavior_id}: {cluster_sentence(one)}", f"    {', '.join(sums)}"]
    return [*lines, ""] if lines else []


def _removal(removal: RemovalSummary | None) -> list[str]:
    if removal is None:
        return []
    lines = [
        f"removals of {removal.num_removed} examples"
        f"{f' from {removal.label}' if removal.label else ''}: queries whose loss rose more than "
        f"after each of {removal.num_random} random removals "
        f"(p = {1 / (1 + removal.num_random):.2f})"
    ]
    lines += [
        f"  {method:<{_WIDTH}}{one.num_beyond_all_random} of {len(one.p_values)}"
        for method, one in removal.methods.items()
    ]
    return [*lines, ""]


def _agreement(agreements: Sequence[Agreement]) -> list[str]:
    if not agreements:
        return []
    lines = ["agreement of the first proponents (Jaccard, rank-biased overlap)"]
    lines += [
        f"  {one.method} and {one.reference}: {_cell(one.jaccard)} at {one.k} "
        f"(chance {one.chance_jaccard:.3f}), {_cell(one.rank_biased_overlap)}"
        for one in agreements
    ]
    return [*lines, ""]


def _noise(noise: Mapping[str, SignalToNoise] | None) -> list[str]:
    if not noise:
        return []
    lines = ["signal to noise of a score between the runs (variances)"]
    lines += [f"  {method:<{_WIDTH}}{_cell(one.estimate)}" for method, one in noise.items()]
    return [*lines, ""]


def _share(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
