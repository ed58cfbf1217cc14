"""Pictures show the numbers behind them, as shapes that fit, on the page and as files."""

import itertools
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.report.browser import Browser
from tests.report.conftest import plausible, with_evidence, with_splits
from tests.report.test_data import with_a_window

from whence.evidence.gap import first_clusters
from whence.report import page_pictures, svg_text, write_page
from whence.report.context import Context
from whence.report.data import page_data
from whence.report.examples import Examples
from whence.report.pictures import Cell, Dot, Picture, bar_plot, dot_plot, heat_table, nice_ticks
from whence.report.run_record import RunRecord
from whence.report.sums import sum_up
from whence.report.svg import estimates
from whence.statistics import Estimate, Interval
from whence.validation import ExampleEffect, ExampleEffects, behavior_families


@pytest.fixture(scope="module")
def validated() -> RunRecord:
    return replace(with_evidence(plausible()), validation=with_a_window())


@pytest.mark.parametrize("seed", range(50))
def test_ticks_are_round_and_hold_the_range(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = sorted((rng.normal(size=2) * 10.0 ** rng.integers(-6, 6)).tolist())
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= high - 1e-9
    assert 2 <= len(ticks) <= 8
    steps = np.diff(ticks)
    assert np.allclose(steps, steps[0])


def test_a_dot_stands_where_its_value_belongs() -> None:
    rows = [Dot("a", 0.0, -0.5, 0.5), Dot("b", 1.0), Dot("c", None)]
    found = dot_plot(rows, name="n", title="t", caption="c", unit="u", references={"BM25": 1.0})
    dots = [s for s in found.shapes if s.kind == "circle"]
    (line,) = [s for s in found.shapes if s.look == "reference"]
    assert [s.text for s in dots] == ["a: 0 [\u22120.5, 0.5]", "b: 1"]
    assert dots[1].x == line.x
    zero = next(s for s in found.shapes if s.look == "zero")
    assert dots[0].x == zero.x
    assert "undefined" in [s.text for s in found.shapes]
    assert found.rows == [["a", 0.0, -0.5, 0.5], ["b", 1.0, None, None], ["c", None, None, None]]


def test_bars_are_as_tall_as_their_values() -> None:
    bars = [("a", 1.0, 0.5), ("b", 0.5, 0.5)]
    found = bar_plot(bars, name="n", title="t", caption="c", unit="u", beside="pool")
    tall = [s.height for s in found.shapes if s.kind == "rect"]
    assert tall[0] == pytest.approx(2 * tall[1], abs=0.2)


def test_every_shape_lies_within_its_picture(validated: RunRecord) -> None:
    found = page_pictures(validated)
    assert {"agreement", "subsets", "positions", "overlap", "validation-planted-ap"} <= set(found)
    for picture in found.values():
        for shape in picture.shapes:
            assert 0 <= shape.x <= shape.x + shape.width <= picture.width, picture.name
            assert 0 <= shape.y <= shape.y + shape.height <= picture.height, picture.name
        assert picture.label.startswith(picture.title)
        assert picture.rows


@pytest.mark.parametrize("length", [10, 33, 80])
def test_names_of_rows_stand_within_their_picture(length: int) -> None:
    name = "m" * length
    dots = dot_plot([Dot(name, 0.5)], name="a", title="b", caption="c", unit="share")
    table = heat_table([Cell(name, "x", 0.5)], name="a", title="b", caption="c", unit="share")
    for picture in (dots, table):
        [shown] = [s for s in picture.shapes if s.look == "name"]
        # A letter is about half as wide as its font is large, 12.
        assert 0 <= shown.x - 6 * len(shown.text) <= shown.x < picture.width / 2
        assert name.startswith(shown.text.removesuffix("…"))


def test_agreement_is_the_mean_share_over_the_behaviors_of_a_kind(validated: RunRecord) -> None:
    page = Context(validated, Examples(validated.corpus))
    method = page.compared.method
    assert method is not None
    shares: dict[str, list[float]] = {}
    for behavior in validated.behaviors:
        if behavior.id in page.scored[method]:
            gap = sum_up(method, behavior.id, page).gap
            assert gap is not None
            shares.setdefault(behavior.kind, []).append(
                gap.num_both / (gap.num_both + gap.num_only)
            )
    expected = [math.fsum(values) / len(values) for values in shares.values()]
    assert [row[1] for row in page_pictures(validated)["agreement"].rows] == pytest.approx(expected)


def test_subsets_and_positions_add_up(validated: RunRecord) -> None:
    found = page_pictures(validated)
    for name, column in (("subsets", 1), ("subsets", 4), ("positions", 1), ("positions", 2)):
        values = [row[column] for row in found[name].rows]
        assert sum(v for v in values if isinstance(v, float)) == pytest.approx(1), (name, column)


def test_the_shares_of_layers_add_up_for_each_kind_and_stand_in_the_squares(
    validated: RunRecord,
) -> None:
    picture = page_pictures(with_splits(validated))["layers"]
    rows = [dict(zip(picture.columns, row, strict=True)) for row in picture.rows]
    kinds = {str(row["row"]).partition(",")[0] for row in rows}
    assert len(kinds) == 5
    for kind in kinds:
        of_kind = [row for row in rows if str(row["row"]).startswith(kind + ",")]
        # Attention of the first layer has 75 %, its MLP 50 %, and that of the second -25 %.
        assert [row["share of the score"] for row in of_kind if row["column"] == "layer 0"] == [
            pytest.approx(0.75),
            pytest.approx(0.5),
        ]
        values = [row["share of the score"] for row in of_kind]
        assert sum(v for v in values if isinstance(v, float)) == pytest.approx(1)
    texts = [shape.text for shape in picture.shapes if shape.kind == "text"]
    assert texts.count("0.75") == len(kinds)
    assert "\u22120.25" in texts
    assert "layers" not in page_pictures(validated)


def test_many_layers_are_drawn_as_a_dozen_columns_at_most() -> None:
    from whence.report.plots import _layer_columns

    columns = _layer_columns([f"layer {n}" for n in range(32)])
    assert len(set(columns.values())) == 11
    assert columns["layer 31"] == "layer 30\u201331"


def test_a_forest_is_sorted_and_draws_search_as_a_line(validated: RunRecord) -> None:
    found = page_pictures(validated)["validation-planted-ap"]
    assert [row[1] for row in found.rows] == [0.5, None]
    notes = {s.text for s in found.shapes if s.look.startswith("note")}
    assert {"BM25", "control: a random order", "undefined"} <= notes


def elements(picture: Picture) -> list[ET.Element]:
    return list(ET.fromstring(svg_text(picture)).iter())


def test_a_file_is_svg_with_a_label_and_the_same_shapes(validated: RunRecord) -> None:
    for picture in page_pictures(validated).values():
        root, *rest = elements(picture)
        assert root.get("role") == "img"
        assert root.get("aria-label") == picture.label
        names = [one.tag.split("}")[1] for one in rest]
        drawn = [n for n in names if n in ("line", "rect", "circle", "text")]
        assert drawn == [shape.kind for shape in picture.shapes]


def test_hostile_names_stay_text_in_a_file() -> None:
    rows = [Dot("</text><script>alert(1)</script>\x00\u202e", 1.0)]
    found = dot_plot(rows, name="n", title="<b>\x1b", caption="c", unit='"u"')
    assert "script" not in [one.tag.split("}")[1] for one in elements(found)]


def test_the_page_draws_the_picture_and_saves_it_as_svg_and_its_numbers_as_csv(
    browser: Browser, validated: RunRecord, tmp_path: Path
) -> None:
    path = write_page(validated, tmp_path / "p.html")
    pictures = page_pictures(validated)
    with browser.open(path, accept_downloads=True) as tab:
        drawn = tab.locator("svg.fig")
        assert drawn.count() == len(pictures)
        for node in drawn.all():
            assert node.get_attribute("role") == "img"
            assert node.get_attribute("aria-label")
        first = tab.locator(".picture").first
        with tab.expect_download() as saved:
            first.get_by_text("Save as SVG").click()
        text = Path(saved.value.path()).read_text(encoding="utf-8")
        shapes = [one.tag.split("}")[1] for one in ET.fromstring(text).iter()]
        assert shapes.count("circle") == len(pictures["agreement"].rows)
        assert ".fig .dot" in text
        with tab.expect_download() as saved:
            first.get_by_text("Save the numbers as CSV").click()
        lines = Path(saved.value.path()).read_text(encoding="utf-8").splitlines()
        assert lines[0] == "name,share,low,high"
        assert len(lines) == 1 + len(pictures["agreement"].rows)
        assert re.match(r"Facts \(\d+\),[\d.]+,", lines[1])


@pytest.mark.parametrize("high", [0.02, 0.2, 2.0])
def test_numbers_of_an_axis_do_not_run_into_each_other(high: float) -> None:
    rows = [("a", Estimate(0.01, Interval(-0.01, high, 8), 8)), ("b", Estimate(2.0, None, 8))]
    drawn = ET.fromstring(estimates(rows, label="l", unit="nats", lines=(0.0, 0.61)))
    places = sorted(float(t.get("x", "")) for t in drawn if t.get("class") == "tick")
    assert len(places) >= 2
    assert all(b - a >= 36 for a, b in itertools.pairwise(places))


def test_effects_are_drawn_by_relation_beside_random_examples() -> None:
    record = plausible()
    ids = [b.id for b in record.behaviors if b.id in record.scores[0].query_ids][:7]
    found = with_evidence(
        record, lambda behavior, example: "near" if behavior == ids[0] else "exact"
    )
    assert found.evidence is not None
    names = behavior_families(record.behaviors)
    effects, changes = [], {"near copy": {}, "exact copy": {}, "random examples": {}}
    for number, behavior_id in enumerate(ids):
        first = first_clusters(found.evidence, "gradient_cosine", behavior_id, k=2)
        for place, one in enumerate(first):
            change = float(number + 10 * place)
            effects.append(ExampleEffect(behavior_id, one.example_id, False, change))
            of = changes["near copy" if number == 0 else "exact copy"]
            of.setdefault(names[behavior_id], {}).setdefault(behavior_id, []).append(change)
        effects.append(ExampleEffect(behavior_id, "random", True, -float(number)))
        of = changes["random examples"].setdefault(names[behavior_id], {})
        of.setdefault(behavior_id, []).append(-float(number))
    stepped = ExampleEffects(("gradient_cosine",), 2, 1e-4, tuple(effects))
    found = replace(found, effects=stepped)
    picture = page_pictures(found)["effects"]
    expected = {}
    for name, of_families in changes.items():
        num = sum(len(own) for of in of_families.values() for own in of.values())
        means = [np.mean([np.mean(own) for own in of.values()]) for of in of_families.values()]
        expected[f"{name} ({num})"] = np.mean(means)
    assert len({names[i] for i in ids}) < len(ids)
    assert {row[0]: row[1] for row in picture.rows} == pytest.approx(expected)
    without = replace(found, effects=replace(stepped, effects=(), undefined="No."))
    assert "effects" not in page_pictures(without)


def test_effects_on_behaviors_that_the_model_does_not_show_are_not_drawn_or_averaged() -> None:
    record = with_evidence(plausible(attribute_all=True))
    assert record.evidence is not None
    assert record.forced
    effects = []
    for behavior in record.behaviors:
        change = 100.0 if behavior.id in record.forced else 1.0
        first = first_clusters(record.evidence, "gradient_cosine", behavior.id, k=2)
        ids = {one.example_id for one in first}
        effects += [ExampleEffect(behavior.id, one, False, change) for one in sorted(ids)]
        effects.append(ExampleEffect(behavior.id, "random", True, change / 2))
    found = replace(
        record, effects=ExampleEffects(("gradient_cosine",), 2, 1e-4, tuple(effects), None)
    )
    values = {row[1] for row in page_pictures(found)["effects"].rows}
    assert values == {1.0, 0.5}
    (section,) = [s["data"] for s in page_data(found)["sections"] if s["name"] == "findings"]
    (text,) = [one["text"] for one in section["findings"] if one["topic"] == "Effect"]
    assert "+1.000 with gradient cosine and +0.500 with random examples" in text
