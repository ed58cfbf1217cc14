"""The live page in a real browser: it answers, runs no text as markup, and asks nobody else."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.live.test_server import Server
from tests.report.browser import serious_findings

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def server(stored_run: Path) -> Iterator[Server]:
    server = Server(str(stored_run))
    yield server
    assert server.stop() == 0


@pytest.fixture
def page(server: Server) -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        said: list[str] = []
        page.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
        page.on(
            "request",
            lambda r: None if r.url.startswith(server.url) else said.append(f"request {r.url}"),
        )
        page.goto(server.url)
        page.wait_for_selector("#methods input", state="attached")
        yield page
        assert said == []
        browser.close()


def ask(page: Any, prompt: str, completion: str) -> None:
    page.fill("#prompt", prompt)
    page.fill("#completion", completion)
    page.click("#ask")


def test_a_question_is_answered_with_verdict_lists_and_marks(page: Any) -> None:
    ask(page, "the capital of france is", " paris")
    page.wait_for_selector(".list .hit", timeout=60_000)
    assert page.inner_text(".verdict") == "Shown"
    assert page.locator(".list").count() == 2
    assert "Gradient cosine" in page.inner_text("#answer")
    assert page.locator("mark.answer").first.inner_text().strip() == "paris"
    assert "unrelated queries" in page.inner_text("#answer")
    assert page.inner_text("#visible") == "read as ·paris"


def test_a_missing_space_and_what_is_not_shown_are_plain(page: Any) -> None:
    ask(page, "the capital of france is", "paris")
    page.wait_for_selector(".remark", timeout=60_000)
    assert 'Write the completion " paris"' in page.inner_text(".remark")
    assert page.locator(".hit").count() == 0
    page.click("text=Rank examples anyway")
    page.wait_for_selector(".list .hit", timeout=60_000)


def test_tokens_of_the_model_are_chosen_by_clicks(page: Any) -> None:
    page.fill("#prompt", "the capital of france is")
    page.click("#complete")
    page.wait_for_selector("#tokens button", timeout=60_000)
    page.locator("#tokens button").nth(0).click()
    assert page.input_value("#completion").strip() == "paris"
    page.locator("#tokens button").nth(2).click()
    assert page.locator("#tokens button[aria-pressed=true]").count() == 3
    page.locator("#tokens button").nth(1).click()
    assert page.locator("#tokens button[aria-pressed=true]").count() == 1
    assert page.input_value("#prompt").strip().endswith("paris")


def test_hostile_texts_stay_texts_and_errors_are_shown(page: Any) -> None:
    hostile = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\u2028"
    page.click("summary:has-text('More')")
    page.check("#force")
    ask(page, hostile, " paris")
    page.wait_for_selector(".list .hit", timeout=60_000)
    ask(page, "the", hostile)
    page.wait_for_selector("#ask:not([disabled])", timeout=60_000)
    assert page.locator("#answer img, #answer script, #error img, #error script").count() == 0


def test_texts_with_a_toxic_completion_are_shown_only_when_asked_for(page: Any) -> None:
    page.click("summary:has-text('More')")
    page.select_option("#kind", "toxic")
    page.check("#force")
    ask(page, "the capital of france is", " paris")
    page.wait_for_selector(".list .hit", timeout=60_000)
    answer = page.locator("#answer .lists")
    assert "paris" not in answer.inner_text()
    first = page.get_by_role("button", name="Text masked, as it may offend. Show it").first
    first.press("Enter")
    assert "paris" in answer.inner_text()
    assert "paris" in page.evaluate("document.activeElement.textContent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_live_page_has_no_serious_finding_of_axe(page: Any, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    assert serious_findings(page) == []
    ask(page, "the capital of france is", " paris")
    page.wait_for_selector(".list .hit", timeout=60_000)
    assert serious_findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_behavior_of_the_study_fills_the_form(page: Any) -> None:
    page.select_option("#start", label="fact/france")
    assert page.input_value("#completion") == " paris"
    assert page.input_value("#kind") == "fact"
