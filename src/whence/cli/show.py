"""`whence show`: verdicts, proponents and opponents of a run."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from whence.cli.console import Json, answer, printable, progress, table
from whence.cli.hits import hits_json, hits_text, nothing
from whence.errors import SettingsError
from whence.evidence.relations import RELATIONS
from whence.report.sentences import change

if TYPE_CHECKING:
    from whence.evidence import Tie
    from whence.records import Hit
    from whence.runs.show import BehaviorHits


def show(
    run: Path,
    *,
    behavior: str | None = None,
    method: str | None = None,
    top_k: int = 5,
    tokens: bool = False,
    modules: bool = False,
    json: Json = False,
) -> None:
    """Print what a run found.

    Parameters
    ----------
    run
        The run's directory.
    behavior
        One behavior's id; without it, every behavior's verdict.
    method
        Whose ranking to print; by default that of the method that the run's page leads with, the
        first of the study's methods that compares gradients.
    top_k
        How many proponents, and how many opponents, to print at most.
    tokens
        Split the inner product by the proponents' tokens; runs the model again for those that the
        run does not keep.
    modules
        Split it by the model's layers, likewise.
    """
    from whence.evidence import check_count
    from whence.runs.show import show_behavior, show_verdicts

    check_count(top_k)
    if behavior is None:
        asked = {"method": method is not None, "tokens": tokens, "modules": modules}
        if named := next((name for name, is_asked in asked.items() if is_asked), None):
            raise SettingsError(
                f"`--{named}` is about one behavior, and none is named.",
                f"Name one with `--behavior`; `whence show {run}` lists them.",
            )
        verdicts = [
            {"behavior": v.behavior_id, "kind": v.kind, "verdict": v.verdict, "reason": v.reason}
            for v in show_verdicts(run)
        ]
        cells = [
            (row["verdict"], row["kind"], row["behavior"], printable(row["reason"], width=110))
            for row in verdicts
        ]
        text = table(cells, ("verdict", "kind", "behavior", "reason"))
        answer({"run": str(run), "behaviors": verdicts}, text, json_line=json)
        return
    found = show_behavior(run, behavior, method=method, k=top_k)
    ids = [hit.id for hit in found.hits.proponents]
    if not ids and (tokens or modules):
        empty = {"behavior": behavior, "tokens" if tokens else "modules": {}}
        answer(empty, nothing("positive"), json_line=json)
        return
    if tokens:
        _print_tokens(run, behavior, ids, method=found.method, json_line=json)
        return
    if modules:
        _print_modules(run, behavior, ids, method=found.method, json_line=json)
        return
    verification = found.verification
    values = {
        "behavior": behavior,
        "kind": verification.kind,
        "verdict": verification.verdict,
        "reason": verification.reason,
        "method": found.method,
        "orientation": "higher is more helpful",
        "num_stating": found.num_stating,
        "relations": found.relations,
        "clusters": {
            label: [one.model_dump(mode="json") for one in of_bank]
            for label, of_bank in found.clusters.items()
        },
        "random_effects_nats": list(found.random_effects_nats),
        "style": None if found.style is None else asdict(found.style),
        **_with_evidence(found),
    }
    columns = ("rank", "score", "id", "subset", "labels", "text")
    more = {}
    if found.relations:
        effect = ("step",) if found.random_effects_nats else ()
        columns = ("rank", "score", "z", *effect, "relation", "copies", "id", "labels", "text")
        more = _columns(found)
    head = f"{behavior}: {verification.verdict}. {verification.reason}"
    lists = hits_text(found.hits, by=f" by {found.method}", columns=columns, more=more)
    parts = [head, *_relation_lines(found), *_style_lines(found), *_cluster_lines(found), lists]
    answer(values, "\n\n".join(parts), json_line=json)


def _with_evidence(found: "BehaviorHits") -> dict[str, list[dict[str, object]]]:
    """Lays hits out for `--json`, each with its tie, its strength and its near copies."""
    lists = hits_json(found.hits)
    for hit in (hit for hits in lists.values() for hit in hits):
        tie, strength, num_near, effect = found.evidence[str(hit["id"])]
        hit["tie"] = None if tie is None else asdict(tie)
        hit["z"] = None if strength is None else strength.z
        hit["tail"] = None if strength is None else strength.tail
        hit["is_above_null"] = None if strength is None else strength.is_above_null
        hit["num_hub"] = None if strength is None else strength.num_hub
        hit["num_near"] = num_near
        hit["effect_nats"] = effect
    return lists


def _columns(found: "BehaviorHits") -> dict[str, "Callable[[Hit], str]"]:
    """The columns of evidence; * marks a z that unrelated queries seldom reach."""

    def z(hit: "Hit") -> str:
        strength = found.evidence[hit.id].strength
        if strength is None or strength.z is None:
            return "—"
        return f"{strength.z:.1f}{'*' if strength.is_above_null else ''}"

    def relation(hit: "Hit") -> str:
        tie = found.evidence[hit.id].tie
        return "—" if tie is None else relation_label(tie)

    def copies(hit: "Hit") -> str:
        num = found.evidence[hit.id].num_near
        return "—" if num is None else str(num)

    def step(hit: "Hit") -> str:
        return _change(found.evidence[hit.id].effect_nats)

    return {"z": z, "step": step, "relation": relation, "copies": copies}


def _change(nats: float | None) -> str:
    return "—" if nats is None else change(nats)


def _relation_lines(found: "BehaviorHits") -> list[str]:
    """How many of each method's first clusters have which relation; none without evidence."""
    if not found.relations:
        return []
    lines = ["What ties each method's first examples to it, copies and near copies counted once:"]
    for method, relations in found.relations.items():
        told = ", ".join(f"{n} {RELATIONS[name].label}" for name, n in relations.items())
        lines.append(f"  {method:<26}{told}")
    if found.num_stating is not None:
        lines.append(f"Documents of the corpus that state it: {found.num_stating}.")
    lines.append("z: deviations above the example's scores for unrelated queries; * above chance.")
    if others := sorted(found.random_effects_nats):
        beside = f"a random one like it, {_change(others[0])}"
        if len(others) > 1:
            ends = f"{_change(others[0])} to {_change(others[-1])}"
            beside = f"{len(others)} random ones like it, {ends}"
        lines.append(
            "step: change of the completion's log-probability in nats by one training step on the "
            f"example; on {beside}."
        )
    return ["\n".join(lines)]


