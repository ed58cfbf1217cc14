"""What the pictures of a page show: agreement, subsets, sharing, place in training, layers."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from statistics import fmean

from whence import statistics
from whence.behaviors.kinds import RULES
from whence.evidence.gap import first_clusters
from whence.evidence.record import Evidence
from whence.evidence.relations import RELATIONS
from whence.evidence.splits import NUM_SPLIT, Split, layer_of, part_of
from whence.report.context import Context
from whence.report.examples import Examples
from whence.report.pictures import (
    Cell,
    Dot,
    Picture,
    bar_plot,
    dot_plot,
    heat_table,
    matrix_plot,
)
from whence.report.run_record import RunRecord
from whence.report.sentences import listed, method_label
from whence.report.sums import other_method, sum_up

_NUM_SUBSETS = 15
_NUM_PARTS = 10
_MOST_LAYERS = 12
# More rows than this are thinner than a pixel or two.
_MOST_BEHAVIORS = 200


def across_pictures(page: Context) -> list[Picture]:
    """Draws what the first examples of the page's method on gradients have in common.

    Returns:
        The pictures that a run has the numbers for; none without evidence.
    """
    evidence, method = page.record.evidence, page.compared.method or page.compared.search
    if evidence is None or method is None:
        return []
    forced = set(page.record.forced)
    ids = [
        behavior.id
        for kind in RULES
        for behavior in page.record.behaviors
        if behavior.kind == kind and behavior.id in page.scored[method] - forced
    ]
    if not ids:
        return []
    firsts = {i: _rows(evidence, method, i, page) for i in ids}
    found = [
        _agreement(method, ids, page),
        _effects(ids, page),
        _subsets(method, firsts, page),
        _positions(method, firsts, page),
        _overlap(method, firsts, page),
        _layers(ids, page),
        _styles(method, page),
    ]
    return [figure for figure in found if figure is not None]


def _rows(evidence: Evidence, method: str, behavior_id: str, page: Context) -> list[int]:
    listed = first_clusters(evidence, method, behavior_id, k=page.num_first)
    return page.record.corpus.rows([one.example_id for one in listed])


def _agreement(method: str, ids: Sequence[str], page: Context) -> Picture | None:
    search = page.compared.search
    if search is None or search == method:
        return None
    kinds = {behavior.id: behavior.kind for behavior in page.record.behaviors}
    dots = []
    for kind, rule in RULES.items():
        of_kind = [i for i in ids if kinds[i] == kind and other_method(method, i, page) == search]
        gaps = [sum_up(method, i, page).gap for i in of_kind]
        shares = {
            i: g.num_both / (g.num_both + g.num_only)
            for i, g in zip(of_kind, gaps, strict=True)
            if g and g.num_both + g.num_only
        }
        if shares:
            found = _over_families(shares, page)
            low, high = (None, None) if found.interval is None else found.interval[:2]
            dots.append(Dot(f"{rule.label} ({len(shares)})", found.value, low, high))
    if not dots:
        return None
    who = method_label(method)
    return dot_plot(
        dots,
        name="agreement",
        title=f"How much of {who}'s first {page.num_first} {method_label(search)} lists, too",
        caption=f"Mean share over the behaviors of each kind; copies count once. {_INTERVAL}",
        unit="share",
    )


def _effects(ids: Sequence[str], page: Context) -> Picture | None:
    """What a step on an example does, by the example's relation to the behavior."""
    evidence, effects = page.record.evidence, page.record.effects
    changes = [] if effects is None else [e for e in effects.effects if e.behavior_id in ids]
    if evidence is None or effects is None or not changes:
        return None
    by_relation: dict[str, dict[str, list[float]]] = {relation: {} for relation in RELATIONS}
    random: dict[str, list[float]] = {}
    for one in changes:
        tie = evidence.tie(one.behavior_id, one.example_id)
        if one.is_control or tie is not None:
            of = random if tie is None or one.is_control else by_relation[tie.relation]
            of.setdefault(one.behavior_id, []).append(one.change_nats)
    labels = {relation: kind.label for relation, kind in RELATIONS.items()}
    dots = [_effect_dot(labels[relation], of, page) for relation, of in by_relation.items() if of]
    who = [method_label(name) for name in effects.methods]
    return dot_plot(
        [*dots, _effect_dot("random examples", random, page)],
        name="effects",
        title="What one training step on an example does, by its relation",
        caption="Mean change of the completion's log-probability by a step on one of the first "
        f"{effects.num_examples} examples of {listed(who)}, over families of behaviors, each of "
        f"which counts once; in brackets how many examples. {_INTERVAL}",
        unit="nats",
    )


