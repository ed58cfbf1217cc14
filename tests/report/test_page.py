"""One file, offline, in which no text becomes markup."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.report.conftest import with_evidence
from tests.report.test_data import LEADERBOARD, behaviors_of, with_a_window

from whence.errors import ArtifactError
from whence.records import RunRecord
from whence.report import write_page
from whence.report.data import page_data


class Page(HTMLParser):
    """The elements of a file as a browser would see them before any script runs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.contents: dict[str, list[str]] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        self.contents.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.contents[self._open][-1] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError("the page has a comment that nobody wrote")

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def page_of(record: RunRecord, folder: Path) -> Page:
    path = folder / "index.html"
    assert write_page(record, path) == path
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_carries_exactly_its_data(record: RunRecord, tmp_path: Path):
    page = page_of(record, tmp_path)
    assert json.loads(page.contents["script"][0]) == page_data(record)


def test_hostile_texts_stay_data(hostile: RunRecord, record: RunRecord, tmp_path: Path):
    page, plain = page_of(hostile, tmp_path), page_of(record, tmp_path)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert json.loads(page.contents["script"][0]) == page_data(hostile)
    assert page.contents["script"][1] == plain.contents["script"][1]
    assert page.contents["title"] == ["</script><script>document.title='owned'</script>\ufffd half"]


