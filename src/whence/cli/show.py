"""`whence show`: verdicts, proponents and opponents of a run."""

from pathlib import Path

from whence.cli.console import Json, answer, printable, progress, table
from whence.cli.hits import hits_json, hits_text, nothing


def show(
    run: Path,
    *,
    behavior: str | None = None,
    method: str = "gradient_cosine",
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
        Whose ranking to print.
    top_k
        How many proponents, and how many opponents, to print at most.
    tokens
        Split the inner product by the proponents' tokens; runs the model again.
    modules
        Split it by the model's layers; runs the model again.
    """
    from whence.runs.show import show_behavior, show_verdicts

    if behavior is None:
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
        _print_tokens(run, behavior, ids, json_line=json)
        return
    if modules:
        _print_modules(run, behavior, ids, json_line=json)
        return
    verification = found.verification
    values = {
        "behavior": behavior,
        "kind": verification.kind,
        "verdict": verification.verdict,
        "reason": verification.reason,
        "method": method,
        "orientation": "higher is more helpful",
        **hits_json(found.hits),
    }
    columns = ("rank", "score", "id", "subset", "labels", "text")
    head = f"{behavior}: {verification.verdict}. {verification.reason}"
    lists = hits_text(found.hits, by=f" by {method}", columns=columns)
    answer(values, f"{head}\n\n{lists}", json_line=json)


def _print_tokens(run: Path, behavior: str, ids: list[str], *, json_line: bool) -> None:
    """Prints each proponent's tokens, the strongest first."""
    from whence.runs.tokens import token_parts

    split = token_parts(run, behavior, ids, progress=progress())
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
        "tokens": {name: [part._asdict() for part in parts] for name, parts in split.items()},
    }
    answer(value, "\n\n".join(blocks), json_line=json_line)


def _print_modules(run: Path, behavior: str, ids: list[str], *, json_line: bool) -> None:
    """Prints each proponent's part in every layer, and the sum over proponents."""
    from whence.runs.tokens import module_parts

    split = module_parts(run, behavior, ids, progress=progress())
    names = list(next(iter(split.values()), {}))
    sums = {name: sum(parts[name] for parts in split.values()) for name in names}
    rows = {**split, "all of these": sums}
    cells = [(name, *(f"{parts[name]:+.4g}" for parts in rows.values())) for name in names]
    cells.append(("sum", *(f"{sum(parts.values()):+.4g}" for parts in rows.values())))
    header = ("layer", *(printable(name, width=24) for name in rows))
    text = f"Inner products in nats, by layer\n{table(cells, header)}"
    answer({"behavior": behavior, "modules": split}, text, json_line=json_line)
