"""Charts and tables show numbers where they belong: read back from what is drawn."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes

from tests.test_verdict import APART, column_with, runs_with
from triptych.pages import charts, exports
from triptych.pages.charts import BOTTOM, HEIGHT, LEFT, POINTS, RIGHT, TOP, WIDTH, Series
from triptych.pages.columns import make_columns
from triptych.pages.language import Language
from triptych.pages.load import Run
from triptych.pages.page import make_chart
from triptych.pages.tables import Notes, cost_column, make_tables, metric_column
from triptych.records import Note

ENGLISH = Language()


def points_of(svg: str) -> list[tuple[float, float]]:
    """Of the one line in a chart, across and down."""
    line = ElementTree.fromstring(svg).find("polyline")
    assert line is not None
    return [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]  # type: ignore[misc]


def test_high_values_stand_high_and_later_ones_right() -> None:
    """Images 0, 5, 10 along the foot; values 0, 8, 2 on an axis from 0 to 8."""
    series = [Series("total", ((0.0, 0.0), (5.0, 8.0), (10.0, 2.0)))]
    found = points_of(str(charts.draw_chart(series, ENGLISH, "loss", "images")))
    height = HEIGHT - TOP - BOTTOM
    down = [HEIGHT - BOTTOM, TOP, TOP + 0.75 * height]
    across = [LEFT, (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT]
    assert found == [pytest.approx(pair, abs=0.05) for pair in zip(across, down, strict=True)]


def test_many_points_are_drawn_as_means_of_neighbours() -> None:
    values = np.random.default_rng(0).normal(size=3 * POINTS)
    found = charts.thin([(float(i), value) for i, value in enumerate(values.tolist())])
    assert [x for x, _ in found] == list(range(2, 3 * POINTS, 3))
    exact = values.reshape(POINTS, 3).mean(1)
    assert [value for _, value in found] == pytest.approx(exact.tolist())


def test_no_two_lines_of_a_chart_look_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GAN's loss has five terms, and a chart of levels more, in one colour: on the page,
    in its legend, and in the files.
    """
    terms = [f"kl_{level}" for level in range(10)]
    series = [Series(term, ((0.0, float(i)), (5.0, 8.0))) for i, term in enumerate(terms)]
    chart = make_chart("KL", series, ENGLISH, "images")
    lines = ElementTree.fromstring(str(chart.svg)).iter("polyline")
    looks = [(each.attrib["stroke-dasharray"], each.attrib["stroke-opacity"]) for each in lines]
    assert len(set(looks)) == len({dashes for dashes, _ in looks}) + 2 == len(terms)
    assert all(
        f'"{dashes}"' in stroke for (dashes, _), stroke in zip(looks, chart.strokes, strict=True)
    )
    drawn: list[tuple[Any, Any]] = []
    plot = Axes.plot

    def noted(axes: Axes, *values: Any, **style: Any) -> Any:
        drawn.append((style["linestyle"], style["alpha"]))
        return plot(axes, *values, **style)

    monkeypatch.setattr(Axes, "plot", noted)
    assert exports.plotted_lines(chart, "vae") and len(set(drawn)) == len(terms)


def costing_runs() -> list[Run]:
    """Distances with lopsided intervals, of models whose samples take 1, 10 and 100 ms."""
    runs = []
    for power, run in enumerate(runs_with("frechet_distance", APART)):
        [metric] = run.metrics
        metric = replace(metric, value=metric.low + 0.25)
        cost = {"sample_seconds_per_image": 0.001 * 10**power}
        runs.append(replace(run, metrics=(metric,), cost=cost))
    return runs


def test_intervals_of_the_chart_of_costs_are_those_of_the_distances() -> None:
    [frontier] = charts.draw_frontiers(costing_runs(), ENGLISH)
    assert [(p.low, p.value, p.high) for p in frontier.points] == [
        (low, low + 0.25, high) for low, high in APART
    ]
    spread = re.findall(r'class="spread" d="M(\S+) (\S+)V(\S+)"', str(frontier.svg))
    dots = re.findall(r'<circle cx="(\S+)" cy="(\S+)"', str(frontier.svg))
    assert len(spread) == len(dots) == 3
    for (across, low, high), (x, y) in zip(spread, dots, strict=True):
        assert across == x and float(low) > float(y) > float(high)


