"""The web application: a page, and the calls that it makes.

    GET    /                     the page
    GET    /api/state            what can be asked here
    POST   /api/queries          asks; answers with the job's id
    POST   /api/completions      lets the model continue a prompt; likewise
    GET    /api/jobs/{id}        how far a job is, and its answer
    DELETE /api/jobs/{id}        cancels a job
    GET    /page                 the run's page, where there is one

Nothing in a request names a file: what is served was opened before the first one came.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from whence.errors import SettingsError, WhenceError
from whence.live.guard import PAGE, Guard
from whence.live.jobs import BusyError, Job, JobQueue
from whence.live.payload import (
    MAX_BODY_BYTES,
    MAX_COMPLETION,
    MAX_LISTED,
    MAX_PROMPT,
    Continuation,
    Question,
    error_json,
    read,
    result_json,
)
from whence.progress import Progress
from whence.runs.adhoc import GRADIENT_METHODS, SEARCH_METHODS
from whence.runs.warm import Opened
from whence.settings import KINDS, Settings

_ASSETS = {
    "live.js": "text/javascript; charset=utf-8",
    "live.css": "text/css; charset=utf-8",
}
Handler = Callable[[Request], Awaitable[Response]]


class _TooLargeError(WhenceError):
    """More bytes than a request may have."""


def make_app(
    opened: Opened,
    queue: JobQueue,
    *,
    host: str = "127.0.0.1",
    names: Collection[str] = (),
    token: str | None = None,
) -> Starlette:
    """Makes the application.

    Args:
        opened: What is served: model, examples, index, and the run that they belong to.
        queue: Where queries wait.
        host: The address that is bound.
        names: Further names by which the machine is called.
        token: What a client has to know; None on a loopback address.
    """
    calls = _Calls(opened, queue)
    routes = [
        Route("/", _asset("live.html", "text/html; charset=utf-8")),
        *(Route(f"/assets/{name}", _asset(name, kind)) for name, kind in _ASSETS.items()),
        Route("/favicon.ico", _no_icon),
        Route("/api/state", calls.state),
        Route("/api/queries", calls.query, methods=["POST"]),
        Route("/api/completions", calls.complete, methods=["POST"]),
        Route("/api/jobs/{job_id}", calls.job, methods=["GET", "DELETE"]),
    ]
    if opened.page is not None:
        routes.append(Route(PAGE, _file(opened.page)))
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, host=host, names=names, token=token)],
        exception_handlers={HTTPException: _http_error},
    )


class _Calls:
    def __init__(self, opened: Opened, queue: JobQueue) -> None:
        self._opened = opened
        self._queue = queue

    async def state(self, request: Request) -> Response:
        """Lists what can be asked here."""
        return _json(self._opened.to_json() | {"limits": _LIMITS, "kinds": list(KINDS)})

    async def query(self, request: Request) -> Response:
        """Puts a query into the queue."""

        def work(question: Question) -> Callable[[Progress], Mapping[str, Any]]:
            self._check(question)
            answerer = self._opened.answerer
            methods = question.methods or answerer.methods
            return lambda progress: result_json(
                answerer.answer(
                    question.behavior,
                    methods=methods,
                    k=question.k,
                    contrast=question.alternative is not None,
                    only_shown=not question.force,
                    progress=progress,
                )
            )

        return await self._submit(request, Question, work)

    async def complete(self, request: Request) -> Response:
        """Lets the model continue a prompt."""

        def work(asked: Continuation) -> Callable[[Progress], Mapping[str, Any]]:
            answerer = self._opened.answerer
            return lambda _: {
                "prompt": asked.prompt,
                "tokens": list(answerer.complete(asked.prompt, num_tokens=asked.num_tokens)),
            }

        return await self._submit(request, Continuation, work)

    async def job(self, request: Request) -> Response:
        """Answers how far a job is, or cancels it."""
        found = self._queue.find(request.path_params["job_id"])
        if found is None:
            return _json(
                error_json(
                    ("There is no such query, or its answer was given long ago.", "Ask again.")
                ),
                status=404,
            )
        if request.method == "DELETE":
            self._queue.cancel(found)
        return _json(self._queue.describe(found))

    def _check(self, question: Question) -> None:
        """Refuses a method that cannot answer, before the query waits.

        Raises:
            SettingsError: With what can.
        """
        answerer = self._opened.answerer
        can = set(answerer.methods)
        if self._opened.can_stream:
            can |= set(GRADIENT_METHODS)
        known = (*GRADIENT_METHODS, *SEARCH_METHODS)
        for name in question.methods:
            if name not in can:
                raise SettingsError(
                    f"`{name[:60]}` cannot answer here.",
                    f"Choose some of {', '.join(n for n in known if n in can)}.",
                )

    async def _submit(
        self,
        request: Request,
        kind: type[Settings],
        make: Callable[[Any], Callable[[Progress], Mapping[str, Any]]],
    ) -> Response:
        try:
            job = self._queue.submit(make(read(kind, await _body(request))))
        except _TooLargeError as error:
            return _problem(error, status=413)
        except BusyError as error:
            return _problem(error, status=503, headers={"retry-after": "2"})
        except WhenceError as error:
            return _problem(error, status=422)
        except ClientDisconnect:
            return Response(status_code=400)
        return _json(self._queue.describe(job), status=202)


_LIMITS = {"prompt": MAX_PROMPT, "completion": MAX_COMPLETION, "k": MAX_LISTED}


async def _body(request: Request) -> bytes:
    """Reads a request's body, and no more of it than it may have.

    Raises:
        SettingsError: It is of another type.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise SettingsError("The request is not of type application/json.", "Send JSON.")
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > MAX_BODY_BYTES:
            raise _TooLargeError(
                f"The request has more than {MAX_BODY_BYTES:,} bytes.", "Send a shorter text."
            )
    return bytes(found)


async def _no_icon(request: Request) -> Response:
    """Browsers ask for one whatever the page says."""
    return Response(status_code=204)


def _asset(name: str, kind: str) -> Handler:
    content = files("whence.live").joinpath("assets", name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, headers={"content-type": kind})

    return answer


def _file(path: Path) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            content = path.read_bytes()
        except OSError:
            return _json(
                error_json(("The run has no page any more.", "Write it with `whence report`.")),
                status=404,
            )
        return Response(content, headers={"content-type": "text/html; charset=utf-8"})

    return answer


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = ("There is nothing at this address.", "Start at the address that was printed.")
    if error.status_code == 405:
        words = ("This address does not answer requests of this kind.", "Use the page.")
    return _json(error_json(words), status=error.status_code)


def _problem(
    error: WhenceError, *, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    return _json(error_json((error.problem, error.remedy)), status=status, headers=headers)


def _json(
    values: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return JSONResponse(dict(values), status_code=status, headers=dict(headers or {}))


__all__ = ["Job", "make_app"]
