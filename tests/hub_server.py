"""A Hugging Face Hub on the loopback address, so that the real download code runs in tests.

It speaks the part of the Hub's API that huggingface_hub and datasets use for reading: repository
information, file trees, and files with ranges. It keeps a list of what was asked for.
"""

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

_API = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+(?:/[^/]+)?)"
    r"(?:/(?P<call>revision|tree|paths-info)/(?P<rest>.+))?"
)
_FILE = re.compile(r"/(?P<kind>datasets/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<rest>.+)")


class Asked(NamedTuple):
    """One request: `bytes_sent` counts the body of the answer."""

    method: str
    path: str
    range: str | None
    status: int
    bytes_sent: int


class Revision(NamedTuple):
    sha: str
    files: dict[str, bytes]


@dataclass
class LoopbackHub:
    """Repositories by kind ("models" or "datasets"), id and revision, served at `url`."""

    url: str = ""
    gated: set[str] = field(default_factory=set)
    repos: dict[tuple[str, str], dict[str, Revision]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Listens, in a thread that ends with the process; after `stop` at the same address."""
        port = urlsplit(self.url).port or 0
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        serve = partial(self._server.serve_forever, poll_interval=0.01)
        threading.Thread(target=serve, daemon=True).start()

    def stop(self) -> None:
        """Refuses connections, as a Hub that cannot be reached."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def add(
        self,
        kind: str,
        repo: str,
        files: Mapping[str, bytes | Path],
        *,
        revision: str = "main",
    ) -> None:
        """Publishes files as one revision of a repository."""
        content = {
            name: value if isinstance(value, bytes) else value.read_bytes()
            for name, value in files.items()
        }
        digest = hashlib.sha1(f"{kind}/{repo}@{revision}".encode())
        for name, value in sorted(content.items()):
            digest.update(name.encode() + hashlib.sha1(value).digest())
        self.repos.setdefault((kind, repo), {})[revision] = Revision(digest.hexdigest(), content)

    def add_folder(self, kind: str, repo: str, folder: Path, *, revision: str = "main") -> None:
        """Publishes the files of a folder."""
        files = {file.name: file for file in sorted(folder.iterdir()) if file.is_file()}
        self.add(kind, repo, files, revision=revision)

    def clear(self) -> None:
        """Forgets every repository and request, and listens."""
        if self._server is None:
            self.start()
        self.gated.clear()
        self.repos.clear()
        self.asked.clear()

    def downloads(self, suffix: str = "") -> list[Asked]:
        """Lists the files, or parts of files, that were sent."""
        return [
            asked
            for asked in self.asked
            if asked.method == "GET"
            and "/resolve/" in asked.path
            and asked.path.endswith(suffix)
            and asked.status < 300
        ]

    def find(self, kind: str, repo: str, revision: str) -> Revision | None:
        """Finds a revision by its name or commit."""
        revisions = self.repos.get((kind, repo), {})
        by_sha = {found.sha: found for found in revisions.values()}
        return revisions.get(revision) or by_sha.get(revision)


class _Handler(BaseHTTPRequestHandler):
    # One request per connection, so that none outlives `stop`.
    protocol_version = "HTTP/1.0"
    hub: LoopbackHub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *args: Any) -> None:  # pyright: ignore
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        path = unquote(url.path)
        if match := _FILE.fullmatch(path):
            kind = "datasets" if match["kind"] else "models"
            self._file(kind, match["repo"], match["rest"])
        elif match := _API.fullmatch(path):
            rest = match["rest"] or "main"
            self._api(match["kind"], match["repo"], match["call"], rest, parse_qs(url.query), body)
        else:
            self._send(404, b"", code="EntryNotFound")

    def _find(self, kind: str, repo: str, rest: str) -> tuple[Revision, str] | None:
        if (kind, repo) not in self.hub.repos:
            self._send(404, b"", code="RepoNotFound")
            return None
        revision, _, path = rest.partition("/")
        found = self.hub.find(kind, repo, unquote(revision))
        if found is None:
            self._send(404, b"", code="RevisionNotFound")
            return None
        return found, path

    def _api(
        self,
        kind: str,
        repo: str,
        call: str | None,
        rest: str,
        query: dict[str, list[str]],
        body: bytes,
    ) -> None:
        if (found := self._find(kind, repo, rest)) is None:
            return
        revision, folder = found
        entries = _entries(revision.files)
        if call == "tree":
            inside = [e for e in entries if not folder or e["path"].startswith(f"{folder}/")]
            if folder and not inside:
                self._send(404, b"", code="EntryNotFound")
            elif query.get("recursive", ["false"])[0].lower() == "true":
                self._json(inside)
            else:
                depth = folder.count("/") + 1 if folder else 0
                self._json([entry for entry in inside if entry["path"].count("/") == depth])
        elif call == "paths-info":
            wanted = _paths(body)
            self._json([entry for entry in entries if entry["path"] in wanted])
        else:
            siblings = [{"rfilename": name} for name in revision.files]
            self._json(
                {
                    "id": repo,
                    "sha": revision.sha,
                    "private": False,
                    "gated": False,
                    "disabled": False,
                    "tags": [],
                    "downloads": 0,
                    "likes": 0,
                    "siblings": siblings,
                }
            )

    def _file(self, kind: str, repo: str, rest: str) -> None:
        if (found := self._find(kind, repo, rest)) is None:
            return
        revision, name = found
        if repo in self.hub.gated:
            # A gated repository can be listed by everybody, but not read.
            self._send(403, b"", code="GatedRepo")
            return
        data = revision.files.get(name)
        headers = {"X-Repo-Commit": revision.sha, "Accept-Ranges": "bytes"}
        if data is None:
            self._send(404, b"", code="EntryNotFound", headers=headers)
            return
        headers["ETag"] = f'"{hashlib.sha1(data).hexdigest()}"'
        status = 200
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, stop = int(match[1]), int(match[2] or len(data) - 1) + 1
            if start >= len(data):
                self._send(416, b"", headers=headers)
                return
            headers["Content-Range"] = f"bytes {start}-{min(stop, len(data)) - 1}/{len(data)}"
            data, status = data[start:stop], 206
        self._send(status, data, headers=headers)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), headers={"Content-Type": "application/json"})

    def _send(
        self,
        status: int,
        body: bytes,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.hub.asked.append(
            Asked(
                self.command,
                unquote(urlsplit(self.path).path),
                self.headers.get("Range"),
                status,
                0 if self.command == "HEAD" else len(body),
            )
        )
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entries(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
    oid = "0" * 40
    return [
        {"type": "directory", "path": name, "size": 0, "oid": oid} for name in sorted(folders)
    ] + [
        {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        for name, data in files.items()
    ]


def _paths(body: bytes) -> list[str]:
    if body.startswith(b"{"):
        return json.loads(body)["paths"]
    return parse_qs(body.decode()).get("paths", [])
