"""`whence query`: the examples of an index with the highest scores for one completion."""

from pathlib import Path
from typing import Literal

from whence.cli.console import Json, answer, flags, progress
from whence.cli.hits import hits_json, hits_text
from whence.errors import SettingsError


def query(
    index: Path,
    *,
    prompt: str,
    completion: str,
    alternative: str | None = None,
    method: Literal["gradient_cosine", "gradient_dot"] = "gradient_cosine",
    model: str | None = None,
    revision: str | None = None,
    tokenizer: str | None = None,
    approximate: bool = False,
    top_k: int = 10,
    json: Json = False,
) -> None:
    """Rank the examples of an index by their score for a prompt's completion.

    The completion is used exactly as written; mind its leading space. The loss of the completion
    alone is attributed; nothing is verified first.

    Parameters
    ----------
    index
        A directory that whence index or bergson build made.
    alternative
        Score the completion against this one: the query is the difference of their losses.
    model
        By default the model that the index was made with.
    revision
        A checkpoint of that model, such as step143000.
    tokenizer
        Another tokenizer's Hub id or folder, for that model.
    approximate
        Search with FAISS where the index is large, and print the measured recall.
    top_k
        How many proponents, and how many opponents, to show at most.
    """
    from whence.evidence import check_count
    from whence.gradients import open_index
    from whence.records import Behavior
    from whence.runs.indexing import index_model, query_index
    from whence.runs.opening import open_model
    from whence.settings import ModelSettings

    check_count(top_k)
    if model is None and (revision or tokenizer):
        flag = "revision" if revision else "tokenizer"
        raise SettingsError(
            f"`--{flag}` belongs to a model, and no `--model` is named.",
            "Name the model, or leave it out for the one that the index was made with.",
        )
    behavior = flags(
        Behavior,
        id="query",
        kind="fact",
        prompt=prompt,
        completion=completion,
        alternatives=(alternative,) if alternative else (),
    )
    opened = open_index(index)
    loaded = (
        open_model(flags(ModelSettings, name=model, revision=revision, tokenizer=tokenizer))
        if model
        else index_model(opened)
    )
    found = query_index(
        opened,
        loaded,
        behavior,
        method=method,
        contrast=alternative is not None,
        approximate=approximate,
        k=top_k,
        progress=progress(),
    )
    search = "exact"
    if found.recall is not None:
        search = (
            f"approximate; recall@10 {found.recall:.3f}, with some of the index's own rows as "
            "queries"
        )
    columns = ("rank", "score", "id", "subset", "position", "text")
    answer(
        {
            "index": str(index),
            "method": method,
            "orientation": "higher is more helpful",
            **hits_json(found),
            "recall_at_10": found.recall,
        },
        f"{hits_text(found, by='', columns=columns)}\n\nSearch: {search}.",
        json_line=json,
    )
