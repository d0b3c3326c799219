"""A public DCGAN loop for `gans.py`, as PyTorch's examples have it, for 32x32 images.

Written afresh from arXiv:1511.06434: the same networks as the practical's, images from a loader,
float32, Adam at 2e-4, both losses read at every step.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from triptych.config import ImageShape, OptimizerConfig
from triptych.families.gan.inversion import Inversion
from triptych.families.gan.losses import (
    GANLoss,
    cross_entropy_discriminator,
    cross_entropy_generator,
)
from triptych.families.gan.model import GAN

LATENT, WIDTH, BATCH = 100, 64, 64


def first_weights(module: nn.Module) -> None:
    """N(0, 0.02), and N(1, 0.02) for BatchNorm."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def generator(channels: int) -> nn.Sequential:
    """[B,100] -> [B,C,32,32]."""
    return nn.Sequential(
        nn.Unflatten(1, (LATENT, 1, 1)),
        nn.ConvTranspose2d(LATENT, 4 * WIDTH, 4, bias=False),
        nn.BatchNorm2d(4 * WIDTH),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(4 * WIDTH, 2 * WIDTH, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * WIDTH),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(2 * WIDTH, WIDTH, 4, 2, 1, bias=False),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(WIDTH, channels, 4, 2, 1, bias=False),
        nn.Tanh(),
    ).apply(first_weights)


def discriminator(channels: int) -> nn.Sequential:
    """[B,C,32,32] -> logits [B]."""
    return nn.Sequential(
        nn.Conv2d(channels, WIDTH, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * WIDTH),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(2 * WIDTH, 4 * WIDTH, 4, 2, 1, bias=False),
        nn.BatchNorm2d(4 * WIDTH),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(4 * WIDTH, 1, 4, bias=False),
        nn.Flatten(0),
    ).apply(first_weights)


@dataclass
class PublicDCGAN:
    """The trained networks, and how far they came."""

    model: GAN
    images_seen: int
    seconds: float


def train(pixels: Tensor, shape: ImageShape, seconds: float, seed: int = 0) -> PublicDCGAN:
    """uint8 [N,C,32,32] for so many seconds."""
    torch.manual_seed(seed)
    g, d = generator(shape.channels), discriminator(shape.channels)
    loader = DataLoader(TensorDataset(pixels), BATCH, shuffle=True, drop_last=True)
    loss = nn.BCEWithLogitsLoss()
    of_g, of_d = (torch.optim.Adam(n.parameters(), 2e-4, betas=(0.5, 0.999)) for n in (g, d))
    seen, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for (real,) in loader:
            ones, zeros = torch.ones(len(real)), torch.zeros(len(real))
            of_d.zero_grad()
            on_real = loss(d(real.float() / 127.5 - 1), ones)
            on_real.backward()
            fake = g(torch.randn(len(real), LATENT))
            on_fake = loss(d(fake.detach()), zeros)
            on_fake.backward()
            of_d.step()
            of_g.zero_grad()
            of_both = loss(d(fake), ones)
            of_both.backward()
            of_g.step()
            _ = (on_real + on_fake).item(), of_both.item()  # printed there
            seen += len(real)
            if time.perf_counter() - started >= seconds:
                break
    spent = time.perf_counter() - started
    adam = OptimizerConfig(learning_rate=2e-4, betas=(0.5, 0.999))
    model = GAN(
        g,
        d,
        latent=LATENT,
        loss=GANLoss(discriminator=cross_entropy_discriminator, generator=cross_entropy_generator),
        discriminator_optimizer=adam,
        generator_optimizer=adam,
        inversion=Inversion(),
        shape=shape,
    )
    return PublicDCGAN(model.eval(), seen, spent)