def _style_lines(found: "BehaviorHits") -> list[str]:
    """Style against content; none where the behavior names no plain words."""
    if found.style is None:
        return []
    from whence.evidence.style import style_sentences

    return ["\n  ".join(["Style against content:", *style_sentences(found.style)])]


def _cluster_lines(found: "BehaviorHits") -> list[str]:
    """What removing clusters of copies does, beside the sum of the method's scores."""
    from whence.validation import cluster_sentence

    blocks = []
    for label, effects in found.clusters.items():
        lines = [f"Clusters of copies removed by retraining ({label}); sums are no group effects:"]
        for one in effects:
            total = one.sums.get(found.method)
            told = "undefined" if total is None else f"{total:.3g}"
            lines.append(f"  {cluster_sentence(one)} Sum of scores: {told}.")
        blocks.append("\n".join(lines))
    return blocks


def relation_label(tie: "Tie") -> str:
    """Names a relation, with how similar a near copy is."""
    label = RELATIONS[tie.relation].label
    if tie.relation in ("near", "weak-near") and tie.edit_similarity is not None:
        label += f" {tie.edit_similarity:.0%}"
    return f"{label}, templated" if tie.is_templated else label


def _print_tokens(
    run: Path, behavior: str, ids: list[str], *, method: str, json_line: bool
) -> None:
    """Prints each proponent's tokens, the strongest first."""
    from whence.runs.tokens import token_parts

    split = token_parts(run, behavior, ids, method=method, progress=progress())
    blocks = []
    for example_id, parts in split.items():
        strongest = sorted(range(len(parts)), key=lambda place: -abs(parts[place].part))[:12]
        cells = [
            (str(place), f"{parts[place].part:+.4g}", printable(repr(parts[place].text), width=30))
            for place in strongest
        ]
        total = sum(part.part for part in parts)
        head = f"{example_id}: inner product {total:+.4g} nats over {len(parts)} tokens"
        blocks.append(f"{head}\n{table(cells, ('position', 'part', 'token'))}")
    value = {
        "behavior": behavior,
        "method": method,
        "tokens": {name: [part._asdict() for part in parts] for name, parts in split.items()},
    }
    answer(value, "\n\n".join(blocks), json_line=json_line)


def _print_modules(
    run: Path, behavior: str, ids: list[str], *, method: str, json_line: bool
) -> None:
    """Prints each proponent's part in every layer, and the sum over proponents."""
    from whence.runs.tokens import module_parts

    split = module_parts(run, behavior, ids, method=method, progress=progress())
    names = list(next(iter(split.values()), {}))
    sums = {name: sum(parts[name] for parts in split.values()) for name in names}
    rows = {**split, "all of these": sums}
    cells = [(name, *(f"{parts[name]:+.4g}" for parts in rows.values())) for name in names]
    cells.append(("sum", *(f"{sum(parts.values()):+.4g}" for parts in rows.values())))
    header = ("layer", *(printable(name, width=24) for name in rows))
    text = f"Inner products in nats, by layer\n{table(cells, header)}"
    value = {"behavior": behavior, "method": method, "modules": split}
    answer(value, text, json_line=json_line)
