"""The questions of the practical, each with an answer assembled from the measurements.

Question 2.3 asks why, not how much: its answer is an explanation, and is marked as one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from triptych.pages import verdict
from triptych.pages.columns import (
    DISTANCES,
    SAME_TIME,
    Column,
    best,
    costs,
    make_columns,
    metric_label,
    named_runs,
    ratio_to_floor,
    worst,
)
from triptych.pages.language import Language, Name, Quantity, Sentence, Value
from triptych.pages.load import Run, trained_here
from triptych.pages.panels import load_figure, measure_paths
from triptych.pages.tables import CONTROLS


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question with its answer; `figure` is the anchor of the picture that shows it."""

    question: str
    family: str = ""
    sentences: tuple[Sentence, ...] = ()
    figure: str = ""
    explanation: bool = False


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """What one model measured best, worst and not at all."""

    name: str
    advantages: tuple[str, ...]
    disadvantages: tuple[str, ...]
    undefined: tuple[str, ...]


Reader = Callable[[Sequence[Run], str], list[Sentence]]


def answer_all(runs: Sequence[Run]) -> list[Answer]:
    """Questions 1.3a to 4 in the order of the practical; 4 is answered by `weigh`."""
    reconstruction = value_of("reconstruction_psnr")
    asked: list[tuple[str, str, str, tuple[Reader, ...]]] = [
        ("1.3a", "vae", "reconstruction", (quality, reconstruction)),
        ("1.3b", "vae", "samples", (blur,)),
        ("1.3c", "vae", "interpolation", (paths,)),
        ("2.2a", "gan", "samples", (quality,)),
        ("2.2b", "gan", "samples", (sharper, recognised)),
        ("2.2c", "gan", "interpolation", (paths,)),
        ("2.3", "", "", ()),
        ("2.4", "gan", "reconstruction", (reconstruction, represent, value_of("bits_per_dim"))),
        ("3.2a", "diffusion", "samples", (quality,)),
        ("3.2b", "diffusion", "samples", (blur, recognised)),
        ("4", "", "", ()),
    ]
    answers = []
    for question, family, figure, readers in asked:
        there = any(run.family == family for run in runs)
        sentences = tuple(s for reader in readers for s in reader(runs, family)) if there else ()
        if question == "2.3":
            sentences = (Sentence("answer.detach"),)
        elif family and not sentences:
            sentences = (Sentence("practical.nothing" if there else "practical.absent"),)
        answers.append(
            Answer(
                question=question,
                family=family,
                sentences=sentences,
                figure=figure if there else "",
                explanation=question == "2.3",
            )
        )
    return answers


def columns_named(runs: Sequence[Run], *names: str) -> list[Column]:
    """The columns of these metrics."""
    return [column for column in make_columns(runs) if column.name in names]


def quality(runs: Sequence[Run], family: str) -> list[Sentence]:
    """Distances of this family's models over the floor."""
    sentences = []
    for column in verdict.first_references(columns_named(runs, *DISTANCES)):
        for who, metric in column.scores:
            ratio = ratio_to_floor(metric)
            if who.family != family or ratio is None:
                continue
            values: dict[str, Value] = {"who": who, "measure": verdict.measure(column)}
            values |= {"ratio": Quantity(ratio, "ratio"), **verdict.measured(metric)}
            sentences.append(Sentence("answer.distance", values))
    return sentences


def blur(runs: Sequence[Run], family: str) -> list[Sentence]:
    """Sharpness of this family's samples against real images."""
    sentences = [
        verdict.sharpness_of(who, metric)
        for column in columns_named(runs, "sharpness")
        for who, metric in column.scores
        if who.family == family
    ]
    return [sentence for sentence in sentences if sentence is not None]


def recognised(runs: Sequence[Run], family: str) -> list[Sentence]:
    """Recognisable share of this family's samples beside that of real images."""
    sentences = []
    for column in columns_named(runs, "recognisable"):
        for who, metric in column.scores:
            if who.family == family and metric.floor is not None:
                floor = Quantity(metric.floor, "percent")
                values: dict[str, Value] = {"who": who, "floor": floor}
                values |= verdict.measured(metric, "percent")
                sentences.append(Sentence("answer.recognisable", values))
    return sentences


def sharper(runs: Sequence[Run], family: str) -> list[Sentence]:
    """Each model of this family against each VAE: sharper, not sharper, or undecided."""
    sentences = []
    for column in columns_named(runs, "sharpness"):
        ours = [(i, *score) for i, score in enumerate(column.scores) if score[0].family == family]
        vaes = [(i, *score) for i, score in enumerate(column.scores) if score[0].family == "vae"]
        for (i, who, mine), (j, vae, theirs) in product(ours, vaes):
            apart = column.higher(i, j)
            if not mine.value or not theirs.value or apart is None:
                continue
            decided = apart.better
            ratio = Quantity(mine.value / theirs.value, "ratio")
            values: dict[str, Value] = {"sharp": who, "soft": vae, "ratio": ratio}
            if decided == "undecided":
                sentences.append(Sentence("answer.sharper.undecided", {"who": (who, vae)}))
            else:
                key = "sharper" if decided == "first" else "not_sharper"
                sentences.append(Sentence(f"answer.{key}", values))
    return sentences


