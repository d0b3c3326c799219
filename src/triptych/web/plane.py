"""Pictures of what a model makes of the plane: its density, its field, its paths.

All are of the square on which points lie between -1 and 1, with real points in grey.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor
from torch.nn import functional

from triptych import images
from triptych.errors import InputError
from triptych.families.capabilities import Iterative
from triptych.families.gan.model import GAN
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel
from triptych.families.registry import FAMILIES
from triptych.hardware import Machine
from triptych.records import Record
from triptych.seeding import ImageStreams
from triptych.tasks import interpolate, sample

View = Literal["samples", "density", "field", "paths"]
SIDE = 512  # pixels of a picture
CELLS = 128  # of a density, along each axis
SAMPLES, DENSE = 800, 4000  # drawn, and counted for a density
BLUR = 2.0  # cells: deviation of the blur of a density
SCORED = 96  # places of a discriminator's field, along each axis
ARROWS = 24
LINES, ALONG, REACH = 17, 120, 2.5  # of a grid of latents, in deviations
PATHS, POINTS = 24, 40
PAPER, REAL, FAKE_COLOR = (255, 255, 255), (176, 176, 176), (222, 140, 60)
OTHER_COLOR = "#555555"  # of models of families that are not ours


@dataclass(frozen=True, kw_only=True)
class PlaneAsked(Record):
    """What is to be seen of one run."""

    run: str
    view: View = "samples"
    seed: int = 0
    sigma: float = 0.3  # noise level of a score field
    steps: int | None = None


class Canvas:
    """A picture of the square, y upwards."""

    def __init__(self, color: str) -> None:
        self.picture = Image.new("RGB", (SIDE, SIDE), PAPER)
        self.color = ImageColor.getrgb(color)[:3]

    @property
    def pen(self) -> ImageDraw.ImageDraw:
        """What draws on the picture as it is now."""
        return ImageDraw.Draw(self.picture)

    @staticmethod
    def places(points: Tensor) -> list[tuple[float, float]]:
        """Points [N,2] on [-1, 1] as pixels."""
        x, y = points.cpu().double().T
        columns, rows = (x + 1) / 2 * (SIDE - 1), (1 - y) / 2 * (SIDE - 1)
        return list(zip(columns.tolist(), rows.tolist(), strict=True))

    def dots(self, points: Tensor, color: tuple[int, ...], radius: float = 2.0) -> None:
        """Points [N,2] as dots."""
        pen = self.pen
        for x, y in self.places(points):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)

    def line(self, points: Tensor, width: int = 1) -> None:
        """Points [N,2] joined."""
        self.pen.line(self.places(points), fill=self.color, width=width)

    def shade(self, values: Tensor, high: tuple[int, ...], low: tuple[int, ...] = PAPER) -> None:
        """Values [n,n] from -1 to 1, the first row at the top: paper at 0, colors at the ends."""
        ends = torch.tensor([low, PAPER, high], dtype=torch.float32)
        strength = values.abs().clamp(max=1)[..., None]
        colors = torch.where(values[..., None] > 0, ends[2], ends[0])
        mixed = torch.lerp(ends[1].expand_as(colors), colors, strength)
        small = Image.fromarray(mixed.round().to(torch.uint8).numpy())
        self.picture = small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)

    @property
    def pixels(self) -> Tensor:
        """uint8 [3,SIDE,SIDE]."""
        return (
            torch.frombuffer(bytearray(self.picture.tobytes()), dtype=torch.uint8)
            .view(SIDE, SIDE, 3)
            .permute(2, 0, 1)
        )


def draw(
    model: GenerativeModel, family: str, real: Tensor, machine: Machine, asked: PlaneAsked
) -> Tensor:
    """The picture, uint8 [3,512,512]; `real` are held-out points, uint8 [N,2,1,1].

    InputError on a model of images.
    """
    if not model.shape.is_point:
        raise InputError("this run is of images", "choose one of points")
    canvas = Canvas(FAMILIES[family].color if family in FAMILIES else OTHER_COLOR)
    backdrop = VIEWS[asked.view]
    with torch.inference_mode():
        backdrop(canvas, model, machine, asked, images.to_float(real).flatten(1))
    return canvas.pixels


def draw_samples(
    canvas: Canvas, model: GenerativeModel, machine: Machine, asked: PlaneAsked, real: Tensor
) -> None:
    """Samples over real points."""
    drawn = sample.sample(model, SAMPLES, asked.seed, machine)
    canvas.dots(real, REAL)
    canvas.dots(images.to_float(drawn).flatten(1), canvas.color)


def draw_density(
    canvas: Canvas, model: GenerativeModel, machine: Machine, asked: PlaneAsked, real: Tensor
) -> None:
    """How densely samples lie: the same estimate for every model, of which some have no density."""
    drawn = sample.sample(model, DENSE, asked.seed, machine)
    canvas.shade(density(images.to_float(drawn).flatten(1)), canvas.color)
    canvas.dots(real, REAL, radius=1.0)


def density(points: Tensor) -> Tensor:
    """Points [N,2] counted in cells and blurred, the square root over its largest: [n,n]."""
    cells = ((points + 1) / 2 * CELLS).long().clamp(0, CELLS - 1)
    rows = (CELLS - 1 - cells[:, 1]) * CELLS + cells[:, 0]
    counts = torch.bincount(rows, minlength=CELLS**2).view(1, 1, CELLS, CELLS).float()
    reach = int(3 * BLUR)
    bell = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / BLUR) ** 2)
    bell /= bell.sum()
    blurred = functional.conv2d(counts, bell.view(1, 1, -1, 1), padding=(reach, 0))
    blurred = functional.conv2d(blurred, bell.view(1, 1, 1, -1), padding=(0, reach))[0, 0]
    return (blurred / blurred.max()).sqrt()


def draw_field(
    canvas: Canvas, model: GenerativeModel, machine: Machine, asked: PlaneAsked, real: Tensor
) -> None:
    """Where the discriminator sees real points, the score, or the grid of latents decoded."""
    if isinstance(model, GAN):
        scores = model.discriminator(as_points(lattice(SCORED, machine)))
        sure = torch.tanh(scores.float().cpu() / 2)  # 2 sigmoid - 1
        canvas.shade(sure.view(SCORED, SCORED), canvas.color, FAKE_COLOR)
        canvas.dots(real, REAL)
    elif isinstance(model, Iterative):
        canvas.dots(real, REAL)
        at = lattice(ARROWS, machine)
        towards = model.denoised(as_points(at), asked.sigma).flatten(1) - at
        longest = towards.norm(dim=1).max().clamp(min=1e-6)
        heads = at + towards * (2 / ARROWS) / longest
        for tail, head in zip(at, heads, strict=True):
            canvas.line(torch.stack([tail, head]))
        canvas.dots(heads, canvas.color, radius=1.5)
    else:
        canvas.dots(real, REAL)
        for line in latent_grid(model, machine):
            canvas.line(line)


def lattice(side: int, machine: Machine) -> Tensor:
    """The middles of side x side cells of the square, row by row from the top: [side*side,2]."""
    middles = (torch.arange(side, device=machine.device) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(middles.flip(0), middles, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def as_points(points: Tensor) -> Tensor:
    """[N,2] -> [N,2,1,1]."""
    return points[:, :, None, None]


def latent_grid(model: GenerativeModel, machine: Machine) -> list[Tensor]:
    """Lines along the first two numbers of the latent, the others 0, decoded: each [n,2]."""
    one = ImageStreams(0, "grid", range(1), machine.device)
    (name, like), *_ = model.draw_latent(1, one).tensors.items()
    along = torch.linspace(-REACH, REACH, ALONG, device=like.device)
    lines = []
    for across in torch.linspace(-REACH, REACH, LINES).tolist():
        for axis in range(min(2, like.shape[1])):
            z = like.new_zeros(ALONG, like.shape[1])
            z[:, axis] = along
            if like.shape[1] > 1:
                z[:, 1 - axis] = across
            streams = ImageStreams(0, "grid", range(ALONG), machine.device)
            lines.append(model.decode(Latent({name: z}, path="straight"), streams).flatten(1))
    return lines


def draw_paths(
    canvas: Canvas, model: GenerativeModel, machine: Machine, asked: PlaneAsked, real: Tensor
) -> None:
    """From noise to a sample, or between two draws where one call leads there; dots at the ends."""
    canvas.dots(real, REAL)
    if isinstance(model, Iterative):
        rng = ImageStreams(asked.seed, "sample", range(PATHS), machine.device)
        ways = model.trajectory(model.draw_latent(PATHS, rng), rng, POINTS)
    else:
        ways = images.to_float(interpolate.between_draws(model, PATHS, POINTS, asked.seed, machine))
    ways = ways.flatten(2)
    for way in ways:
        canvas.line(way, width=2)
    canvas.dots(ways[:, -1], canvas.color, radius=4.0)


VIEWS = {
    "samples": draw_samples,
    "density": draw_density,
    "field": draw_field,
    "paths": draw_paths,
}
