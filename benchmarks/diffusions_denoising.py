"""denoising-diffusion-pytorch for `diffusions.py`: trained by its own trainer, measured as ours.

It is installed as the docstring of `peers.py` says.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from peers_networks import STEPS_OF_DDPM  # declares what torchvision lacks beside this torch
from peers_theirs import quiet
from triptych.config import ImageShape

TURN = 8  # steps between two looks at the clock
CALLS = 25  # of its DDIM sampler; its default of 1000 would take hours for as many samples
WIDTH, MULTIPLIERS = 32, (1, 2, 4, 8)  # of the Unet of its README, half as wide: as ours, 9.2 M


@dataclass
class Denoising:
    """Its model with the averaged and the last weights, and how far it was trained."""

    averaged: Any
    last: Any
    images_seen: int
    seconds: float

    def sample(self, count: int, averaged: bool, batch: int = 64) -> Tensor:
        """uint8 [N,C,H,W], by DDIM."""
        diffusion = self.averaged if averaged else self.last
        diffusion.eval()
        torch.manual_seed(0)
        with quiet(), torch.inference_mode():
            sizes = [min(batch, count - first) for first in range(0, count, batch)]
            found = [diffusion.sample(batch_size=size) for size in sizes]
        return (torch.cat(found) * 255).round().clamp(0, 255).to(torch.uint8)


def train(pixels: Tensor, shape: ImageShape, seconds: float) -> Denoising:
    """Its Trainer at its defaults, without mirroring, on uint8 images [N,C,H,W] as PNG files."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Trainer, Unet

    torch.manual_seed(0)
    network = Unet(WIDTH, dim_mults=MULTIPLIERS, channels=shape.channels)
    diffusion = GaussianDiffusion(
        network,
        image_size=shape.resolution,
        timesteps=STEPS_OF_DDPM,
        sampling_timesteps=CALLS,
    )
    with tempfile.TemporaryDirectory() as folder:
        for number, image in enumerate(pixels):
            picture = image[0] if len(image) == 1 else image.permute(1, 2, 0)
            Image.fromarray(picture.numpy()).save(f"{folder}/{number}.png")
        with quiet():
            trainer = Trainer(
                diffusion,
                folder,
                augment_horizontal_flip=False,  # a mirrored digit is no digit
                save_and_sample_every=10**9,
                calculate_fid=False,
                results_folder=str(Path(folder) / "results"),
            )
        started, spent = time.perf_counter(), 0.0
        while spent < seconds:
            trainer.train_num_steps = trainer.step + TURN
            with quiet():
                trainer.train()
            spent = time.perf_counter() - started
    seen = trainer.step * trainer.batch_size
    return Denoising(trainer.ema.ema_model, diffusion, seen, spent)
