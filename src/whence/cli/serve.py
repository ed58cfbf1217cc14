"""`whence serve`: a page that answers ad hoc queries to a run."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from whence.cli.console import Json, answer, progress


def serve(
    run: str | Path,
    *,
    index: str | Path | None = None,
    embedding: Annotated[bool, Parameter(negative="")] = False,
    host: str = "127.0.0.1",
    port: int = 8321,
    name: tuple[str, ...] = (),
    token: Annotated[str | None, Parameter(env_var="WHENCE_TOKEN")] = None,
    json: Json = False,
) -> None:
    """Serve a page that answers ad hoc queries to a run: model and index stay in memory.

    Type a prompt and a completion, or let the model complete, and see whether the model shows it
    and which examples gradients and searches tie to it. Ctrl-C stops it. Only this machine can
    reach it, unless --host names another address, which needs a token.

    Parameters
    ----------
    run
        A finished run, or an index; of an index also its address in a bucket, such as
        s3://bucket/index.
    index
        Another index of the run's examples, for a run that stored no gradients.
    embedding
        Also offer `embedding`: one pass of the model over all examples, which is then kept.
    host
        The address to serve at.
    port
        0 chooses a free one.
    name
        A further name by which others call this machine; may be given several times.
    token
        What others have to know: 16 letters or digits or more. Better set WHENCE_TOKEN.
    """
    from whence.errors import SettingsError
    from whence.live import require_server
    from whence.live import serve as serve_opened
    from whence.live.guard import check_bind
    from whence.runs.warm import open_for_queries

    if not 0 <= port <= 65535:
        raise SettingsError(f"{port} is no port.", "Choose 1 to 65535, or 0 for a free one.")
    check_bind(host, token)
    require_server()
    said = progress()
    opened = open_for_queries(run, index=index, with_embedding=embedding, progress=said)
    for note in opened.notes:
        said.note(note)
    opened.answerer.warm(progress=said)

    def ready(url: str) -> None:
        how = "" if token is None else " (put ?token= and the token behind the address)"
        answer(
            {"run": str(run), "url": url, "methods": list(opened.answerer.methods)},
            f"Serving {opened.title} at {url}{how}. Ctrl-C stops it.",
            json_line=json,
        )

    serve_opened(opened, host=host, port=port, names=name, token=token, on_ready=ready)
