"""Does an engine cost time? Five models on two nodes of Ray, and in turns on the same cores.

    python benchmarks/engines.py --out benchmarks/results/engines.json

Both sides are `triptych compare` with the same five models, budgets in images and a cache of their
own that holds the data and the data's classifier already: on a local Ray cluster of two nodes with
half of the cores each, and in one process with all cores. Measured are the seconds from the
command to its page. The cluster is there already, as a cluster is; what is started for it on
workers counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MODELS = ("vae:course", "vae:sigma", "gan:course", "gan:hinge", "diffusion:x0")
RESOLUTION = 16  # at 32 measuring five models takes half an hour on two cores
WANTED = 1.15  # the engine's seconds over those of turns, at most


def compare(out: Path, budget: str, count: int, threads: int, *more: str) -> float:
    """Seconds of one comparison."""
    words = ["compare", *MODELS, "--budget", budget, "--size", "tiny", "--count", str(count)]
    words += ["--resolution", str(RESOLUTION), "--threads", str(threads), "--no-baseline"]
    words += ["--quiet", "--out", str(out), *more]
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "triptych", *words], check=True, stdout=subprocess.PIPE)
    return time.perf_counter() - started


def measure(budget: str, count: int, rounds: int, scratch: Path) -> dict[str, Any]:
    """Seconds of both sides, which take turns."""
    from ray.cluster_utils import Cluster

    cores = len(os.sched_getaffinity(0))
    half = cores // 2
    os.environ["TRIPTYCH_CACHE"] = str(scratch / "cache")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    command = ["compare", "vae:course", "--budget", "0.64kimg", "--size", "tiny", "--quiet"]
    warm_up = [*command, "--count", str(count), "--no-baseline", "--out", str(scratch / "first")]
    warm_up += ["--resolution", str(RESOLUTION)]
    subprocess.run([sys.executable, "-m", "triptych", *warm_up], check=True, stdout=subprocess.PIPE)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": half, "include_dashboard": False}
    )
    try:
        cluster.add_node(num_cpus=half)
        on = ("--on", f"ray:{cluster.address}")
        seconds: dict[str, list[float]] = {"engine": [], "turns": []}
        for number in range(rounds):
            each = scratch / str(number)
            seconds["turns"].append(compare(each / "turns", budget, count, cores))
            seconds["engine"].append(compare(each / "engine", budget, count, half, *on))
            print(json.dumps(seconds), file=sys.stderr, flush=True)
    finally:
        cluster.shutdown()
    ratio = statistics.median(seconds["engine"]) / statistics.median(seconds["turns"])
    return {
        "models": list(MODELS),
        "budget": budget,
        "count": count,
        "resolution": RESOLUTION,
        "cores": cores,
        "nodes": 2,
        "threads of each node": half,
        "seconds": {name: [round(each, 1) for each in own] for name, own in seconds.items()},
        "engine / turns": round(ratio, 3),
        "wanted at most": WANTED,
        "reached": ratio <= WANTED,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--budget", default="2.56kimg")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two nodes need two cores")
    with tempfile.TemporaryDirectory() as scratch:
        result = measure(asked.budget, asked.count, asked.rounds, Path(scratch))
    text = json.dumps(result, indent=2)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
