"""Quality against cost: every model as a point, one chart for each cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from markupsafe import Markup

from triptych.report.charts import (
    HEIGHT,
    RIGHT,
    WIDTH,
    Axis,
    down,
    draw_grid,
    linear_axis,
    log_axis,
    right,
)
from triptych.report.columns import Column, make_columns, name_runs
from triptych.report.load import Run
from triptych.report.panels import known_family, label
from triptych.report.reading_costs import DISTANCES, SAME_TIME
from triptych.report.table import metric_label
from triptych.report.tongue import Form, Tongue

FORMS: dict[str, Form] = {  # the costs that are drawn, and how they are printed
    "train_seconds": "time",
    "sample_seconds_per_image": "time",
    "network_calls": "count",
    "peak_memory_bytes": "bytes",
}
ROOM = 1.25  # beyond the outermost points, as a factor


@dataclass(frozen=True)
class Point:
    """One model: a cost, and a distance with its interval."""

    name: str
    family: str
    cost: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Frontier:
    """One chart: quality against one cost."""

    cost: str
    title: str
    quality: str
    points: tuple[Point, ...]
    svg: Markup


def draw_frontiers(runs: Sequence[Run], tongue: Tongue) -> list[Frontier]:
    """A chart for every cost in which at least two models differ."""
    columns = [c for c in make_columns(runs) if c.name in DISTANCES and not c.extrapolated]
    if not columns:
        return []
    column = columns[0]
    found = []
    for cost in FORMS:
        points = place_points(runs, column, cost, tongue)
        costs = [point.cost for point in points]
        if len(points) < 2 or max(costs) < SAME_TIME * min(costs):
            continue
        title = tongue.text(f"cost.{cost}")
        quality = metric_label(column, tongue)
        svg = draw_points(points, cost, quality, tongue)
        found.append(Frontier(cost, title, quality, points, svg))
    return found


def place_points(
    runs: Sequence[Run], column: Column, cost: str, tongue: Tongue
) -> tuple[Point, ...]:
    """The models for which both are known."""
    found = []
    for run, name, cell in zip(runs, name_runs(runs), column.cells, strict=True):
        spent, metric = run.cost.get(cost), cell.metric
        if not spent or spent <= 0 or metric is None or metric.value is None:
            continue
        low = metric.value if metric.low is None else metric.low
        high = metric.value if metric.high is None else metric.high
        words = label(run, name, tongue)
        found.append(Point(words, known_family(run), spent, metric.value, low, high))
    return tuple(found)


def axes(points: Sequence[Point]) -> tuple[Axis, Axis]:
    """Cost over its own range on a logarithmic scale; quality as suits it."""
    costs = [point.cost for point in points]
    low, high = min(costs) / ROOM, max(costs) * ROOM
    inner = tuple(tick for tick in log_axis(low, high).ticks if low <= tick <= high)
    ends = tuple(round_to(cost) for cost in (min(costs), max(costs)))
    ticks = inner if len(inner) > 1 else ends
    lowest, highest = min(p.low for p in points), max(p.high for p in points)
    positive = min(p.value for p in points) > 0
    if positive and highest > 30 * min(p.value for p in points):
        return Axis(low, high, ticks, log=True), log_axis(
            max(lowest, min(p.value for p in points) / 2), highest
        )
    return Axis(low, high, ticks, log=True), linear_axis(min(0.0, lowest), highest)


def round_to(value: float, digits: int = 2) -> float:
    """To so many significant digits."""
    return round(value, digits - 1 - math.floor(math.log10(abs(value))))


def draw_points(points: Sequence[Point], cost: str, quality: str, tongue: Tongue) -> Markup:
    """The chart as an SVG element."""
    x, y = axes(points)
    title = tongue.text(f"cost.{cost}")
    listed = tongue.listed([f"{p.name} {tongue.number(p.value)}" for p in points])
    alt = tongue.text("frontier.alt").format(quality=quality, cost=title, points=listed)
    parts = [
        f'<svg class="chart frontier" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(alt, {chr(34): "&quot;"})}">',
        *draw_grid(x, y, tongue, lambda value: tongue.number(value, FORMS[cost])),
    ]
    for point in points:
        across, height = right(x.place(point.cost)), down(y.place(point.value))
        near_edge = x.place(point.cost) > 0.7
        anchor, shift = ("end", -9) if near_edge else ("start", 9)
        parts.append(
            f'<g class="fam-{point.family}">'
            f'<path class="spread" d="M{across} {down(y.place(point.low))}'
            f'V{down(y.place(point.high))}"></path>'
            f'<circle cx="{across}" cy="{height}" r="5"></circle>'
            f'<text x="{across + shift}" y="{height - 7}" text-anchor="{anchor}">'
            f"{escape(point.name)}</text></g>"
        )
    parts.append(
        f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">'
        f"{escape(title)}</text></svg>"
    )
    return Markup("".join(parts))
