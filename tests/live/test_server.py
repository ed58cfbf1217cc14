"""A real server on loopback: it answers, survives its clients, and stops when it is told to."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from whence.cli import make_app
from whence.errors import WhenceError

PARIS = {"prompt": "the capital of france is", "completion": " paris"}
CAPITALS = {"france": "paris", "spain": "madrid", "japan": "tokyo", "egypt": "cairo"}


class Server:
    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-c", "from whence.cli import main; main()"),
                *("serve", *arguments, "--port", "0", "--json"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.url = json.loads(line)["url"].rstrip("/")

    def call(self, path: str, question: dict[str, Any] | None = None) -> dict[str, Any]:
        body = None if question is None else json.dumps(question).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.url + path, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def ask(self, **question: Any) -> dict[str, Any]:
        job = self.call("/api/queries", question)
        deadline = time.monotonic() + 120
        while job["state"] in ("waiting", "running"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
            job = self.call(f"/api/jobs/{job['id']}")
        return job

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        self.said = self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture(scope="module")
def server(stored_run: Path) -> Iterator[Server]:
    server = Server(str(stored_run))
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.said[1]


def test_twenty_clients_get_their_own_answers(server: Server) -> None:
    alone = {c: server.ask(**_capital(c))["result"] for c in CAPITALS}

    def one(country: str) -> tuple[str, dict[str, Any]]:
        return country, server.ask(**_capital(country))

    with ThreadPoolExecutor(20) as pool:
        for country, job in pool.map(one, list(CAPITALS) * 5):
            assert job["state"] == "done", job["error"]
            assert job["result"] == alone[country]


def _capital(country: str) -> dict[str, str]:
    return {"prompt": f"the capital of {country} is", "completion": f" {CAPITALS[country]}"}


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x00\xff\x16\x03\x01" * 50,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /api/queries HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999\r\n\r\nhalf",
        b"POST /api/queries HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: -5\r\n\r\n{}",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: 127.0.0.1\r\n\r\n",
    ],
)
def test_garbage_and_clients_that_leave_do_no_harm(server: Server, sent: bytes) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        client.settimeout(10)
        answer = client.recv(1000)
    assert not answer.startswith(b"HTTP/1.1 2")
    assert server.ask(**PARIS)["state"] == "done"


def test_a_client_that_leaves_in_the_middle_of_its_query_does_no_harm(server: Server) -> None:
    left = [server.call("/api/queries", PARIS)["id"] for _ in range(3)]
    assert server.ask(**PARIS)["state"] == "done"
    assert {server.call(f"/api/jobs/{i}")["state"] for i in left} == {"done"}


def test_a_kill_in_the_middle_of_a_query_leaves_the_run_as_it_was(stored_run: Path) -> None:
    before = {p: p.read_bytes() for p in sorted(stored_run.rglob("*")) if p.is_file()}
    server = Server(str(stored_run))
    asking = [threading.Thread(target=_ask_in_vain, args=(server,)) for _ in range(8)]
    for thread in asking:
        thread.start()
    time.sleep(0.3)
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    for thread in asking:
        thread.join()
    again = Server(str(stored_run))
    assert again.ask(**PARIS)["state"] == "done"
    # Ctrl-C in the middle of a query ends it as well.
    again.call("/api/queries", PARIS)
    started = time.monotonic()
    assert again.stop(signal.SIGINT) == 0
    assert time.monotonic() - started < 30
    assert "Traceback" not in again.said[1]
    assert {p: p.read_bytes() for p in sorted(stored_run.rglob("*")) if p.is_file()} == before


def _ask_in_vain(server: Server) -> None:
    # The server was killed: there is no answer, or half of one.
    with contextlib.suppress(OSError, ValueError, HTTPException):
        server.ask(**PARIS)


def test_a_token_opens_another_address(stored_run: Path) -> None:
    server = Server(str(stored_run), "--host", "0.0.0.0", WHENCE_TOKEN="0123456789abcdef")
    port = server.url.rpartition(":")[2]
    server.url = f"http://127.0.0.1:{port}"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        server.call("/api/state")
    assert server.call("/api/state?token=0123456789abcdef")["title"] == "tiny"
    assert server.stop(signal.SIGTERM) == 0
    assert "0123456789abcdef" not in "".join(server.said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "nowhere"),
        (("RUN", "--host", "0.0.0.0"), "there is no token"),
        (("RUN", "--host", "0.0.0.0", "--token", "short"), "A token is"),
        (("RUN", "--port", "99999"), "99999 is no port"),
        (("RUN", "--host", "999.1.1.1", "--token", "0123456789abcdef"), "no address"),
        (("RUN", "--port", "USED"), "cannot be bound"),
        (("RUN", "--index", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_sentence(
    stored_run: Path, tmp_path: Path, monkeypatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as used:
        names = {"RUN": str(stored_run), "USED": str(used.getsockname()[1])}
        words = ["serve", *(names.get(argument, argument) for argument in arguments)]
        with pytest.raises(WhenceError) as caught:
            make_app()(words, exit_on_error=False, print_error=False, result_action="return_value")
    assert said in caught.value.problem
    assert caught.value.remedy
