"""Stages of what methods request and of their scores."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from whence.artifacts import progress_directory
from whence.artifacts.stage import Stage
from whence.methods import MethodInputs, Request, find_method, load_scores, save_scores, score
from whence.methods.requests import Context, CorpusPass
from whence.records import LoadedModel, Scores
from whence.runs.directory import Run

T = TypeVar("T")


def pass_stage(request: CorpusPass[T], context: Context) -> Stage[T]:
    """The stage of a request that goes over the corpus; one that was killed resumes."""
    context = context.of(request)

    def make(place: Path) -> None:
        found = request.compute(replace(context, work=progress_directory(place) / "work"))
        request.save(found, place)

    return Stage(
        request.stage,
        request.version,
        _inputs(request, context),
        make=make,
        read=lambda place: request.load(place, context),
    )


def request_key(request: Request[object], context: Context) -> str:
    """Computes the key under which a request's result is kept, or would be."""
    from whence.artifacts import fingerprint

    if isinstance(request, CorpusPass):
        return pass_stage(request, context).key
    return fingerprint(request.kind, request.version, _inputs(request, context))


def _inputs(request: Request[object], context: Context) -> dict[str, object]:
    context = context.of(request)
    return {
        "corpus": context.corpus.fingerprint,
        "queries": [asdict(query) for query in context.queries],
        **request.inputs(context),
    }


class Results(Mapping[Request[object], Any]):
    """The results of requests, each computed or read back when it is first used."""

    def __init__(self, run: Run, requests: Iterable[Request[object]], context: Context) -> None:
        self._run = run
        self._requests = dict.fromkeys(requests)
        self._context = context
        self._found: dict[Request[object], Any] = {}

    def __getitem__(self, request: Request[object]) -> Any:
        if request not in self._requests:
            raise KeyError(request)
        if request not in self._found:
            self._found[request] = (
                self._run.get(pass_stage(request, self._context))
                if isinstance(request, CorpusPass)
                else request.compute(self._context.of(request))
            )
        return self._found[request]

    def __contains__(self, request: object) -> bool:
        return request in self._requests

    def __iter__(self) -> Iterator[Request[object]]:
        return iter(self._requests)

    def __len__(self) -> int:
        return len(self._requests)


def scores_stage(
    method: str,
    inputs: MethodInputs,
    *,
    keys: Mapping[str, str],
    own: Callable[[], LoadedModel],
) -> Stage[Scores]:
    """The stage of one method's scores.

    Its key holds the method's version, its own table of settings and what it reads, and no more.

    Args:
        method: Its name.
        inputs: Queries, examples, settings, and the results of requests.
        keys: The key of each request of the method, by its label.
        own: Loads the study's own model.
    """
    found = find_method(method)
    return Stage(
        f"scores/{method}",
        found.version,
        {
            "method": method,
            "settings": inputs.settings.table(found.settings).model_dump(mode="json"),
            "reads": dict(keys),
            "corpus": inputs.corpus.fingerprint,
            "queries": [asdict(query) for query in inputs.queries],
            "references": sorted(inputs.references),
            "nulls": sorted(inputs.nulls),
            **({"plains": dict(inputs.plains)} if inputs.plains else {}),
            "last_step": inputs.last_step,
        },
        make=lambda place: save_scores(
            score(method, replace(inputs, model=own() if _reads_model(method, inputs) else None)),
            place,
        ),
        read=load_scores,
    )


def _reads_model(method: str, inputs: MethodInputs) -> bool:
    from whence.methods import Readings

    return Readings() in find_method(method).needs(inputs.settings)
