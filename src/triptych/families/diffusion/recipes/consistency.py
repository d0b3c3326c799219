"""`diffusion:consistency`: a trained model tuned to sample in a few calls (arXiv:2406.14548).

All points of a noise-free path belong to one image. The network learns to give the same one from
two neighboring levels of a path; the two approach each other as training goes on. At zero noise the
image is known (arXiv:2303.01469, 2406.14548). The teacher's guided outputs make the path
(arXiv:2310.04378): the student reaches with one call a step what guidance costs the teacher two.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from triptych.config import ImageShape, OptimizerConfig, Size
from triptych.families.capabilities import Learns
from triptych.families.conditioning import Conditioning, make_conditioning
from triptych.families.diffusion.denoisers import (
    AnchoredPredictor,
    Denoiser,
    OnUnitScale,
    Preconditioned,
    VelocityPredictor,
)
from triptych.families.diffusion.losses import batch_condition, level_noise
from triptych.families.diffusion.model import Diffusion, NoiseToImage, Process
from triptych.families.diffusion.recipes import (
    PatchDiffusion,
    common_parts,
    patch_network,
)
from triptych.families.diffusion.recipes.x0 import RESIDUAL
from triptych.families.diffusion.samplers import ALL_LEVELS
from triptych.families.diffusion.schedule import jump_sigmas
from triptych.families.protocol import Batch, FrozenView, GenerativeModel, Objective, Recipe
from triptych.records import Note

TEACHERS: dict[str, Callable[[nn.Module, float], OnUnitScale]] = {
    "edm": Preconditioned,
    "flow": VelocityPredictor,
    "x0": partial(AnchoredPredictor, residual=RESIDUAL),
}
TAKEN_OVER = (
    "patch", "widths", "blocks", "attention", "groups", "mppca_rank",
    "sigma_data", "sigma_min", "sigma_max", "rho", "features_at", "guided",
)  # fmt: skip
STEEPNESS, SLOPE = 8.0, 1.0  # k and b of arXiv:2406.14548


@dataclass(frozen=True, kw_only=True)
class ConsistencySettings(PatchDiffusion):
    """Settings of the student; those of its networks are the teacher's.

    teacher: the recipe of the model that training starts from
    led:     the teacher's guidance along its paths, at the levels of `guided`
    stages:  stages of the training; in each the neighboring level is half as far away
    huber:   c of the pseudo-Huber distance, divided by the root of the number of pixel values
    """

    teacher: str = "x0"
    led: float = 1.0
    stages: int = 4
    huber: float = 5e-4
    noise_mean: float = -0.5
    noise_std: float = 1.6
    sampler: str = "consistency"
    steps: int = 2
    guidance: float = 1.0
    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=1.25e-4, betas=(0.9, 0.99), warmup=0.02, decay="linear", muon_lr=0.00125
    )


class Teacher:
    """Holds the trained model, if there is one, outside the student's own weights."""

    def __init__(self, guidance: float, guided: tuple[float, float] = ALL_LEVELS) -> None:
        self.guidance, self.guided = guidance, guided
        self.model: Diffusion | None = None

    @torch.no_grad()
    def denoised(self, x: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        """The teacher's guided clean image for noisy ones [B,C,H,W], without gradients.

        condition: [B,classes+1], or None
        """
        assert self.model is not None
        return self.model.to(x.device).conditioned(condition, self.guidance, self.guided)(x, sigma)


class ConsistencyModel(NoiseToImage, Learns):
    """A model whose network gives the end of the path, not the expected image."""

    samplers = ("consistency",)
    lacks: ClassVar[Mapping[str, Note]] = {
        "encode": Note("consistency_no_inverse"),
        "likelihood": Note("consistency_no_density"),
    }

    def __init__(self, denoiser: Denoiser, *, teacher: Teacher, **others: Any) -> None:
        super().__init__(denoiser, **others)
        self.teacher = teacher

    def learn_from(self, teacher: GenerativeModel) -> None:
        """Start from the teacher's weights, and learn the ends of its paths from plain noise.

        ValueError where the teacher's networks are other ones.
        """
        assert isinstance(teacher, Diffusion)
        tensors = teacher.state_dict().items()
        try:
            self.load_state_dict({k: t for k, t in tensors if not k.startswith("prior.")})
        except RuntimeError as error:
            raise ValueError("the teacher's networks are other ones") from error
        self.teacher.model = teacher

    def deterministic(self, inverting: bool = False) -> Self:
        """With a single call: every further one would add noise."""
        return self.with_sampler(steps=1)


def reached_stage(share: float, stages: int) -> int:
    """a = 1 ... stages, each for an equal share of training."""
    return 1 + min(int(share * stages), stages - 1)


def neighbor(sigma: Tensor, share: float, stages: int) -> Tensor:
    """The lower level, whose output is the target, clamped at 0: [B].

    sigma (1 - n(sigma) / 2^a), n(sigma) = 1 + k sigmoid(-b sigma), a = 1 ... stages as training
    goes on (arXiv:2406.14548).
    """
    stage = reached_stage(share, stages)
    widening = 1 + STEEPNESS * torch.sigmoid(-SLOPE * sigma)
    return (sigma * (1 - widening / 2**stage)).clamp(min=0)


class ConsistencyLoss(Objective):
    """Distance of the outputs at two levels; the one at the lower level is the target."""

    name = "consistency"

    def __init__(
        self,
        denoiser: Denoiser,
        shape: ImageShape,
        network: nn.Module,
        settings: ConsistencySettings,
        conditioning: Conditioning | None,
        teacher: Teacher,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.target = FrozenView(denoiser)
        self.shape = shape
        self.settings = settings
        self.condition = partial(batch_condition, conditioning)
        self.teacher = teacher
        self.optimizer = settings.optimizer
        if settings.optimizer.muon_lr is not None:
            self.matrices = network.inner_matrices()  # type: ignore[operator]

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """As `WeightedDenoisingLoss`."""
        return level_noise(count, self.shape, generator)

    def regime(self, progress: float, step_index: int) -> Hashable:
        """The stage."""
        return reached_stage(progress, self.settings.stages)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """(sqrt(|D(x_sigma) - D(x_r)|^2 + c^2) - c) / (1 - r / sigma).

        As in arXiv:2406.14548, except that the gap is divided by its level; otherwise small noise
        would dominate. x_r is one step of Euler's method below x_sigma on the teacher's path.
        Without a teacher the image itself stands for the teacher's output.
        """
        settings, x, noise = self.settings, batch.images, batch.noise["gaussian"]
        sigma = (settings.noise_mean + settings.noise_std * batch.noise["level"]).exp()
        lower = neighbor(sigma, batch.progress, settings.stages)
        condition = self.condition(batch)
        upper = x + sigma.view(-1, 1, 1, 1) * noise
        clean = x if self.teacher.model is None else self.teacher.denoised(upper, sigma, condition)
        below = clean + (lower / sigma).view(-1, 1, 1, 1) * (upper - clean)
        denoised = self.denoiser(upper, sigma, condition)
        # Level 0 has no logarithm: the output at its clamped value is replaced below.
        target = self.target.detached(below, lower.clamp(min=settings.sigma_min), condition)
        target = torch.where((lower > 0).view(-1, 1, 1, 1), target, clean)
        squared = (denoised - target).square().flatten(1).sum(1)
        c = settings.huber * x[0].numel() ** 0.5
        distance = (squared + c**2).sqrt() - c
        return {"total": (distance * sigma / (sigma - lower)).mean()}


def build(settings: ConsistencySettings, shape: ImageShape) -> ConsistencyModel:
    """The teacher's network and denoiser; ValueError for a recipe that cannot be a teacher."""
    if settings.teacher not in TEACHERS:
        raise ValueError(f"teacher must be one of {', '.join(TEACHERS)}, got {settings.teacher}")
    conditioning = make_conditioning(shape, settings.groups)
    teacher = Teacher(settings.led, settings.guided)
    network = patch_network(settings, shape, conditioning, settings.teacher == "x0")
    top = settings.sigma_max
    process = Process(levels=partial(jump_sigmas, sigma_max=top), prior_std=top)
    return ConsistencyModel(
        TEACHERS[settings.teacher](network, settings.sigma_data),
        objective=partial(
            ConsistencyLoss,
            network=network,
            settings=settings,
            conditioning=conditioning,
            teacher=teacher,
        ),
        teacher=teacher,
        **common_parts(settings, shape, conditioning) | {"process": process},
    )


def take_over(
    settings: ConsistencySettings, teacher: str, theirs: PatchDiffusion
) -> ConsistencySettings:
    """Take the teacher's settings of networks, levels and guidance."""
    family, _, recipe = teacher.partition(":")
    if family != "diffusion" or recipe not in TEACHERS:
        raise ValueError(f"it is {teacher}, not one of {', '.join(TEACHERS)} of diffusion")
    kept = {name: getattr(theirs, name) for name in TAKEN_OVER}
    return replace(settings, teacher=recipe, led=theirs.guidance, **kept)


def defaults(size: Size, shape: ImageShape) -> ConsistencySettings:
    """The same at every size: `take_over` replaces the networks' settings."""
    return ConsistencySettings()


RECIPE = Recipe(
    summary="a trained model tuned to sample in 1 to 4 calls: --teacher RUN",
    settings=ConsistencySettings,
    defaults=defaults,
    build=build,
    conditional=True,
    take_over=take_over,
)
