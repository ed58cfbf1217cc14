"""`whence query`: which examples are tied to this completion?"""

from pathlib import Path
from typing import Literal

from whence.cli.console import Json, answer, printable, progress, table


def query(
    index: Path,
    *,
    prompt: str,
    completion: str,
    alternative: str | None = None,
    method: Literal["gradient_cosine", "gradient_dot"] = "gradient_cosine",
    model: str | None = None,
    revision: str | None = None,
    approximate: bool = False,
    top_k: int = 10,
    json: Json = False,
) -> None:
    """Ask an index which examples are tied to a prompt's completion.

    The completion is taken as it is written: mind its leading space. The loss of the completion
    alone is attributed; nothing is verified first.

    Parameters
    ----------
    index
        A directory that whence index or bergson build made.
    alternative
        Ask why the completion rather than this one.
    model
        By default the model that the index was made with.
    approximate
        Search with FAISS where the index is large, and say how much of the best that finds.
    top_k
        How many proponents and opponents to show.
    """
    from whence.gradients import open_index
    from whence.records import Behavior
    from whence.settings import ModelSettings
    from whence.study.index import index_model, query_index
    from whence.study.inputs import open_model

    opened = open_index(index)
    loaded = (
        open_model(ModelSettings(name=model, revision=revision)) if model else index_model(opened)
    )
    behavior = Behavior(
        id="query",
        kind="fact",
        prompt=prompt,
        completion=completion,
        alternatives=(alternative,) if alternative else (),
    )
    best, worst, recall = query_index(
        opened,
        loaded,
        behavior,
        method=method,
        contrast=alternative is not None,
        approximate=approximate,
        k=top_k,
        progress=progress(),
    )
    found = "exact"
    if recall is not None:
        found = f"approximate; recall@10 {recall:.3f}, with some of the index's own rows as queries"
    header = ("rank", "score", "id", "subset", "position", "text")
    rows = [
        (
            str(hit.rank),
            f"{hit.score:+.4f}",
            printable(hit.id, width=32),
            hit.subset or "—",
            "—" if hit.position is None else str(hit.position),
            printable(hit.text or "", width=80),
        )
        for hit in best + worst
    ]
    answer(
        {
            "index": str(index),
            "method": method,
            "orientation": "higher is more helpful",
            "proponents": [hit._asdict() for hit in best],
            "opponents": [hit._asdict() for hit in worst],
            "recall_at_10": recall,
        },
        f"Proponents\n{table(rows[: len(best)], header)}\n\n"
        f"Opponents\n{table(rows[len(best) :], header)}\n\nSearch: {found}.",
        json_line=json,
    )
