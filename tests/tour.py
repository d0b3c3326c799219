"""A short tour of the package, under the rules of other systems: `tests/test_other_systems.py`.

    python -m tests.tour FOLDER [--brief]

Works inside the folder and leaves `tour.json` there: for each command what it printed, its exit
code and the seconds of the processor. Budgets and judges are as small as they come.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pkgutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TINY = ["--size", "tiny", "--resolution", "16", "--budget", "0.32kimg", "--threads", "1"]
CLASSES = ("café", "naïve →", "plain")  # two that the terminal's letters cannot write
COUNT = 300


def main() -> None:
    """Every stop, in order; an exception is a failed tour."""
    folder = Path(sys.argv[1])
    os.chdir(folder)
    stops: dict[str, Any] = {}
    try:
        go(folder, stops)
    finally:
        Path("tour.json").write_text(json.dumps(stops, indent=1), encoding="utf-8")


def go(folder: Path, stops: dict[str, Any]) -> None:
    """Add what comes of each stop."""
    photos = str(draw_photos(folder / "phötos"))
    data = ["--data", photos]
    stops["data"] = call("data", photos, "--resolution", "16")
    vae = ["train", "vae:sigma", *data, *TINY, "--set", "widths=8,8", "--out", "runs/vae"]
    stops["stopped"] = call(*vae, stop_at=128)
    stops["checkpoints"] = sorted(path.name for path in Path("runs/vae/checkpoints").iterdir())
    stops["vae"] = call(*vae)
    stops["doctor"] = call("doctor", "--threads", "1", "--json")
    if "--brief" in sys.argv:
        return
    stops["modules"] = import_all()
    spare_judges()
    for model in ("gan:r1", "diffusion:x0"):
        family = model.partition(":")[0]
        stops[family] = call("train", model, *data, *TINY, "--out", f"runs/{family}")
    stops["sample"] = call("sample", "runs/diffusion", "--count", "4", "--out", "samples.png")
    stops["twin"] = call(*vae[:-1], "runs/twin", "--seed", "1")
    both = ["runs/vae", "runs/twin"]  # a GAN takes four times as long to measure
    few = ["--resolution", "16", "--count", "60", "--no-baseline", "--threads", "1"]
    stops["compare"] = call("compare", *both, *data, *few)
    stops["joined"] = call("report", *both, "--out", "joined.md", "--format", "md")


def import_all() -> list[str]:
    """The names of all modules of the package, which are imported."""
    import triptych

    names = [m.name for m in pkgutil.walk_packages(triptych.__path__, "triptych.")]
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    return names


def draw_photos(folder: Path) -> Path:
    """Small pictures in class folders."""
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        own = folder / CLASSES[number % len(CLASSES)]
        own.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(256, size=(8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(own / f"{number:04d}.png")
    return folder


def spare_judges() -> None:
    """As in conftest.py: what costs the most of a measurement is no subject here."""
    from triptych.evaluation import classifier, outputs
    from triptych.families.gan import inversion, model
    from triptych.metrics import real_or_fake

    plain = inversion.refine
    real_or_fake.SEEN, classifier.LEAST_IMAGES, outputs.POINTS = 320, 600, 4
    model.refine = lambda *given: plain(*given[:-1], min(given[-1], 5))


def call(*words: str, stop_at: int | None = None) -> dict[str, Any]:
    """A command as it is typed, in this process.

    stop_at: images seen after which Ctrl-C is pressed
    """
    from triptych.cli.main import main as command
    from triptych.training.state import TrainingState

    plain = TrainingState.step

    def step(state: Any, *rest: Any) -> Any:
        if stop_at is not None and state.seen >= stop_at:
            signal.raise_signal(signal.SIGINT)
        return plain(state, *rest)

    encoding = os.environ["PYTHONIOENCODING"].split(":")[0]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, newline="\n") for _ in range(2))
    arguments, began = sys.argv, time.process_time()
    TrainingState.step = step  # type: ignore[method-assign]
    sys.argv = ["triptych", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                command()
            except SystemExit as end:
                code = end.code
    finally:
        TrainingState.step = plain  # type: ignore[method-assign]
        sys.argv = arguments
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode(encoding))  # type: ignore[attr-defined]
    seconds = round(time.process_time() - began, 1)
    return {"code": code, "out": texts[0], "err": texts[1], "seconds": seconds}


if __name__ == "__main__":
    main()
