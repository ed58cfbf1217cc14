"""Every view of a page is readable: masked, accessible, unbroken, printable, linked."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.report.browser import NARROW, WIDE, Browser, go, serious_findings
from tests.report.conftest import METHODS, plausible, with_evidence
from tests.report.test_data import with_a_window

from whence.records import Behavior
from whence.report import write_page
from whence.report.run_record import RunRecord

BEHAVIOR = "fact-000-norland"
VIEWS = {
    "first": "",
    "filtered": "preset=untied&hubs=hidden&kind=fact",
    "behavior": f"behavior={BEHAVIOR}",
    "search": f"behavior={BEHAVIOR}&method=bm25",
    "side by side": f"behavior={BEHAVIOR}&method=side",
    "toxic": "behavior=toxic-000-norland",
    "not attributed": "behavior=fact-001-veska",
    "unknown": "behavior=nowhere",
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with 20 methods, evidence and a validation."""
    names = [f"method_of_gradients_{n}" for n in range(20 - len(METHODS))]
    made = plausible(
        per_kind=2,
        num_examples=60,
        verdicts=("shown", "not shown"),
        methods=(*METHODS, *names),
    )
    made = replace(with_evidence(made), validation=with_a_window(), warnings=("One warning.",))
    return write_page(made, tmp_path_factory.mktemp("page") / "index.html")


