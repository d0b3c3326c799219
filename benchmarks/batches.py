"""How fast batches are, on one thread: images per second as float, from memory-mapped arrays.

Prints one JSON document. `listed` is what there was before: a list of all indices, shuffled by
torch.randperm at the start of a pass, and plain indexing. `anonymous_bytes` is how much memory
of its own the process took while the batches were drawn. The large set is a sparse file: its
pages read as zeros, so disks play no part.

    python benchmarks/batches.py --out benchmarks/results/batches.json
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from triptych import images as pixels
from triptych.data.augment import Augment
from triptych.data.batches import Batches
from triptych.data.dataset import Part

REPEATS, STEPS = 5, 500
CHANGES = {"plain": Augment(), "flip": Augment(flip=True), "flip_crop": Augment(True, crop=4)}


def mapped(file: Path, count: int, side: int, noise: bool) -> Part:
    """Images of a file, which is made: uint8 [N,3,S,S], of noise or of zeros without blocks."""
    images = np.memmap(file, np.uint8, "w+", shape=(count, 3, side, side))
    if noise:
        rng = np.random.default_rng(0)
        for start in range(0, count, 1000):
            size = min(1000, count - start), 3, side, side
            images[start : start + 1000] = rng.integers(256, size=size, dtype=np.uint8)
    return Part(torch.from_numpy(images), torch.arange(count) % 10)


def listed(part: Part, batch_size: int) -> Callable[[int], object]:
    """The plain way."""
    order = torch.randperm(len(part))

    def at(seen: int) -> object:
        index = order[seen % (len(part) - batch_size) :][:batch_size]
        assert part.labels is not None
        return pixels.to_float(part.images[index]), part.labels[index]

    return at


def anonymous_bytes() -> int:
    """Memory that no file stands behind; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def images_per_second(ways: dict[str, Callable[[int], object]], batch_size: int) -> dict[str, int]:
    """Median over repeats; the ways take turns, since a machine's speed drifts."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(REPEATS + 1):  # the first warms up
        for name, at in ways.items():
            start = time.perf_counter()
            for step in range(STEPS):
                at((repeat * STEPS + step) * batch_size)
            found[name].append(STEPS * batch_size / (time.perf_counter() - start))
    return {name: round(statistics.median(rates[1:])) for name, rates in found.items()}


def measure(part: Part, batch_size: int) -> dict[str, int]:
    """All ways to take batches of one set."""
    before = anonymous_bytes()
    ways: dict[str, Callable[[int], object]] = {
        name: Batches(part, batch_size, seed=0, augment=changes).at
        for name, changes in CHANGES.items()
    }
    taken = images_per_second(ways, batch_size)
    grown = anonymous_bytes() - before
    return {
        **taken,
        **images_per_second({"listed": listed(part, batch_size)}, batch_size),
        "anonymous_bytes": grown,
    }


def seconds_per_pass(size: int) -> float:
    """To draw the order of one pass."""
    rng, start = torch.Generator().manual_seed(0), time.perf_counter()
    for _ in range(5):
        torch.randperm(size, generator=rng)
    return round((time.perf_counter() - start) / 5, 6)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--large", type=int, default=1_000_000, help="images of the large set")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        small = mapped(Path(folder) / "small", 50_000, 32, noise=True)
        large = mapped(Path(folder) / "large", arguments.large, 64, noise=False)
        result = {
            "batch_size": arguments.batch_size,
            "threads": arguments.threads,
            "50,000 of 32x32": measure(small, arguments.batch_size),
            f"{arguments.large:,} of 64x64": measure(large, arguments.batch_size),
            "seconds_per_pass": {f"{n:,}": seconds_per_pass(n) for n in (50_000, 10**6, 10**8)},
        }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
