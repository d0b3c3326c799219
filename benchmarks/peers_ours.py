"""Our side of `peers.py`: our engine on the peers' networks, or on ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import peers_networks as shared
from peers_networks import BATCH, LATENT, NETWORK_CALLS, SIDE, STEPS_OF_DDPM, Worker
from triptych.config import ImageShape, OptimizerConfig, Settings
from triptych.data.batches import Batches
from triptych.data.dataset import Part
from triptych.families import registry
from triptych.families.diffusion.denoisers import Denoiser, NoisePredictor
from triptych.families.diffusion.model import Diffusion
from triptych.families.diffusion.recipes import course
from triptych.families.latent import Latent
from triptych.families.protocol import Batch, GenerativeModel, Objective
from triptych.families.registry import ModelName
from triptych.families.vae.losses import gaussian_kl
from triptych.hardware import Machine
from triptych.nn.course_unet import CourseUNet
from triptych.seeding import ImageStreams, initializing
from triptych.tasks.sample import sample
from triptych.training.plan import Plan
from triptych.training.state import TrainingState

SHAPE = ImageShape(channels=3, resolution=SIDE)
PLANNED = 10**9  # images: keeps rates and averages near their start
AVERAGE = 0.1  # width of the weight average, where the peer keeps one too
OF_EXAMPLE = OptimizerConfig(
    learning_rate=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, decay="cosine", clip_norm=1.0
)
OF_TRAINER = OptimizerConfig(learning_rate=1e-4, betas=(0.9, 0.99), clip_norm=1.0)


class PlainAttention(TorchFunctionMode):
    """Attention as our networks compute it: two batched products and a softmax.

    On CPUs PyTorch's own kernel takes 2.5 times as long for these few pixels in bfloat16.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if function is not F.scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        q, k, v = (args + tuple((kwargs or {}).values()))[:3]
        return (q * q.shape[-1] ** -0.5 @ k.mT).softmax(dim=-1) @ v


class Sampled(nn.Module):
    """diffusers' network as ours look: the noise alone comes out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x [B,C,H,W], t [B] -> predicted noise [B,C,H,W]."""
        with PlainAttention():
            return self.network(x, t).sample


