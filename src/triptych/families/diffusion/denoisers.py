"""Denoisers: a network and how its output becomes E[clean image | noisy image].

All take (x [B,C,H,W], sigma [B]) with x = clean + sigma * noise. Conditional ones also take the
shares of the classes [B,classes+1].
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from triptych.families.diffusion.samplers import Denoise
from triptych.families.protocol import to_float32
from triptych.nn.mppca import MPPCA
from triptych.nn.unet import PatchUNet


def anchored(denoised: Tensor, noisy: Tensor, sigma: Tensor, residual: float) -> Tensor:
    """Two estimates of the clean image, weighted by their inverse variances: [B,C,H,W].

    residual: deviation of the denoised image's error at small noise, on [-1, 1]; the deviation of
              the noisy image's error is sigma, [B,1,1,1]
    """
    return torch.lerp(denoised, noisy, residual**2 / (residual**2 + sigma**2))


def with_anchor(denoise: Denoise, residual: float | None) -> Denoise:
    """`denoise` followed by `anchored`: small noise decides likelihoods. None changes nothing."""
    if residual is None:
        return denoise
    return lambda x, sigma: anchored(denoise(x, sigma), x, sigma.view(-1, 1, 1, 1), residual)


class Denoiser(nn.Module, ABC):
    """(x [B,C,H,W], sigma [B]) -> E[clean image | x] [B,C,H,W], as precise as x.

    network: (what `precondition_input` gives, shares of the classes or nothing) -> [B,C,H,W]
    """

    network: nn.Module

    @abstractmethod
    def precondition_input(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The network's input: the scaled image [B,C,H,W], and the noise level encoded, [B]."""

    @abstractmethod
    def to_x0(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """The network's output -> the clean image [B,C,H,W]; sigma [B,1,1,1]."""

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """The expected clean image, [B,C,H,W]; labels [B,classes+1]."""
        condition = [] if labels is None else [labels]
        output = self.network(*self.precondition_input(x, sigma), *condition).to(x.dtype)
        return self.to_x0(output, x, sigma.view(-1, 1, 1, 1))

    def features(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """The network's inner features of noisy images x [B,C,H,W]: [B,F].

        labels: as of `forward`, for networks that take them
        """
        condition = () if labels is None else (labels,)
        inputs = *self.precondition_input(x, sigma), *condition
        features = self.network.features(*inputs)  # type: ignore[operator] # all have it
        assert isinstance(features, Tensor)
        return features


class NoisePredictor(Denoiser):
    """DDPM: the network sees sqrt(abar) x and the step t, and predicts the noise.

    network: (x [B,C,H,W], t [B] in 0..T-1) -> noise [B,C,H,W]
    sigmas:  the level of each t, rising, [T]
    """

    def __init__(self, network: nn.Module, sigmas: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("sigmas", sigmas.float(), persistent=False)
        self.sigmas: Tensor

    def precondition_input(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The variance-preserving scale, and the table's nearest level."""
        middles = (self.sigmas[1:].log() + self.sigmas[:-1].log()) / 2
        t = torch.searchsorted(middles, sigma.log().to(middles))
        return x * (1 + sigma**2).rsqrt().view(-1, 1, 1, 1), t

    def to_x0(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """x - sigma * noise (arXiv:2006.11239, eq. 15)."""
        return x - sigma * output

    def predict_noise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The noise in x, from the table's nearest level: [B,C,H,W]."""
        return self.network(*self.precondition_input(x, sigma)).to(x.dtype)


class OnUnitScale(Denoiser):
    """The network's input has about unit variance at every level.

    network:    (x [B,C,H,W], level [B]) -> [B,C,H,W]
    sigma_data: deviation of the data on [-1, 1]
    """

    def __init__(self, network: nn.Module, sigma_data: float) -> None:
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data

    def precondition_input(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """c_in x and c_noise (arXiv:2206.00364, table 1)."""
        c_in = (sigma**2 + self.sigma_data**2).rsqrt().view(-1, 1, 1, 1)
        return c_in * x, sigma.log() / 4


class Preconditioned(OnUnitScale):
    """EDM: scales that keep the network's target near unit variance too."""

    def to_x0(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """c_skip x + c_out F (arXiv:2206.00364, eq. 7 and table 1)."""
        total = sigma**2 + self.sigma_data**2
        c_skip = self.sigma_data**2 / total
        c_out = sigma * self.sigma_data * total.rsqrt()
        return c_skip * x + c_out * output


class CleanPredictor(OnUnitScale):
    """The network predicts the clean image itself, never the noise (arXiv:2511.13720).

    Noise fills every dimension, images do not: a small network on patches has no room to pass
    noise through, and need not.
    """

    def to_x0(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """sigma_data F, as in `Preconditioned` with c_skip = 0."""
        return self.sigma_data * output


class AnchoredPredictor(CleanPredictor):
    """A clean predictor that returns its input at zero noise (arXiv:2303.01469, eq. 5).

    residual: as `anchored` takes it
    """

    def __init__(self, network: nn.Module, sigma_data: float, residual: float) -> None:
        super().__init__(network, sigma_data)
        self.residual = residual

    def to_x0(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """The nearer to the noisy image itself, the less noise it has."""
        return anchored(super().to_x0(output, x, sigma), x, sigma, self.residual)


class ClosedFormStart(nn.Module):
    """A network of a `CleanPredictor` that begins at the best linear denoiser of each group.

    It sees that denoiser's clean image, in the leading directions, beside its input and adds to it;
    as its last layer is zero at first, training begins where closed forms end.

    network:    (image and linear estimate [B,2C,H,W], level [B], shares of the groups or nothing)
                -> what is added to the linear estimate [B,C,H,W]
    mixture:    gives the linear estimate
    sigma_data: the unit of input and output
    """

    def __init__(self, network: PatchUNet, mixture: MPPCA, sigma_data: float) -> None:
        super().__init__()
        self.network, self.mixture, self.sigma_data = network, mixture, sigma_data

    def inner_matrices(self) -> list[nn.Parameter]:
        """Those of the network."""
        return self.network.inner_matrices()

    def linear(self, x: Tensor, level: Tensor, labels: Tensor | None) -> Tensor:
        """The mixture's clean image in units of sigma_data, [B,C,H,W].

        x and level are what `OnUnitScale.precondition_input` gives. Autocast makes it no coarser.
        """
        x = to_float32(x)
        sigma = (4 * level.to(x.dtype)).exp()
        scale = (sigma**2 + self.sigma_data**2).sqrt().view(-1, 1, 1, 1)
        if labels is None:
            labels = self.mixture.unknown(x)
        clean = self.mixture.denoise(x * scale, sigma, labels.to(x.dtype), inside=True)
        return clean / self.sigma_data

    def forward(self, x: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        """x [B,C,H,W], level [B], labels [B,classes+1] or none -> [B,C,H,W]."""
        linear = self.linear(x, level, labels)
        inputs = torch.cat([x, linear.to(x.dtype)], dim=1)
        return linear + self.network(inputs, level, labels)

    def features(self, x: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        """Those of the network, [B,F]."""
        linear = self.linear(x, level, labels)
        return self.network.features(torch.cat([x, linear.to(x.dtype)], dim=1), level, labels)


class VelocityPredictor(OnUnitScale):
    """Flow matching on straight paths (arXiv:2210.02747, eq. 20-22 with sigma_min = 0).

    Between image and noise lies (1 - t) clean + t noise, which is x (1 - t) at the level
    sigma = t / (1 - t); the network predicts the velocity, noise - clean.
    """

    def to_x0(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """(1 - t) x - t velocity."""
        return (x - sigma * output) / (1 + sigma)
