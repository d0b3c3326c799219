"""Which recipe of a family is better on my images? The same question as between families.

    python examples/compare_recipes.py [DATA] [BUDGET]

Trains two GANs for the same time, measures them alike and prints where the page is; then draws
from the better one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import triptych


def main(data: str = "street-digits", budget: str = "60s") -> None:
    out = Path("runs/example")
    page = triptych.compare(["gan:course", "gan:hinge"], data, budget=budget, out=out)
    results = json.loads((out / "results.json").read_text())["runs"]
    distances = {
        run["run"]: metric["value"]
        for run in results
        for metric in run["metrics"]
        if metric["name"] == "frechet_distance" and metric["reference"] == "test"
    }
    best = min(distances, key=lambda name: distances[name])
    triptych.grid(triptych.load(out / best).sample(64)).save(out / "best.png")
    print(f"{page}\n{out / 'best.png'}: {best}, distances {distances}")


if __name__ == "__main__":
    main(*sys.argv[1:])
