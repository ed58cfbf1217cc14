"""`whence find`: how often, and where, a text occurs in the corpus of a run."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.cli.console import Json, answer, flags, printable, progress, table
from whence.cli.corpus_flags import DEFAULT, ReadAs
from whence.errors import SettingsError

if TYPE_CHECKING:
    from whence.corpus.search import Counts, Finding
    from whence.runs.finding import CorpusSearch


def find(
    text: str,
    directory: Path,
    *,
    ids: bool = False,
    before_step: int | None = None,
    limit: int = 10,
    model: str | None = None,
    revision: str | None = None,
    tokenizer: str | None = None,
    corpus: str | None = None,
    read_as: ReadAs = DEFAULT,
    json: Json = False,
) -> None:
    """Find a text in the corpus of a run: how often, in which documents, subsets and steps.

    The tokens of the text are searched, as given and after a space. The first call sorts the
    corpus and keeps that in the directory; later ones search it in milliseconds.

    Parameters
    ----------
    text
        What to find, exactly as written; with `--ids` token ids, such as "510 5347".
    directory
        A finished run; with `--model` and `--corpus`, where that corpus is kept.
    ids
        The text is token ids, separated by spaces or commas.
    before_step
        Count occurrences in documents of earlier training steps apart.
    limit
        How many occurrences to list.
    model
        Search another corpus than a run's, in this model's tokens.
    revision
        A checkpoint of that model, such as step143000.
    tokenizer
        Another tokenizer's Hub id or folder, for that model.
    corpus
        The corpus to search: a Hub dataset, a file or folder, or testbed:mini.
    """
    from whence.corpus.search import check_numbers
    from whence.runs.finding import open_search
    from whence.settings import ModelSettings

    tokens = _ids(text) if ids else None
    check_numbers(limit, before_step)
    if model is None and (revision or tokenizer):
        flag = "revision" if revision else "tokenizer"
        raise SettingsError(
            f"`--{flag}` belongs to a model, and no `--model` is named.",
            "Name the model and its corpus, or leave it out to search the run's.",
        )
    search = open_search(
        directory,
        model=flags(ModelSettings, name=model, revision=revision, tokenizer=tokenizer)
        if model
        else None,
        corpus=read_as.settings_if(corpus),
        progress=progress(),
    )
    asked: dict[str, Any] = {"limit": limit, "before_step": before_step}
    if tokens is None:
        assert search.tokenizer, "loaded before the clock starts"
    started = time.perf_counter()
    found = search.find(text, **asked) if tokens is None else search.find_ids(tokens, **asked)
    seconds = time.perf_counter() - started
    value = _value(search, found, is_text=tokens is None)
    value = {"directory": str(directory), "text": text, "seconds": round(seconds, 6), **value}
    answer(value, _words(value, found), json_line=json)


def _ids(text: str) -> list[int]:
    parts = re.split(r"[\s,]+", text.strip().strip("[]"))
    for part in parts:
        if not re.fullmatch(r"[0-9]{1,18}", part, flags=re.ASCII):
            raise SettingsError(
                f"`--ids` is set, and {part[:40]!r} is no token id.",
                'Write whole numbers from 0 on, separated by spaces, such as "510 5347".',
            )
    return [int(part) for part in parts]


def _value(search: "CorpusSearch", found: "Finding", *, is_text: bool) -> dict[str, Any]:
    """Lays a finding out for `--json`."""
    places = []
    for place in found.places:
        before, match, after = search.excerpt(place)
        places.append({**place._asdict(), "before": before, "match": match, "after": after})
    longest = found.longest
    return {
        **_counts(found.counts),
        "forms": [
            {"form": pattern.form, "tokens": list(pattern.tokens), **_counts(counts)}
            for pattern, counts in found.forms
        ],
        "subsets": [{"subset": subset, **_counts(counts)} for subset, counts in found.subsets],
        "first_step": found.first_step,
        "last_step": found.last_step,
        "documents_without_step": found.num_without_step,
        "before_step": found.before_step,
        "before": found.before and _counts(found.before),
        "places": places,
        "longest": longest
        and {
            "text": search.decode(longest.tokens),
            "tokens": list(longest.tokens),
            **_counts(longest.counts),
        },
        "searched": {"documents": found.num_documents, "tokens": found.num_tokens},
        "limits": list(search.limits(is_text=is_text)),
    }


def _counts(counts: "Counts") -> dict[str, int]:
    return {"occurrences": counts.num_occurrences, "documents": counts.num_documents}


def _words(value: dict[str, Any], found: "Finding") -> str:
    """Lays a finding out for a terminal."""
    searched = f"{found.num_documents:,} documents ({found.num_tokens:,} tokens)"
    blocks = [_forms(value)]
    if not found.counts.num_occurrences:
        blocks.insert(0, f"Not found in {searched}.")
        blocks.append(_longest(value["longest"]))
        limits = " ".join(value["limits"])
        blocks.append(
            f"Not found here does not mean absent from the training data. {limits}".rstrip()
        )
        return "\n\n".join(blocks)
    blocks.insert(0, f"{_times(found.counts)} of {searched}, in {value['seconds'] * 1e3:.2f} ms.")
    rows = [
        (printable(part["subset"] or "—", width=40), part["occurrences"], part["documents"])
        for part in value["subsets"]
    ]
    cells = [(name, f"{count:,}", f"{documents:,}") for name, count, documents in rows]
    blocks += [table(cells, ("subset", "occurrences", "documents")), _steps(found)]
    blocks += [_places(value, found)] if found.places else []
    blocks += [" ".join(value["limits"])] if value["limits"] else []
    return "\n\n".join(blocks)


def _forms(value: dict[str, Any]) -> str:
    cells = [
        (
            form["form"],
            f"{form['occurrences']:,}",
            f"{form['documents']:,}",
            printable(" ".join(map(str, form["tokens"])), width=60),
        )
        for form in value["forms"]
    ]
    return table(cells, ("form", "occurrences", "documents", "tokens"))


def _longest(longest: dict[str, Any] | None) -> str:
    if longest is None:
        return "None of its tokens occurs."
    times = longest["occurrences"]
    return (
        f"The longest part that occurs: {printable(repr(longest['text']), width=100)} "
        f"({_number(len(longest['tokens']), 'token')}), {_number(times, 'time')} in "
        f"{_number(longest['documents'], 'document')}."
    )


def _number(num: int, noun: str) -> str:
    return f"{num:,} {noun}{'' if num == 1 else 's'}"


def _steps(found: "Finding") -> str:
    if found.first_step is None:
        return "No document that holds it has a training step."
    text = f"Training steps {found.first_step:,} to {found.last_step:,}."
    if found.num_without_step:
        text += f" {found.num_without_step:,} of the documents have no step."
    if found.before is not None:
        text += f" Before step {found.before_step:,}: {_times(found.before)} documents."
    return text


def _places(value: dict[str, Any], found: "Finding") -> str:
    cells = [
        (
            printable(place["id"], width=32),
            str(place["offset"]),
            printable(place["subset"] or "—", width=32),
            "—" if place["step"] is None else str(place["step"]),
            printable(f"{place['before']}[{place['match']}]{place['after']}", width=110),
        )
        for place in value["places"]
    ]
    head = "Where" if len(cells) == found.counts.num_occurrences else f"The first {len(cells)}"
    return f"{head}\n{table(cells, ('id', 'token', 'subset', 'step', 'text'))}"


def _times(counts: "Counts") -> str:
    times = "occurrence" if counts.num_occurrences == 1 else "occurrences"
    return f"{counts.num_occurrences:,} {times} in {counts.num_documents:,}"