@pytest.fixture(scope="module")
def small_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with the usual methods and evidence."""
    return write_page(with_evidence(plausible()), tmp_path_factory.mktemp("page") / "index.html")


@pytest.mark.parametrize(
    ("width", "is_dark", "views"),
    [
        (WIDE, False, ["first", "behavior"]),
        (NARROW, True, ["first", "behavior"]),
        *(
            pytest.param(width, is_dark, list(VIEWS), marks=pytest.mark.slow)
            for width in (WIDE, NARROW)
            for is_dark in (False, True)
        ),
    ],
)
def test_no_view_has_a_serious_finding_of_axe(
    browser: Browser, page: Path, width: int, is_dark: bool, views: list[str]
) -> None:
    found = {}
    with browser.open(page, width=width, is_dark=is_dark) as tab:
        for name in views:
            go(tab, VIEWS[name])
            tab.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
            if findings := serious_findings(tab):
                found[name] = findings
    assert found == {}


def test_the_search_for_serious_findings_finds_one(browser: Browser, small_page: Path) -> None:
    with browser.open(small_page, "behavior=nowhere") as tab:
        tab.evaluate("document.querySelector('h1').style.color = '#bbb'")
        assert [one.split(":")[0] for one in serious_findings(tab)] == ["color-contrast"]


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_no_word_of_a_table_is_broken_and_no_view_is_wider_than_its_window(
    browser: Browser, page: Path, width: int
) -> None:
    with browser.open(page, width=width) as tab:
        for view in VIEWS.values():
            go(tab, view)
            tab.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, view
            assert tab.evaluate(BROKEN_WORDS) == [], view


# Words of table cells that do not fit on one line.
BROKEN_WORDS = r"""() => {
  const broken = [];
  for (const cell of document.querySelectorAll("th, td:not(.mono)")) {
    const walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      for (const { 0: word, index } of walk.currentNode.data.matchAll(/[\p{L}\p{N}]+/gu)) {
        const range = document.createRange();
        range.setStart(walk.currentNode, index);
        range.setEnd(walk.currentNode, index + word.length);
        if (new Set([...range.getClientRects()].map((r) => r.top)).size > 1) broken.push(word);
      }
    }
  }
  return broken;
}"""


SECRET = "bumfuzzle"


def with_a_secret(record: RunRecord) -> RunRecord:
    """The same run, in which each text of a toxic behavior holds a word."""
    toxic = next(b for b in record.behaviors if b.kind == "toxic")
    fields = toxic.model_dump() | {
        "alternatives": (f" {SECRET}",),
        "paraphrases": (f"So {SECRET}",),
        "controls": (f"As {SECRET}",),
        "subject": SECRET,
        "object": SECRET,
        "note": SECRET,
        "prompt": f"You {SECRET}",
        "completion": f" {SECRET}",
    }
    behavior = Behavior.model_validate(fields)
    verification = record.verifications[toxic.id]
    measured = replace(
        verification.completion, tokens=(f" {SECRET}",) * len(verification.completion.tokens)
    )
    assert verification.rate is not None
    changed = replace(
        verification,
        alternatives_nats={f" {SECRET}": -3.0},
        completion=measured,
        rate=replace(verification.rate, sample=SECRET),
    )
    inputs = {"behaviors": [fields], "attribution": {"contrast": True}}
    found = with_evidence(record)
    assert found.evidence is not None
    ties = [
        replace(t, detail=SECRET) if t.behavior_id == toxic.id else t for t in found.evidence.ties
    ]
    return replace(
        found,
        behaviors=tuple(behavior if b.id == toxic.id else b for b in record.behaviors),
        verifications={**record.verifications, toxic.id: changed},
        manifest={**record.manifest, "inputs": inputs, "study": inputs},
        evidence=replace(found.evidence, ties=tuple(ties)),
    )


def test_with_the_mask_on_no_masked_text_is_visible_or_read_aloud(
    browser: Browser, record: RunRecord, tmp_path: Path
) -> None:
    path = write_page(with_a_secret(record), tmp_path / "p.html")
    views = [
        "",
        "q=" + SECRET,
        "behavior=toxic-000-norland",
        "behavior=toxic-000-norland&method=side",
    ]
    with browser.open(path) as tab:
        for view in views:
            go(tab, view)
            tab.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
            held = tab.input_value("#search") if "q=" in view else ""
            seen = [
                tab.inner_text("body"),
                tab.aria_snapshot().replace(held or "\0", ""),
                tab.title(),
            ]
            titles = "[...document.querySelectorAll('*')].map((e) => e.title + e.ariaLabel).join()"
            assert SECRET not in " ".join([*seen, tab.evaluate(titles)]), view
        tab.uncheck("label:has-text('mask toxic texts') input")
        assert SECRET in tab.inner_text("body")


def test_the_skip_link_keeps_the_view(browser: Browser, small_page: Path) -> None:
    view = f"behavior={BEHAVIOR}&method=bm25"
    with browser.open(small_page, view) as tab:
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.className") == "skip"
        tab.keyboard.press("Enter")
        assert tab.evaluate("document.activeElement.id") == "main"
        assert tab.url.endswith("#" + view)


def test_the_links_of_sections_are_links_and_move_the_focus(browser: Browser, page: Path) -> None:
    with browser.open(page, f"behavior={BEHAVIOR}") as tab:
        links = tab.query_selector_all(".masthead nav a")
        names = [(link.inner_text(), link.get_attribute("href")) for link in links]
        assert [href for _, href in names if href == "#"] == []
        tab.click(".masthead nav a:has-text('Leaderboard')")
        tab.wait_for_selector("#leaderboard")
        assert "at=leaderboard" in tab.url
        focused = tab.evaluate("document.activeElement.innerText")
        assert focused == "Which methods may be trusted with what"
        assert tab.evaluate("document.activeElement.getBoundingClientRect().top") < 200
        tab.click(".masthead nav a:has-text('Limits')")
        assert tab.evaluate("document.getElementById('limits').open")
    with browser.open(page, "at=across") as tab:
        assert tab.evaluate("document.activeElement.innerText") == "Across behaviors"


def test_title_and_focus_follow_the_view(browser: Browser, small_page: Path) -> None:
    with browser.open(small_page) as tab:
        first = tab.title()
        tab.click(f".says[href*='{BEHAVIOR}']")
        tab.wait_for_selector(f"h1:has-text('{BEHAVIOR}')")
        assert tab.title() == f"{BEHAVIOR} \u00b7 {first}"
        assert tab.evaluate("document.activeElement.tagName") == "H1"
        tab.keyboard.press("Escape")
        tab.wait_for_selector(".verdict")
        assert tab.title() == first


def test_next_keeps_the_method_that_was_chosen_here(browser: Browser, small_page: Path) -> None:
    with browser.open(small_page, f"behavior={BEHAVIOR}") as tab:
        tab.click("[role=tab][data-key=bm25]")
        tab.click("a[rel=next]")
        tab.wait_for_selector(f"h1:not(:has-text('{BEHAVIOR}'))")
        assert tab.get_attribute("[role=tab][aria-selected=true]", "data-key") == "bm25"
        tab.keyboard.press("k")
        tab.wait_for_selector(f"h1:has-text('{BEHAVIOR}')")
        assert tab.get_attribute("[role=tab][aria-selected=true]", "data-key") == "bm25"


def test_back_returns_to_the_filters_and_the_place(browser: Browser, small_page: Path) -> None:
    with browser.open(small_page, "kind=style") as tab:
        tab.evaluate("window.scrollTo(0, 600)")
        tab.evaluate("document.querySelector('.says').click()")
        tab.wait_for_selector("[role=tablist]")
        tab.go_back()
        tab.wait_for_selector(".verdict")
        assert tab.evaluate("window.scrollY") == 600
        assert tab.get_attribute("button:has-text('style')", "aria-pressed") == "true"


def test_print_keeps_the_marks_and_takes_few_pages(browser: Browser, small_page: Path) -> None:
    with browser.open(small_page, "behavior=memorized-000-norland", is_dark=True) as tab:
        tab.emulate_media(media="print")
        style = "(s) => getComputedStyle(document.querySelector(s))"
        assert tab.evaluate(f"({style})('mark.m3').printColorAdjust") == "exact"
        assert tab.evaluate(f"({style})('mark.m3').backgroundColor") == "rgb(245, 203, 82)"
        assert tab.evaluate(f"({style})('body').color") == "rgb(0, 0, 0)"
        num_behavior = num_pages(tab.pdf())
        go(tab, "")
        num_first = num_pages(tab.pdf())
    assert num_behavior <= 6
    assert num_first <= 8


def num_pages(pdf: bytes) -> int:
    """Counts the pages of a PDF by their objects."""
    return pdf.count(b"/Type /Page\n") or pdf.count(b"/Type /Page ") or pdf.count(b"/Type/Page/")


def test_a_cut_text_says_so(
    browser: Browser, record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whence.report.examples.length_limit", lambda lengths, total: 60)
    path = write_page(record, tmp_path / "p.html")
    text = browser.text(path, f"behavior={BEHAVIOR}")
    assert "Cut: the page carries characters" in text


def test_numbers_are_written_alike(browser: Browser, page: Path) -> None:
    """A minus sign is not a hyphen, thousands are grouped by commas, percents have no space."""
    import re

    for view in VIEWS.values():
        text = browser.text(page, view)
        said = re.sub(r"\S*[a-z]-\S*|\S*://\S*|steps \d+-\d+", "", text)
        assert re.findall(r"(?<![\w.-])-\d[\d.]*", said) == [], view
        assert re.findall(r"\d[\u202f\u00a0 ]%", text) == [], view
        assert re.findall(r"\d[\u202f\u00a0]\d{3}", text) == [], view


def test_the_checks_of_a_verdict_are_listed_with_value_and_threshold(
    browser: Browser, small_page: Path
) -> None:
    with browser.open(small_page, "behavior=fact-002-ostria") as tab:
        rows = [
            row.inner_text().split("\t") for row in tab.query_selector_all("table.checks tbody tr")
        ]
        assert [row[0].strip() for row in rows] == ["fails", "holds"]
        assert rows[0][1:] == ["Mean margin", rows[0][2], "above 0"]
        assert rows[0][2].endswith(" nats")
        chip = tab.inner_text(".said .chip")
        assert chip == "weak"
        assert "but not clearly enough" in tab.inner_text(".said")


def test_without_javascript_or_unpacking_a_sentence_stands_there(
    browser: Browser, small_page: Path
) -> None:
    with browser.open(small_page, java_script_enabled=False) as tab:
        assert "switched off" in tab.inner_text("noscript p, noscript")
    with browser.open(small_page) as tab:
        tab.add_init_script("delete window.DecompressionStream")
        tab.reload()
        tab.wait_for_selector(".notice")
        assert "too old to unpack" in tab.inner_text("main")


def test_damaged_data_are_said_to_be_damaged(
    browser: Browser, small_page: Path, tmp_path: Path
) -> None:
    text = small_page.read_text(encoding="utf-8")
    broken = tmp_path / "p.html"
    start = text.index('id="block-0">') + len('id="block-0">')
    broken.write_text(text[:start] + "AAAA" + text[start + 4 :], encoding="utf-8")
    assert "are damaged" in browser.text(broken)


def test_a_click_on_words_keeps_the_examples_that_have_them(
    browser: Browser, small_page: Path
) -> None:
    with browser.open(small_page, f"behavior={BEHAVIOR}") as tab:
        proponents = ".lists > div:first-child .card"
        before = tab.locator(proponents).count()
        tab.click(".spans .span:text-is('Norland')")
        tab.wait_for_selector(".chosen")
        texts = tab.locator(proponents).all_inner_texts()
        assert 0 < len(texts) < before
        assert all("Norland" in text for text in texts)
        assert "24 in the corpus" in tab.inner_text(".chosen")
        assert tab.get_attribute(".spans .span:text-is('Norland')", "aria-pressed") == "true"
        tab.focus(".spans .span:text-is('Norland')")
        tab.keyboard.press("Enter")
        tab.wait_for_selector(".chosen", state="detached")
        tab.keyboard.press(" ")
        tab.wait_for_selector(".chosen")
        tab.click(".chosen button")
        tab.wait_for_selector(".chosen", state="detached")
        assert tab.locator(proponents).count() == before


def test_a_click_on_an_example_shows_its_words_in_the_text(
    browser: Browser, small_page: Path
) -> None:
    with browser.open(small_page, f"behavior={BEHAVIOR}") as tab:
        card = tab.locator(".card", has_text="Most maps agree").first
        card.get_by_text("show in the text above").click()
        lit = tab.locator(".span.lit").all_inner_texts()
        assert "The capital of Norland is" in lit
        assert " Lind" in lit
        assert "span" in tab.evaluate("document.activeElement.className")


def test_any_two_methods_or_behaviors_stand_side_by_side(
    browser: Browser, small_page: Path
) -> None:
    with browser.open(small_page, f"behavior={BEHAVIOR}&method=side") as tab:
        heads = ".columns h3"
        assert tab.locator(heads).all_inner_texts() == ["gradient cosine", "BM25"]
        tab.select_option("label:has-text('right') select", "embedding")
        tab.wait_for_selector(f"{heads}:has-text('embedding')")
        tab.select_option("label:has-text('of ') select", "fact-001-veska")
        tab.wait_for_selector(f"{heads}:has-text('fact-001-veska')")
        assert tab.locator(heads).all_inner_texts() == [
            "gradient cosine",
            "embedding, fact-001-veska",
        ]
        again = tab.url.split("#")[1]
    with browser.open(small_page, again) as tab:
        assert "fact-001-veska" in tab.locator(heads).all_inner_texts()[1]
        tab.click("text=every method")
        tab.wait_for_selector(f"{heads}:has-text('random')")
        assert tab.locator(heads).count() == len(METHODS)


def test_each_method_s_first_ten_are_a_bar_that_opens_its_list(
    browser: Browser, small_page: Path
) -> None:
    with browser.open(small_page, f"behavior={BEHAVIOR}") as tab:
        tab.click("summary:has-text('What each of 7 methods lists first')")
        assert tab.locator("details[open] .bars .relbar").count() == len(METHODS)
        tab.click("details[open] .bars button:has-text('embedding')")
        assert tab.get_attribute("[role=tab][aria-selected=true]", "data-key") == "embedding"


def test_presets_recompute_the_figures_and_surprises_are_flagged(
    browser: Browser, small_page: Path
) -> None:
    with browser.open(small_page) as tab:
        figures = tab.inner_text(".figures")
        tab.click("button:has-text('exact copies')")
        assert tab.inner_text(".figures") != figures
        assert "preset=exact" in tab.url
        tab.click("button:has-text('Facts'), button:has-text('fact')")
        assert "of 20\u00a0behaviors" in tab.inner_text(".figures")
        flagged = tab.locator(".verdict:has(.chip.effect)").count()
        assert flagged > 0
