"""Line charts as inline SVG, so that they follow the page's colours, light or dark.

One chart is one objective: its terms against images seen. Lines differ by their dashes, so that
they can be told apart without colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from markupsafe import Markup

from triptych.comparison.significance import DISTANCES
from triptych.pages.baseline import entry_in
from triptych.pages.columns import (
    SAME_TIME,
    Column,
    label,
    make_columns,
    metric_label,
    style_family,
)
from triptych.pages.language import Language
from triptych.pages.load import Curve, Diagnosed, Losses, Run
from triptych.records import MetricRecord
from triptych.words import Form

WIDTH, HEIGHT = 400, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 38
POINTS = 200  # drawn per line; more would not show
DECADES = 1.5  # a positive range wider than this is drawn on a logarithmic scale
TRIM = 0.02  # share of extreme values that may leave a linear chart, so that one spike cannot rule

DASHES: tuple[tuple[float, ...], ...] = (  # lengths of lines and gaps, in widths of the line
    (), (3, 2), (0.5, 2.5), (6, 2.5, 0.5, 2.5), (9, 3), (6, 2.5, 0.5, 2.5, 0.5, 2.5),
    (0.5, 5), (6, 2.5, 2, 2.5),
)  # fmt: skip
STROKE = 2  # width of a line

Point = tuple[float, float]
FORMS: dict[str, Form] = {  # the costs that are drawn, and how they are printed
    "train_seconds": "time",
    "sample_seconds_per_image": "time",
    "network_calls": "count",
    "peak_memory_bytes": "bytes",
}
ROOM = 1.25  # beyond the outermost points, as a factor
MOST_NAMED = 6  # points that have their names beside them; more have numbers
LONGEST_NAME = 28  # letters that stand beside a point


@dataclass(frozen=True)
class Series:
    """One line of a chart: (images seen, value), in order."""

    term: str
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart of a training, with the names of its lines.

    across: what the lines run over
    mark:   a place on that axis, where there is one to show
    log:    whether that axis is logarithmic
    """

    title: str
    svg: Markup
    series: tuple[Series, ...]
    terms: tuple[str, ...]
    strokes: tuple[Markup, ...]  # what the terms' lines look like, as attributes
    across: str
    mark: float | None = None
    log: bool = False


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high`, with ticks between."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def position(self, value: float) -> float:
        """0 at the low end, 1 at the high end, no further."""
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))


def split_objectives(log: Sequence[Losses]) -> dict[str, list[Series]]:
    """Loss terms "objective/term" of a log, grouped by objective, in the order of the log."""
    lines: dict[str, dict[str, list[Point]]] = {}
    for entry in log:
        for key, value in entry.losses.items():
            objective, _, term = key.partition("/")
            points = lines.setdefault(objective, {}).setdefault(term or "total", [])
            points.append((entry.images, value))
    return {
        objective: [Series(term, thin(points)) for term, points in terms.items()]
        for objective, terms in lines.items()
    }


def speed_series(log: Sequence[Losses]) -> list[Series]:
    """Images per second along the model's own training."""
    own = [e for e in log if e.phase == 0 and e.images_per_second is not None]
    points = [(e.images, e.images_per_second) for e in own if e.images_per_second is not None]
    return [Series("speed", thin(points))] if points else []


DIAGNOSED = {  # numbers of diagnoses by the chart that shows them; those of levels begin alike
    "rate": ("rate", "distortion"),
    "kl": ("kl",),
    "game": ("separation", "spread", "reach", "memory"),
    "score": ("score",),
}


def diagnosis_series(diagnoses: Sequence[Diagnosed]) -> dict[str, list[Series]]:
    """What diagnoses measured along training, by chart: see `DIAGNOSED`."""
    charts: dict[str, dict[str, list[Point]]] = {chart: {} for chart in DIAGNOSED}
    for each in diagnoses:
        for name, value in each.numbers.items():
            for chart, names in DIAGNOSED.items():
                if name in names or (chart == "kl" and name.startswith("kl_")):
                    charts[chart].setdefault(name, []).append((each.images, value))
    return {
        chart: [Series(term, thin(points)) for term, points in terms.items()]
        for chart, terms in charts.items()
        if terms
    }


def thin(points: Sequence[Point]) -> tuple[Point, ...]:
    """At most POINTS points: each the mean of its neighbours."""
    size = math.ceil(len(points) / POINTS) if points else 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return tuple((group[-1][0], sum(value for _, value in group) / len(group)) for group in groups)


def linear_axis(low: float, high: float, count: int = 4) -> Axis:
    """An axis that ends on round numbers: steps of 1, 2, 2.5 or 5 times a power of ten."""
    if (high - low) / count <= 0:
        margin = abs(low) / 2 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(float(f"{index * step:.12g}") for index in range(first, last + 1))
    if ticks[0] == ticks[-1]:  # values that differ by no more than rounding
        margin = abs(ticks[0]) / 2 or 1.0
        return linear_axis(low - margin, high + margin, count)
    return Axis(ticks[0], ticks[-1], ticks)


def log_axis(low: float, high: float) -> Axis:
    """An axis over whole decades, with ticks at some of them."""
    first = math.floor(math.log10(low))
    last = max(first + 1, math.ceil(math.log10(high)))
    stride = max(1, (last - first) // 4)
    ticks = tuple(10.0**power for power in range(first, last + 1, stride))
    return Axis(10.0**first, 10.0**last, ticks, log=True)


def value_axis(series: Sequence[Series]) -> Axis:
    """A logarithmic axis for wide positive ranges, else a linear one without rare extremes.

    A speed starts at zero, where its changes look as small as they are.
    """
    if series[0].term == "speed":
        return linear_axis(0.0, max(value for _, value in series[0].points))
    values = sorted(value for line in series for _, value in line.points)
    low, high = values[0], values[-1]
    if low > 0 and math.log10(high / low) > DECADES:
        return log_axis(low, high)
    cut = int(TRIM * len(values))
    return linear_axis(values[cut], values[-1 - cut])


def curve_series(curve: Curve) -> list[Series]:
    """The lines of a curve."""
    return [
        Series(name, tuple(zip(curve.places.get(name, curve.across), values, strict=True)))
        for name, values in curve.lines.items()
    ]


def across_axis(series: Sequence[Series], log: bool) -> Axis:
    """From 0 to the largest x of all points, or over the decades that they span."""
    xs = [x for line in series for x, _ in line.points]
    if log and min(xs) > 0:
        return log_axis(min(xs), max(xs))
    furthest = max(xs)
    x = linear_axis(0.0, furthest)
    ticks = tuple(tick for tick in x.ticks if tick <= furthest * 1.001)
    return Axis(0.0, max(furthest, 1.0), ticks)


def draw_chart(
    series: Sequence[Series],
    language: Language,
    title: str,
    across: str,
    mark: float | None = None,
    log: bool = False,
) -> Markup:
    """The chart as an SVG element; empty when there is nothing to draw.

    mark: the x at which an upright line stands
    log:  whether the x axis is logarithmic
    """
    drawn = [line for line in series if line.points]
    if not drawn:
        return Markup("")
    x, y = across_axis(drawn, log), value_axis(drawn)
    first, last = drawn[0].points[0][1], drawn[0].points[-1][1]
    ends = {"first": language.number(first), "last": language.number(last)}
    label = language.fill("training.alt", objective=title, across=across, **ends)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(label, {chr(34): "&quot;"})}">',
        *draw_grid(x, y, language),
        *(draw_line(line, index, x, y) for index, line in enumerate(series) if line.points),
        "" if mark is None else upright(x.position(mark)),
        f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">'
        f"{escape(across)}</text></svg>",
    ]
    return Markup("".join(parts))


def draw_grid(
    x: Axis, y: Axis, language: Language, foot: Callable[[float], str] | None = None
) -> list[str]:
    """Horizontal lines with their values, and values along the foot, worded by `foot`."""
    foot, parts = foot or language.short, []
    for tick in y.ticks:
        height = down(y.position(tick))
        parts.append(
            f'<path class="rule" d="M{LEFT} {height}H{WIDTH - RIGHT}"></path>'
            f'<text class="tick" x="{LEFT - 7}" y="{height + 4}" text-anchor="end">'
            f"{language.short(tick)}</text>"
        )
    parts += [
        f'<text class="tick" x="{right(x.position(tick))}" y="{HEIGHT - BOTTOM + 17}" '
        f'text-anchor="middle">{foot(tick)}</text>'
        for tick in x.ticks
    ]
    return parts


def upright(share: float) -> str:
    """A line from foot to top at a share of the x axis."""
    return f'<path class="mark" d="M{right(share)} {TOP}V{down(0)}"></path>'


def draw_line(line: Series, index: int, x: Axis, y: Axis) -> str:
    """One line; a single point is drawn as a dot."""
    points = [(right(x.position(images)), down(y.position(value))) for images, value in line.points]
    if len(points) == 1:
        across, height = points[0]
        return f'<circle class="line-point" cx="{across}" cy="{height}" r="3"></circle>'
    path = " ".join(f"{px},{py}" for px, py in points)
    return f'<polyline class="line" {stroke(index)} points="{path}"></polyline>'


def stroke(index: int) -> Markup:
    """The attributes of a chart's line: its dashes, and fainter once all of them are used."""
    lengths = " ".join(f"{STROKE * length:g}" for length in DASHES[index % len(DASHES)])
    opacity = 0.45 if index // len(DASHES) % 2 else 1
    return Markup(f'stroke-dasharray="{lengths or "none"}" stroke-opacity="{opacity}"')


def right(share: float) -> float:
    """Horizontal position of a share of the x axis, in SVG units."""
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def down(share: float) -> float:
    """Vertical position of a share of the y axis, in SVG units."""
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


@dataclass(frozen=True)
class CostPoint:
    """One model: a cost, and a distance with its interval."""

    name: str
    family: str
    cost: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Frontier:
    """One chart: quality against one cost.

    legend: the names of the points, where they have but numbers in the chart
    """

    cost: str
    title: str
    quality: str
    points: tuple[CostPoint, ...]
    legend: tuple[str, ...]
    svg: Markup


def draw_frontiers(
    runs: Sequence[Run], language: Language, baseline: Run | None = None
) -> list[Frontier]:
    """A chart for every cost in which at least two models differ; the baseline is a point in it."""
    columns = [c for c in make_columns(runs) if c.name in DISTANCES and not c.extrapolated]
    if not columns:
        return []
    column, frontiers = columns[0], []
    for cost in FORMS:
        points = cost_points(column, cost, language)
        costs = [point.cost for point in points]
        if len(points) < 2 or max(costs) < SAME_TIME * min(costs):
            continue
        if baseline is not None:
            words, metric = language.text("baseline.name"), entry_in(column, baseline)
            points += cost_point(baseline, metric, cost, words)
        title = language.text(f"cost.{cost}")
        quality = metric_label(column, language)
        svg = draw_points(points, cost, quality, language)
        names = tuple(point.name for point in points)
        legend = () if all_named(points) else names
        frontiers.append(Frontier(cost, title, quality, points, legend, svg))
    return frontiers


def all_named(points: Sequence[CostPoint]) -> bool:
    """Whether names stand beside the points: few ones, which are short."""
    return len(points) <= MOST_NAMED and all(len(p.name) <= LONGEST_NAME for p in points)


def cost_points(column: Column, cost: str, language: Language) -> tuple[CostPoint, ...]:
    """A point for each model whose cost and quality were both measured."""
    return tuple(
        point
        for cell in column.cells
        for point in cost_point(cell.run, cell.metric, cost, label(cell.run, cell.name, language))
    )


def cost_point(
    run: Run, metric: MetricRecord | None, cost: str, words: str
) -> tuple[CostPoint, ...]:
    """The point of one model under its name; none where one of the two was not measured."""
    spent = run.cost.get(cost)
    if not spent or spent <= 0 or metric is None or metric.value is None:
        return ()
    low = metric.value if metric.low is None else metric.low
    high = metric.value if metric.high is None else metric.high
    return (CostPoint(words, style_family(run), spent, metric.value, low, high),)


def axes(points: Sequence[CostPoint]) -> tuple[Axis, Axis]:
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


def draw_points(points: Sequence[CostPoint], cost: str, quality: str, language: Language) -> Markup:
    """The chart as an SVG element."""
    x, y = axes(points)
    title = language.text(f"cost.{cost}")
    listed = language.listed([f"{p.name} {language.number(p.value)}" for p in points])
    alt = language.fill("frontier.alt", quality=quality, cost=title, points=listed)
    parts = [
        f'<svg class="chart frontier" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(alt, {chr(34): "&quot;"})}">',
        *draw_grid(x, y, language, lambda value: language.number(value, FORMS[cost])),
    ]
    named = all_named(points)
    for number, point in enumerate(points, 1):
        across, height = right(x.position(point.cost)), down(y.position(point.value))
        near_edge = x.position(point.cost) > 0.7
        anchor, shift = ("end", -9) if near_edge else ("start", 9)
        parts.append(
            f'<g class="fam-{point.family}">'
            f'<path class="spread" d="M{across} {down(y.position(point.low))}'
            f'V{down(y.position(point.high))}"></path>'
            f'<circle cx="{across}" cy="{height}" r="5"></circle>'
            f'<text x="{across + shift}" y="{height - 7}" text-anchor="{anchor}">'
            f"{escape(point.name) if named else number}</text></g>"
        )
    parts.append(
        f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">'
        f"{escape(title)}</text></svg>"
    )
    return Markup("".join(parts))
