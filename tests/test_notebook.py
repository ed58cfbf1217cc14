"""Records show themselves in notebooks, and every text in them stays text."""

import re
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path

import pytest

import whence
from whence import notebook
from whence.evidence import Comparison, Evidence
from whence.records import Hit, Hits, Measured, Verification
from whence.runs.record import load_run
from whence.runs.show import show_behavior
from whence.runs.study import run_study
from whence.settings import load_study

HOSTILE = "<script>alert(1)</script>\u202e\x00\u2028\x1b[31m<img src=x onerror=y>&amp;\ud800"
_ALLOWED = {
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "p", "ul", "li"),
}


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        assert tag in _ALLOWED
        assert attrs == []
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def safe(text: str) -> str:
    Tags(text)
    assert not re.search("[\x00\x1b\u202e\u2028\ud800]", text)
    text.encode()
    return text


def verification() -> Verification:
    return Verification(
        behavior_id=HOSTILE,
        kind="fact",
        verdict="not shown",
        reason=HOSTILE,
        model="m",
        completion=Measured((HOSTILE,), (-1.25,), (3,)),
        alternatives_nats={},
        margin_nats=None,
        margin_interval=None,
        paraphrase_margins_nats=(),
        control_gap_nats=None,
        initial_log_prob_nats=None,
        extraction=None,
        rate=None,
    )


def test_hostile_texts_stay_texts_in_verdicts_and_hits() -> None:
    text = safe(verification()._repr_html_())
    assert "&lt;script&gt;" in text
    assert "\u22121.25" in text
    hit = Hit(1, float("nan"), HOSTILE, HOSTILE, None, (HOSTILE,), HOSTILE * 100)
    text = safe(Hits((hit,), ())._repr_html_())
    assert text.count("<td>—</td>") == 2, "undefined score, unknown position"
    assert "…" in text


def test_a_long_table_says_what_it_leaves_out() -> None:
    text = safe(notebook.table(("n",), [(n,) for n in range(1050)]))
    assert text.count("<tr>") == notebook.MAX_ROWS + 1
    assert "1,000 more rows" in text
    assert safe(notebook.bullets(["a < b", HOSTILE])).count("<li>") == 2


@pytest.fixture(scope="module")
def run(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("notebook") / "run"
    run_study(load_study(tiny_files / "study.toml"), place, base=tiny_files)
    return place


def test_what_a_run_found_shows_itself(run: Path) -> None:
    evidence = whence.load_evidence(run)
    assert isinstance(evidence, Evidence)
    text = safe(evidence._repr_html_())
    assert "gradient_cosine" in text
    assert "fact/france" in text
    shown = show_behavior(run, "fact/france", method="bm25", k=3)
    assert "Proponents by bm25" in safe(shown._repr_html_())
    for one in load_run(run).verifications.values():
        assert one.verdict in safe(one._repr_html_())


def test_comparison_and_leaderboard_show_their_sentences_and_tables(run: Path) -> None:
    validation = whence.validate(run)
    text = safe(validation._repr_html_())
    assert "not measured" in text
    for figure in validation.figures:
        assert figure.method in text
    nothing = {field.name: () for field in fields(Comparison)}
    comparison = Comparison(
        **nothing | {"sentences": ("One.", HOSTILE), "families": {}, "undefined": {"all": HOSTILE}}
    )
    text = safe(comparison._repr_html_())
    assert text.count("<li>") == 2
    assert "not compared" in text
