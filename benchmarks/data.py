"""How fast, and with how much memory, images become a stored array: one JSON document.

Draws its own sets of noisy ramps: JPEG files in a parquet file as the Hub writes it, PNG files in
class folders, and, with --large, a million images in one array file, which a model is then trained
on. Every measurement is a fresh process. Peak memory is the largest proportional set size (Pss of
/proc) of the process and its workers together, mapped pages included, less what the process held
before the set was opened. Anonymous memory is what the system cannot drop.

    python benchmarks/data.py --scratch FOLDER --out benchmarks/results/data.json
    python benchmarks/data.py --scratch FOLDER --large --out benchmarks/results/large_set.json
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PARQUET_IMAGES, FOLDER_IMAGES, LARGE_IMAGES = 50_000, 60_000, 1_000_000
CLASSES = 10


def pictures(count: int, side: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Ramps of random colours under noise, all different: uint8 (H,W,3)."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(0, 1, side)[:, None, None]
    for _ in range(count):
        ramp = rng.random(3) * slope + rng.random(3) * slope.transpose(1, 0, 2)
        yield (95 * ramp + rng.integers(0, 60, (side, side, 3))).astype(np.uint8)


def encode(picture: np.ndarray, format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format=format)
    return buffer.getvalue()


def write_parquet(path: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [
        {"bytes": encode(picture, "JPEG"), "path": None} for picture in pictures(PARQUET_IMAGES, 32)
    ]
    labels = [index % CLASSES for index in range(PARQUET_IMAGES)]
    pq.write_table(pa.table({"image": cells, "label": labels}), path)
    return path


def write_folder(path: Path) -> Path:
    for label in range(CLASSES):
        (path / str(label)).mkdir(parents=True)
    for index, picture in enumerate(pictures(FOLDER_IMAGES, 32, seed=1)):
        (path / str(index % CLASSES) / f"{index}.png").write_bytes(encode(picture, "PNG"))
    return path


def write_large(path: Path) -> Path:
    shape = (LARGE_IMAGES, 64, 64, 3)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    tiles = np.stack(list(pictures(1000, 64, seed=2)))
    for start in range(0, LARGE_IMAGES, 1000):
        array[start : start + 1000] = tiles
        array[start : start + 1000, 0, 0] = np.frombuffer(  # so that no two are equal
            np.arange(start, start + 1000, dtype="<u4").tobytes(), np.uint8
        ).reshape(1000, 4)[:, :3]
    array.flush()
    return path


WATCH = """
import json, os, sys, threading, time
from pathlib import Path
def field(pid, name):
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # a worker that has just ended
    return 1024 * int(next((line for line in lines if line.startswith(name)), "x 0").split()[1])
def family():
    mine = Path("/proc/self/task").glob("*/children")
    return [os.getpid(), *(int(pid) for file in mine for pid in file.read_text().split())]
most, done = {"Pss:": 0, "Anonymous:": 0}, threading.Event()
def watch():
    while not done.wait(0.05):
        for name in most:
            most[name] = max(most[name], sum(field(pid, name) for pid in family()))
"""

OPEN = (
    WATCH
    + """
import triptych.data.sources.parquet, triptych.training.train
from triptych.data.open import DataOptions, open_images
before = field(os.getpid(), "Pss:")
threading.Thread(target=watch, daemon=True).start()
started = time.perf_counter()
data = open_images(sys.argv[1], DataOptions(resolution=int(sys.argv[2])))
seconds = time.perf_counter() - started
done.set()
parts = (data.train, data.validation, data.test)
print(json.dumps({
    "seconds": seconds,
    "images": sum(map(len, parts)),
    "stored_bytes": sum(part.images.nbytes for part in parts),
    "peak_bytes": max(0, most["Pss:"] - before),
}))
"""
)

TRAIN = (
    WATCH
    + """
from triptych import hardware
hardware.keep_memory()
import triptych
from triptych import DataOptions, open_images
data = open_images(sys.argv[1], DataOptions(resolution=int(sys.argv[2])))
before = field(os.getpid(), "Anonymous:")
threading.Thread(target=watch, daemon=True).start()
record = triptych.train(sys.argv[3], data, budget=sys.argv[4], out=sys.argv[5]).record
done.set()
print(json.dumps({
    "model": record.model, "images_seen": record.images_seen,
    "training_images": len(data.train), "seconds": round(record.train_seconds, 1),
    "anonymous_bytes_before_training": before, "anonymous_bytes_at_most": most["Anonymous:"],
}))
"""
)


def measure(code: str, cache: Path, *words: str) -> dict[str, Any]:
    """What a fresh process prints."""
    environment = {**os.environ, "TRIPTYCH_CACHE": str(cache)}
    found = subprocess.run(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, env=environment, check=True
    )
    printed: dict[str, Any] = json.loads(found.stdout)
    return printed


def measure_set(
    write: Callable[[Path], Path], path: Path, cache: Path, side: int
) -> dict[str, Any]:
    """Write a set unless it is there, open it twice."""
    source = path if path.exists() else write(path)
    first = measure(OPEN, cache, str(source), str(side))
    again = measure(OPEN, cache, str(source), str(side))
    return {
        "images": first["images"],
        "images_per_second": round(first["images"] / first["seconds"]),
        "stored_bytes": first["stored_bytes"],
        "peak_over_stored": round(first["peak_bytes"] / first["stored_bytes"], 2),
        "seconds_to_open_again": round(again["seconds"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    scratch = arguments.scratch.resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    cache = scratch / f"cache-{time.time_ns()}"  # an empty one
    found: dict[str, Any] = {"cores": os.cpu_count()}
    if arguments.large:
        source = scratch / "large.npy"
        found["large array"] = measure_set(write_large, source, cache, 64)
        found["training on it"] = measure(
            TRAIN, cache, str(source), "64", "vae", "20kimg", str(scratch / f"run-{cache.name}")
        )
    else:
        found["parquet of JPEG"] = measure_set(write_parquet, scratch / "jpeg.parquet", cache, 32)
        found["folder of PNG"] = measure_set(write_folder, scratch / "png", cache, 32)
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
