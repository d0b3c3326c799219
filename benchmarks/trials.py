"""The command line and the loop of benchmarks that train models for the same time."""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triptych
from triptych import hardware
from triptych.config import Size
from triptych.data.open import open_images
from triptych.run import Run
from yardstick import Yardstick

Found = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One model, trained once; `keep` is its run folder, which pictures go to as well."""

    model: str
    seed: int
    budget: str
    size: Size
    sets: list[str]
    conditional: bool
    yardstick: Yardstick
    keep: Path

    @property
    def label(self) -> str:
        """The model, and the seed where it is not the usual one."""
        return self.model if self.seed == 0 else f"{self.model} seed {self.seed}"

    def train(self) -> Run:
        """By one of our recipes."""
        return triptych.train(
            self.model,
            self.yardstick.data,
            budget=self.budget,
            size=self.size,
            seed=self.seed,
            set=self.sets,
            conditional=self.conditional,
            out=self.keep,
            machine=self.yardstick.machine,
        )


def run_trials(
    doc: str,
    models: Sequence[str],
    about: Callable[[Yardstick], Found],
    measure: Callable[[Trial], Found],
    said: Callable[[Found], str],
) -> None:
    """Ask the command line, train and measure everything, and write the JSON after each model.

    doc:    of the benchmark, whose first line the help shows
    models: unless others are asked for
    about:  what is measured once for each data set
    said:   one line on what `measure` found
    """
    hardware.keep_memory()
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, help="as `triptych train` takes it")
    parser.add_argument("--models", nargs="+", default=models)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--size", default="tiny", choices=["tiny", "small", "base"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--conditional", action="store_true", help="tell our recipes the labels")
    parser.add_argument("--set", nargs="*", default=[], help="settings of our recipes")
    parser.add_argument("--keep", type=Path, help="a folder for the runs and their pictures")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    asked = parser.parse_args()
    machine = hardware.pick(threads=asked.threads)
    options = {name: getattr(asked, name) for name in ("threads", "size", "budget", "conditional")}
    found: Found = options | {"settings": asked.set, "data": {}}
    for source in asked.data:
        yardstick = Yardstick(open_images(source), machine)
        name = yardstick.data.name
        entry = found["data"][name] = about(yardstick)
        print(name, entry, flush=True)
        for model, seed in itertools.product(asked.models, asked.seeds):
            with tempfile.TemporaryDirectory() as scratch:
                place = f"{name}-{model}-s{seed}".replace(":", "-").replace("+", "-")
                trial = Trial(
                    model=model,
                    seed=seed,
                    budget=asked.budget,
                    size=asked.size,
                    sets=asked.set,
                    conditional=asked.conditional,
                    yardstick=yardstick,
                    keep=(asked.keep or Path(scratch)) / place,
                )
                entry[trial.label] = measure(trial)
            print(f"{name} {trial.label}: {said(entry[trial.label])}", flush=True)
            if asked.out:
                asked.out.write_text(json.dumps(found, indent=1) + "\n")
