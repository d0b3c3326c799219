"""How quickly the live page answers, alone and while a model trains.

    python benchmarks/live.py runs/compare-street-digits-75s --seconds 600 \
        --out benchmarks/results/live.json

RUNS is a folder with one finished run of each family. Measured are: seconds from the command to the
first answer, and of the first page; a model's answer to a slider (16 samples; of a diffusion model
its preview of one step, and the whole); then, while a model trains with a budget in images, pages
asked for by --clients clients, who also watch the training, the server's memory along the way, and
the training's pace with one watcher against without, in turns (--pairs of them). Last, a ring of
Gaussians is learned in two dimensions: seconds of each model's training, of them before its first
step, pictures along the way, and the answers to every view of what it makes of the plane.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import requests

from triptych import hardware

ENDLESS = 1000.0  # thousand images: more than are trained while it is watched
PAGES = ("/", "/assets/live.css", "/assets/main.js", "/texts/en", "/api/library")


def free_port() -> int:
    with socket.socket() as any_:
        any_.bind(("127.0.0.1", 0))
        return int(any_.getsockname()[1])


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Milliseconds: median, 95th percentile and the largest."""
    ordered = sorted(1000 * s for s in seconds)
    at = lambda share: ordered[min(len(ordered) - 1, int(share * len(ordered)))]  # noqa: E731
    return {"n": len(ordered), "median": round(at(0.5), 1), "p95": round(at(0.95), 1),
            "largest": round(ordered[-1], 1)}  # fmt: skip


class Served:
    """A live page in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        began = time.perf_counter()
        command = [sys.executable, "-m", "triptych", "serve", str(folder), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while True:
            try:
                asked = time.perf_counter()
                requests.get(self.address, timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.02)
        self.start_up, self.first_page = asked - began, time.perf_counter() - asked

    def post(self, path: str, body: Any) -> float:
        """Seconds of an answer."""
        began = time.perf_counter()
        answer = requests.post(
            self.address + path, json=body, headers={"origin": self.address}, timeout=120
        )
        answer.raise_for_status()
        return time.perf_counter() - began

    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def slider(served: Served, run: str, count: int, **more: Any) -> dict[str, float]:
    """A model's answers to a moving slider, after a first one that loads it."""
    served.post("/api/play/sample", {"run": run, "seed": 0, **more})
    asked = [{"run": run, "seed": seed, **more} for seed in range(1, count + 1)]
    return quantiles([served.post("/api/play/sample", body) for body in asked])


def train(folder: Path, kimg: float, seed: int) -> subprocess.Popen[bytes]:
    options = ["--size", "tiny", "--seed", str(seed), "--out", str(folder)]
    words = ["train", "diffusion", "--budget", f"{kimg:g}kimg", *options]
    command = [sys.executable, "-m", "triptych", *words]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def pace(folder: Path) -> float:
    """Images a second of a finished training."""
    return float(json.loads((folder / "run.json").read_text())["images_per_second"])


def watch(address: str, path: str, stop: threading.Event) -> None:
    """Read the events of a folder until told to stop."""
    while not stop.is_set():
        try:
            with requests.get(
                f"{address}/api/watch", {"path": path}, stream=True, timeout=60
            ) as answer:
                for _ in answer.iter_lines():
                    if stop.is_set():
                        return
        except requests.RequestException:
            time.sleep(0.5)


