"""The gallery: one comparison of the default models on each set of images, and docs/results.md.

    python benchmarks/gallery.py street-digits DATA ... --scratch runs/gallery

Each set is compared by `triptych compare --data DATA`, nothing else asked; a comparison that is
there already goes on, or is only read where it is whole. Its page goes to docs/gallery/NAME.html, a
strip of its samples to docs/images/results-NAME.png, and docs/results.md has for each set its
strip and a table of a choice of its numbers.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

import triptych
from triptych import images
from triptych.pages.columns import Column, make_columns, named_runs
from triptych.pages.language import Language
from triptych.pages.load import Comparison, Run, load_comparison
from triptych.pages.panels import load_figure, read_cells
from triptych.pages.tables import Notes, PrintedCell, cost_column, metric_column, metric_heading
from triptych.records import BASELINE

DOCS = Path(__file__).parent.parent / "docs"
GALLERY = """# Gallery

Pages as `triptych compare` writes them, one for each set of images of the [results](results.md).
Each is one file that needs no network: where it is shown as text, save it and open it in a browser.

{pages}"""
WIDE = 16  # images in a row of a strip
SHOWN = (  # metric, features, reference
    ("frechet_distance", "labels", "test"),
    ("frechet_distance", "patches", "test"),
    ("recognisable", "labels", "none"),
    ("coverage", "labels", "test"),
    ("sharpness", None, "test"),
    ("real_or_fake", None, "test"),
    ("memorised", "labels", "train"),
    ("bits_per_dim", None, "test"),
    ("reconstruction_psnr", None, "test"),
)
SAID_ABOVE = ("against", "estimate", "upper bound")  # of all numbers, by the page's head
COSTS = ("images_seen", "train_seconds", "sample_seconds_per_image", "network_calls")
HEAD = Path(__file__).with_suffix(".txt")  # what docs/results.md begins with


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+")
    parser.add_argument("--scratch", type=Path, default=Path("runs/gallery"))
    parser.add_argument("--budget", default="75s")
    return parser.parse_args()


def compared(data: str, scratch: Path, budget: str) -> Comparison:
    name = Path(data).stem if Path(data).is_file() else Path(data).name
    out = scratch / name
    if not (out / "report.html").is_file():
        triptych.compare(data=data, budget=budget, out=out)
    comparison = load_comparison(out)
    asked = comparison.contract.request.get("budget")
    if asked != budget:
        raise SystemExit(f"{out} holds trainings of {asked}: give another --scratch")
    return comparison


def rows_of(comparison: Comparison) -> list[tuple[str, Path]]:
    named = [(str(name), run) for run, name in named_runs(comparison.runs)]
    found = [("real", comparison.folder / "figures" / "real")]
    found += [(name, run.folder / "figures" / "samples") for name, run in named if run.folder]
    return [*found, (BASELINE, comparison.folder / BASELINE / "figures" / "samples")]


def draw_strip(comparison: Comparison, target: Path) -> None:
    """A row of real images, of each model and of the mixture, one under the other."""
    shown = []
    for _, stem in rows_of(comparison):
        cells = read_cells(load_figure(stem))
        assert cells is not None, stem
        pixels = torch.from_numpy(cells).to(torch.uint8).flatten(0, 1).permute(0, 3, 1, 2)
        shown.append(pixels[:WIDE])
    target.parent.mkdir(parents=True, exist_ok=True)
    images.grid(torch.cat(shown), WIDE).save(target)


def cell_text(cell: PrintedCell) -> str:
    interval = cell.interval.replace("[", "\\[").replace("]", "\\]")
    return f"{cell.text} {interval}".strip()


def table_rows(comparison: Comparison, language: Language) -> list[list[str]]:
    runs, baseline = comparison.runs, comparison.baseline
    columns = {(c.name, c.features or None, c.reference): c for c in plain(make_columns(runs))}
    rows = []
    for key in SHOWN:
        column = columns.get(key) or columns.get((key[0], "none", key[2]))
        if column is None:
            continue
        heading = metric_heading(column, language)
        cells = metric_column(column, language, Notes(), baseline)
        details = [each for each in heading.details if not each.startswith(SAID_ABOVE)]
        label = f"{heading.label} ({'; '.join(details)})"
        rows.append([label, heading.floor, *map(cell_text, cells)])
    for name in COSTS:
        cells = cost_column(runs, name, language, baseline)
        rows.append([language.text(f"cost.{name}"), "", *map(cell_text, cells)])
    return rows


def plain(columns: Sequence[Column]) -> list[Column]:
    return [column for column in columns if not column.extrapolated]


def table(comparison: Comparison, language: Language) -> str:
    names = [run.model for run in comparison.runs]
    heads = ["", "real images", *(f"`{name}`" for name in names)]
    rows = table_rows(comparison, language)
    if comparison.baseline is not None:
        heads.append("mixture")
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def section(comparison: Comparison, strip: Path, language: Language) -> str:
    data = comparison.contract.data
    names = [run.model for run in comparison.runs]
    parts = {"training": data.train, "validation": data.validation, "test": data.test}
    counts = [f"{count:,} {part}" for part, count in parts.items()]
    rows = ["real images", *(f"`{name}`" for name in names), "the mixture"]
    return f"""
## {data.name}

{", ".join(counts)} images; the whole page: [{data.name}](gallery/{data.name}.html).

![Real {data.name}, then samples of each model]({strip.relative_to(DOCS)})

*From top to bottom, a row each: {", ".join(rows)}.*

{table(comparison, language)}
"""


def machine_of(runs: Sequence[Run]) -> str:
    hardware = next(run.record.hardware for run in runs if run.record is not None)
    return f"{hardware['cores']} virtual cores of an {hardware['processor']}, no GPU"


def conditions(comparisons: Sequence[Comparison]) -> dict[str, str]:
    """Machine, versions and dates, as the comparisons themselves tell them."""
    days = [run.record.finished for each in comparisons for run in each.runs if run.record]
    dates = sorted({day[:10] for day in days if day})
    told = {
        "machine": [machine_of(each.runs) for each in comparisons],
        "torch": [str(each.contract.versions["torch"]).split("+")[0] for each in comparisons],
        "triptych": [each.contract.triptych for each in comparisons],
        "date": [" to ".join(dict.fromkeys((dates[0], dates[-1])))],
    }
    return {name: " and ".join(dict.fromkeys(values)) for name, values in told.items()}


def main() -> None:
    options = arguments()
    language, sections = Language("en"), []
    gallery = DOCS / "gallery"
    gallery.mkdir(exist_ok=True)
    names, comparisons = [], []
    for data in options.data:
        last = compared(data, options.scratch, options.budget)
        comparisons.append(last)
        name = last.contract.data.name
        names.append(name)
        page = triptych.report(last.folder)
        shutil.copyfile(page, gallery / f"{name}.html")
        strip = DOCS / "images" / f"results-{name}.png"
        draw_strip(last, strip)
        sections.append(section(last, strip, language))
    head = HEAD.read_text(encoding="utf-8").format(**conditions(comparisons))
    (DOCS / "results.md").write_text(head + "".join(sections), encoding="utf-8")
    pages = "".join(f"- [{name}](gallery/{name}.html)\n" for name in names)
    (DOCS / "gallery.md").write_text(GALLERY.format(pages=pages), encoding="utf-8")


if __name__ == "__main__":
    main()
