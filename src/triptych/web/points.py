"""Points that were drawn on the page: kept as a file, and three models that are trained on it."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from triptych import files
from triptych.errors import InputError
from triptych.families import registry
from triptych.records import Record
from triptych.web.jobs import Asked

FOLDER = "points"  # in the served folder
LEAST, MOST = 50, 4000
LARGEST = 1e6  # of a coordinate
BUDGET = "12s"  # of each model: about eleven seconds of learning after the calibration
PLAIN_NAME = re.compile(r"[a-z]{1,20}")
# Settings that make a family fail in its own way, which its diagnoses then name.
PROVOKED: Mapping[str, tuple[str, ...]] = {
    # Points may lie 1 from where the decoder says at no cost, so that latents are not worth theirs.
    "vae": ("learn_std=false", "std=1"),
    # Without a penalty, and with momentum, the players run after each other.
    "gan": (
        "gamma=0",
        "generator.betas=[0.9,0.99]",
        "generator.learning_rate=5e-3",
        "discriminator.betas=[0.9,0.99]",
        "discriminator.learning_rate=2e-3",
    ),
    "diffusion": ("steps=2",),
}


@dataclass(frozen=True, kw_only=True)
class PointsAsked(Record):
    """Points to be learned, in any unit, and the families that shall fail."""

    name: str = "drawn"
    points: tuple[tuple[float, float], ...] = ()
    provoked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not PLAIN_NAME.fullmatch(self.name):
            raise ValueError("the points' name must be a word")
        if not all(math.isfinite(c) and abs(c) <= LARGEST for point in self.points for c in point):
            raise ValueError("a coordinate is too large")
        if not set(self.provoked) <= set(PROVOKED):
            raise ValueError("there is no such family")

    def write(self, root: Path) -> Path:
        """Keep the points in the served folder; the same ones are kept once."""
        if not LEAST <= len(self.points) <= MOST:
            raise InputError(f"there are {len(self.points):,} points", f"draw {LEAST} to {MOST:,}")
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("x", "y"))
        writer.writerows((f"{x:.12g}", f"{y:.12g}") for x, y in self.points)
        content = text.getvalue().encode()
        path = root / FOLDER / f"{self.name}-{sha256(content).hexdigest()[:6]}.csv"
        files.make_folder(path.parent)
        files.write_bytes(path, content)
        return path

    def training(self, data: Path) -> Asked:
        """A comparison of the three families on these points."""
        models = [
            ",".join([f"{family}:{registry.POINTS}", *self.words_of(family)])
            for family in registry.trained_families()
            if registry.POINTS in registry.own_recipes(family)
        ]
        return Asked(models=tuple(models), data=str(data), budget=BUDGET, size="tiny")

    def words_of(self, family: str) -> tuple[str, ...]:
        """The settings by which a family shall fail; none where it shall not."""
        return PROVOKED[family] if family in self.provoked else ()
