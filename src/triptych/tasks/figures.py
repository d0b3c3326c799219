"""The pictures of one run that the report shows, each a PNG with a JSON beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from triptych import files, images
from triptych.families.base import (
    MEAN_PIXELS,
    Encodes,
    GenerativeModel,
    Iterative,
    NoisyPixels,
    describe_absence,
)
from triptych.families.labels import Labels
from triptych.hardware import Machine
from triptych.tasks import curves, interpolation, reconstruction, sampling
from triptych.tasks.curves import Curve

GAP = 2
SIDE = 8  # the practical's grids hold 64 samples
PATHS, POINTS = 4, 10  # interpolations: ten points, as in the practical
PAIRS = 10  # reconstructions in a row
CURVED = 128  # held-out images over which curves are averaged
FIGURE_SEED = 0
DRAWN = 4  # kinds of figures


def draw_figures(
    model: GenerativeModel,
    family: str,
    held_out: Tensor,
    folder: Path | None,
    machine: Machine,
    labels: Labels | None = None,
    more: Mapping[str, Curve] | None = None,
    tell: Callable[[str], None] = lambda doing: None,
) -> None:
    """Samples, reconstructions, interpolations and the trajectory, or why there are none.

    held_out: real images to reconstruct, uint8 [N,C,H,W]
    folder:   None in a process that draws its share and leaves the writing to another
    labels:   classes by whose shares samples are drawn, for models that are told them
    more:     curves that others measured
    tell:     takes what is drawn next, DRAWN times at most
    """
    seed = FIGURE_SEED
    note = MEAN_PIXELS if isinstance(model, NoisyPixels) else ""
    tell("samples")
    drawn = sampling.sample(model, SIDE**2, seed, machine, labels=labels)
    save(folder, "samples", drawn, SIDE, model.said_of_samples)
    tell("interpolations")
    paths = interpolation.between_draws(model, PATHS, POINTS, seed, machine, labels)
    save(folder, "interpolation", paths.flatten(0, 1), POINTS, model.said_of_samples)
    if isinstance(model, Encodes):
        tell("reconstructions")
        originals = held_out[: 2 * PAIRS]
        answers = reconstruction.answers(model, originals, seed, machine)
        bands = [originals, *(answer.images for answer in answers.values())]
        pictures = images.interleave(*bands, columns=PAIRS)
        save(folder, "reconstruction", pictures, PAIRS, note)
    else:
        write(
            folder, "reconstruction", {"defined": False, "note": describe_absence("encode", family)}
        )
    if isinstance(model, Iterative):
        tell("trajectories and curves")
        ways = sampling.trajectory(model, PATHS, POINTS, seed, machine)
        save(folder, "trajectory", ways.flatten(0, 1), POINTS)
        found = {**curves.curves_of(model, held_out[:CURVED], seed, machine), **(more or {})}
        write(folder, "curves", {name: asdict(curve) for name, curve in found.items()})


def save(folder: Path | None, name: str, pictures: Tensor, columns: int, note: str = "") -> None:
    """uint8 [N,C,H,W] -> NAME.png and NAME.json."""
    if folder is None:
        return
    images.grid(pictures, columns, GAP).save(folder / f"{name}.png")
    described = {
        "defined": True,
        "rows": -(-len(pictures) // columns),
        "columns": columns,
        "cell": list(pictures.shape[-2:]),
        "gap": GAP,
        "note": note,
    }
    write(folder, name, described)


def write(folder: Path | None, name: str, described: dict[str, Any]) -> None:
    """NAME.json."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / f"{name}.json", described)
