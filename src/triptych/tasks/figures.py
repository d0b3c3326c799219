"""The pictures and curves of one run that the report shows: PNG files with a JSON beside each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from triptych import files, images
from triptych.config import ImageShape
from triptych.families.capabilities import (
    MEAN_PIXELS,
    Encodes,
    Iterative,
    NoisyPixels,
    why_not,
)
from triptych.families.labels import Labels
from triptych.families.protocol import GenerativeModel
from triptych.hardware import Machine
from triptych.records import Note, as_json
from triptych.seeding import ImageStreams
from triptych.tasks import interpolate, reconstruct, sample, shared

GAP = 2
SIDE = 8  # the practical's grids hold 64 samples
PATHS, POINTS = 4, 10  # interpolations: ten points, as in the practical
PAIRS = 10  # reconstructions in a row
CURVED = 128  # held-out images over which curves are averaged
FIGURE_SEED = 0
DRAWN = 4  # kinds of figures
LEVELS = 16  # noise levels at which a denoiser is asked
LEAST = 0.01  # the lowest of them: on [-1, 1] one that nobody sees
LARGEST = 80.0  # the highest, or the sampler's: one in which nothing of an image shows


@dataclass(frozen=True)
class Curve:
    """Lines over one axis.

    across: positions on the axis, rising
    lines:  a value for each position, by the line's name
    places: a line's own positions, where they are others
    log:    whether the axis is logarithmic
    mark:   the position of the recipe's own setting
    """

    across: list[float]
    lines: dict[str, list[float]]
    log: bool = False
    mark: float | None = None
    places: dict[str, list[float]] = field(default_factory=dict)


def curves_of(model: Iterative, originals: Tensor, seed: int, machine: Machine) -> dict[str, Curve]:
    """The curves by noise level: originals are held-out images, uint8 [N,C,H,W]."""
    return {
        "schedule": schedule(model),
        "error_by_level": error_by_level(model, originals, seed, machine),
    }


def schedule(model: Iterative) -> Curve:
    """The noise level at each step of the present sampler, but for the last, which is 0."""
    levels = model.noise_levels()[:-1].tolist()
    return Curve([float(step) for step in range(1, len(levels) + 1)], {"sigma": levels})


def error_by_level(model: Iterative, originals: Tensor, seed: int, machine: Machine) -> Curve:
    """Root-mean-square error of the denoised image, beside the noise that it had.

    Where the two lines meet, the model is no better than the noisy image itself.
    """
    assert isinstance(model, GenerativeModel)
    most = max(LARGEST, model.noise_levels()[0].item())
    sigmas = torch.logspace(math.log10(LEAST), math.log10(most), LEVELS).tolist()

    def errors(numbers: range) -> Tensor:
        rng = ImageStreams(seed, "curves", numbers, machine.device)
        x = images.to_float(originals[numbers.start : numbers.stop].to(machine.device))
        noise = rng.normal(*x.shape[1:])
        each = [(model.denoised(x + s * noise, s) - x).square().flatten(1).mean(1) for s in sigmas]
        return torch.stack(each, dim=1)

    rms_errors = shared(errors, len(originals), machine).double().mean(0).sqrt().tolist()
    return Curve(sigmas, {"denoised": rms_errors, "noise": sigmas}, log=True)


def draw_figures(
    model: GenerativeModel,
    held_out: Tensor,
    folder: Path | None,
    machine: Machine,
    labels: Labels | None = None,
    more: Mapping[str, Curve] | None = None,
    tell: Callable[[str], None] = lambda doing: None,
) -> None:
    """Samples, reconstructions, interpolations and the trajectory, or why there are none.

    held_out: real images to reconstruct, uint8 [N,C,H,W]
    folder:   None in a process that does not write
    labels:   the classes of the samples, for conditional models
    more:     curves that others measured
    tell:     called with the name of what is drawn next, DRAWN times at most
    """
    seed = FIGURE_SEED
    note = MEAN_PIXELS if isinstance(model, NoisyPixels) else None
    tell("samples")
    drawn = sample.sample(model, shown(model.shape), seed, machine, labels=labels)
    save(folder, "samples", drawn, SIDE, model.samples_note)
    tell("interpolations")
    paths = interpolate.between_draws(model, PATHS, POINTS, seed, machine, labels)
    save(folder, "interpolation", paths.flatten(0, 1), POINTS, model.samples_note)
    if isinstance(model, Encodes):
        tell("reconstructions")
        originals = held_out[: 2 * PAIRS]
        answers = reconstruct.answers(model, originals, seed, machine)
        bands = [originals, *(answer.images for answer in answers.values())]
        pictures = images.interleave(*bands, columns=PAIRS)
        save(folder, "reconstruction", pictures, PAIRS, note)
    else:
        note = why_not(model, "encode")
        write(folder, "reconstruction", {"defined": False, "note": as_json(note)})
    if isinstance(model, Iterative):
        tell("trajectories and curves")
        ways = sample.trajectory(model, PATHS, POINTS, seed, machine, labels=labels)
        save(folder, "trajectory", ways.flatten(0, 1), POINTS)
        curves = {**curves_of(model, held_out[:CURVED], seed, machine), **(more or {})}
        write(folder, "curves", {name: asdict(curve) for name, curve in curves.items()})


def shown(shape: ImageShape) -> int:
    """Samples in a picture of them."""
    return sample.SHOWN_POINTS if shape.is_point else SIDE**2


def save(
    folder: Path | None, name: str, pictures: Tensor, columns: int, note: Note | None = None
) -> None:
    """Write pictures, uint8 [N,C,H,W], as NAME.png, and their layout as NAME.json."""
    if folder is None:
        return
    whole = images.grid(pictures, columns, GAP)
    whole.save(folder / f"{name}.png")
    one = images.is_points(pictures)  # they lie in one picture
    values = {
        "defined": True,
        "rows": 1 if one else -(-len(pictures) // columns),
        "columns": 1 if one else columns,
        "cell": list((whole.pixels if one else pictures).shape[-2:]),
        "gap": GAP,
        "note": as_json(note),
    }
    write(folder, name, values)


def write(folder: Path | None, name: str, values: Mapping[str, object]) -> None:
    """Write NAME.json; nothing where there is no folder."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / f"{name}.json", values)