def load(served: Served, path: str, clients: int, seconds: float) -> dict[str, Any]:
    """Pages asked for by many, who also watch; statuses, times and memory."""
    stop, times, statuses = threading.Event(), [], []

    def visit() -> None:
        while not stop.is_set():
            for page in PAGES:
                began = time.perf_counter()
                answer = requests.get(served.address + page, timeout=60)
                times.append(time.perf_counter() - began)
                statuses.append(answer.status_code)
            stop.wait(1.0)

    threads = [threading.Thread(target=visit, daemon=True) for _ in range(clients)]
    threads += [
        threading.Thread(target=watch, args=(served.address, path, stop), daemon=True)
        for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    time.sleep(min(30.0, seconds / 4))
    before = served.memory()
    time.sleep(seconds - min(30.0, seconds / 4))
    after = served.memory()
    stop.set()
    return {
        "seconds": seconds,
        "clients": clients,
        "pages, ms": quantiles(times),
        "answers of 5xx": sum(status >= 500 for status in statuses),
        "memory": {"before": before, "after": after, "ratio": round(after / before, 4)},
    }


def watched_pace(served: Served, root: Path, kimg: float, pairs: int) -> dict[str, Any]:
    """A training's pace with one watcher and without, in turns."""
    paces: dict[str, list[float]] = {"alone": [], "watched": []}
    for number in range(2 * pairs):
        kind = ("alone", "watched")[(number + number // 2) % 2]  # ABBA
        folder = root / f"pace-{number}"
        stop = threading.Event()
        process = train(folder, kimg, 0)
        if kind == "watched":
            while not (folder / "run.json").exists():
                time.sleep(0.2)
            args = (served.address, folder.name, stop)
            threading.Thread(target=watch, args=args, daemon=True).start()
        process.wait()
        stop.set()
        paces[kind].append(pace(folder))
    means = {kind: statistics.mean(each) for kind, each in paces.items()}
    return {"images a second": paces, "ratio": round(means["watched"] / means["alone"], 3)}


def two_dimensions(served: Served, root: Path) -> dict[str, Any]:
    """Three models that learn a ring of Gaussians from the page, and how quickly they are seen."""
    chance, points = random.Random(0), []
    for _ in range(2000):
        angle = chance.randrange(8) * math.pi / 4
        points.append([
            0.75 * math.cos(angle) + chance.gauss(0, 0.04),
            0.75 * math.sin(angle) + chance.gauss(0, 0.04),
        ])  # fmt: skip
    served.post("/api/points", {"name": "ring", "points": points})
    while True:
        listed = requests.get(f"{served.address}/api/library", timeout=30).json()
        [job] = listed["jobs"]
        if job["state"] not in ("waiting", "running"):
            break
        time.sleep(1)
    measured: dict[str, Any] = {"command": job["state"]}
    for run in (each for found in listed["comparisons"] for each in found["runs"]):
        record = json.loads((root / run["path"] / "run.json").read_text())
        views = {}
        for view in ("samples", "density", "field", "paths"):
            body = {"run": run["path"], "view": view}
            served.post("/api/play/plane", body)
            seconds = [served.post("/api/play/plane", {**body, "seed": s}) for s in range(20)]
            views[f"{view}, ms"] = quantiles(seconds)
        measured[run["model"]] = {
            "seconds": record["train_seconds"],
            "seconds before the first step": round(record["calibration_seconds"], 2),
            "points seen": record["images_seen"],
            "threads": record["threads"],
            "pictures": len(run["pictures"]),
            **views,
        }
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--kimg", type=float, default=4.0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        models = Served(asked.runs)
        results: dict[str, Any] = {
            "seconds to the first answer": round(models.start_up, 2),
            "seconds of the first page": round(models.first_page, 3),
        }
        listed = requests.get(f"{models.address}/api/library", timeout=30).json()
        runs = [run for each in listed["comparisons"] for run in each["runs"]] + listed["runs"]
        for run in runs:
            if not run["trained"]:
                continue
            results[f"{run['model']}, 16 samples, ms"] = slider(models, run["path"], 40)
            if run["family"] == "diffusion":
                preview = slider(models, run["path"], 40, steps=1)
                results[f"{run['model']}, a preview, ms"] = preview
        models.stop()
        served = Served(root)
        training = train(root / "trained", ENDLESS, 0)
        results["while a model trains"] = load(served, "trained", asked.clients, asked.seconds)
        training.terminate()
        training.wait()
        results["pace of a training"] = watched_pace(served, root, asked.kimg, asked.pairs)
        served.stop()
        plane = root / "plane"
        plane.mkdir()
        served = Served(plane)
        results["two dimensions"] = two_dimensions(served, plane)
        served.stop()
    results["machine"] = hardware.describe()
    text = json.dumps(results, indent=2) + "\n"
    print(text)
    if asked.out is not None:
        asked.out.write_text(text)


if __name__ == "__main__":
    main()
