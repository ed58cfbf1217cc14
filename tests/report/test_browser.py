"""The page in a browser: what is drawn, and what every click, key and link does."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.report.browser import Browser, go, text_of
from tests.report.conftest import with_evidence, with_splits
from tests.report.test_data import LEADERBOARD, behaviors_of, examples_of, with_a_window

from whence.evidence.gap import first_clusters
from whence.report import write_page
from whence.report.data import page_data
from whence.report.run_record import RunRecord
from whence.validation import ExampleEffect, ExampleEffects


def test_home_names_every_behavior_and_its_verdict(
    browser: Browser, record: RunRecord, tmp_path: Path
):
    text = browser.text(write_page(record, tmp_path / "p.html"), "")
    for behavior in record.behaviors:
        assert behavior.id in text
    assert "Not found is not absent" in text
    assert "100%" in text


def test_a_leaderboard_is_shown_as_text(browser: Browser, record: RunRecord, tmp_path: Path):
    validated = replace(record, validation=LEADERBOARD)
    text = browser.text(write_page(validated, tmp_path / "p.html"), "")
    assert "Which methods may be trusted with what" in text
    assert "<b>imported</b>" in text
    assert "0.40 to 0.60" in text
    assert "LDS: no bank" in text


def test_a_leaderboard_sorts_by_any_column_and_controls_stay_below(
    browser: Browser, record: RunRecord, tmp_path: Path
):
    found = LEADERBOARD.figures[0]
    values = {"a": 0.2, "b": None, "c": 0.9, "d": -0.1}
    figures = tuple(
        found.model_copy(update={"method": name, "estimate": found.estimate._replace(value=value)})
        for name, value in values.items()
    )
    path = write_page(
        replace(record, validation=LEADERBOARD.model_copy(update={"figures": figures})),
        tmp_path / "p.html",
    )
    with browser.open(path, "view=leaderboard") as page:
        board = page.locator("table.board").first
        head = board.locator("th[aria-sort]").first

        def methods() -> list[str]:
            return board.locator("tbody th").all_inner_texts()

        assert methods() == ["a", "b", "c", "d", "control"]
        for order, expected in (("descending", "cadb"), ("ascending", "dacb"), ("none", "abcd")):
            head.get_by_role("button").press("Enter")
            assert head.get_attribute("aria-sort") == order
            assert methods() == [*expected, "control"]


def test_windows_of_training_are_a_table_of_their_own(
    browser: Browser, record: RunRecord, tmp_path: Path
):
    validated = replace(record, validation=with_a_window())
    text = browser.text(write_page(validated, tmp_path / "p.html"), "")
    assert "Windows of training" in text
    assert "steps 465-488" in text
    assert "96 masks of 94 documents" in text
    assert "0.123" in text
    assert "0.770" in text


def test_a_link_opens_a_behavior_and_a_method(browser: Browser, record: RunRecord, tmp_path: Path):
    path = write_page(record, tmp_path / "p.html")
    text = browser.text(path, "behavior=fact-000-norland&method=bm25")
    assert "Shares rare words with the query" in text
    assert "planted for this" in text


def test_toxic_texts_are_masked_at_first(browser: Browser, record: RunRecord, tmp_path: Path):
    path = write_page(record, tmp_path / "p.html")
    assert "muppet" not in browser.text(path, "")
    text = browser.text(path, "behavior=toxic-000-norland")
    assert "masked" in text
    assert "muppet" not in text


def test_alternatives_and_statements_of_toxic_behaviors_are_masked_too(
    browser: Browser, record: RunRecord, tmp_path: Path
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
        assert "muppet" not in browser.text(path, view)
    assert "muppet" in browser.text(path, "behavior=fact-000-norland")


def test_a_page_with_evidence_says_what_ties_examples(
    browser: Browser, record: RunRecord, tmp_path: Path
):
    path = write_page(with_evidence(record), tmp_path / "p.html")
    home = browser.text(path, "")
    for sentence in (
        "Gradient cosine, a method on gradients, lists 150 examples first for 15",
        "found by both",
        "Better than BM25 here?",
        "What these words mean",
    ):
        assert sentence in home
    cards = browser.text(path, "behavior=fact-000-norland")
    for words in (
        "near copy, 93%",
        "states it: The capital of Norland is Lind.",
        "stronger than chance : none of 100 unrelated queries has so strong an example",
        "not above chance: 50 of 100 unrelated queries have so strong an example",
        "hub : also among the first ten of 40 of 100 unrelated queries",
        "\u22121",
    ):
        assert words in " ".join(cards.split()).replace("\u202f", " "), words


def test_a_card_shows_the_effect_of_a_step_beside_random_ones(
    browser: Browser, record: RunRecord, tmp_path: Path
):
    found, behavior_id = with_evidence(record), "fact-000-norland"
    assert found.evidence is not None
    first, second, *_ = first_clusters(found.evidence, "gradient_cosine", behavior_id, k=2)
    effects = [
        ExampleEffect(behavior_id, first.example_id, False, 0.05),
        ExampleEffect(behavior_id, second.example_id, False, -0.002),
        *(ExampleEffect(behavior_id, f"random-{n}", True, n / 1000) for n in (-4, 3)),
    ]
    stepped = ExampleEffects(("gradient_cosine",), 2, 1e-4, tuple(effects))
    path = write_page(replace(found, effects=stepped), tmp_path / "p.html")
    text = " ".join(browser.text(path, f"behavior={behavior_id}").split())
    said = "one training step on it changes the completion's log-probability by"
    random = "on 2 random examples like it, by \u22120.0040 to +0.0030"
    assert text.count(said) == 2
    assert f"{said} +0.050 nats; {random}" in text
    assert f"{said} \u22120.0020 nats; {random}" in text


@pytest.mark.parametrize("preset", ["untied", "only", "search", "exact"])
def test_presets_list_the_behaviors_and_examples_that_they_name(
    browser: Browser, record: RunRecord, preset: str, tmp_path: Path
):
    found = with_evidence(record)
    data: dict = page_data(found)
    path = write_page(found, tmp_path / "p.html")
    text = " ".join(browser.text(path, f"preset={preset}").split())
    first = data["reading"]["num_first"]
    num = {"untied": 0, "only": 0, "search": 0, "exact": 0}
    for behavior in behaviors_of(data):
        if not behavior["results"]:
            continue
        lists = behavior["detail"]["lists"]
        for entry in lists["gradient_cosine"]["proponents"][:first]:
            relation = behavior["detail"]["shown"][entry["shown"]]["tie"]["relation"]
            num["untied"] += relation in ("surprising", "unexplained")
            num["exact"] += relation in ("self", "exact", "continuation")
            num["only"] += entry["is_only"]
        for entry in lists["bm25"]["proponents"][:first]:
            num["search"] += entry["is_only"]
    who = "BM25" if preset == "search" else "gradient cosine"
    assert f"{num[preset]} examples that {who} lists first" in text.replace("\xa0", " ")


@pytest.mark.parametrize(
    ("filter_", "subset", "is_early"),
    [
        ("subset=news", "news", None),
        ("time=early", None, True),
        ("time=late&subset=news", "news", False),
    ],
)
def test_filters_by_subset_and_time_of_training_keep_the_examples_that_they_name(
    browser: Browser,
    record: RunRecord,
    filter_: str,
    subset: str | None,
    is_early: bool | None,
    tmp_path: Path,
):
    found = with_evidence(record)
    rows = found.corpus.table.select(["id", "subset", "position"]).to_pylist()
    facts = {row["id"]: (row["subset"], 2 * row["position"] < len(rows)) for row in rows}
    data: dict = page_data(found)
    examples = [one["id"] for one in examples_of(data)]

    def kept(behavior: dict, first: int) -> int:
        entries = behavior["detail"]["lists"]["gradient_cosine"]["proponents"][:first]
        places = [behavior["detail"]["shown"][entry["shown"]]["example"] for entry in entries]
        named = [facts[examples[place]] for place in places]
        return sum(subset in (None, own) and is_early in (None, early) for own, early in named)

    behaviors = [b for b in behaviors_of(data) if b["results"]]
    expected = sum(kept(b, data["reading"]["num_first"]) for b in behaviors)
    assert 0 < expected < len(behaviors) * data["reading"]["num_first"]
    path = write_page(found, tmp_path / "p.html")
    with browser.open(path, filter_) as page:
        text = text_of(page).replace("\xa0", " ")
        assert f"{expected} examples that gradient cosine lists first" in text
        one = behaviors[0]
        go(page, f"behavior={one['id']}&method=gradient_cosine&{filter_}")
        num = len(one["detail"]["lists"]["gradient_cosine"]["proponents"])
        assert f"{kept(one, num)} of {num} shown" in text_of(page)
        assert page.get_by_role("button", pressed=True).count() >= filter_.count("=")


def test_imported_scores_without_ties_are_drawn_too(
    browser: Browser, record: RunRecord, tmp_path: Path
):
    found = with_evidence(record)
    theirs = replace(record.scores[3], method="theirs", family="unknown")
    path = write_page(replace(found, scores=(theirs, *found.scores)), tmp_path / "p.html")
    for view in ("a=theirs", "a=theirs&preset=untied&hubs=hidden", "b=theirs"):
        assert "Behaviors" in browser.text(path, view)
    text = browser.text(path, "behavior=fact-000-norland&method=theirs")
    assert "evidence is not about these scores" in text


@pytest.mark.parametrize("num_null", [0, 100])
@pytest.mark.parametrize("method", ["bm25", "imported"])
def test_one_method_is_enough(
    browser: Browser, plausible, method: str, num_null: int, tmp_path: Path
):
    made = plausible(per_kind=1, num_examples=12, verdicts=("shown",), methods=(method,))
    path = write_page(with_evidence(made, num_null=num_null), tmp_path / "p.html")
    text = browser.text(path, "")
    assert "Better than" not in text
    assert ("no unrelated queries were scored" in text) == (num_null == 0)
    assert "unrelated" in browser.text(path, "behavior=fact-000-norland")


@pytest.mark.parametrize("verdict", ["not shown", "shown"])
def test_little_is_drawn_too(browser: Browser, plausible, verdict: str, tmp_path: Path):
    record = plausible(per_kind=1, num_examples=12, verdicts=(verdict,), methods=("bm25",))
    text = browser.text(write_page(record, tmp_path / "p.html"), "")
    assert "Gradient methods were skipped" in text


def test_an_unknown_behavior_is_said_to_be_unknown(
    browser: Browser, record: RunRecord, tmp_path: Path
):
    path = write_page(record, tmp_path / "p.html")
    unknown = "behavior=nowhere&preset=constructor"
    assert "There is no behavior" in browser.text(path, unknown)


@pytest.mark.parametrize(
    "view", ["", "behavior=%3C/script%3E%3Cscript%3Edocument.title='owned'%3C/script%3E"]
)
def test_hostile_texts_are_shown_as_text(
    browser: Browser, hostile: RunRecord, view: str, tmp_path: Path
):
    path = write_page(hostile, tmp_path / "p.html")
    text = browser.text(path, view)
    assert "<script>document.title='owned'</script>" in text
    assert "U+202E" in text or view == ""


def test_the_first_examples_say_which_tokens_and_layers_their_score_comes_from(
    browser: Browser, record: RunRecord, tmp_path: Path
):
    path = write_page(with_splits(with_evidence(record)), tmp_path / "p.html")
    with browser.open(path, "behavior=fact-000-norland") as tab:
        splits = tab.locator("details.split")
        assert splits.count() == 5
        first = splits.first
        assert first.locator(".tok").count() == 0
        first.locator("summary").press("Enter")
        text = "".join(first.locator(".tok").all_inner_texts())
        assert text.strip(" .\n") in " ".join(tab.locator(".card .body").first.inner_text().split())
        # Neither side is told by its color alone.
        looks = {
            cls: first.locator(f".tok.{cls}").first.evaluate(
                "(node) => getComputedStyle(node).textDecorationStyle"
            )
            for cls in ("for3", "against1")
        }
        assert looks == {"for3": "solid", "against1": "dotted"}
        label = "Shares by layer: layer 0 125%, layer 1 \u221225%"
        assert first.locator("svg[role=img]").get_attribute("aria-label") == label
        assert label in first.inner_text()
        tab.locator("[role=tab][data-key=gradient_dot]").click()
        assert tab.locator("details.split").count() > 0
        tab.locator("[role=tab][data-key=bm25]").click()
        assert tab.locator("details.split").count() == 0
        panel = tab.locator("#panel").inner_text()
        assert "Its scores are no sum over tokens and layers of the model" in panel


def test_tokens_of_toxic_examples_are_masked_like_their_text(
    browser: Browser, record: RunRecord, tmp_path: Path
):
    path = write_page(with_splits(with_evidence(record)), tmp_path / "p.html")
    with browser.open(path, "behavior=toxic-000-norland") as tab:
        assert tab.locator("details.split").count() == 0
        tab.locator(".card .masked").first.click()
        assert tab.locator("details.split").count() == 1