@pytest.mark.parametrize("count", [6, 7])
def test_many_points_have_numbers_and_a_legend(count: int) -> None:
    """Names of twenty models lay on one another; so does one that is as wide as the chart."""
    runs = [
        replace(costing_runs()[0], name=f"m{i}", model=f"vae:m{i}", cost={"network_calls": 2.0**i})
        for i in range(count)
    ]
    names = tuple(f"vae:m{i}" for i in range(count))
    [frontier] = charts.draw_frontiers(runs, ENGLISH)
    shown = tuple(re.findall(r">([^<]*)</text></g>", str(frontier.svg)))
    assert (shown, frontier.legend) == ((names, ()) if count == 6 else (tuple("1234567"), names))
    wide = [replace(runs[0], model=f"vae:{'long ' * 9}"), *runs[1:3]]
    [frontier] = charts.draw_frontiers(wide, ENGLISH)
    assert frontier.legend[0].startswith("vae:long") and ">1</text></g>" in str(frontier.svg)
    assert exports.plotted(frontier, "png")


def test_printed_error_bars_end_where_the_intervals_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[float, float, float]] = []
    errorbar = Axes.errorbar

    def watched(axes: Axes, x: float, y: float, yerr: Any, **more: Any) -> Any:
        (below,), (above,) = yerr
        drawn.append((y - below, y, y + above))
        return errorbar(axes, x, y, yerr, **more)

    monkeypatch.setattr(Axes, "errorbar", watched)
    [frontier] = charts.draw_frontiers(costing_runs(), ENGLISH)
    exports.plot(frontier, tmp_path / "chart")
    exact = [(low, low + 0.25, high) for low, high in APART]
    assert drawn == [pytest.approx(each) for each in exact]


def test_bars_are_shares_of_the_largest_cost() -> None:
    runs = costing_runs()
    bars = [cell.bar for cell in cost_column(runs, "sample_seconds_per_image", ENGLISH)]
    assert bars == pytest.approx([0.01, 0.1, 1.0])
    [table, *_] = make_tables(runs, ENGLISH)[0]
    sort = [row[-1].sort for row in table.rows]
    assert sort == pytest.approx([0.001, 0.01, 0.1])


def test_single_trainings_have_no_mark() -> None:
    """Their differences are none of those that hold one error together on the page."""
    runs = runs_with("kernel_distance", [(1.0, 1.001), (50.0, 50.001), (90.0, 90.001)])
    marked, plain = (
        [row[0].best for row in make_tables(runs, ENGLISH, marks=marks)[0][0].rows]
        for marks in (True, False)
    )
    assert marked == [True, False, False] and not any(plain)


def test_what_is_not_defined_has_no_number_to_read_or_sort_by() -> None:
    reason = {"value": None, "kind": "not defined", "note": Note("no_likelihood")}
    first, *others = runs_with("bits_per_dim", APART)
    [metric] = first.metrics
    runs = [replace(first, metrics=(replace(metric, **reason),)), *others]
    [column] = make_columns(runs)
    cell, *rest = metric_column(column, ENGLISH, Notes())
    assert (cell.text, cell.sort, cell.interval) == ("not defined", None, "")
    assert cell.title == ENGLISH.note(Note("no_likelihood")) and cell.notes == (1,)
    assert all(each.sort is not None for each in rest)


def test_a_column_has_the_decimals_that_its_narrowest_interval_needs() -> None:
    """0.02 wide: two decimals, or three for 0.012, in every cell and interval."""
    for width, places in ((0.02, 2), (0.012, 3)):
        column = column_with("frechet_distance", [(1.0, 1.0 + width), (30.0, 50.0)])
        for cell in metric_column(column, ENGLISH, Notes()):
            numbers = re.findall(r"\d+\.(\d+)", f"{cell.text} {cell.interval}")
            assert [len(number) for number in numbers] == [places] * 3