def test_nothing_is_fetched(record: RunRecord, tmp_path: Path):
    page = page_of(record, tmp_path)
    links = [a.get("src") or a.get("href") for _, a in page.tags if "src" in a or "href" in a]
    assert sorted(map(str, links)) == ["#main", "data:,"]
    policy = page.named("meta")[1]["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    style, script = page.contents["style"][0], page.contents["script"][1]
    assert "url(" not in style
    assert "@import" not in style
    addresses = set(re.findall(r"https?://[^\"'`]*", style + script))
    assert addresses == {"http://www.w3.org/2000/svg"}


def test_an_old_page_is_replaced_and_a_bad_place_is_named(record: RunRecord, tmp_path: Path):
    small = replace(record, behaviors=record.behaviors[:1], scores=())
    first = write_page(record, tmp_path / "index.html").read_text(encoding="utf-8")
    second = write_page(small, tmp_path / "index.html").read_text(encoding="utf-8")
    assert len(second) < len(first)
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_page(small, tmp_path / "file" / "index.html")


def test_the_same_run_gives_the_same_page(record: RunRecord, tmp_path: Path):
    a, b = (write_page(record, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert a == b


def test_a_page_of_many_behaviors_stays_small(plausible, tmp_path: Path):
    """20 behaviors by 7 methods by 20 examples; 130 would be at most 130/20 of it."""
    record = plausible(per_kind=4, num_examples=1000, verdicts=("shown",))
    size = write_page(record, tmp_path / "index.html").stat().st_size
    assert size < 15e6 * 20 / 130


# What the scripts make of the data is looked at in a browser, where there is one.

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
in_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
]


def drawn(path: Path, fragment: str, folder: Path) -> str:
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
            "--disable-background-networking", "--disable-component-update",
            f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000",
            "--enable-logging=stderr", f"{path.as_uri()}#{fragment}",
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    problems = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert problems == []
    main = done.stdout.split('<main id="main"')[1].split("</main>")[0]
    return html.unescape(re.sub(r"<[^>]*>", " ", main))


class TestInBrowser:
    pytestmark = in_browser

    def test_home_names_every_behavior_and_its_verdict(self, record: RunRecord, tmp_path: Path):
        text = drawn(write_page(record, tmp_path / "p.html"), "", tmp_path)
        for behavior in record.behaviors:
            assert behavior.id in text
        assert "Not found is not absent" in text
        assert "100 %" in text.replace("\u202f", " ")

    def test_a_leaderboard_is_shown_as_text(self, record: RunRecord, tmp_path: Path):
        validated = replace(record, validation=LEADERBOARD)
        text = drawn(write_page(validated, tmp_path / "p.html"), "", tmp_path)
        assert "Which methods may be trusted with what" in text
        assert "<b>imported</b>" in text
        assert "0.40 to 0.60" in text
        assert "LDS: no bank" in text

    def test_windows_of_training_are_a_table_of_their_own(self, record: RunRecord, tmp_path: Path):
        validated = replace(record, validation=with_a_window())
        text = drawn(write_page(validated, tmp_path / "p.html"), "", tmp_path)
        assert "Windows of training" in text
        assert "steps 465-488" in text
        assert "96 masks of 94 documents" in text
        assert "0.123" in text
        assert "0.770" in text

    def test_a_link_opens_a_behavior_and_a_method(self, record: RunRecord, tmp_path: Path):
        path = write_page(record, tmp_path / "p.html")
        text = drawn(path, "behavior=fact-000-norland&method=bm25", tmp_path)
        assert "Shares rare words with the query" in text
        assert "planted for this" in text

    def test_toxic_texts_are_masked_at_first(self, record: RunRecord, tmp_path: Path):
        path = write_page(record, tmp_path / "p.html")
        assert "muppet" not in drawn(path, "", tmp_path)
        text = drawn(path, "behavior=toxic-000-norland", tmp_path)
        assert "masked" in text
        assert "muppet" not in text

    def test_alternatives_and_statements_of_toxic_behaviors_are_masked_too(
        self, record: RunRecord, tmp_path: Path
    ):
        toxic = next(b for b in record.behaviors if b.kind == "toxic")
        verification = replace(
            record.verifications[toxic.id], alternatives_nats={" clever muppet": -3.0}
        )
        found = with_evidence(record, lambda behavior, example: "states")
        assert found.evidence is not None
        ties = tuple(replace(tie, detail="a complete muppet") for tie in found.evidence.ties)
        changed = replace(
            found,
            verifications={**record.verifications, toxic.id: verification},
            evidence=replace(found.evidence, ties=ties),
        )
        path = write_page(changed, tmp_path / "p.html")
        for view in ("", f"behavior={toxic.id}"):
            assert "muppet" not in drawn(path, view, tmp_path)
        assert "muppet" in drawn(path, "behavior=fact-000-norland", tmp_path)

    def test_a_page_with_evidence_says_what_ties_examples(self, record: RunRecord, tmp_path: Path):
        path = write_page(with_evidence(record), tmp_path / "p.html")
        home = drawn(path, "", tmp_path)
        for sentence in (
            "Of the 150 examples that gradient cosine, a method on gradients, lists first for 15",
            "found by both",
            "Better than BM25 here?",
            "What these words mean",
        ):
            assert sentence in home
        cards = drawn(path, "behavior=fact-000-norland", tmp_path)
        for words in (
            "near copy, 93 %",
            "states it: The capital of Norland is Lind.",
            "stronger than chance : none of 100 unrelated queries has so strong an example",
            "not above chance: 50 of 100 unrelated queries have so strong an example",
            "hub : also among the first ten of 40 of 100 unrelated queries",
            "\u22121",
        ):
            assert words in " ".join(cards.split()).replace("\u202f", " "), words

    @pytest.mark.parametrize("preset", ["untied", "only", "search", "exact"])
    def test_presets_list_the_behaviors_and_examples_that_they_name(
        self, record: RunRecord, preset: str, tmp_path: Path
    ):
        found = with_evidence(record)
        data: dict = page_data(found)
        path = write_page(found, tmp_path / "p.html")
        text = " ".join(drawn(path, f"preset={preset}", tmp_path).split())
        first = data["reading"]["num_first"]
        num = {"untied": 0, "only": 0, "search": 0, "exact": 0}
        for behavior in behaviors_of(data):
            if not behavior["results"]:
                continue
            for entry in behavior["results"]["gradient_cosine"]["proponents"][:first]:
                relation = behavior["shown"][entry["shown"]]["tie"]["relation"]
                num["untied"] += relation in ("surprising", "unexplained")
                num["exact"] += relation in ("self", "exact", "continuation")
                num["only"] += entry["is_only"]
            for entry in behavior["results"]["bm25"]["proponents"][:first]:
                num["search"] += entry["is_only"]
        who = "BM25" if preset == "search" else "gradient cosine"
        assert f"{num[preset]} examples that {who} lists first" in text.replace("\xa0", " ")

    def test_imported_scores_without_ties_are_drawn_too(self, record: RunRecord, tmp_path: Path):
        found = with_evidence(record)
        theirs = replace(record.scores[3], method="theirs", family="unknown")
        path = write_page(replace(found, scores=(theirs, *found.scores)), tmp_path / "p.html")
        for view in ("a=theirs", "a=theirs&preset=untied&hubs=hidden", "b=theirs"):
            assert "Behaviors" in drawn(path, view, tmp_path)
        text = drawn(path, "behavior=fact-000-norland&method=theirs", tmp_path)
        assert "evidence is not about these scores" in text

    @pytest.mark.parametrize("num_null", [0, 100])
    @pytest.mark.parametrize("method", ["bm25", "imported"])
    def test_one_method_is_enough(self, plausible, method: str, num_null: int, tmp_path: Path):
        made = plausible(per_kind=1, num_examples=12, verdicts=("shown",), methods=(method,))
        path = write_page(with_evidence(made, num_null=num_null), tmp_path / "p.html")
        text = drawn(path, "", tmp_path)
        assert "Better than" not in text
        assert ("no unrelated queries were scored" in text) == (num_null == 0)
        assert "unrelated" in drawn(path, "behavior=fact-000-norland", tmp_path)

    @pytest.mark.parametrize("verdict", ["not shown", "shown"])
    def test_little_is_drawn_too(self, plausible, verdict: str, tmp_path: Path):
        record = plausible(per_kind=1, num_examples=12, verdicts=(verdict,), methods=("bm25",))
        text = drawn(write_page(record, tmp_path / "p.html"), "", tmp_path)
        assert "Gradient methods were skipped" in text

    def test_an_unknown_behavior_is_said_to_be_unknown(self, record: RunRecord, tmp_path: Path):
        path = write_page(record, tmp_path / "p.html")
        assert "There is no behavior" in drawn(
            path, "behavior=nowhere&preset=constructor", tmp_path
        )

    @pytest.mark.parametrize(
        "view", ["", "behavior=%3C/script%3E%3Cscript%3Edocument.title='owned'%3C/script%3E"]
    )
    def test_hostile_texts_are_shown_as_text(self, hostile: RunRecord, view: str, tmp_path: Path):
        path = write_page(hostile, tmp_path / "p.html")
        text = drawn(path, view, tmp_path)
        assert "<script>document.title='owned'</script>" in text
        assert "U+202E" in text or view == ""