class SquaredNoiseLoss(Objective):
    """Squared error of the predicted noise at a uniform step (arXiv:2006.11239, eq. 14)."""

    name = "denoiser"

    def __init__(self, denoiser: Denoiser, shape: ImageShape, optimizer: OptimizerConfig) -> None:
        super().__init__()
        assert isinstance(denoiser, NoisePredictor)
        self.denoiser = denoiser
        self.shape = shape
        self.optimizer = optimizer

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """t uniform on 0..T-1, [count], and Gaussian noise, [count,C,H,W]."""
        return {
            "t": torch.randint(STEPS_OF_DDPM, (count,), generator=generator),
            "gaussian": torch.randn(count, *self.shape.size, generator=generator),
        }

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Mean over pixels and images."""
        sigma = self.denoiser.sigmas[batch.noise["t"]].to(batch.images)
        noise = batch.noise["gaussian"]
        noisy = batch.images + sigma.view(-1, 1, 1, 1) * noise
        return {"total": F.mse_loss(self.denoiser.predict_noise(noisy, sigma), noise)}


class PythaeLoss(Objective):
    """Half the squared error plus KL, as in pythae's VAE; pixels on [0, 1]."""

    name = "bound"
    optimizer = OptimizerConfig(learning_rate=1e-4)

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Standard normal numbers of the posterior sample, [count,D]."""
        return {"posterior": torch.randn(count, LATENT, generator=generator)}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Nats per image, but for a constant."""
        images = (batch.images + 1) / 2
        found = self.vae.encoder(images)
        mean, log_variance = found.embedding.float(), found.log_covariance.float()
        z = mean + (log_variance / 2).exp() * batch.noise["posterior"]
        decoded = self.vae.decoder(z).reconstruction.float()
        reconstruction = 0.5 * (decoded - images).square().flatten(1).sum(1).mean()
        kl = gaussian_kl(mean, log_variance).mean()
        return {"total": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


class PythaeVAE(GenerativeModel):
    """pythae's VAE, to be trained only."""

    shape = SHAPE

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def objectives(self) -> list[Objective]:
        """One."""
        return [PythaeLoss(self.vae)]

    def networks(self) -> list[nn.Module]:
        """Both."""
        return [self.vae.encoder, self.vae.decoder]

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        """Not measured."""
        raise NotImplementedError

    def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
        """Not measured."""
        raise NotImplementedError

    @property
    def network_calls(self) -> int:
        """One."""
        return 1


def ddpm(network: nn.Module, optimizer: OptimizerConfig) -> Diffusion:
    """A DDPM with the linear schedule around any noise predictor."""
    model = course.build(course.CourseDDPM(), SHAPE)
    assert isinstance(model.denoiser, NoisePredictor)
    model.denoiser = NoisePredictor(network, model.denoiser.sigmas)
    model.make_objective = partial(SquaredNoiseLoss, optimizer=optimizer)
    return model


def course_unet(*multipliers: int) -> nn.Module:
    """The course U-Net with other multipliers, to have as many parameters as another."""
    with initializing(0):
        return CourseUNet(3, 32, multipliers)


def training(
    model: GenerativeModel, network: nn.Module, settings: Settings, machine: Machine, ran: str
) -> Worker:
    """A turn is rounds of our engine: batch, noise, forward, backward, step, average, tally."""
    state = TrainingState(model.to(machine.device).train(), settings)
    batches = Batches(Part(shared.noise_images(), None), BATCH, 0, machine.device)

    def turn(steps: int) -> None:
        for _ in range(steps):
            state.step(batches, 0, Plan.straight(PLANNED), machine)

    takes_step = isinstance(model, Diffusion)
    return Worker(
        turn, network, f"{ran}, {machine.precision}", shared.one_image() if takes_step else None
    )


def averaged(network: nn.Module, optimizer: OptimizerConfig, machine: Machine, ran: str) -> Worker:
    """Train a noise predictor and keep the average of its weights."""
    wrapped = Sampled(network) if hasattr(network, "config") else network
    settings = Settings(ema=AVERAGE)
    return training(ddpm(wrapped, optimizer), network, settings, machine, ran)


def pythae_training(machine: Machine) -> Worker:
    """Their networks, their loss, our engine."""
    vae = shared.vae_of_pythae()
    return training(PythaeVAE(vae), vae, Settings(), machine, "the same networks in our engine")


def course_training(family: str, machine: Machine) -> Worker:
    """The course's recipe as `triptych train` runs it."""
    name = ModelName.parse(f"{family}:course")
    settings = registry.defaults(name, "tiny", SHAPE)
    model = registry.build(name, settings, SHAPE, seed=0)
    network = model.denoiser.network if isinstance(model, Diffusion) else model
    return training(model, network, settings, machine, f"{name} in our engine")


def sampling(sampler: str, machine: Machine) -> Worker:
    """Our sampler around diffusers' network, to pictures."""
    network = shared.unet2d()
    steps = (NETWORK_CALLS + 1) // 2 if sampler == "heun" else NETWORK_CALLS
    model = ddpm(Sampled(network), OF_EXAMPLE).with_sampler(sampler, steps).eval()
    assert model.network_calls == NETWORK_CALLS
    turns = iter(range(10**9))

    def turn(batches: int) -> None:
        for _ in range(batches):
            sample(model, BATCH, next(turns), machine)

    ran = f"sampler {sampler}, {NETWORK_CALLS} network calls, {machine.precision}"
    return Worker(turn, network, ran, shared.one_image())


CASES: dict[str, Callable[[Machine], Worker]] = {
    "diffusers": lambda machine: averaged(
        shared.unet2d(), OF_EXAMPLE, machine, "the same network in our engine"
    ),
    "denoising": lambda machine: averaged(
        course_unet(1, 2, 5, 8), OF_TRAINER, machine, "course U-Net of multipliers 1, 2, 5, 8"
    ),
    "denoising-same-operations": lambda machine: averaged(
        course_unet(1, 4, 4, 8), OF_TRAINER, machine, "course U-Net of multipliers 1, 4, 4, 8"
    ),
    "denoising-same-network": lambda machine: averaged(
        shared.unet_of_denoising(), OF_TRAINER, machine, "the same network in our engine"
    ),
    "pythae": pythae_training,
    "course-vae": partial(course_training, "vae"),
    "course-gan": partial(course_training, "gan"),
    "course-ddpm": partial(course_training, "diffusion"),
    "sample-ddpm": partial(sampling, "ancestral"),
    "sample-ddim": partial(sampling, "ddim"),
    "sample-dpm": partial(sampling, "heun"),
}
