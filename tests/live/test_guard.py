"""Only requests that are meant for this server, from whoever may, are answered."""

import pytest
from starlette.testclient import TestClient
from tests.live.conftest import HOST

from whence.errors import SettingsError
from whence.live.app import make_app
from whence.live.guard import COOKIE, check_bind
from whence.live.jobs import JobQueue
from whence.runs.warm import Opened

TOKEN = "0123456789abcdefXYZ"
PARIS = {"prompt": "the capital of france is", "completion": " paris"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8321", "localhost:8321", "[::1]:8321", "LOCALHOST:9"]
)
def test_names_of_this_machine_are_known(client: TestClient, host: str) -> None:
    assert client.get("/api/state", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8321",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil@127.0.0.1",
        "127.0.0.1/x",
        "127.0.0.1:port",
        "192.168.0.7",
        "[::1",
        "a b",
    ],
)
def test_other_names_are_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/api/state", "/page"):
        done = client.get(path, headers={"host": host})
        assert done.status_code == 421
        assert "error" in done.json()
    assert client.post("/api/queries", json=PARIS, headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_other_sites_cannot_ask_or_cancel(client: TestClient, headers: dict) -> None:
    assert client.post("/api/queries", json=PARIS, headers=headers).status_code == 403
    assert client.delete("/api/jobs/x", headers=headers).status_code == 403


def test_its_own_page_can_ask(client: TestClient) -> None:
    headers = {"origin": HOST, "sec-fetch-site": "same-origin"}
    assert client.post("/api/queries", json=PARIS, headers=headers).status_code == 202


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_a_form_can_send_is_refused(client: TestClient, kind: str) -> None:
    body = '{"completion": " a"}'
    done = client.post("/api/queries", content=body, headers={"content-type": kind})
    assert done.status_code == 422


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "::", "example.org", "10.0.0.1"])
def test_an_address_that_others_reach_needs_a_token(host: str) -> None:
    with pytest.raises(SettingsError, match="Others can reach"):
        check_bind(host, None)
    check_bind(host, TOKEN)


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 300, "with space 0123456", "a;b=c0123456789", "é" * 20]
)
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(SettingsError, match="A token is"):
        check_bind("127.0.0.1", token)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_none(host: str) -> None:
    check_bind(host, None)


@pytest.fixture
def remote(opened: Opened, queue: JobQueue):
    app = make_app(opened, queue, host="0.0.0.0", names=("lab.example",), token=TOKEN)
    with TestClient(app, base_url="http://192.168.0.7:8321", follow_redirects=False) as client:
        yield client


def test_without_the_token_nothing_is_answered(remote: TestClient) -> None:
    for path in ("/", "/api/state", "/page", "/assets/live.js", "/?token=wrong", "/?token="):
        assert remote.get(path).status_code == 401
    assert remote.post("/api/queries", json=PARIS).status_code == 401
    for headers in (
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"cookie": f"{COOKIE}={TOKEN[:-1]}"},
        {"cookie": "=;;;" * 50},
    ):
        assert remote.get("/api/state", headers=headers).status_code == 401
    many = "&".join(f"a{i}=1" for i in range(100))
    assert remote.get(f"/?{many}&token={TOKEN}").status_code == 401


def test_the_token_of_the_address_becomes_a_cookie_and_leaves_the_address(
    remote: TestClient,
) -> None:
    entered = remote.get(f"/?token={TOKEN}")
    assert entered.status_code == 303
    assert entered.headers["location"] == "/"
    assert "HttpOnly" in entered.headers["set-cookie"]
    assert "SameSite=Strict" in entered.headers["set-cookie"]
    assert remote.get("/api/state").status_code == 200
    assert remote.post("/api/queries", json=PARIS).status_code == 202


def test_a_program_sends_the_token_in_a_header(remote: TestClient) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert remote.get("/api/state", headers=headers).status_code == 200
    assert remote.get("/api/state", headers=headers | {"host": "lab.example"}).status_code == 200
    assert remote.get("/api/state", headers=headers | {"host": "evil.example"}).status_code == 421
