"""Bands of pictures: a band per kind of picture, a panel per model, always in the same order."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from triptych import files
from triptych.pages.columns import label, named_runs, style_family
from triptych.pages.language import Language, Name, Sentence, Value
from triptych.pages.load import Comparison, Run, number, read_optional
from triptych.records import JsonObject, Note, read_note
from triptych.words import sentence_case

BANDS = ("samples", "reconstruction", "interpolation", "trajectory", "nearest")
QUESTIONS = {
    ("samples", "vae"): "1.3a, 1.3b",
    ("samples", "gan"): "2.2a, 2.2b",
    ("samples", "diffusion"): "3.2a, 3.2b",
    ("reconstruction", "vae"): "1.3a",
    ("reconstruction", "gan"): "2.4",
    ("reconstruction", "diffusion"): "4",
    ("interpolation", "vae"): "1.3c",
    ("interpolation", "gan"): "2.2c",
    ("interpolation", "diffusion"): "4",
    ("trajectory", "diffusion"): "3.2a",
    ("progress", "vae"): "4",
    ("progress", "gan"): "4",
    ("progress", "diffusion"): "4",
}
LARGEST = 64_000_000  # pixels: no grid of ours comes near, and Pillow would read on
MOST_PICTURE = 2**26  # bytes
BESIDE = 4  # rows of samples beside an answer of the practical
HERO = 4  # rows and columns of the small picture at the head of the page
WIDE = 400  # pixels, which a panel of a page on a desk has not
STRIP = 3  # rows of a grid shown along training
PROGRESS = 3  # grids shown along training: first, middle, last


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where the cells of a picture lie, in pixels."""

    rows: int
    columns: int
    height: int
    width: int
    gap: int
    border: int  # pixels before the first cell


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One picture to embed; `uri` is empty when there is none, and `missing` says why."""

    uri: str = ""
    width: int = 0
    height: int = 0
    note: Note | None = None
    missing: str = ""  # missing, corrupt or undefined
    path: Path | None = None
    grid: Grid | None = None

    @property
    def wide(self) -> bool:
        """Whether the page shows it smaller than it is, so that no pixel may be dropped."""
        return self.width > WIDE


@dataclass(frozen=True)
class Paths:
    """Interpolation paths as their picture shows them; one row is one path."""

    rows: int
    unevenness: float  # largest step over mean step, root-mean-square pixel distance, mean of rows
    first: float  # mean brightness of the first and of the last column, 0 to 255
    last: float


def load_figure(stem: Path) -> Figure:
    """The picture STEM.png with its STEM.json."""
    layout = read_optional(stem.with_name(stem.name + ".json"))
    note = read_note(layout.get("note"))
    if layout.get("defined") is False:
        return Figure(note=note, missing="undefined")
    return load_png(stem.with_name(stem.name + ".png"), layout, note)


def load_png(path: Path, layout: JsonObject | None = None, note: Note | None = None) -> Figure:
    """A PNG file as it stands, checked to be one that opens."""
    try:
        content = files.read_bytes(path, MOST_PICTURE)
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            width, height = image.size
            if width * height > LARGEST:
                return Figure(note=note, missing="corrupt")
            image.verify()
    except FileNotFoundError:
        return Figure(note=note, missing="missing")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return Figure(note=note, missing="corrupt")
    grid = find_grid(layout or {}, width, height)
    return Figure(
        uri=data_uri(content), width=width, height=height, note=note, path=path, grid=grid
    )


def data_uri(png: bytes) -> str:
    """PNG bytes as a URI that needs no request."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def find_grid(layout: JsonObject, width: int, height: int) -> Grid | None:
    """The layout, when it fits the picture with or without a gap all around; else None."""
    cell = layout.get("cell")
    size = [number(each) for each in cell] if isinstance(cell, list) else []
    sizes = [*size, *(number(layout.get(key)) for key in ("rows", "columns", "gap"))]
    whole = [int(each) for each in sizes if each is not None]
    if len(size) != 2 or len(whole) != 5 or min(whole[:4]) < 1 or whole[4] < 0:
        return None
    cell_height, cell_width, rows, columns, gap = whole
    for border in (0, gap):
        wide = columns * (cell_width + gap) - gap + 2 * border
        high = rows * (cell_height + gap) - gap + 2 * border
        if (wide, high) == (width, height):
            return Grid(
                rows=rows, columns=columns, height=cell_height, width=cell_width, gap=gap,
                border=border,
            )  # fmt: skip
    return None


