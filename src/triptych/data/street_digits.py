"""street-digits, the embedded data set: drawn pictures made to look like SVHN's cropped digits.

An item is a colour picture of 32x32 pixels and the digit at its centre. Item i of a split is a
pure function of (VERSION, split, i): it comes from its own counter-based random stream, so
neither the batch it is drawn in nor the number of processes can change it. The look follows
Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning" (2011);
no photograph is copied. The way of an item: glyphs -> scene -> camera.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Literal

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

from triptych.data.street_digits_camera import SIDE, photograph
from triptych.data.street_digits_scene import draw_scene
from triptych.hardware import usable_cores

VERSION = 1  # raised whenever one pixel would change; part of the cache key

Split = Literal["train", "test"]
Items = tuple[NDArray[np.uint8], NDArray[np.int64]]
SPLIT_NUMBER: dict[Split, int] = {"train": 0, "test": 1}
BLOCK = 256  # items a worker draws between two answers
BYTES = 3 * SIDE * SIDE  # per picture
WORKER_CODE = "from triptych.data.street_digits import work; work()"
WORTH_A_WORKER = 1000  # items; for fewer, starting a process costs more than it saves


def stream(split: Split, index: int) -> Generator:
    """The random stream of one item."""
    if split not in SPLIT_NUMBER:
        raise ValueError(f'split must be "train" or "test", not {split!r}')
    if index < 0:
        raise ValueError(f"index must be 0 or more, not {index}")
    # The low counter words count the draws of one item; the high ones name the item.
    counter = np.array([0, 0, index, SPLIT_NUMBER[split]], np.uint64)
    return Generator(Philox(counter=counter, key=VERSION))


def draw(split: Split, indices: Sequence[int] | range) -> Items:
    """Draw some items: images uint8 [N,3,32,32] and labels int64 [N] in 0..9.

    Image i depends on (split, i) alone. Raises ValueError for a negative index or another split.
    """
    images = np.empty((len(indices), 3, SIDE, SIDE), np.uint8)
    labels = np.empty(len(indices), np.int64)
    for row, index in enumerate(indices):
        rng = stream(split, int(index))
        labels[row] = int(10 * rng.random())
        images[row] = photograph(rng, draw_scene(rng, int(labels[row])))
    return images, labels


def draw_many(
    split: Split,
    count: int,
    processes: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Items:
    """Draw items 0..count-1 with worker processes; the same arrays as draw(split, range(count)).

    processes: None means one per usable core; 1 stays in this process
    progress:  called in this thread with the number of items drawn so far

    Workers are fresh interpreters, not forks: they neither import the caller's script nor inherit
    its threads. Whatever a worker fails to draw, this process draws.
    """
    stream(split, 0)  # refuses a wrong split before any process starts
    if count < 0:
        raise ValueError(f"count must be 0 or more, not {count}")
    images = np.empty((count, 3, SIDE, SIDE), np.uint8)
    labels = np.empty(count, np.int64)
    blocks: SimpleQueue[range] = SimpleQueue()
    for start in range(0, count, BLOCK):
        blocks.put(range(start, min(start + BLOCK, count)))
    report = progress if progress is not None else lambda _: None

    wanted = usable_cores() if processes is None else processes
    wanted = min(wanted, count // WORTH_A_WORKER)
    drawn = 0
    if wanted > 1:
        drawn = draw_with_workers(split, wanted, blocks, (images, labels), report)
    while not blocks.empty():
        block = blocks.get()
        images[block.start : block.stop], labels[block.start : block.stop] = draw(split, block)
        drawn += len(block)
        report(drawn)
    return images, labels


def draw_with_workers(
    split: Split,
    processes: int,
    blocks: SimpleQueue[range],
    items: Items,
    report: Callable[[int], None],
) -> int:
    """Fill items block by block from workers; blocks they fail to draw stay queued.

    Returns the number of items drawn.
    """
    done: SimpleQueue[int | None] = SimpleQueue()  # items of one block; None: a worker ended
    workers = start_workers(split, processes)
    threads = [
        Thread(target=serve, args=(worker, blocks, items, done), daemon=True) for worker in workers
    ]
    drawn, running = 0, len(threads)
    try:
        for thread in threads:
            thread.start()
        while running:
            answer = done.get()
            if answer is None:
                running -= 1
            else:
                drawn += answer
                report(drawn)
    finally:  # also after an interrupt or an error of `report`
        for worker, thread in zip(workers, threads, strict=True):
            worker.kill()
            if thread.ident is not None:
                thread.join()
            close(worker)
    return drawn


def close(worker: subprocess.Popen[bytes]) -> None:
    """Collect an ended worker and its pipes."""
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with suppress(OSError):  # what was left to write has no reader any more
                pipe.close()


def start_workers(split: Split, processes: int) -> list[subprocess.Popen[bytes]]:
    """Fresh interpreters that run `work`; fewer than asked, even none, where they cannot start."""
    if not sys.executable:  # Python embedded in another program
        return []
    package_root = str(Path(__file__).resolve().parents[2])
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    workers = []
    for _ in range(processes):
        try:
            workers.append(
                subprocess.Popen(
                    [sys.executable, "-c", WORKER_CODE, split],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                )
            )
        except OSError:
            break
    return workers


def work() -> None:
    """Life of a worker: read "start stop" lines, write labels then pixels, until input ends.

    The split is the command's first argument.
    """
    split: Split = "test" if sys.argv[1] == "test" else "train"
    for line in sys.stdin:
        start, stop = (int(word) for word in line.split())
        images, labels = draw(split, range(start, stop))
        sys.stdout.buffer.write(labels.astype(np.uint8).tobytes() + images.tobytes())
        sys.stdout.buffer.flush()


def serve(
    worker: subprocess.Popen[bytes],
    blocks: SimpleQueue[range],
    items: Items,
    done: SimpleQueue[int | None],
) -> None:
    """Give blocks to one worker until none is left or the worker fails."""
    images, labels = items
    assert worker.stdin is not None and worker.stdout is not None
    while True:
        try:
            block = blocks.get_nowait()
        except Empty:
            break
        rows = slice(block.start, block.stop)
        size = len(block)
        try:
            worker.stdin.write(f"{block.start} {block.stop}\n".encode())
            worker.stdin.flush()
            answer = worker.stdout.read(size * (1 + BYTES))
        except (OSError, ValueError):
            answer = b""
        if len(answer) < size * (1 + BYTES):
            blocks.put(block)
            break
        labels[rows] = np.frombuffer(answer, np.uint8, size)
        images[rows] = np.frombuffer(answer, np.uint8, offset=size).reshape(-1, 3, SIDE, SIDE)
        done.put(size)
    done.put(None)