def _effect_dot(name: str, changes: Mapping[str, list[float]], page: Context) -> Dot:
    """One relation: the mean over families of behaviors, each of which counts once."""
    means = page.by_family({i: fmean(own) for i, own in changes.items()})
    found = mean_over([*means.values()], [*means])
    low, high = (None, None) if found.interval is None else found.interval[:2]
    num = sum(len(own) for own in changes.values())
    return Dot(f"{name} ({num})", found.value, low, high)


def _subsets(method: str, firsts: dict[str, list[int]], page: Context) -> Picture | None:
    subsets = page.record.corpus.table.column("subset").to_pylist()
    sizes = Counter(subsets)
    if len(sizes) < 2 or not any(firsts.values()):
        return None
    dots = []
    for subset, size in sizes.most_common(_NUM_SUBSETS):
        shares = {
            i: sum(subsets[r] == subset for r in rows) / len(rows)
            for i, rows in firsts.items()
            if rows
        }
        found = _over_families(shares, page)
        low, high = (None, None) if found.interval is None else found.interval[:2]
        dots.append(Dot(subset or "unknown", found.value, low, high, beside=size / len(subsets)))
    return dot_plot(
        dots,
        name="subsets",
        title=f"Subsets of {method_label(method)}'s first {page.num_first}, beside the pool",
        caption="Dots: mean share over behaviors. Marks: the subset's share of the examples that "
        f"were searched. {_INTERVAL}",
        unit="share",
        beside="share of the pool",
    )


def _positions(method: str, firsts: dict[str, list[int]], page: Context) -> Picture | None:
    positions = page.record.corpus.table.column("position").to_pylist()
    known = [p for p in positions if p is not None]
    rows = [row for listed in firsts.values() for row in listed]
    if len(known) < len(positions) or not rows or len(set(known)) < _NUM_PARTS:
        return None
    first, last = min(known), max(known) + 1

    def part(position: int) -> int:
        return (position - first) * _NUM_PARTS // (last - first)

    counts, pool = Counter(part(positions[r]) for r in rows), Counter(map(part, known))
    bars = [
        (
            f"{100 * n // _NUM_PARTS}\u2013{100 * (n + 1) // _NUM_PARTS}%",
            counts[n] / len(rows),
            pool[n] / len(known),
        )
        for n in range(_NUM_PARTS)
    ]
    return bar_plot(
        bars,
        name="positions",
        title=f"When the model was trained on {method_label(method)}'s first {page.num_first}",
        caption=f"Share of {len(rows):,} listed examples by place in the order of training. Lines: "
        "the share of all examples that were searched.",
        unit="share of the listed examples, by place in training",
        beside="share of the pool",
    )


def _overlap(method: str, firsts: dict[str, list[int]], page: Context) -> Picture | None:
    if not 2 <= len(firsts) <= _MOST_BEHAVIORS:
        return None
    clusters = page.examples.clusters
    sets: list[set[Hashable]] = [{clusters[row] for row in rows} for rows in firsts.values()]
    cells: dict[tuple[int, int], float] = {}
    for (i, one), (j, other) in combinations(enumerate(sets), 2):
        if one & other:
            cells[i, j] = cells[j, i] = round(len(one & other) / len(one | other), 4)
    kinds = Counter(behavior.kind for behavior in page.record.behaviors if behavior.id in firsts)
    return matrix_plot(
        list(firsts),
        cells,
        groups=[(RULES[kind].label, kinds[kind]) for kind in RULES if kinds[kind]],
        name="overlap",
        title=f"Behaviors that share some of {method_label(method)}'s first {page.num_first}",
        caption="Jaccard of every two behaviors, the darker the larger; copies count once. Pairs "
        "that share none are empty.",
    )


_INTERVAL = "Student's 95% intervals are over families of behaviors, where there are six."
_OVERLAPS = {
    "overlap_plain": "plain words",
    "overlap_style": "same style",
    "overlap_neither": "neither",
}


