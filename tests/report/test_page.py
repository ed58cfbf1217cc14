"""One file, offline, in which no text becomes markup."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.report.unpacked import unpacked

from whence.errors import ArtifactError
from whence.report import write_page
from whence.report.data import page_data
from whence.report.run_record import RunRecord


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
    assert unpacked(write_page(record, tmp_path / "p.html")) == page_data(record)


def test_hostile_texts_stay_data(hostile: RunRecord, record: RunRecord, tmp_path: Path):
    (tmp_path / "plain").mkdir()
    page, plain = page_of(hostile, tmp_path), page_of(record, tmp_path / "plain")
    around = [[tag for tag, _ in one.tags if tag != "script"] for one in (page, plain)]
    assert around[0] == around[1]
    assert unpacked(tmp_path / "index.html") == page_data(hostile)
    assert page.contents["script"][-1] == plain.contents["script"][-1]
    assert page.contents["title"] == ["</script><script>document.title='owned'</script>\ufffd half"]


def test_nothing_is_fetched(record: RunRecord, tmp_path: Path):
    page = page_of(record, tmp_path)
    links = [a.get("src") or a.get("href") for _, a in page.tags if "src" in a or "href" in a]
    assert sorted(map(str, links)) == ["#main", "data:,"]
    policy = page.named("meta")[1]["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    style, script = page.contents["style"][0], page.contents["script"][-1]
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
    """20 behaviors by 7 methods by 20 examples; of 130 behaviors the data would be 130/20 of it."""
    record = plausible(per_kind=4, num_examples=1000, verdicts=("shown",))
    size = write_page(record, tmp_path / "index.html").stat().st_size
    nothing = replace(record, behaviors=(), verifications={}, scores=())
    fixed = write_page(nothing, tmp_path / "index.html").stat().st_size
    assert fixed < 2e5
    assert fixed + (size - fixed) * 130 / 20 < 2e6
