"""No hostile text runs, asks for anything or hides, wherever a study or a corpus has it."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from tests.report.browser import Browser, go
from tests.report.conftest import HOSTILE, corpus_of, hostile_record, with_evidence
from tests.report.test_data import with_a_window

from whence.records import Scores
from whence.report import page_pictures, svg_text, write_page
from whence.report.run_record import RunRecord

MORE = (
    "x" * 100_000,
    "\x00\x1b]0;owned\x07\x1b[2J",
    "\u2028document.title='owned'\u2029",
    "\u202egnp.exe\u202c \u2067abc\u2069",
    "--><script>fetch('http://127.0.0.1:9/owned')</script>",
    "javascript:document.title='owned'",
    "__proto__",
    "constructor",
    "#behavior=x&method=</title><script>document.title='owned'</script>",
)
TEXTS = tuple(text.encode("utf-8", "replace").decode() for text in (*HOSTILE, *MORE))


@pytest.fixture(scope="module")
def record() -> RunRecord:
    """Hostile texts as documents, ids, subsets, prompts, completions and names of methods."""
    base = hostile_record()
    template = base.behaviors[0]
    behaviors = [
        template.model_copy(
            update={
                "id": text[:200] or "empty",
                "prompt": text[:999],
                "completion": "y" + text[:3000],
            }
        )
        for text in TEXTS
    ]
    corpus = corpus_of(
        [f"{i}{text[:60]}" for i, text in enumerate(TEXTS)], TEXTS, [[text[:50]] for text in TEXTS]
    )
    place = corpus.table.column_names.index("subset")
    table = corpus.table.set_column(place, "subset", [[text[:50] for text in TEXTS]])
    corpus = replace(corpus, table=table)
    names = ["gradient_cosine", "bm25", *(text[:80] for text in TEXTS[-len(MORE) :])]
    values = len(TEXTS) - 3 - np.arange(len(TEXTS), dtype=np.float32)
    scores = tuple(
        Scores(
            name,
            tuple(b.id for b in behaviors),
            corpus.ids,
            values[None].repeat(len(behaviors), 0),
            {text: text for text in MORE[1:4]},
            1.0,
            family="gradient" if n == 0 else "text",
        )
        for n, name in enumerate(dict.fromkeys(names))
    )
    verification = base.verifications[template.id]
    made = replace(
        base,
        behaviors=tuple(behaviors),
        verifications={b.id: replace(verification, behavior_id=b.id) for b in behaviors},
        corpus=corpus,
        scores=scores,
        gold={},
        validation=with_a_window(),
    )
    return with_evidence(made)


@pytest.fixture(scope="module")
def page(record: RunRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(record, tmp_path_factory.mktemp("hostile") / "index.html")


def test_every_view_of_hostile_texts_is_quiet(
    browser: Browser, record: RunRecord, page: Path
) -> None:
    """The browser fails the test for a request, a message on the console, an error or a dialog."""
    with browser.open(page) as tab:
        views = [
            f"behavior={quote(behavior.id, safe='')}&method={quote(method, safe='')}"
            for behavior, method in zip(
                record.behaviors, ["side", *(s.method for s in record.scores)] * 3, strict=False
            )
        ]
        for view in [
            "",
            "q=" + quote(HOSTILE[0], safe=""),
            "preset=__proto__",
            "at=__proto__",
            *views,
        ]:
            go(tab, view)
            tab.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
            assert tab.title() != "owned"
            assert tab.evaluate("document.querySelectorAll('script').length") == tab.evaluate(
                "document.querySelectorAll('body > script').length"
            )
            for node in ("img", "iframe", "object", "embed", "form", "base"):
                assert tab.locator(f"main {node}").count() == 0
            links = [a.get_attribute("href") for a in tab.query_selector_all("main a")]
            assert [link for link in links if not link.startswith("#")] == []


def test_no_raw_control_character_is_visible(
    browser: Browser, record: RunRecord, page: Path
) -> None:
    views = ["", *(f"behavior={quote(b.id, safe='')}" for b in record.behaviors[::4])]
    for view in views:
        text = browser.text(page, view)
        assert not set(text) & set("\x00\x07\x1b\u202e\u2067\u2028\u2029"), view


def test_pictures_of_hostile_names_are_plain_svg(record: RunRecord) -> None:
    for picture in page_pictures(record).values():
        text = svg_text(picture)
        assert "<script" not in text
        assert not set(text) & set("\x00\x07\x1b\u202e\u2028")