def _styles(method: str, page: Context) -> Picture | None:
    """Mean overlaps of lists when style or content is suppressed, by kind."""
    evidence = page.record.evidence
    found = [] if evidence is None else [one for one in evidence.styles if one.method == method]
    if evidence is None or not found:
        return None
    of = {behavior.id: behavior for behavior in page.record.behaviors}
    search, dots = page.compared.search, []
    for kind, rule in RULES.items():
        of_kind = [one for one in found if of[one.behavior_id].kind == kind]
        for field, words in _OVERLAPS.items():
            known = [one for one in of_kind if getattr(one, field) is not None]
            if not known:
                continue
            mean = mean_over(
                [getattr(one, field) for one in known],
                [of[one.behavior_id].style or one.behavior_id for one in known],
                bounds=(0, 1),
            )
            others = [evidence.style(search, one.behavior_id) for one in known if search]
            beside = [
                value for o in others if o is not None and (value := getattr(o, field)) is not None
            ]
            low, high = (None, None) if mean.interval is None else mean.interval[:2]
            name = f"{rule.label}, {words} ({len(known)})"
            dots.append(
                Dot(name, mean.value, low, high, sum(beside) / len(beside) if beside else None)
            )
    if not dots:
        return None
    return dot_plot(
        dots,
        name="style",
        title=f"Style against content: what {method_label(method)}'s lists share",
        caption="Mean Jaccard of a behavior's first ten clusters with those of the same content in "
        "plain words, with those of other behaviors of its style that have other words, and, as "
        "the control, with those of the plain counterparts of these. Student's 95% interval over "
        "styles, where there are six.",
        unit="Jaccard",
        beside=None if search is None else method_label(search),
    )


def mean_over(
    values: Sequence[float],
    families: Sequence[str],
    *,
    bounds: tuple[float, float] = statistics.UNBOUNDED,
) -> statistics.Estimate:
    """Computes a mean with an interval over families; none with fewer than six of them."""
    found = statistics.mean_estimate(values, families=families, bounds=bounds)
    enough = len(set(families)) >= statistics.MIN_FAMILIES
    return found if enough else found._replace(interval=None)


def _over_families(shares: Mapping[str, float], page: Context) -> statistics.Estimate:
    """The mean of a share that each behavior has."""
    return mean_over([*shares.values()], [page.families[i] for i in shares], bounds=(0, 1))


def _layers(ids: Sequence[str], page: Context) -> Picture | None:
    """Mean shares of attention and MLP of each layer, by kind."""
    splits = page.record.splits
    if splits is None or not splits.modules:
        return None
    columns = _layer_columns(splits.layers)
    profiles: dict[str, dict[str, dict[tuple[str, str], float]]] = {}
    kinds = {behavior.id: behavior.kind for behavior in page.record.behaviors}
    for behavior_id in ids:
        found = [one for one in splits.splits if one.behavior_id == behavior_id]
        if profile := _profile(found, columns):
            profiles.setdefault(kinds[behavior_id], {})[behavior_id] = profile
    if not profiles:
        return None
    parts = dict.fromkeys(part_of(module) for module in splits.modules)
    cells = []
    for kind, rule in RULES.items():
        of_kind = profiles.get(kind, {})
        for part in parts if of_kind else ():
            for column in dict.fromkeys(columns.values()):
                shares = {
                    i: one[part, column] for i, one in of_kind.items() if (part, column) in one
                }
                found = mean_over([*shares.values()], [page.families[i] for i in shares])
                low, high = (None, None) if found.interval is None else found.interval[:2]
                row = f"{rule.label} ({len(of_kind)}), {part}"
                cells.append(Cell(row, column, found.value, low, high))
    who = method_label(splits.method)
    return heat_table(
        cells,
        name="layers",
        title=f"Layers that the first scores by {who} come from",
        caption="Mean share of the score over the behaviors of each kind, of its first "
        f"{NUM_SPLIT} proponents by example and by cluster; the shares of a kind add up to 1. "
        f"{_INTERVAL}",
        unit="share of the score",
    )


def _layer_columns(layers: Sequence[str]) -> dict[str, str]:
    """The column of each layer: its own, or of several in a row where there are many."""
    step = -(-len(layers) // _MOST_LAYERS)
    found = {}
    for start in range(0, len(layers), step):
        of_column = layers[start : start + step]
        last = of_column[-1].removeprefix("layer ")
        name = of_column[0] if len(of_column) == 1 else f"{of_column[0]}\u2013{last}"
        found |= dict.fromkeys(of_column, name)
    return found


def _profile(
    splits: Sequence[Split], columns: Mapping[str, str]
) -> dict[tuple[str, str], float] | None:
    """Mean shares over some examples, by part and column; None where no score is positive."""
    shares = [found for one in splits if (found := one.shares(list(one.modules.values())))]
    if not shares:
        return None
    profile: dict[tuple[str, str], float] = {}
    for n, module in enumerate(splits[0].modules):
        key = (part_of(module), columns[layer_of(module)])
        mean = sum(of_one[n] for of_one in shares) / len(shares)
        profile[key] = profile.get(key, 0.0) + mean
    return profile


def page_pictures(record: RunRecord) -> dict[str, Picture]:
    """Collects the pictures of a run's page by their names."""
    from whence.report.sections.leaderboard import leaderboard

    page = Context(record, Examples(record.corpus, record.duplicates))
    board = leaderboard(page)
    pictures = [*across_pictures(page), *(board.pictures if board else ())]
    return {picture.name: picture for picture in pictures}
