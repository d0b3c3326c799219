"""Bands of pictures: a band per kind of picture, a panel per model, always in the same order."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from triptych.report.columns import FAMILIES, name_runs
from triptych.report.figures import (
    HERO,
    STRIP,
    Figure,
    crop_cells,
    find_progress,
    load_figure,
    load_png,
)
from triptych.report.load import Comparison, Run, read_optional
from triptych.report.tongue import Name, Sentence, Tongue, Value

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
    """Panels side by side."""

    kind: str
    title: str
    panels: tuple[Panel, ...]


def make_bands(comparison: Comparison, tongue: Tongue) -> list[Band]:
    """Samples beside real images, reconstructions, interpolations, trajectories, progress."""
    runs = comparison.runs
    bands = []
    for kind in BANDS:
        if kind == "nearest" and not any(has_figure(run, kind) for run in runs):
            continue  # a comparison of before it was measured
        panels = [
            run_panel(run, name, kind, tongue)
            for run, name in zip(runs, name_runs(runs), strict=True)
            if kind != "trajectory" or run.family == "diffusion"
        ]
        if kind == "samples":
            panels.insert(0, real_panel(comparison, tongue))
        if panels:
            title = tongue.text(f"panels.{kind}")
            bands.append(Band(kind=kind, title=title, panels=tuple(panels)))
    progress = [
        progress_panel(run, name, tongue) for run, name in zip(runs, name_runs(runs), strict=True)
    ]
    if any(panel.pictures for panel in progress):
        shown = tuple(panel for panel in progress if panel.pictures)
        bands.append(Band(kind="progress", title=tongue.text("panels.progress"), panels=shown))
    return bands


def has_figure(run: Run, kind: str) -> bool:
    """Whether this picture was drawn."""
    return run.folder is not None and (run.folder / "figures" / f"{kind}.png").is_file()


def run_panel(run: Run, name: Name, kind: str, tongue: Tongue) -> Panel:
    """One model's picture of one kind."""
    figure = Figure(missing="missing")
    if run.folder is not None:
        figure = load_figure(run.folder / "figures" / kind)
    caption = tongue.text(f"caption.{kind}")
    if figure.uri and figure.note:
        caption = f"{caption} {sentence_case(tongue.note(figure.note))}."
    picture = make_picture(figure, alt_text(kind, name, tongue), caption, tongue)
    return Panel(
        anchor=anchor(kind, run),
        name=label(run, name, tongue),
        family=known_family(run),
        question=QUESTIONS.get((kind, run.family), ""),
        pictures=(picture,),
    )


def real_panel(comparison: Comparison, tongue: Tongue) -> Panel:
    """The grid of real test images."""
    figure = load_figure(comparison.folder / "figures" / "real")
    alt = tongue.text("alt.real").format(data=data_name(comparison))
    picture = make_picture(figure, alt, tongue.text("caption.real"), tongue)
    name = tongue.text("panels.real")
    return Panel(anchor="real", name=name, family="real", pictures=(picture,))


def progress_panel(run: Run, name: Name, tongue: Tongue) -> Panel:
    """The first rows of a few grids along training."""
    pictures = []
    layout = read_optional(run.folder / "figures" / "samples.json") if run.folder else {}
    for images, path in find_progress(run.folder):
        whole = load_png(path, layout)
        strip = crop_cells(whole, STRIP, whole.grid.columns) if whole.grid else whole
        count = tongue.number(images, "count")
        alt = alt_text("progress", name, tongue, images=count)
        caption = tongue.text("caption.progress").format(images=count)
        pictures.append(make_picture(strip, alt, caption, tongue))
    return Panel(
        anchor=anchor("progress", run),
        name=label(run, name, tongue),
        family=known_family(run),
        question=QUESTIONS.get(("progress", run.family), ""),
        pictures=tuple(pictures),
    )


def make_hero(comparison: Comparison, tongue: Tongue) -> list[Panel]:
    """A few samples of every model for the head of the page; empty unless all models have them."""
    panels = []
    for run, name in zip(comparison.runs, name_runs(comparison.runs), strict=True):
        stem = run.folder / "figures" / "samples" if run.folder else Path("none")
        figure = crop_cells(load_figure(stem), HERO, HERO)
        if not figure.uri:
            return []
        picture = Picture(figure=figure, alt=alt_text("hero", name, tongue), caption="")
        panels.append(
            Panel(
                anchor=anchor("samples", run),
                name=label(run, name, tongue),
                family=known_family(run),
                pictures=(picture,),
            )
        )
    return panels


def make_picture(figure: Figure, alt: str, caption: str, tongue: Tongue) -> Picture:
    """The picture, or the words that stand in its place."""
    if figure.uri:
        return Picture(figure=figure, alt=alt, caption=caption)
    why = tongue.note(figure.note) if figure.missing == "undefined" and figure.note else ""
    if not why and figure.missing in ("missing", "corrupt"):
        why = tongue.text(f"picture.{figure.missing}")
    words = tongue.text("picture.none")
    reason = f"{words}{tongue.text('colon')}{why}" if why else words
    return Picture(figure=figure, alt=alt, caption=caption, reason=sentence_case(reason))


def alt_text(kind: str, name: Name, tongue: Tongue, **values: Value) -> str:
    """What a picture shows, for those who do not see it."""
    return tongue.tell(Sentence(f"alt.{kind}", {"who": name, **values}))


def label(run: Run, name: Name, tongue: Tongue) -> str:
    """The model as a heading: "VAE" where the family is enough."""
    if not name.model and f"{run.family}" in FAMILIES:
        return tongue.text(f"short.{run.family}")
    return tongue.value(name)


def anchor(kind: str, run: Run) -> str:
    """An anchor for a run's panel: safe characters, whatever the run is called."""
    safe = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in run.name)
    return f"{kind}-{safe}"


def known_family(run: Run) -> str:
    """The family as a style knows it."""
    return run.family if run.family in FAMILIES else "other"


def data_name(comparison: Comparison) -> str:
    """The data's name, as the contract has it."""
    data = comparison.contract.get("data")
    name = data.get("name") if isinstance(data, dict) else None
    return str(name or "?")


def sentence_case(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]


def find_anchor(runs: Sequence[Run], family: str, kind: str) -> str:
    """The panel of the first run of a family, as question links need it; else empty."""
    return next((anchor(kind, run) for run in runs if run.family == family), "")
