"""`diffusion:course`: the practical's DDPM (arXiv:2006.11239), 1000 slow steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from triptych.config import ImageShape, Optimiser, Settings, Size
from triptych.families.base import Batch, Objective, Recipe
from triptych.families.diffusion.bound import VariationalBound, gaussian_decoder
from triptych.families.diffusion.denoisers import Denoiser, NoisePredictor
from triptych.families.diffusion.flow import FlowLikelihood
from triptych.families.diffusion.model import Diffusion, Process
from triptych.families.diffusion.sampling import Sampling
from triptych.families.diffusion.schedule import linear_beta_sigmas, spaced_sigmas
from triptych.nn.course_unet import CourseUNet

FLOW_LEVELS = 64


@dataclass(frozen=True, kw_only=True)
class CourseDDPM(Settings):
    """The assignment's numbers."""

    steps: int = 1000  # T
    beta_first: float = 1e-4
    beta_last: float = 0.02
    width: int = 32
    sampler: str = "ancestral"
    optimiser: Optimiser = Optimiser(learning_rate=1e-4)


class HuberNoiseLoss(Objective):
    """Smooth L1 between the noise and its prediction at a uniform random step."""

    name = "denoiser"

    def __init__(self, denoiser: Denoiser, shape: ImageShape, optimiser: Optimiser) -> None:
        super().__init__()
        assert isinstance(denoiser, NoisePredictor)
        self.denoiser = denoiser
        self.shape = shape
        self.optimiser = optimiser

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """t uniform on 0..T-1, [count], and Gaussian noise, [count,C,H,W]."""
        return {
            "t": torch.randint(len(self.denoiser.sigmas), (count,), generator=generator),
            "gaussian": torch.randn(count, *self.shape.size, generator=generator),
        }

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Huber loss with delta 1."""
        sigma = self.denoiser.sigmas[batch.noise["t"]].to(batch.images)
        noise = batch.noise["gaussian"]
        noisy = batch.images + sigma.view(-1, 1, 1, 1) * noise
        return {"total": F.smooth_l1_loss(self.denoiser.predict_noise(noisy, sigma), noise)}


def build(settings: CourseDDPM, shape: ImageShape) -> Diffusion:
    """The course U-Net under DDPM's linear schedule."""
    sampling = Sampling(name=settings.sampler, steps=settings.steps)
    sigmas = linear_beta_sigmas(settings.steps, settings.beta_first, settings.beta_last)
    prior_std = (1 + sigmas[-1] ** 2).sqrt().item()  # N(0, I) in variance-preserving scale
    return Diffusion(
        NoisePredictor(CourseUNet(shape.channels, settings.width), sigmas),
        process=Process(levels=partial(spaced_sigmas, sigmas), prior_std=prior_std),
        sampling=sampling,
        objective=partial(HuberNoiseLoss, optimiser=settings.optimiser),
        likelihoods={
            "variational": VariationalBound(sigmas, prior_std, gaussian_decoder),
            "ode": FlowLikelihood(
                spaced_sigmas(sigmas, FLOW_LEVELS)[:-1].flip(0).tolist(), prior_std
            ),
        },
        features_at=0.2,
        shape=shape,
    )


def defaults(size: Size, shape: ImageShape) -> CourseDDPM:
    """The same at every size."""
    return CourseDDPM()


RECIPE = Recipe(
    summary="the practical's DDPM: 1000 ancestral steps",
    settings=CourseDDPM,
    defaults=defaults,
    build=build,
)
