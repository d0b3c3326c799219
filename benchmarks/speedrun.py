"""How much a model learns from few images: variants of recipes beside each other, several seeds.

    python benchmarks/speedrun.py --data street-digits --kimg 12 \
        --models diffusion diffusion,guidance=1.5 --seeds 3 --scratch FOLDER --out JSON

Each variant is trained on as many images, so that other work on the machine changes no result but
the seconds; they train in turns, so that it changes all seconds alike. Numbers are those that
`triptych compare` finds, each seed's and their median. The JSON gains an entry by data and images.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import triptych
from triptych import hardware

NUMBERS = (
    "frechet_distance", "kernel_distance", "sliced_distance", "recognisable", "sharpness",
    "precision", "recall", "coverage", "real_or_fake", "memorised", "copied", "label_balance",
    "bits_per_dim", "reconstruction_psnr", "probe_accuracy",
)  # fmt: skip


def numbers_of(results: dict[str, Any]) -> dict[str, float]:
    """Those of one run against test images, by name and, for distances, features."""
    found: dict[str, float] = {}
    for metric in results["metrics"]:
        if metric["name"] not in NUMBERS or metric["value"] is None:
            continue
        if metric["reference"] == "train" and "distance" in metric["name"]:
            continue
        if metric["method"] == "extrapolated":
            continue
        name = metric["name"]
        if "distance" in name:
            name += f" on {metric['features']}"
        found[name] = round(metric["value"], 4)
    return found


def measured(report: Path) -> dict[str, Any]:
    """By model: every seed's numbers, their medians, and images a second."""
    runs = json.loads((report.parent / "results.json").read_text())["runs"]
    by_model: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by_model.setdefault(run["run"].rpartition("-s")[0], []).append(run)
    table = {}
    for model, seeds in by_model.items():
        each = [numbers_of(run) for run in seeds]
        table[model] = {
            "median": {name: statistics.median(one[name] for one in each) for name in each[0]},
            "seeds": each,
            "images": seeds[0]["cost"]["images_seen"],
            "train_images_per_second": [
                round(run["cost"]["train_images_per_second"], 1) for run in seeds
            ],
        }
    return table


def main() -> None:
    """Train, measure and write what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["street-digits"])
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--kimg", type=float, nargs="+", default=[12])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    hardware.keep_memory()
    results = json.loads(asked.out.read_text()) if asked.out.is_file() else {}
    for data in asked.data:
        for kimg in asked.kimg:
            name = f"{Path(data).name}, {kimg:g} thousand images"
            report = triptych.compare(
                asked.models,
                data,
                budget=f"{kimg:g}kimg",
                size="tiny",
                seeds=asked.seeds,
                threads=asked.threads,
                no_baseline=True,
                out=asked.scratch / f"{Path(data).name}-{kimg:g}",
            )
            results[name] = measured(Path(report))
            asked.out.write_text(json.dumps(results, indent=1) + "\n")
            print(name, json.dumps({m: r["median"] for m, r in results[name].items()}), flush=True)


if __name__ == "__main__":
    main()