def crop_cells(figure: Figure, rows: int, columns: int) -> Figure:
    """The first rows and columns of a grid as a picture of their own."""
    grid = figure.grid
    if grid is None or figure.path is None:
        return Figure(missing="missing")
    rows, columns = min(rows, grid.rows), min(columns, grid.columns)
    right = grid.border + columns * (grid.width + grid.gap) - grid.gap
    low = grid.border + rows * (grid.height + grid.gap) - grid.gap
    try:
        with Image.open(figure.path, formats=("PNG",)) as image:
            part = image.crop((grid.border, grid.border, right, low))
    except (OSError, SyntaxError, ValueError):
        return Figure(missing="corrupt")
    buffer = io.BytesIO()
    part.save(buffer, format="PNG", optimize=True)
    return Figure(uri=data_uri(buffer.getvalue()), width=part.width, height=part.height)


def read_cells(figure: Figure) -> NDArray[np.float64] | None:
    """Pixels of every cell, 0 to 255: [rows, columns, height, width, 3]; None without a grid."""
    grid = figure.grid
    if grid is None or figure.path is None:
        return None
    try:
        with Image.open(figure.path, formats=("PNG",)) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    except (OSError, SyntaxError, ValueError):
        return None
    tops = [grid.border + row * (grid.height + grid.gap) for row in range(grid.rows)]
    lefts = [grid.border + column * (grid.width + grid.gap) for column in range(grid.columns)]
    return np.stack(
        [np.stack([pixels[y : y + grid.height, x : x + grid.width] for x in lefts]) for y in tops]
    )


def measure_paths(figure: Figure) -> Paths | None:
    """How even the pictured interpolations are; None without paths of three points or more."""
    cells = read_cells(figure)
    if cells is None or cells.shape[1] < 3:
        return None
    steps = np.sqrt(np.square(np.diff(cells, axis=1)).mean(axis=(2, 3, 4)))  # [rows, columns - 1]
    mean = steps.mean(axis=1)
    moving = mean > 0
    if not moving.any():
        return None
    uneven = (steps.max(axis=1)[moving] / mean[moving]).mean()
    first, last = cells[:, 0].mean(), cells[:, -1].mean()
    return Paths(int(moving.sum()), float(uneven), float(first), float(last))


def find_progress(folder: Path | None) -> list[tuple[int, Path]]:
    """Images seen and path of the first, middle and last grid of RUN/samples."""
    if folder is None:
        return []
    grids = files.numbered(folder / "samples", ".png")
    return [grids[index] for index in spread(len(grids), PROGRESS)]


def spread(length: int, count: int) -> Sequence[int]:
    """At most `count` indices of a list, evenly apart, the first and the last among them."""
    if length <= count:
        return range(length)
    return [round(step * (length - 1) / (count - 1)) for step in range(count)]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure with its words; `reason` stands in its place when there is none."""

    figure: Figure
    alt: str
    caption: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The pictures of one model in one band."""

    anchor: str
    name: str
    family: str
    question: str = ""
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Band:
    """Panels side by side; under them, of samples, a few of what no training gives."""

    kind: str
    title: str
    panels: tuple[Panel, ...]
    strip: Panel | None = None


def make_bands(comparison: Comparison, language: Language) -> list[Band]:
    """Samples beside real images, reconstructions, interpolations, trajectories, progress."""
    runs = comparison.runs
    bands = []
    for kind in BANDS:
        if kind == "nearest" and not any(has_figure(run, kind) for run in runs):
            continue  # a comparison of before it was measured
        panels = [
            run_panel(run, name, kind, language)
            for run, name in named_runs(runs)
            if kind != "trajectory" or run.family == "diffusion" or has_figure(run, kind)
        ]
        if kind == "samples":
            panels.insert(0, real_panel(comparison, language))
        if panels:
            title = language.text(f"panels.{kind}")
            strip = baseline_panel(comparison, language) if kind == "samples" else None
            bands.append(Band(kind=kind, title=title, panels=tuple(panels), strip=strip))
    progress = [progress_panel(run, name, language) for run, name in named_runs(runs)]
    if pictured := tuple(panel for panel in progress if panel.pictures):
        bands.append(Band(kind="progress", title=language.text("panels.progress"), panels=pictured))
    return bands


def has_figure(run: Run, kind: str) -> bool:
    """Whether this picture was drawn."""
    return run.folder is not None and (run.folder / "figures" / f"{kind}.png").is_file()


def run_panel(
    run: Run, name: Name, kind: str, language: Language, rows: int | None = None
) -> Panel:
    """One model's picture of one kind; its first rows alone where a number of them is given."""
    figure = Figure(missing="missing")
    if run.folder is not None:
        figure = load_figure(run.folder / "figures" / kind)
    if rows is not None and figure.grid is not None:
        figure = replace(crop_cells(figure, rows, figure.grid.columns), note=figure.note)
    grid = figure.grid  # points of the plane lie in one cell, whatever their rows were
    together = grid is not None and grid.rows == grid.columns == 1 and kind != "samples"
    caption = language.text("caption.points" if together else f"caption.{kind}")
    if figure.uri and figure.note:
        caption = f"{caption} {sentence_case(language.note(figure.note))}."
    if run.trainings:
        caption = f"{caption} {sentence_case(of_first(run, language))}."
    picture = make_picture(figure, alt_text(kind, name, language), caption, language)
    return Panel(
        anchor=anchor(kind, run),
        name=label(run, name, language),
        family=style_family(run),
        question=QUESTIONS.get((kind, run.family), ""),
        pictures=(picture,),
    )


