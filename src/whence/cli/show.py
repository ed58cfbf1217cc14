"""`whence show`: what did a run find?"""

from pathlib import Path

from whence.cli.console import Json, answer, printable, table


def show(
    run: Path,
    *,
    behavior: str | None = None,
    method: str = "gradient_cosine",
    top_k: int = 5,
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
        How many proponents and opponents to print.
    """
    from whence.study.show import show_behavior, show_verdicts

    if behavior is None:
        rows = show_verdicts(run)
        cells = [
            (row["verdict"], row["kind"], row["behavior"], printable(row["reason"], width=110))
            for row in rows
        ]
        text = table(cells, ("verdict", "kind", "behavior", "reason"))
        answer({"run": str(run), "behaviors": rows}, text, json_line=json)
        return
    found = show_behavior(run, behavior, method=method, k=top_k)
    header = ("rank", "score", "id", "subset", "labels", "text")
    parts = [f"{found['behavior']}: {found['verdict']}. {found['reason']}"]
    for side in ("proponents", "opponents"):
        cells = [
            (
                str(hit["rank"]),
                f"{hit['score']:+.4f}",
                printable(hit["id"], width=32),
                hit["subset"] or "—",
                printable(", ".join(hit["labels"]) or "—", width=40),
                printable(hit["text"], width=80),
            )
            for hit in found[side]
        ]
        parts.append(f"{side.capitalize()} by {method}\n{table(cells, header)}")
    answer(found, "\n\n".join(parts), json_line=json)