def paths(runs: Sequence[Run], family: str) -> list[Sentence]:
    """Path lengths where they were measured, and what the picture's own pixels tell."""
    sentences = [
        Sentence(f"answer.{column.name}", {"who": who, **verdict.measured(metric)})
        for column in columns_named(runs, "drawn_path_length", "path_length")
        for who, metric in column.scores
        if who.family == family
    ]
    for run, who in named_runs(runs):
        if run.family != family or run.folder is None:
            continue
        measured = measure_paths(load_figure(run.folder / "figures" / "interpolation"))
        if measured is not None:
            uneven = Quantity(measured.unevenness - 1, "percent")
            values: dict[str, Value] = {"who": who, "rows": measured.rows, "uneven": uneven}
            sentences.append(Sentence("answer.path", values))
            ends: dict[str, Value] = {"left": round(measured.first), "right": round(measured.last)}
            sentences.append(Sentence("answer.brightness", ends))
    return sentences


def value_of(name: str) -> Reader:
    """The reader that tells a metric of this family's models, or why they have none."""

    def reader(runs: Sequence[Run], family: str) -> list[Sentence]:
        sentences = [
            verdict.value_of(cell.name, cell.metric, cell.run)
            for column in columns_named(runs, name)
            for cell in column.cells
            if cell.run.family == family
        ]
        return [sentence for sentence in sentences if sentence is not None]

    return reader


def represent(runs: Sequence[Run], family: str) -> list[Sentence]:
    """The probe's accuracy, its reason for having none, or that nobody measured it."""
    sentences = []
    for run, who in named_runs(runs):
        if run.family != family:
            continue
        probes = [metric for metric in run.metrics if metric.name == "probe_accuracy"]
        if not probes:
            sentences.append(Sentence("answer.represent.none", {"who": who}))
        for metric in probes:
            if metric.defined:
                values = {"who": who, **verdict.measured(metric, "percent")}
                sentences.append(Sentence("answer.represent", values))
            else:
                values = {"who": who, "note": metric.note or ""}
                sentences.append(Sentence("answer.represent.undefined", values))
    return sentences


def weigh(runs: Sequence[Run], language: Language) -> list[Weighed]:
    """Question 4: per model, the columns that it leads or closes, and what it cannot do."""
    columns = make_columns(runs)
    labels = [weigh_label(column, language) for column in columns]
    weighed = []
    for run, who in named_runs(runs):
        weighed.append(
            Weighed(
                name=language.tell(Sentence("name", {"who": who})),
                advantages=(
                    *led(columns, labels, who, best),
                    *time_led(trained_here(runs), who, language, True),
                ),
                disadvantages=(
                    *led(columns, labels, who, worst),
                    *time_led(trained_here(runs), who, language, False),
                ),
                undefined=tuple(
                    dict.fromkeys(
                        label
                        for column, label in zip(columns, labels, strict=True)
                        for cell in column.cells
                        if cell.run is run
                        and cell.metric is not None
                        and not cell.defined
                        and column.name not in CONTROLS
                    )
                ),
            )
        )
    return weighed


def weigh_label(column: Column, language: Language) -> str:
    """The metric's name, with its reference where that tells two columns apart."""
    label = metric_label(column, language)
    if column.name in DISTANCES and column.reference in ("test", "train", "validation"):
        return f"{label} ({language.text(f'reference.{column.reference}')})"
    return label


def led(
    columns: Sequence[Column],
    labels: Sequence[str],
    who: Name,
    extreme: Callable[[Column], int | None],
) -> list[str]:
    """Labels of the columns in which this model is the best, or the worst."""
    ends = [(column, extreme(column)) for column in columns]
    return [
        label
        for (column, index), label in zip(ends, labels, strict=True)
        if index is not None and column.scores[index][0] == who
    ]


def time_led(runs: Sequence[Run], who: Name, language: Language, least: bool) -> list[str]:
    """Sampling time, where this model's differs from the next one's by the ratio that tells."""
    ranked = costs(runs, "sample_seconds_per_image")
    if len(ranked) < 2 or len(ranked) < len(runs):
        return []
    ends = (ranked[0], ranked[1]) if least else (ranked[-1], ranked[-2])
    apart = max(ends[0][0], ends[1][0]) >= SAME_TIME * min(ends[0][0], ends[1][0])
    return [language.text("cost.sample_seconds_per_image")] if apart and ends[0][1] == who else []
