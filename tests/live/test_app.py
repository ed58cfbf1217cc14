"""What the live page's calls answer: right, in bounds, and each client its own."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.live.conftest import HOST, Ask, wait

from whence.errors import ArtifactError, IndexFormatError, SettingsError
from whence.live.app import make_app
from whence.live.jobs import JobQueue
from whence.live.payload import MAX_BODY_BYTES, MAX_TEXT, result_json
from whence.progress import Progress
from whence.records import Behavior
from whence.runs.warm import Opened, open_for_queries
from whence.settings import Kind

PARIS = {"prompt": "the capital of france is", "completion": " paris"}
CAPITALS = {"france": "paris", "spain": "madrid", "japan": "tokyo", "egypt": "cairo"}
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><!--",
    "\u2028\u202e\u0000\u001b[31m",
    "x" * 3_900,
    "🎈 é 中",
]


def test_a_query_is_answered_with_verdict_evidence_and_searches(ask: Ask) -> None:
    job = ask(**PARIS)
    assert job["state"] == "done", job["error"]
    found = job["result"]
    assert (found["prompt"], found["completion"]) == tuple(PARIS.values())
    assert found["verification"]["verdict"] == "shown"
    assert [one["method"] for one in found["rankings"]] == [
        "gradient_cosine",
        "gradient_dot",
        "bm25",
    ]
    first = found["rankings"][0]["proponents"][0]
    assert "paris" in first["text"]
    assert first["relation"]["label"]
    assert 0 < first["tail"] <= 1
    assert first["z"] is not None
    assert first["answers"], "the completion is marked in the text"
    assert found["num_null"] == 40


def test_the_answer_is_that_of_the_same_question_without_a_server(ask: Ask, opened: Opened) -> None:
    behavior = Behavior(id="query", kind="fact", **PARIS)
    direct = opened.answerer.answer(behavior, methods=("gradient_cosine",), k=4).rankings[0]
    served = ask(**PARIS, methods=["gradient_cosine"], k=4)["result"]["rankings"][0]
    for side in ("proponents", "opponents"):
        mine, theirs = getattr(direct.hits, side), served[side]
        assert [(hit.id, hit.rank, hit.score) for hit in mine] == [
            (hit["id"], hit["rank"], hit["score"]) for hit in theirs
        ]


def test_a_missing_space_is_remarked_on(ask: Ask) -> None:
    found = ask(prompt=PARIS["prompt"], completion="paris", force=True)["result"]
    assert 'Write the completion " paris"' in found["notes"][0]


def test_examples_of_a_toxic_completion_and_labeled_ones_are_masked(opened: Opened) -> None:
    """The page shows such a text only when asked to."""

    def hits(kind: Kind, **changes: Any) -> list[dict[str, Any]]:
        behavior = Behavior(id="query", kind=kind, **PARIS)
        answerer = opened.answerer
        found = answerer.answer(behavior, methods=("bm25",), only_shown=False)
        ranking = found.rankings[0]
        changed = [hit._replace(**changes) for hit in ranking.hits.proponents]
        ranking = ranking._replace(hits=ranking.hits._replace(proponents=tuple(changed)))
        return result_json(found._replace(rankings=(ranking,)))["rankings"][0]["proponents"]

    assert not any(hit["is_sensitive"] for hit in hits("fact"))
    for hit in hits("toxic"):
        assert hit["is_sensitive"] == ("paris" in hit["text"])
    assert all(hit["is_sensitive"] for hit in hits("fact", labels=("Toxic:insult",)))


def test_what_the_model_does_not_show_is_ranked_only_on_demand(ask: Ask) -> None:
    wrong = {"prompt": PARIS["prompt"], "completion": " dog"}
    found = ask(**wrong)["result"]
    assert (found["verification"]["verdict"], found["rankings"]) == ("not shown", [])
    assert ask(**wrong, force=True)["result"]["rankings"]


def test_a_prompt_is_completed_by_the_model(ask: Ask) -> None:
    found = ask("/api/completions", prompt=PARIS["prompt"], num_tokens=1)["result"]
    assert [token.strip() for token in found["tokens"]] == ["paris"]


def test_twenty_clients_at_once_get_their_own_answers(opened: Opened, queue: JobQueue) -> None:
    app = make_app(opened, queue)
    questions = {
        country: {"prompt": f"the capital of {country} is", "completion": f" {capital}"}
        for country, capital in CAPITALS.items()
    }
    alone = {
        country: result_json(
            opened.answerer.answer(
                Behavior(id="query", kind="fact", **question), methods=opened.answerer.methods
            )
        )
        for country, question in questions.items()
    }
    assert len({json.dumps(one["rankings"]) for one in alone.values()}) == 4

    def one(country: str) -> dict[str, Any]:
        with TestClient(app, base_url=HOST) as client:
            done = client.post("/api/queries", json=questions[country])
            assert done.status_code == 202, done.text
            return wait(client, done.json()["id"])

    asked = list(CAPITALS) * 5
    with ThreadPoolExecutor(20) as pool:
        jobs = list(pool.map(one, asked))
    for country, job in zip(asked, jobs, strict=True):
        assert job["state"] == "done", job["error"]
        assert job["result"] == json.loads(json.dumps(alone[country]))


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({}, "lacks the setting `completion`"),
        ({"prompt": "a", "completion": ""}, "completion"),
        ({"prompt": "x" * 20_001, "completion": " a"}, "prompt"),
        ({"prompt": "a", "completion": "x" * 4_001}, "completion"),
        ({**PARIS, "k": 0}, "k = 0"),
        ({**PARIS, "k": 10**9}, "k = "),
        ({**PARIS, "k": 2.5}, "k = 2.5"),
        ({**PARIS, "kind": "magic"}, "kind"),
        ({**PARIS, "methods": ["tracin"]}, "`tracin` cannot answer here"),
        ({**PARIS, "methods": ["embedding"]}, "`embedding` cannot answer here"),
        ({**PARIS, "run": "/etc/passwd"}, "unknown setting `run`"),
        ({**PARIS, "index": "../.."}, "unknown setting `index`"),
        ({"prompt": ["a"], "completion": " b"}, "prompt"),
        ({"prompt": "a", "completion": 7}, "completion"),
    ],
)
def test_questions_out_of_bounds_are_one_sentence_and_a_remedy(
    client: TestClient, question: dict[str, Any], said: str
) -> None:
    done = client.post("/api/queries", json=question)
    assert done.status_code == 422
    error = done.json()["error"]
    assert said in error["problem"]
    assert error["remedy"]
    assert len(error["problem"]) < 600


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe\x00binary\x00",
        b"[1, 2]",
        b"[" * 100_000,
        b'{"completion": NaN}',
        b'{"completion": "\\ud800"}',
        b'{"prompt": "\\udfff", "completion": " a"}',
        b'{"methods": ["\\udfff"], "completion": " a"}',
        b"completion=+a",
        b"7",
    ],
)
def test_what_is_no_question_is_refused(client: TestClient, body: bytes) -> None:
    done = client.post("/api/queries", content=body, headers={"content-type": "application/json"})
    assert done.status_code == 422
    assert done.json()["error"]["problem"]


def test_a_huge_request_is_refused_before_it_is_read_whole(client: TestClient) -> None:
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 65536
            assert read < 100 * MAX_BODY_BYTES, "the server reads without end"
            yield b" " * 65536
            if read > 4 * MAX_BODY_BYTES:
                return

    done = client.post(
        "/api/queries", content=endless(), headers={"content-type": "application/json"}
    )
    assert done.status_code == 413


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_come_back_as_they_are_and_nothing_breaks(ask: Ask, text: str) -> None:
    for question in (
        {"prompt": text, "completion": " paris"},
        {"prompt": PARIS["prompt"], "completion": text},
        {"prompt": PARIS["prompt"], "completion": " paris", "alternative": text},
        {
            "prompt": PARIS["prompt"],
            "completion": " paris",
            "subject": text[:500],
            "object": text[:500],
        },
    ):
        job = ask(**question, force=True)
        if job["state"] == "failed":
            # A text that the model cannot read is named, and nothing else happened.
            assert "Something went wrong" not in job["error"]["problem"]
        else:
            assert job["result"]["prompt"] == question["prompt"]
            assert job["result"]["completion"] == question["completion"]
    assert ask(**PARIS)["state"] == "done"


@pytest.mark.parametrize("kind", ["fact", "stereotype", "memorized", "toxic", "style"])
def test_every_kind_has_a_verdict(ask: Ask, kind: str) -> None:
    job = ask(**PARIS, kind=kind, methods=["bm25"], force=True)
    assert job["state"] == "done", job["error"]
    assert job["result"]["verification"]["kind"] == kind


def test_a_completion_longer_than_the_context_fails_in_a_sentence(ask: Ask) -> None:
    job = ask(prompt="the", completion=" dog" * 900)
    assert job["state"] == "failed"
    assert "leaves no room" in job["error"]["problem"]


def test_a_long_text_is_cut_and_says_so(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    monkeypatch.setattr("whence.live.payload.MAX_TEXT", 10)
    hit = ask(**PARIS)["result"]["rankings"][0]["proponents"][0]
    assert len(hit["text"]) == 10
    assert hit["num_cut"] > 0
    assert MAX_TEXT > 1000


def test_the_page_and_its_parts_are_served_with_a_strict_policy(client: TestClient) -> None:
    for path, kind in [
        ("/", "text/html"),
        ("/assets/live.js", "text/javascript"),
        ("/assets/live.css", "text/css"),
        ("/api/state", "application/json"),
        ("/nowhere", "application/json"),
    ]:
        done = client.get(path)
        assert done.headers["content-type"].startswith(kind)
        policy = done.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert done.headers["x-content-type-options"] == "nosniff"
        assert done.headers["referrer-policy"] == "no-referrer"
        assert "server" not in done.headers


def test_nothing_in_the_page_comes_from_elsewhere_or_becomes_markup() -> None:
    assets = Path(__file__).parents[2] / "src" / "whence" / "live" / "assets"
    for path in assets.iterdir():
        text = path.read_text(encoding="utf-8")
        for word in (
            "http:",
            "https:",
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            "new Function",
            " style=",
            "onclick",
        ):
            assert word not in text, f"{path.name} has {word}"


def test_the_runs_page_is_served_and_may_call_nothing(client: TestClient, stored_run: Path) -> None:
    done = client.get("/page")
    assert done.content == (stored_run / "index.html").read_bytes()
    assert "connect-src 'none'" in done.headers["content-security-policy"]


def test_the_state_names_what_can_be_asked(client: TestClient) -> None:
    state = client.get("/api/state").json()
    assert state["title"] == "tiny"
    assert [m["name"] for m in state["methods"]] == ["gradient_cosine", "gradient_dot", "bm25"]
    assert {b["id"] for b in state["behaviors"]} >= {"fact/france", "memorized/herons"}
    assert state["num_null"] == 40


def test_unknown_addresses_methods_and_jobs_are_refused(client: TestClient) -> None:
    assert client.get("/api/queries").status_code == 405
    assert client.get("/api/jobs/unknown").status_code == 404
    assert client.get("/../../etc/passwd").status_code == 404
    assert client.get("/assets/..%2f..%2fapp.py").status_code == 404
    assert client.put("/api/state").status_code == 405


class Blocking:
    """Work that waits until it is let go, and then takes steps."""

    def __init__(self) -> None:
        self.started, self.free = threading.Event(), threading.Event()

    def __call__(self, progress: Progress) -> dict[str, Any]:
        with progress.task("Blocked", total=10, unit="steps") as task:
            self.started.set()
            assert self.free.wait(30)
            for _ in range(10):
                task.advance()
        return {"ran": "whole"}


def test_progress_position_and_cancelling(client: TestClient, queue: JobQueue) -> None:
    block = Blocking()
    running = queue.submit(block)
    assert block.started.wait(10)
    ids = [client.post("/api/queries", json=PARIS).json()["id"] for _ in range(3)]
    jobs = [client.get(f"/api/jobs/{i}").json() for i in ids]
    assert [(job["state"], job["position"]) for job in jobs] == [("waiting", n) for n in (1, 2, 3)]
    seen = client.get(f"/api/jobs/{running.id}").json()
    assert (seen["state"], seen["step"], seen["total"]) == ("running", "Blocked (steps)", 10)
    assert client.delete(f"/api/jobs/{ids[1]}").json()["state"] == "cancelled"
    assert client.get(f"/api/jobs/{ids[2]}").json()["position"] == 2
    client.delete(f"/api/jobs/{running.id}")
    block.free.set()
    assert wait(client, running.id)["state"] == "cancelled"
    assert wait(client, ids[0])["state"] == "done"
    assert wait(client, ids[2])["state"] == "done"


def test_a_full_queue_says_so_and_empties(opened: Opened) -> None:
    queue = JobQueue(max_waiting=2)
    block = Blocking()
    with TestClient(make_app(opened, queue), base_url=HOST) as client:
        queue.submit(block)
        assert block.started.wait(10)
        ids = [client.post("/api/queries", json=PARIS).json()["id"] for _ in range(2)]
        full = client.post("/api/queries", json=PARIS)
        assert full.status_code == 503
        assert "retry-after" in full.headers
        assert "waiting already" in full.json()["error"]["problem"]
        block.free.set()
        assert [wait(client, i)["state"] for i in ids] == ["done", "done"]
        assert client.post("/api/queries", json=PARIS).status_code == 202
    assert queue.close()


def test_a_fault_of_the_server_ends_one_job_and_tells_no_client(
    client: TestClient, queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(progress: Progress) -> dict[str, Any]:
        raise ZeroDivisionError("/home/somebody/secret")

    job = queue.submit(broken)
    ended = wait(client, job.id)
    assert ended["state"] == "failed"
    assert "secret" not in json.dumps(ended)
    assert "secret" in caplog.text
    assert wait(client, client.post("/api/queries", json=PARIS).json()["id"])["state"] == "done"


def test_old_answers_are_forgotten_and_no_other(queue: JobQueue, monkeypatch) -> None:
    monkeypatch.setattr("whence.live.jobs.MAX_KEPT", 3)
    jobs = []
    for number in range(6):
        jobs.append(queue.submit(lambda _, n=number: {"n": n}))
        while jobs[-1].state in ("waiting", "running"):
            pass
    known = [queue.find(job.id) is not None for job in jobs]
    assert known == [False] * 3 + [True] * 3
    assert jobs[-1].result == {"n": 5}


def test_a_run_that_streamed_says_what_is_possible_and_streams_on_demand(
    streamed_run: Path,
) -> None:
    opened = open_for_queries(streamed_run)
    assert opened.answerer.methods == ("bm25",)
    assert "stored none" in opened.notes[0]
    assert "whence index" in opened.notes[0]
    queue = JobQueue()
    with TestClient(make_app(opened, queue), base_url=HOST) as client:
        state = client.get("/api/state").json()
        assert {m["name"]: m["is_streamed"] for m in state["methods"]} == {
            "bm25": False,
            "gradient_cosine": True,
            "gradient_dot": True,
        }
        usual = wait(client, client.post("/api/queries", json=PARIS).json()["id"])["result"]
        assert [one["method"] for one in usual["rankings"]] == ["bm25"]
        chosen = {**PARIS, "methods": ["gradient_cosine"]}
        job = wait(client, client.post("/api/queries", json=chosen).json()["id"])
        assert "paris" in job["result"]["rankings"][0]["proponents"][0]["text"]
    assert queue.close()


def test_an_index_alone_can_be_served(stored_run: Path) -> None:
    (index,) = stored_run.glob("stages/index-*")
    opened = open_for_queries(index)
    assert opened.answerer.methods == ("gradient_cosine", "gradient_dot", "bm25")
    assert opened.page is None
    assert "without a run" in opened.notes[0]
    with pytest.raises(SettingsError, match="is an index already"):
        open_for_queries(index, index=index)


def test_an_index_of_another_corpus_or_model_is_refused(
    stored_run: Path, streamed_run: Path, tiny_files: Path, tmp_path: Path
) -> None:
    (index,) = stored_run.glob("stages/index-*")
    assert open_for_queries(streamed_run, index=index).answerer.index is not None
    import whence

    lines = (tiny_files / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "less.jsonl").write_text("\n".join(lines[:5]) + "\n", encoding="utf-8")
    for model, corpus, said in [
        ("model", tmp_path / "less.jsonl", "holds other examples"),
        ("initial", tiny_files / "corpus.jsonl", "was made with"),
    ]:
        loaded = whence.load_model(str(tiny_files / model))
        place = tmp_path / model
        whence.build_index(loaded, whence.load_corpus(str(corpus), loaded), place)
        with pytest.raises(IndexFormatError, match=said):
            open_for_queries(streamed_run, index=place)


def test_what_is_neither_run_nor_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        open_for_queries(tmp_path)
    with pytest.raises(ArtifactError):
        open_for_queries(tmp_path / "nowhere")
