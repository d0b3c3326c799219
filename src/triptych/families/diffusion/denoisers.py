"""Denoisers: a network and how its output becomes E[clean image | noisy image].

All take (x [B,C,H,W], sigma [B]) with x = clean + sigma * noise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Denoiser(nn.Module, ABC):
    """(x [B,C,H,W], sigma [B]) -> E[clean image | x] [B,C,H,W], as precise as x."""

    network: nn.Module

    @abstractmethod
    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The expected clean image."""


class NoisePredictor(Denoiser):
    """DDPM: the network sees sqrt(abar) x and the step t, and predicts the noise.

    network: (x [B,C,H,W], t [B] in 0..T-1) -> noise [B,C,H,W]
    sigmas:  the level of each t, rising, [T]
    """

    def __init__(self, network: nn.Module, sigmas: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("sigmas", sigmas, persistent=False)
        self.sigmas: Tensor

    def predict_noise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The noise in x, from the table's nearest level: [B,C,H,W]."""
        middles = (self.sigmas[1:].log() + self.sigmas[:-1].log()) / 2
        t = torch.searchsorted(middles, sigma.log().to(middles))
        scale = (1 + sigma**2).rsqrt().view(-1, 1, 1, 1)  # sqrt(abar)
        return self.network(x * scale, t).to(x.dtype)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x - sigma * noise (arXiv:2006.11239, eq. 15)."""
        return x - sigma.view(-1, 1, 1, 1) * self.predict_noise(x, sigma)


class Preconditioned(Denoiser):
    """EDM: scales that keep the network's input and target near unit variance.

    network:    (x [B,C,H,W], level [B]) -> [B,C,H,W]
    sigma_data: deviation of the data on [-1, 1]
    """

    def __init__(self, network: nn.Module, sigma_data: float) -> None:
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """c_skip x + c_out F(c_in x; c_noise) (arXiv:2206.00364, eq. 7 and table 1)."""
        total = sigma**2 + self.sigma_data**2
        c_skip = self.sigma_data**2 / total
        c_out = sigma * self.sigma_data * total.rsqrt()
        c_in = total.rsqrt()
        c_noise = sigma.log() / 4
        c_skip, c_out, c_in = (c.view(-1, 1, 1, 1) for c in (c_skip, c_out, c_in))
        return c_skip * x + c_out * self.network(c_in * x, c_noise).to(x.dtype)


class CleanPredictor(Denoiser):
    """The network predicts the clean image itself, never the noise (arXiv:2511.13720).

    Noise fills every dimension, images do not: a small network on patches has no room to pass
    noise through, and need not.
    """

    def __init__(self, network: nn.Module, sigma_data: float) -> None:
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """sigma_data F(c_in x; c_noise), scales as in `Preconditioned` with c_skip = 0."""
        c_in = (sigma**2 + self.sigma_data**2).rsqrt().view(-1, 1, 1, 1)
        return self.sigma_data * self.network(c_in * x, sigma.log() / 4).to(x.dtype)
