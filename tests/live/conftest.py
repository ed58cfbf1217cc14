"""A tiny run that stores its gradients, opened once, and clients of it over loopback."""

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from whence.live.app import make_app
from whence.live.jobs import JobQueue
from whence.runs.study import run_study
from whence.runs.warm import Opened, open_for_queries
from whence.settings import StudySettings, load_study

HOST = "http://127.0.0.1:8321"
Ask = Callable[..., dict[str, Any]]


def study_of(folder: Path, **changes: Any) -> StudySettings:
    values = load_study(folder / "study.toml").model_dump()
    return StudySettings.model_validate(values | changes)


def _unrelated(folder: Path, *, num: int) -> str:
    """Texts of the corpus's words in random order."""
    lines = (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    words = sorted({word for line in lines for word in json.loads(line)["text"].split()})
    rng = random.Random(0)
    return "".join(
        json.dumps({"text": " ".join(rng.choices(words, k=40))}) + "\n" for _ in range(num)
    )


@pytest.fixture(scope="session")
def stored_run(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("live") / "run"
    unrelated = place.with_name("unrelated.jsonl")
    unrelated.write_text(_unrelated(tiny_files, num=400), encoding="utf-8")
    study = study_of(
        tiny_files,
        attribution={"methods": ("gradient_cosine", "bm25"), "path": "stored"},
        index={"projection_dim": 8},
        evidence={"num_null": 40, "null_texts": str(unrelated)},
    )
    run_study(study, place, base=tiny_files)
    return place


@pytest.fixture(scope="session")
def streamed_run(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("live") / "streamed"
    study = study_of(
        tiny_files,
        attribution={"methods": ("gradient_cosine", "bm25"), "path": "streamed"},
        evidence={"num_null": 0},
    )
    run_study(study, place, base=tiny_files)
    return place


@pytest.fixture(scope="session")
def opened(stored_run: Path) -> Opened:
    found = open_for_queries(stored_run)
    found.answerer.warm()
    return found


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    queue = JobQueue()
    yield queue
    assert queue.close()


@pytest.fixture
def client(opened: Opened, queue: JobQueue) -> Iterator[TestClient]:
    with TestClient(make_app(opened, queue), base_url=HOST) as client:
        yield client


@pytest.fixture
def ask(client: TestClient) -> Ask:
    """Asks, waits, and gives the job as it ended."""

    def asked(path: str = "/api/queries", **question: Any) -> dict[str, Any]:
        done = client.post(path, json=question)
        assert done.status_code == 202, done.text
        return wait(client, done.json()["id"])

    return asked


def wait(client: TestClient, job_id: str, *, seconds: float = 60) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job = client.get(f"/api/jobs/{job_id}").json()
        if job["state"] not in ("waiting", "running"):
            return job
        time.sleep(0.01)
    raise AssertionError(f"{job_id} has not ended")
