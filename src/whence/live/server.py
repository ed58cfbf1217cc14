"""The server: binds an address, prepares what is served, and answers until it is stopped."""

import socket
from collections.abc import Callable, Collection

from whence.errors import SettingsError
from whence.live.guard import check_bind
from whence.runs.warm import Opened


def serve(
    opened: Opened,
    *,
    host: str = "127.0.0.1",
    port: int = 8321,
    names: Collection[str] = (),
    token: str | None = None,
    on_ready: Callable[[str], None] = lambda _url: None,
) -> None:
    """Answers ad hoc queries over HTTP until the process is interrupted.

    Args:
        opened: What is served.
        host: The address; another one than loopback needs a token.
        port: 0 chooses a free one.
        names: Further names by which clients may call the machine.
        token: What a client has to know.
        on_ready: Called with the address once it is bound.

    Raises:
        SettingsError: The address cannot be bound, or has no token that it needs; or the packages
            of the extra `serve` are missing.
    """
    check_bind(host, token)
    require_server()
    import uvicorn

    from whence.live.app import make_app
    from whence.live.jobs import JobQueue

    bound = _bind(host, port)
    queue = JobQueue()
    try:
        app = make_app(opened, queue, host=host, names=names, token=token)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=3,
            limit_concurrency=512,
            h11_max_incomplete_event_size=16 * 1024,
        )
        shown = f"[{host}]" if ":" in host else host
        on_ready(f"http://{shown}:{bound.getsockname()[1]}/")
        uvicorn.Server(config).run(sockets=[bound])
    except KeyboardInterrupt:
        pass  # the usual end, which uvicorn passes on after it has closed its connections
    finally:
        queue.close()
        bound.close()


def require_server() -> None:
    """Refuses to go on without the packages that answer HTTP.

    Raises:
        SettingsError: One is missing.
    """
    from importlib import import_module

    for name in ("starlette", "uvicorn"):
        try:
            import_module(name)
        except ImportError as error:
            raise SettingsError(
                f"Serving needs the package {name}, which cannot be imported ({error}).",
                "Install the extra: `uv pip install '.[serve]'`.",
            ) from error


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError) as error:
        raise SettingsError(
            f"{host[:100]}:{port} is no address of this machine ({error}).", "Choose another."
        ) from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise SettingsError(
            f"{host}:{port} cannot be bound ({error.strerror}).",
            "Stop what uses it, or choose another port with `--port`.",
        ) from None
    return bound
