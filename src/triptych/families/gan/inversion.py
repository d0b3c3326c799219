"""From an image back to a latent of the generator: an encoder, then refinement.

The encoder is trained after the generator: on fake images, whose latents are known, and on real
ones, which the generator should reproduce from their latents. Refinement then follows the gradient
of each image's own error (arXiv:1609.03552, section 3.2, has both, in this order).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from triptych.config import ImageShape, OptimizerConfig
from triptych.families.gan.losses import Players
from triptych.families.protocol import Batch, FrozenView, Objective, frozen, to_float32
from triptych.nn.convnets import StridedEncoder
from triptych.nn.dcgan import stage_widths
from triptych.nn.mlp import point_features
from triptych.nn.unet import zero

REFINING_RATE = 0.1  # of Adam on latents of unit deviation, falling to 0
BETAS = (0.9, 0.99)  # of that Adam
SCALE = 2.0**10  # of its gradients and its epsilon: a pixel's own would be too small for float16
POINT_DEPTH = 2  # layers of an encoder of points
KEEP_NEAR = 1e-3  # weight of |z|^2 per number beside the error per pixel


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """Settings of the encoder, its training and the refinement.

    share:  length of its training, as a share of the planned images
    pixels: weight of the pixels' mean squared error; that of the latents has weight 1
    steps:  of the refinement
    """

    share: float = 0.05
    width: int = 32
    pixels: float = 10.0
    steps: int = 100
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-3, warmup=0.05, decay="cosine")

    def __post_init__(self) -> None:
        if not 0 < self.share <= 10 or self.width < 4 or self.pixels < 0 or self.steps < 0:
            raise ValueError(f"an inversion needs share, width, pixels and steps above 0: {self}")


class Inverter(nn.Module):
    """Images [B,C,H,W] -> latents [B,D]; no statistics of batches.

    adds: whether it adds to latents in closed form, with nothing at first
    """

    def __init__(self, latent: int, shape: ImageShape, width: int, adds: bool = False) -> None:
        super().__init__()
        self.features: nn.Module
        if shape.is_point:
            self.features, count = point_features(width, POINT_DEPTH), width
        else:
            widths = stage_widths(shape.resolution, width)[::-1]
            stages = StridedEncoder(shape.channels, shape.resolution, widths, norm="group")
            self.features, count = stages, stages.features
        last = nn.Linear(count, latent)
        self.latent = zero(last) if adds else last

    def forward(self, x: Tensor, closed_form: Tensor | None = None) -> Tensor:
        """x [B,C,H,W], and latents [B,D] to add to -> [B,D]."""
        z = to_float32(self.latent(self.features(x)))
        return z if closed_form is None else closed_form + z


class InversionObjective(Objective):
    """Recover the latents of fake images and reproduce real ones; trains the encoder alone."""

    name = "inversion"
    phase = 1

    def __init__(self, encoder: nn.Module, players: Players, inversion: Inversion) -> None:
        super().__init__()
        self.encoder, self.players, self.inversion = encoder, players, inversion
        self.generator = FrozenView(players.generator)
        self.optimizer = inversion.optimizer
        self.share = inversion.share

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Numbers for the latents of the fake images."""
        return self.players.noise(count, generator)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Mean squared errors of latents and of pixels."""
        condition = self.players.condition_of(batch.images)  # as images to encode have it
        z = self.players.latents(batch.noise, condition)

        def encoded(images: Tensor) -> Tensor:
            return self.encoder(images, self.players.closed_form(images, condition))

        with evaluating(self.players.generator):
            fake = to_float32(self.generator.detached(z, *condition))
            again = to_float32(self.generator.frozen(encoded(batch.images), *condition))
        latents = (encoded(fake) - z).square().mean()
        pixels = (again - batch.images).square().mean()
        return {
            "total": latents + self.inversion.pixels * pixels,
            "latents": latents,
            "pixels": pixels,
        }


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Inside, the network is in evaluation mode: batch statistics are used, not updated."""
    was = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was)


def refine(
    generator: nn.Module, images: Tensor, z: Tensor, condition: list[Tensor], steps: int
) -> Tensor:
    """Latents whose images are nearer to these, by Adam on each image's mean squared error.

    Each image's best latent is kept, so no error ends larger than it began. An image's result does
    not depend on other images. images [N,C,H,W], z [N,D] -> [N,D]
    """
    with torch.inference_mode(False), torch.enable_grad(), frozen(generator), evaluating(generator):
        x, z = images.clone(), to_float32(z).clone().requires_grad_()
        condition = [k.clone() for k in condition]
        best, least = z.detach().clone(), torch.full((len(z),), float("inf"), device=z.device)
        optimizer = torch.optim.Adam([z], betas=BETAS, eps=SCALE * 1e-8)
        for step in range(steps + 1):
            current = z.view_as(z)  # no leaf: of those autocast keeps a copy, and sees no step
            errors = (to_float32(generator(current, *condition)) - x).square().flatten(1).mean(1)
            better = errors.detach() < least
            best = torch.where(better[:, None], z.detach(), best)
            least = torch.where(better, errors.detach(), least)
            if step == steps:
                break
            costs = errors + KEEP_NEAR * z.square().mean(1)
            (z.grad,) = torch.autograd.grad(SCALE * costs.sum(), z)
            optimizer.param_groups[0]["lr"] = REFINING_RATE * (1 - step / steps)
            optimizer.step()
    return best
