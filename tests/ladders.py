"""Tiny ladder VAEs in float64, their images and their noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tests.truths import normal, random_pixels
from triptych import images
from triptych.config import ImageShape, OptimizerConfig
from triptych.families.conditioning import make_conditioning
from triptych.families.vae.ladder import LadderVAE, Level, VectorLatent
from triptych.seeding import generator, initializing

PICTURES_ALONE = VectorLatent()  # there is no vector


def stirred_ladder(
    levels: Sequence[Level],
    shape: ImageShape,
    patch: int,
    warm_up: float,
    vector: VectorLatent = PICTURES_ALONE,
) -> LadderVAE:
    """With weights large enough that everything depends on everything it may, in float64."""
    with initializing(0):
        model = LadderVAE(
            levels,
            patch=patch,
            components=2,
            shape=shape,
            optimizer=OptimizerConfig(learning_rate=1.0),
            warm_up=warm_up,
            vector=vector,
            conditioning=make_conditioning(shape, 0),
        )
    rng = generator(0, "stir")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=rng))
    return model.double()


def tiny_ladder(
    channels: int = 1,
    classes: int | None = None,
    patch: int = 1,
    warm_up: float = 0.0,
    vector: VectorLatent = PICTURES_ALONE,
) -> LadderVAE:
    """Pictures of 4x4 patches, one block on a single pixel and two on 4x4."""
    levels = [
        Level(side=4, width=6, bottom_up_blocks=1, top_down_blocks=2, latent=2),
        Level(side=1, width=5, bottom_up_blocks=1, top_down_blocks=1, latent=3),
    ]
    shape = ImageShape(channels=channels, resolution=4 * patch, classes=classes)
    return stirred_ladder(levels, shape, patch, warm_up, vector)


def pictures_for(model: LadderVAE, count: int = 3) -> Tensor:
    """8-bit images, float64."""
    return images.to_float(random_pixels(count, *model.shape.size)).double()


def ladder_noise(model: LadderVAE, count: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Of every latent, float64."""
    return {
        name: normal(count, *shape, seed=seed + number)
        for number, (name, shape) in enumerate(model.latents.items())
    }
