"""What a teacher takes to class: figures for slides, and the answers of one comparison.

    triptych compare --budget 5m --out runs/class
    python examples/teachers_pack.py runs/class --out pack

writes figures as SVG, `answers.md` with what this comparison says to the five exercises of
docs/teaching.md, and the practical's questions answered in English and French. It reads what every
comparison holds, contract.json, results.json and log.jsonl, and needs no model.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

import triptych

Values = dict[str, Any]
FEATURES = (None, "none", "labels", "patches")  # of several sets of features the first one here
INTERVALS = ("frechet_distance", "sharpness", "recognisable", "coverage")


def find(run: Values, name: str) -> Values | None:
    """A metric of a run, if it has a value: on the label classifier's features, or on patches."""
    found = [
        metric
        for metric in run["metrics"]
        if metric["name"] == name
        and metric.get("features") in FEATURES
        and metric.get("reference") != "train"
        and metric.get("method") != "extrapolated"
        and metric.get("value") is not None
    ]
    return min(found, key=lambda metric: FEATURES.index(metric.get("features")), default=None)


def losses_of(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Images seen and loss, for each loss that is minimized; nothing where no log lies there."""
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    if not (folder / "log.jsonl").is_file():  # samples from elsewhere, or a run from the Hub
        return lines
    for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a kill cut it off
        if event.get("event") == "losses":
            for key, value in event["losses"].items():
                if key.endswith("/total") and value is not None:  # it was finite
                    lines[key.removesuffix("/total")].append((event["images"], value))
    return lines


def draw_losses(folder: Path, model: str, target: Path) -> None:
    lines = losses_of(folder)
    if not lines:
        return
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, points in lines.items():
        axes.plot(*zip(*points, strict=True), label=name, linewidth=1)
    axes.set(xlabel="images seen", ylabel="loss", title=model)
    axes.legend(frameon=False)
    figure.savefig(target)
    plt.close(figure)


def draw_intervals(runs: list[Values], name: str, target: Path) -> bool:
    """Every model's value with its interval, and the floor as a line; False if none has one."""
    found = [(run["model"], metric) for run in runs if (metric := find(run, name))]
    if not found:
        return False
    figure, axes = plt.subplots(figsize=(6, 1 + 0.5 * len(found)), layout="constrained")
    for row, (_, metric) in enumerate(found):
        if metric.get("low") is not None:
            axes.plot([metric.get("low"), metric.get("high")], [row, row], linewidth=2)
        axes.plot(metric["value"], row, "o", color="black")
    floors = [metric.get("floor") for _, metric in found if metric.get("floor") is not None]
    if floors:
        axes.axvline(floors[0], linestyle=":", color="black", label="real images")
        axes.legend(frameon=False)
    axes.set_yticks(range(len(found)), [model for model, _ in found])
    axes.set(xlabel=name.replace("_", " "), ylim=(len(found) - 0.5, -0.5))
    figure.savefig(target)
    plt.close(figure)
    return True


def draw_cost(runs: list[Values], target: Path) -> None:
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for run in runs:
        metric, seconds = find(run, "frechet_distance"), run["cost"].get("sample_seconds_per_image")
        if metric and seconds:
            value = metric["value"]
            low, high = metric.get("low", value), metric.get("high", value)
            width = [[value - low], [high - value]]
            axes.errorbar(1000 * seconds, value, yerr=width, fmt="o", label=run["model"])
            axes.legend(frameon=False)
    axes.set(xscale="log", xlabel="milliseconds per sample", ylabel="Fréchet distance")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    figure.savefig(target)
    plt.close(figure)


def told(metric: Values | None) -> str:
    """A value with its interval as a cell of a table."""
    if metric is None:
        return "not defined"
    share = metric.get("unit") == "share" and metric["name"] != "label_balance"
    scale, unit = (100, " %") if share else (1, "")
    value, low, high = (
        None if metric.get(key) is None else f"{scale * metric.get(key):.3g}"
        for key in ("value", "low", "high")
    )
    bound = "at most " if metric.get("kind") == "upper bound" else ""
    return f"{bound}{value}{unit}" + ("" if low is None else f" ({low} to {high})")


def table(runs: list[Values], **columns: str) -> str:
    """A table of metrics; `columns` are their headings by name, costs after `cost_`."""
    lines = [["model", *columns.values()], ["---"] * (1 + len(columns))]
    for run in runs:
        costs = {f"cost_{name}": value for name, value in run["cost"].items() if value is not None}
        cells = [
            f"{costs[name]:.3g}" if name in costs else told(find(run, name)) for name in columns
        ]
        lines.append([f"`{run['model']}`", *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def first_and_last(folder: Path, model: str) -> str:
    """The mean of each loss over the first and the last tenth of the training."""
    said = []
    for name, points in losses_of(folder).items():
        tenth = max(1, len(points) // 10)
        first, last = (
            sum(value for _, value in part) / tenth for part in (points[:tenth], points[-tenth:])
        )
        said.append(f"{name} {first:.3g} to {last:.3g}")
    return f"- `{model}`: {'; '.join(said)}"


def answers(runs: list[Values], folders: dict[str, Path]) -> str:
    """What this comparison says to the five exercises."""
    trained = [run for run in runs if losses_of(folders[run["run"]])]
    losses = "\n".join(first_and_last(folders[run["run"]], run["model"]) for run in trained)
    return f"""# Answers of this comparison

Numbers are of these trainings; brackets hold 95 % intervals over the choice of samples. The exercises are those of `docs/teaching.md`.

## 1. Three ways to learn the same images

Mean loss over the first and over the last tenth of the training:

{losses}

{table(runs, frechet_distance="Fréchet distance to test images", recognisable="recognised")}

## 2. What is drawn when we draw

What one sample costs:

{table(runs, cost_network_calls="network calls", cost_sample_seconds_per_image="seconds")}

## 3. The way from one image to another

How much longer than the straight line the way between two draws is, in features, and by how much its steps vary, of their mean:

{table(runs, drawn_path_length="length", drawn_path_uniformity="variation of steps")}

## 4. Can it show me my own digit?

Of test images; the size of the code is how many numbers an image becomes:

{table(runs, reconstruction_psnr="PSNR, dB", cost_code_size="size of the code", bits_per_dim="bits per dimension")}

## 5. Can we tell?

The share that a classifier tells right (50 % where it cannot tell). A model that always draws one perfect digit has a low recall and covers little:

{table(runs, real_or_fake="told from real", recall="recall", coverage="coverage", label_balance="class imbalance")}
"""  # noqa: E501


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("comparison", type=Path)
    parser.add_argument("--out", type=Path, default=Path("pack"))
    options = parser.parse_args()
    base, figures = options.comparison, options.out / "figures"
    runs: list[Values] = json.loads((base / "results.json").read_text(encoding="utf-8"))["runs"]
    paths = json.loads((base / "contract.json").read_text(encoding="utf-8"))["runs"]
    folders = {run["run"]: base / path for run, path in zip(runs, paths, strict=True)}
    figures.mkdir(parents=True, exist_ok=True)
    for number, run in enumerate(runs):
        name = Path(run["run"]).name
        first = [Path(each["run"]).name for each in runs].index(name) == number
        name = name if first else f"{name}-{number + 1}"  # two runs from elsewhere, named alike
        draw_losses(folders[run["run"]], run["model"], figures / f"losses-{name}.svg")
    for name in INTERVALS:
        draw_intervals(runs, name, figures / f"{name}.svg")
    draw_cost(runs, figures / "quality-against-cost.svg")
    (options.out / "answers.md").write_text(answers(runs, folders), encoding="utf-8")
    for language in ("en", "fr"):
        page = options.out / f"practical-{language}.html"
        triptych.report(base, course=True, lang=language, out=page, quiet=True)
    print(f"{options.out}: answers.md, practical-en.html, practical-fr.html, figures/*.svg")


if __name__ == "__main__":
    main()
