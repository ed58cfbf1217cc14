"""`whence query`: the examples of an index with the highest scores for one completion."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from whence.cli.console import Json, answer, flags, progress
from whence.cli.hits import hits_json, hits_text
from whence.errors import SettingsError

if TYPE_CHECKING:
    from numpy import ndarray

    from whence.gradients import Parts
    from whence.records import Hits, LoadedModel
    from whence.runs.adhoc import AdHocResult

Beside = Literal["bm25", "embedding"]


def query(
    *index: str | Path,
    prompt: str,
    completion: str,
    alternative: str | None = None,
    method: Literal["gradient_cosine", "gradient_dot"] = "gradient_cosine",
    beside: tuple[Beside, ...] | None = None,
    model: str | None = None,
    revision: str | None = None,
    tokenizer: str | None = None,
    approximate: bool = False,
    top_k: int = 10,
    json: Json = False,
) -> None:
    """Rank the examples of an index by their score for a prompt's completion.

    The completion is used exactly as written; mind its leading space. The loss of the completion
    alone is attributed. The answer begins with whether the model shows it, without a comparison
    with untrained weights.

    Parameters
    ----------
    index
        A directory that whence index or bergson build made, or an address such as
        s3://bucket/index, which is copied once; several of different examples, made with the same
        model and settings, are searched as one.
    alternative
        Score the completion against this one: the query is the difference of their losses.
    beside
        Searches to list beside the gradients: by default bm25, where the index has texts.
        embedding runs the model over all examples once, and keeps the result in INDEX.states.
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
    from whence.gradients import join_indexes, open_index
    from whence.records import Behavior
    from whence.runs.adhoc import Answerer
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
    told = progress()
    if not index:
        raise SettingsError("`whence query` needs an index, and none is named.", "Name one.")
    opened = join_indexes([open_index(place, progress=told) for place in index])
    loaded = (
        open_model(
            flags(ModelSettings, name=model, revision=revision, tokenizer=tokenizer), progress=told
        )
        if model
        else index_model(opened.indexes[0], progress=told)
    )
    states = _states(opened, loaded) if "embedding" in (beside or ()) else None
    answerer = Answerer(loaded, opened.corpus, index=opened, states=states)
    searches = beside if beside is not None else ("bm25",) if answerer.has_texts else ()
    found = None
    if approximate:
        found = query_index(
            opened.indexes,
            loaded,
            behavior,
            method=method,
            contrast=alternative is not None,
            approximate=True,
            k=top_k,
            progress=told,
        )
    result = answerer.answer(
        behavior,
        methods=(*(() if approximate else (method,)), *searches),
        k=top_k,
        contrast=alternative is not None,
        with_evidence=False,
        progress=told,
    )
    lists = {one.method: one.hits for one in result.rankings}
    own = lists.pop(method) if found is None else found
    _print(index, method, own, lists, result, json_line=json)


def _print(
    indexes: tuple[str | Path, ...],
    method: str,
    own: "Hits",
    beside: "dict[str, Hits]",
    result: "AdHocResult",
    *,
    json_line: bool,
) -> None:
    from whence.behaviors import verification_to_json

    verification = result.verification
    search = "exact"
    if own.recall is not None:
        search = (
            f"approximate; recall@10 {own.recall:.3f}, with some of the index's own rows as queries"
        )
    columns = ("rank", "score", "id", "subset", "position", "text")
    paragraphs = [
        f"{verification.verdict.capitalize()}: {verification.reason}",
        *result.notes,
        hits_text(own, by=f" by {method}", columns=columns),
        *(
            hits_text(found, by=f" by {name}", columns=columns, has_signs=name != "bm25")
            for name, found in beside.items()
        ),
        f"Search: {search}.",
    ]
    answer(
        {
            "index": str(indexes[0]) if len(indexes) == 1 else [str(place) for place in indexes],
            "method": method,
            "orientation": "higher is more helpful",
            "verification": verification_to_json(verification),
            "notes": list(result.notes),
            **hits_json(own),
            "beside": {name: hits_json(found) for name, found in beside.items()},
            "recall_at_10": own.recall,
        },
        "\n\n".join(paragraphs),
        json_line=json_line,
    )


def _states(opened: "Parts", model: "LoadedModel") -> "ndarray":
    """The hidden states of the examples, kept beside each index."""
    import numpy as np

    from whence.runs.states import keep_states

    return np.concatenate(
        [
            keep_states(
                index.path.with_name(f"{index.path.name}.states"),
                model,
                index.corpus,
                progress=progress(),
            )
            for index in opened.indexes
        ]
    )
