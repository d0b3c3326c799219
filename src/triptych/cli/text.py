"""Results as lines of text, for those who did not ask for JSON."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.records import BaselineRecord, MetricRecord, Note, ResultsRecord, TermRecord

if TYPE_CHECKING:
    from triptych.data.describe import Summary

from triptych.words import english


def results(
    models: Sequence[ResultsRecord],
    page: Path | None = None,
    baseline: BaselineRecord | None = None,
) -> str:
    """A small table of what was measured; several trainings of a model as one, the baseline last.

    Why there is no baseline was said when that was found.
    """
    lines = []
    below = baseline.results if baseline is not None else None
    for model in [*models, *([] if below is None else [below])]:
        name = "without training" if model is below else model.run
        if model.runs:  # variants of a model are told apart by what their runs are called
            name = f"mean of {len(model.runs)} trainings: {', '.join(model.runs)}"
        lines.append(f"{model.model}  ({name})")
        for metric in model.metrics:
            words = [metric.reference] * (metric.reference != "none")
            words += ["extrapolated"] * (metric.method == "extrapolated")
            label = metric.name + (f" ({', '.join(words)})" if words else "")
            lines.append(f"  {label:38} {interval(metric)}")
    if page is not None:
        lines.append(f"report: {page}")
    return "\n".join(lines)


def interval(metric: MetricRecord) -> str:
    """Value, interval and floor of one metric."""
    if metric.value is None:
        return f"not defined: {words_of(metric.note)}"
    text = f"{metric.value:.4g} [{metric.low:.4g}, {metric.high:.4g}]"
    floor = "" if metric.floor is None else f"  floor {metric.floor:.4g}"
    return f"{text} {metric.unit}{floor}"


def exported(out: Path, names: Sequence[str]) -> str:
    """The folder of an exported run, and its files.

    >>> print(exported(Path("out"), ["README.md", "sample.pt2"]))
    out
      README.md
      sample.pt2
    """
    return "\n".join([str(out), *(f"  {name}" for name in names)])


def words_of(note: Note | None) -> str:
    """A note in English; nothing where there is none."""
    return "" if note is None else english(note)


def nearness(near: dict[str, float]) -> str:
    """How near reconstructions come to their originals.

    >>> nearness({"psnr": 21.5, "ssim": 0.8, "seconds": 1.0}), nearness({"seconds": 1.0})
    ('21.50 dB, SSIM 0.800, 1.00 s', 'no difference, 1.00 s')
    """
    ratio = f"{near['psnr']:.2f} dB" if "psnr" in near else "no difference"  # where it is infinite
    similar = f", SSIM {near['ssim']:.3f}" if "ssim" in near else ""
    return f"{ratio}{similar}, {near['seconds']:.2f} s"


BY_ESTIMATE = "--method ais estimates that of the generator plus noise"


def likelihood(metric: MetricRecord, instead: str = "") -> str:
    """The bound and its terms; or why there is none, and what there is instead."""
    if metric.value is None:
        line = f"bits per dimension: not defined: {words_of(metric.note)}"
        return f"{line}\n  {instead}" if instead else line
    shown = f"{metric.value:.4f}"
    if metric.low is not None and metric.high is not None:
        shown += f" [{metric.low:.4f}, {metric.high:.4f}]"
    of = "" if metric.reference == "none" else f"{metric.reference} "
    images = f"{metric.n} {of}image{'' if metric.n == 1 else 's'}"
    lines = [f"bits per dimension: {shown} ({metric.kind}, {metric.method}, {images})"]
    terms = metric.terms or {}
    width = max(map(len, terms), default=0)
    for name, term in terms.items():
        bits, nats = f"{term.bits_per_dim:.4f}", f"{term.nats:.2f}"
        if isinstance(term, TermRecord):
            bits += f" [{term.bits_per_dim_low:.4f}, {term.bits_per_dim_high:.4f}]"
            nats += f" [{term.nats_low:.2f}, {term.nats_high:.2f}]"
        lines.append(f"  {name:{width}}  {bits:28}  {nats} nats")
    notes = [note for note in (metric.no_interval, metric.note) if note is not None]
    return "\n".join([*lines, *map(english, notes)])


def by_image(
    names: Sequence[str], values: Sequence[float | None], unit: str, digits: int = 4
) -> str:
    """One number of each image, a line each; None where an image is equal to its original."""
    width = max(map(len, names), default=0)
    numbers = ("no difference" if v is None else f"{v:.{digits}f} {unit}" for v in values)
    return "\n".join(f"  {name:{width}}  {n}" for name, n in zip(names, numbers, strict=True))


BARS = 30  # width of the longest bar of a histogram
NAMED = 20  # bad files and classes named; --json names them all


def summary(summary: Summary, sheet: Path) -> str:
    """The summary of a data set, whose contact sheet is at `sheet`."""
    data, ingested = summary.data, summary.ingested
    colour = "grey" if data.shape.channels == 1 else "colour"
    kind = "points" if data.shape.is_point else colour
    sizes = ingested.sizes
    size = f"{sizes.usual[0]}x{sizes.usual[1]} ({sizes.of_usual_size:,} images)"
    if sizes.different > 1:
        small, large = (f"{w}x{h}" for w, h in (sizes.smallest, sizes.largest))
        size += f"; {sizes.different} sizes from {small} to {large}"
    train, validation, test = map(len, (data.train, data.validation, data.test))
    rows = {
        "images": f"{train + validation + test:,}, {kind}",
        "read": f"{ingested.files:,} files, rows or pages, {len(ingested.bad)} bad",
        "size": size,
        "parts": f"train {train:,}, validation {validation:,}, test {test:,}",
        "copies": f"{ingested.copies:,}; {ingested.crossing:,} left out of a held-out part",
        "mean": " ".join(f"{value:.3f}" for value in summary.mean),
        "deviation": " ".join(f"{value:.3f}" for value in summary.deviation)
        + f"  (of {summary.measured:,} training images, on [0, 1])",
        "fingerprint": data.fingerprint,
    }
    lines = [data.name, *(f"  {name:12} {value}" for name, value in rows.items())]
    lines += bars(summary.histogram)
    lines += listed("what would be done", [*map(english, (*summary.plan, *data.notes))])
    lines += listed("bad images", [": ".join(each) for each in ingested.bad])
    return "\n".join([*lines, f"contact sheet: {sheet} ({english(summary.contact_sheet_rows)})"])


def bars(histogram: dict[str, int]) -> list[str]:
    """The largest classes with a bar each."""
    if not histogram:
        return []
    most = max(histogram.values())
    width = min(max(map(len, histogram)), BARS)
    shown = [f"{len(histogram)} classes"]
    for name, count in list(histogram.items())[:NAMED]:
        shown.append(f"  {name:>{width}} {count:9,} {'█' * round(BARS * count / most)}")
    return [*shown, *more(histogram)]


def listed(heading: str, sentences: list[str]) -> list[str]:
    """A heading with its first lines; nothing where there are none."""
    if not sentences:
        return []
    return [heading, *(f"  - {each}" for each in sentences[:NAMED]), *more(sentences)]


def more(things: Sized) -> list[str]:
    """How many are not shown."""
    return [f"  and {len(things) - NAMED:,} more: --json names them"] if len(things) > NAMED else []


def flat(report: dict[str, Any], indent: str = "") -> str:
    """Nested values, one a line."""
    shown = []
    for name, value in report.items():
        if isinstance(value, dict) and value.keys() == {"code", "values"}:
            shown.append(f"{indent}{name}: {english(Note(**value))}")
        elif isinstance(value, dict):
            shown += [f"{indent}{name}:", flat(value, indent + "  ")]
        elif isinstance(value, list):
            shown.append(f"{indent}{name}: {', '.join(map(str, value)) or '-'}")
        else:
            shown.append(f"{indent}{name}: {value}")
    return "\n".join(shown)
