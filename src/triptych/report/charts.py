"""Line charts as inline SVG, so that they follow the page's colours, light or dark.

One chart is one objective: its terms against images seen. Lines differ by dash as well as by
strength, so that they can be told apart without colour.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from markupsafe import Markup

from triptych.report.load import Curve, Diagnosed, Losses
from triptych.report.tongue import Tongue

WIDTH, HEIGHT = 400, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 38
POINTS = 200  # drawn per line; more would not show
DECADES = 1.5  # a positive range wider than this is drawn on a logarithmic scale
TRIM = 0.02  # share of extreme values that may leave a linear chart, so that one spike cannot rule

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One line of a chart: (images seen, value), in order."""

    term: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high`, with ticks between."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
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
    """What was found along training, by chart: see `DIAGNOSED`."""
    charts: dict[str, dict[str, list[Point]]] = {chart: {} for chart in DIAGNOSED}
    for each in diagnoses:
        for name, value in each.numbers.items():
            for chart, shown in DIAGNOSED.items():
                if name in shown or (chart == "kl" and name.startswith("kl_")):
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
    if high <= low:
        margin = abs(low) / 2 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(index * step, 12) for index in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def log_axis(low: float, high: float) -> Axis:
    """An axis over whole decades, with ticks at some of them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
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
        Series(name, tuple(zip(curve.across, values, strict=True)))
        for name, values in curve.lines.items()
    ]


def across_axis(series: Sequence[Series], log: bool) -> Axis:
    """From 0 to the furthest place, or over the decades of all places."""
    places = [place for line in series for place, _ in line.points]
    if log and min(places) > 0:
        return log_axis(min(places), max(places))
    furthest = max(places)
    x = linear_axis(0.0, furthest)
    ticks = tuple(tick for tick in x.ticks if tick <= furthest * 1.001)
    return Axis(0.0, max(furthest, 1.0), ticks)


def draw_chart(
    series: Sequence[Series],
    tongue: Tongue,
    title: str,
    across: str,
    mark: float | None = None,
    log: bool = False,
) -> Markup:
    """The chart as an SVG element; empty when there is nothing to draw.

    mark: the place at which an upright line stands
    log:  whether places are spread over decades
    """
    drawn = [line for line in series if line.points]
    if not drawn:
        return Markup("")
    x, y = across_axis(drawn, log), value_axis(drawn)
    first, last = drawn[0].points[0][1], drawn[0].points[-1][1]
    words = {"objective": title, "first": tongue.number(first), "last": tongue.number(last)}
    label = tongue.text("training.alt").format(**words)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(label, {chr(34): "&quot;"})}">',
        *draw_grid(x, y, tongue),
        *(draw_line(line, index, x, y) for index, line in enumerate(drawn)),
        "" if mark is None else upright(x.place(mark)),
        f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">'
        f"{escape(across)}</text></svg>",
    ]
    return Markup("".join(parts))


def draw_grid(
    x: Axis, y: Axis, tongue: Tongue, foot: Callable[[float], str] | None = None
) -> list[str]:
    """Horizontal lines with their values, and values along the foot, worded by `foot`."""
    foot, parts = foot or tongue.short, []
    for tick in y.ticks:
        height = down(y.place(tick))
        parts.append(
            f'<path class="rule" d="M{LEFT} {height}H{WIDTH - RIGHT}"></path>'
            f'<text class="tick" x="{LEFT - 7}" y="{height + 4}" text-anchor="end">'
            f"{tongue.short(tick)}</text>"
        )
    parts += [
        f'<text class="tick" x="{right(x.place(tick))}" y="{HEIGHT - BOTTOM + 17}" '
        f'text-anchor="middle">{foot(tick)}</text>'
        for tick in x.ticks
    ]
    return parts


def upright(share: float) -> str:
    """A line from foot to top at a share of the x axis."""
    return f'<path class="mark" d="M{right(share)} {TOP}V{down(0)}"></path>'


def draw_line(line: Series, index: int, x: Axis, y: Axis) -> str:
    """One line; a single point is drawn as a dot."""
    places = [(right(x.place(images)), down(y.place(value))) for images, value in line.points]
    if len(places) == 1:
        across, height = places[0]
        return f'<circle class="line-{index % 4}" cx="{across}" cy="{height}" r="3"></circle>'
    path = " ".join(f"{px},{py}" for px, py in places)
    return f'<polyline class="line line-{index % 4}" points="{path}"></polyline>'


def right(share: float) -> float:
    """Horizontal place of a share of the x axis, in SVG units."""
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def down(share: float) -> float:
    """Vertical place of a share of the y axis, in SVG units."""
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)
