"""pythae's VAE for `vaes.py`: trained by its own trainer, measured as ours are."""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from peers_networks import BATCH, LATENT, vae_of_pythae
from peers_theirs import quiet
from triptych import images
from triptych.config import ImageShape, OptimizerConfig
from triptych.families.vae.gaussian import GaussianEncoder, GaussianVAE
from triptych.seeding import ImageStreams

MEASURED = 4096  # training images for the best deviation and the mixture
TURN = 16  # steps between two looks at the clock
ITS_STD = 2.0  # half the squared error on [0, 1] is a deviation of 1 there, of 2 on [-1, 1]


class ItsEncoder(GaussianEncoder):
    """Images on [-1, 1] to the mean and log-variance of its encoder."""

    def __init__(self, encoder: nn.Module) -> None:
        nn.Module.__init__(self)
        self.encoder = encoder

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B,C,H,W] -> mean, log-variance, each [B,D]."""
        found = self.encoder((x + 1) / 2)
        return found.embedding, found.log_covariance


class ItsDecoder(nn.Module):
    """Its decoder's images, brought to [-1, 1]."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z: Tensor) -> Tensor:
        """[B,D] -> [B,C,H,W]."""
        return 2 * self.decoder(z).reconstruction - 1


@dataclass
class Pythae:
    """Its model, and how far it was trained."""

    vae: Any
    shape: ImageShape
    images_seen: int = 0
    seconds: float = 0.0

    def train(self, train: Tensor, seconds: float) -> None:
        """Its BaseTrainer at its defaults, on uint8 images [N,C,H,W], for so many seconds."""
        from pythae.trainers import BaseTrainer, BaseTrainerConfig

        logging.disable(logging.INFO)
        pixels = train.float() / 255
        with tempfile.TemporaryDirectory() as scratch, quiet():
            config = BaseTrainerConfig(output_dir=scratch, per_device_train_batch_size=BATCH)
            trainer = BaseTrainer(self.vae, part(pixels), None, config)
            trainer.prepare_training()
            started, turn = time.perf_counter(), 0
            while self.seconds < seconds:
                order = torch.randperm(len(pixels))[: TURN * BATCH]
                trainer.train_loader = trainer.get_train_dataloader(part(pixels[order]))
                turn += 1
                trainer.train_step(turn)
                self.images_seen += len(order)
                self.seconds = time.perf_counter() - started
        self.vae.eval()

    def as_ours(self, train: Tensor, best_std: bool) -> GaussianVAE:
        """The same networks with our bounds, at its deviation or at the best one for `train`."""
        model = GaussianVAE(
            ItsEncoder(self.vae.encoder),
            ItsDecoder(self.vae.decoder),
            latent=LATENT,
            std=ITS_STD,
            learn_std=best_std,
            shape=self.shape,
            optimizer=OptimizerConfig(learning_rate=1e-4),
        ).eval()
        some = images.to_float(train[:MEASURED])
        model.fit_after_training(some, ImageStreams(0, "settle", range(len(some))))
        return model

    def mixture_draws(self, train: Tensor, count: int) -> Tensor:
        """Samples of its GaussianMixtureSampler at its defaults, uint8 [N,C,H,W]."""
        from pythae.samplers import GaussianMixtureSampler

        sampler = GaussianMixtureSampler(self.vae)
        with quiet():
            sampler.fit(train[:MEASURED].float() / 255)
            return (sampler.sample(count) * 255).round().clamp(0, 255).to(torch.uint8)


def part(pixels: Tensor) -> Any:
    """Images on [0, 1] as its data set."""
    from pythae.data.datasets import BaseDataset

    return BaseDataset(pixels, torch.zeros(len(pixels)))


def fresh(networks: str, shape: ImageShape) -> Pythae:
    """Its VAE with its networks for CIFAR ("conv"), or those it takes by itself ("mlp").

    Grey images get one channel at both ends of the former.
    """
    if networks == "mlp":
        from pythae.models import VAE, VAEConfig

        return Pythae(VAE(VAEConfig(input_dim=shape.size, latent_dim=LATENT)), shape)
    vae = vae_of_pythae()
    if shape.channels == 1:
        vae.encoder.layers[0][0] = nn.Conv2d(1, 128, 4, 2, padding=1)
        vae.decoder.layers[-1][0] = nn.ConvTranspose2d(256, 1, 4, 1, padding=2)
    return Pythae(vae, shape)