def of_first(run: Run, language: Language) -> str:
    """Of which of several trainings a picture is."""
    return language.fill("caption.first", n=len(run.trainings))


def real_panel(comparison: Comparison, language: Language) -> Panel:
    """The grid of real test images."""
    figure = load_figure(comparison.folder / "figures" / "real")
    alt = language.fill("alt.real", data=comparison.contract.data.name)
    picture = make_picture(figure, alt, language.text("caption.real"), language)
    name = language.text("panels.real")
    return Panel(anchor="real", name=name, family="real", pictures=(picture,))


def baseline_panel(comparison: Comparison, language: Language) -> Panel | None:
    """The first row of the baseline's samples; None where there is no baseline."""
    run = comparison.baseline
    if run is None:
        return None
    whole = Figure(missing="missing")
    if run.folder is not None:
        whole = load_figure(run.folder / "figures" / "samples")
    row = crop_cells(whole, 1, whole.grid.columns) if whole.grid is not None else whole
    alt, caption = language.text("alt.baseline"), language.text("caption.baseline")
    return Panel(
        anchor="samples-baseline",
        name=language.text("baseline.name"),
        family=style_family(run),
        pictures=(make_picture(row, alt, caption, language),),
    )


def progress_panel(run: Run, name: Name, language: Language) -> Panel:
    """The first rows of a few grids along training."""
    pictures = []
    layout = read_optional(run.folder / "figures" / "samples.json") if run.folder else {}
    for images, path in find_progress(run.folder):
        whole = load_png(path, layout)
        strip = crop_cells(whole, STRIP, whole.grid.columns) if whole.grid else whole
        kind = "progress" if images else "progress.before"
        alt = alt_text(kind, name, language, images=images)
        caption = language.fill(f"caption.{kind}", images=images)
        if run.trainings:
            caption = f"{caption} ({of_first(run, language)})"
        pictures.append(make_picture(strip, alt, caption, language))
    return Panel(
        anchor=anchor("progress", run),
        name=label(run, name, language),
        family=style_family(run),
        question=QUESTIONS.get(("progress", run.family), ""),
        pictures=tuple(pictures),
    )


def make_hero(comparison: Comparison, language: Language) -> list[Panel]:
    """A few samples of every model for the head of the page; empty unless all models have them."""
    panels = []
    for run, name in named_runs(comparison.runs):
        stem = run.folder / "figures" / "samples" if run.folder else Path("none")
        figure = crop_cells(load_figure(stem), HERO, HERO)
        if not figure.uri:
            return []
        picture = Picture(figure=figure, alt=alt_text("hero", name, language), caption="")
        panels.append(
            Panel(
                anchor=anchor("samples", run),
                name=label(run, name, language),
                family=style_family(run),
                pictures=(picture,),
            )
        )
    return panels


def make_picture(figure: Figure, alt: str, caption: str, language: Language) -> Picture:
    """The picture, or the words that stand in its place."""
    if figure.uri:
        return Picture(figure=figure, alt=alt, caption=caption)
    why = language.note(figure.note) if figure.missing == "undefined" and figure.note else ""
    if not why and figure.missing in ("missing", "corrupt"):
        why = language.text(f"picture.{figure.missing}")
    words = language.text("picture.none")
    reason = f"{words}{language.text('colon')}{why}" if why else words
    return Picture(figure=figure, alt=alt, caption=caption, reason=sentence_case(reason))


def alt_text(kind: str, name: Name, language: Language, **values: Value) -> str:
    """What a picture shows, for those who do not see it."""
    return language.tell(Sentence(f"alt.{kind}", {"who": name, **values}))


def anchor(kind: str, run: Run) -> str:
    """An anchor for a run's panel."""
    return f"{kind}-{plain_name(run.name, '_-')}"


def plain_name(name: str, signs: str) -> str:
    """A name of ASCII letters, digits and these signs; of two names never the same."""
    plain = re.sub(rf"[^A-Za-z0-9{re.escape(signs)}]", "-", name)
    if plain == name:
        return plain
    return f"{plain}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:6]}"


def find_anchor(runs: Sequence[Run], family: str, kind: str) -> str:
    """The panel of the first run of a family, as question links need it; else empty."""
    return next((anchor(kind, run) for run in runs if run.family == family), "")
