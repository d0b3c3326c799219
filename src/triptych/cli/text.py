"""Results as lines of text, for those who did not ask for JSON."""

from __future__ import annotations

from collections.abc import Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triptych.data.describe import Summary


def results(found: dict[str, Any], page: Path | None) -> str:
    """A small table of what was measured; several trainings of a model as one."""
    shown = []
    for run in found.get("models", found["runs"]):
        trainings = run.get("runs", [])
        name = f"mean of {len(trainings)} trainings" if trainings else run["run"]
        shown.append(f"{run['model']}  ({name})")
        for metric in run["metrics"]:
            words = [metric["reference"]] * (metric["reference"] != "none")
            words += ["extrapolated"] * (metric["method"] == "extrapolated")
            told = f" ({', '.join(words)})" if words else ""
            shown.append(f"  {metric['name'] + told:38} {interval(metric)}")
    if page is not None:
        shown.append(f"report: {page}")
    return "\n".join(shown)


def interval(metric: dict[str, Any]) -> str:
    """Value, interval and floor of one metric."""
    if metric["value"] is None:
        return f"not defined: {metric['note']}"
    text = f"{metric['value']:.4g} [{metric['low']:.4g}, {metric['high']:.4g}]"
    floor = "" if metric["floor"] is None else f"  floor {metric['floor']:.4g}"
    return f"{text} {metric['unit']}{floor}"


def nearness(found: dict[str, float]) -> str:
    """How near reconstructions come to their originals."""
    similar = f", SSIM {found['ssim']:.3f}" if "ssim" in found else ""
    return f"{found['psnr']:.2f} dB{similar}, {found['seconds']:.2f} s"


BY_ESTIMATE = "--method ais estimates that of the generator plus noise"


def likelihood(found: dict[str, Any], instead: str = "") -> str:
    """The bound and its terms; or why there is none, and what there is instead."""
    if found["value"] is None:
        line = f"bits per dimension: not defined: {found['note']}"
        return f"{line}\n  {instead}" if instead else line
    shown = [
        f"bits per dimension: {found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}] "
        f"({found['kind']}, {found['method']}, {found['n']} {found['reference']} images)"
    ]
    width = max(map(len, found["terms"]))
    for name, term in found["terms"].items():
        bits = with_interval(term, "bits_per_dim", ".4f")
        shown.append(f"  {name:{width}}  {bits:28}  {with_interval(term, 'nats', '.2f')} nats")
    return "\n".join([*shown, found["note"]])


def with_interval(term: dict[str, float], unit: str, form: str) -> str:
    """A value and its 95 % interval."""
    return f"{term[unit]:{form}} [{term[f'{unit}_low']:{form}}, {term[f'{unit}_high']:{form}}]"


BARS = 30  # width of the longest bar of a histogram
NAMED = 20  # bad files and classes named; --json names them all


def summary(summary: Summary, sheet: Path) -> str:
    """The summary of a data set, whose contact sheet is at `sheet`."""
    data, ingested = summary.data, summary.ingested
    colour = "grey" if data.shape.channels == 1 else "colour"
    sizes = ingested.sizes
    size = f"{sizes.usual[0]}x{sizes.usual[1]} ({sizes.of_usual_size:,} images)"
    if sizes.different > 1:
        small, large = (f"{w}x{h}" for w, h in (sizes.smallest, sizes.largest))
        size += f"; {sizes.different} sizes from {small} to {large}"
    train, validation, test = map(len, (data.train, data.validation, data.test))
    rows = {
        "images": f"{train + validation + test:,}, {colour}",
        "read": f"{ingested.files:,} files or rows, {len(ingested.bad)} bad",
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
    lines += listed("what would be done", [*summary.plan, *data.notes])
    lines += listed("bad images", [": ".join(each) for each in ingested.bad])
    return "\n".join([*lines, f"contact sheet: {sheet} ({summary.contact_sheet_rows})"])


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


def flat(found: dict[str, Any], indent: str = "") -> str:
    """Nested values, one a line."""
    shown = []
    for name, value in found.items():
        if isinstance(value, dict):
            shown += [f"{indent}{name}:", flat(value, indent + "  ")]
        elif isinstance(value, list):
            shown.append(f"{indent}{name}: {', '.join(map(str, value)) or '-'}")
        else:
            shown.append(f"{indent}{name}: {value}")
    return "\n".join(shown)
