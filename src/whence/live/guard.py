"""What every request passes: the Host header, the token, the origin; and headers of every answer.

A page of another site that a browser shows can send requests to this machine: by name, where that
name leads here (DNS rebinding), or as a form. The Host header, the origin and the type of what is
sent tell such requests apart. Without a loopback address there has to be a token.
"""

import hmac
import ipaddress
import json
import re
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from whence.errors import SettingsError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "whence-token"
MIN_TOKEN = 16
_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{{MIN_TOKEN},256}}")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The run's page brings a policy of its own, which lists the hashes of what is in it.
_PAGE_POLICY = "connect-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE = "/page"
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def check_bind(host: str, token: str | None) -> None:
    """Refuses an address that others can reach without a token that they cannot guess.

    Raises:
        SettingsError: There is no token, or a short one.
    """
    if token is not None and not _TOKEN.fullmatch(token):
        raise SettingsError(
            f"A token is {MIN_TOKEN} to 256 letters, digits, `-` and `_`, and this one is not.",
            "Make one, for example with `python -c 'import secrets; print(secrets.token_hex())'`.",
        )
    if not is_loopback(host) and token is None:
        raise SettingsError(
            f"Others can reach {host}, and there is no token that keeps them out.",
            "Set WHENCE_TOKEN or `--token`, or leave `--host` out to serve this machine only.",
        )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Lets only requests through that are meant for this server and come from whoever may.

    Args:
        app: What answers the others.
        host: The address that is bound; `0.0.0.0` and `::` stand for every address of the machine.
        names: Further names by which the machine is called.
        token: What a client has to know; None on a loopback address.
    """

    def __init__(
        self, app: "ASGIApp", *, host: str, names: Collection[str] = (), token: str | None = None
    ) -> None:
        self._app = app
        self._names = {host.lower(), *(name.lower() for name in names)}
        if is_loopback(host):
            self._names |= set(LOOPBACK)
        self._is_any = host in ("0.0.0.0", "::")
        self._token = token

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answers one request, or has it answered."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = _headers(scope)

        async def guarded(message: "Message") -> None:
            if message["type"] == "http.response.start":
                policy = _PAGE_POLICY if scope["path"] == PAGE else _POLICY
                extra = {**HEADERS, "content-security-policy": policy}
                kept = [(k, v) for k, v in message["headers"] if k.decode().lower() not in extra]
                message["headers"] = [*kept, *((k.encode(), v.encode()) for k, v in extra.items())]
            await send(message)

        if (refusal := self._refusal(scope, headers)) is not None:
            await _refuse(guarded, *refusal)
            return
        if self._token is not None and (location := self._entry(scope)) is not None:
            await _enter(guarded, location, self._token)
            return
        await self._app(scope, receive, guarded)

    def _refusal(self, scope: "Scope", headers: "dict[str, str]") -> tuple[int, str, str] | None:
        host = _hostname(headers.get("host", ""))
        if host is None or not self._is_known(host):
            return (
                421,
                f"This server is not called {(host or 'so')[:100]!r}.",
                "Use the address that it printed when it started.",
            )
        if scope["method"] not in ("GET", "HEAD"):
            site, origin = headers.get("sec-fetch-site"), headers.get("origin")
            is_foreign = site not in (None, "same-origin", "none")
            is_other = origin is not None and urlsplit(origin).netloc != headers.get("host")
            if is_foreign or is_other:
                return (403, "The request comes from a page of another site.", "Use its own page.")
        if self._token is not None and not self._knows_token(scope, headers):
            return (
                401,
                "The request does not know the token.",
                "Open the address with `?token=…` behind it, as it was printed.",
            )
        return None

    def _is_known(self, host: str) -> bool:
        if host in self._names:
            return True
        if not self._is_any:
            return False
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True

    def _knows_token(self, scope: "Scope", headers: "dict[str, str]") -> bool:
        assert self._token is not None
        given = [headers.get("authorization", "").removeprefix("Bearer ")]
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            morsel = None
        given += [morsel.value] if morsel else []
        given += _token_in(scope)
        return any(hmac.compare_digest(one.encode(), self._token.encode()) for one in given)

    def _entry(self, scope: "Scope") -> str | None:
        """Where a request leads that brings the token in its address, so that it stays nowhere."""
        is_entry = scope["method"] == "GET" and _token_in(scope)
        return scope["path"] if is_entry and scope["path"] in ("/", PAGE) else None


def _headers(scope: "Scope") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        # A header that comes twice means different things to different readers.
        found[key] = "" if key in found and key in ("host", "origin") else value.decode("latin-1")
    return found


def _hostname(header: str) -> str | None:
    try:
        parts = urlsplit(f"//{header}")
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    is_plain = not (parts.username or parts.path or parts.query or parts.fragment)
    return host if host and is_plain else None


def _token_in(scope: "Scope") -> list[str]:
    query = scope.get("query_string", b"").decode("latin-1")
    try:
        return parse_qs(query, max_num_fields=20).get("token", []) if len(query) < 4096 else []
    except ValueError:  # more fields than that
        return []


async def _enter(send: "Send", location: str, token: str) -> None:
    cookie = f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/"
    headers = [(b"location", location.encode()), (b"set-cookie", cookie.encode())]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(send: "Send", status: int, problem: str, remedy: str) -> None:
    body = json.dumps({"error": {"problem": problem, "remedy": remedy}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
