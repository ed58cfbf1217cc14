"""What does each stage of a run write, and when can it be skipped?

Each stage is one directory in the run. A stage whose inputs have not changed is read back.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from whence.artifacts import (
    MANIFEST,
    building,
    fingerprint,
    is_current,
    progress_directory,
    write_json,
)
from whence.methods import MethodInputs, Request
from whence.methods.requests import Context, CorpusPass
from whence.progress import Progress
from whence.records import Behavior, Corpus, LoadedModel, Scores, Verification
from whence.settings import VerifySettings

T = TypeVar("T")


def verification_stage(
    directory: Path,
    behaviors: Sequence[Behavior],
    model: LoadedModel,
    *,
    initial: LoadedModel | None,
    settings: VerifySettings,
    texts_by_subset: Mapping[str, Sequence[str]],
    progress: Progress,
) -> tuple[Verification, ...]:
    """Measures whether the model shows each behavior; one JSON file."""
    from whence.behaviors import verification_from_json, verification_to_json, verify

    inputs = {
        "behaviors": [behavior.model_dump(mode="json") for behavior in behaviors],
        "model": model.fingerprint,
        "initial": initial.fingerprint if initial else None,
        "settings": settings.model_dump(mode="json"),
        "texts": fingerprint({name: list(texts) for name, texts in texts_by_subset.items()}),
    }
    if not is_current(directory, kind="verification", inputs=inputs):
        with building(directory, kind="verification", inputs=inputs) as partial:
            found = verify(
                behaviors,
                model,
                settings=settings,
                initial=initial,
                texts_by_subset=texts_by_subset,
                progress=progress,
            )
            write_json(partial / "verification.json", [verification_to_json(v) for v in found])
    stored = json.loads((directory / "verification.json").read_text(encoding="utf-8"))
    return tuple(verification_from_json(value) for value in stored)


def corpus_stage(directory: Path, corpus: Corpus) -> None:
    """Writes the examples with their ids, texts, hashes and training positions."""
    from whence.corpus import save_corpus

    inputs = {"corpus": corpus.content_fingerprint}
    if not is_current(directory, kind="corpus", inputs=inputs):
        with building(directory, kind="corpus", inputs=inputs) as partial:
            save_corpus(corpus, partial)


def request_key(request: Request[Any], context: Context) -> str:
    """Computes the key under which a request's result is kept, or would be."""
    return fingerprint(request.kind, _request_inputs(request, context))


def pass_stage(request: CorpusPass[T], context: Context) -> T:
    """Computes what a request asks of the corpus, or reads it back.

    A stage that was killed goes on from what it left.
    """
    place, inputs = context.directory / request.stage, _request_inputs(request, context)
    if not is_current(place, kind=request.kind, inputs=inputs):
        with building(place, kind=request.kind, inputs=inputs, resume=True) as partial:
            result = request.compute(replace(context, work=progress_directory(partial) / "work"))
            request.save(result, partial)
    return request.load(place, context)


class Results(Mapping[Request[Any], Any]):
    """The results of requests, each computed or read back when it is first used."""

    def __init__(self, requests: Iterable[Request[Any]], context: Context) -> None:
        self._requests = dict.fromkeys(requests)
        self._context = context
        self._found: dict[Request[Any], Any] = {}

    def __getitem__(self, request: Request[Any]) -> Any:
        if request not in self._requests:
            raise KeyError(request)
        if request not in self._found:
            self._found[request] = (
                pass_stage(request, self._context)
                if isinstance(request, CorpusPass)
                else request.compute(self._context)
            )
        return self._found[request]

    def __contains__(self, request: object) -> bool:
        return request in self._requests

    def __iter__(self) -> Iterator[Request[Any]]:
        return iter(self._requests)

    def __len__(self) -> int:
        return len(self._requests)


def scores_inputs(method: str, inputs: MethodInputs, keys: Mapping[str, str]) -> dict[str, Any]:
    """Lists what determines a method's scores, and no more.

    Args:
        method: Its name.
        inputs: Queries, examples and settings, of which only the method's own table counts.
        keys: The key of each request of the method, by its label.
    """
    from whence.methods import find_method

    found = find_method(method)
    return {
        "method": method,
        "version": found.version,
        "settings": inputs.settings.table(found.settings).model_dump(mode="json"),
        "reads": dict(keys),
        "corpus": inputs.corpus.fingerprint,
        "queries": [asdict(query) for query in inputs.queries],
        "references": sorted(inputs.references),
        "last_step": inputs.last_step,
    }


def has_scores(
    directory: Path, method: str, inputs: MethodInputs, keys: Callable[[str], Mapping[str, str]]
) -> bool:
    """Tells whether a method's scores stand there that were made from the same inputs.

    `keys` is called only where there are scores at all: a key may take loading a model.
    """
    return (directory / MANIFEST).is_file() and is_current(
        directory, kind="scores", inputs=scores_inputs(method, inputs, keys(method))
    )


def scores_stage(
    directory: Path, method: str, inputs: MethodInputs, *, keys: Mapping[str, str]
) -> Scores:
    """Scores every example for every query by one method."""
    from whence.methods import load_scores, save_scores, score

    key = scores_inputs(method, inputs, keys)
    if not is_current(directory, kind="scores", inputs=key):
        with building(directory, kind="scores", inputs=key) as partial:
            save_scores(score(method, inputs), partial)
    return load_scores(directory)


def _request_inputs(request: Request[Any], context: Context) -> dict[str, Any]:
    return {
        "version": request.version,
        "corpus": context.corpus.fingerprint,
        "queries": [asdict(query) for query in context.queries],
        **request.inputs(context),
    }
