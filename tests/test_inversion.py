"""From images back to latents: planted ones are found, nothing gets worse, the generator stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.test_cli import call, refuses
from tests.test_training import digest, request, train
from tests.truths import MACHINE, normal, random_pixels
from triptych import images
from triptych.config import ImageShape
from triptych.families.gan.inversion import (
    Inversion,
    InversionObjective,
    evaluating,
    refine,
)
from triptych.families.gan.model import GAN
from triptych.families.gan.recipes import ConvolutionalSettings, course, hinge
from triptych.run import Run
from triptych.tasks import reconstruct
from triptych.training.resolve import ResolvedRequest
from triptych.training.state import TrainingState

__all__ = ["call", "refuses"]  # fixtures
pytestmark = pytest.mark.usefixtures("latents_are_refined_as_asked")

SHAPE = ImageShape(channels=1, resolution=16)


class Curved(nn.Module):
    """tanh of a linear map from few numbers to many: one latent for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.5 * normal(64, 4).float())

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(z @ self.weight.T).view(-1, 1, 8, 8)


def test_planted_latents_are_found() -> None:
    generator, z = Curved(), 0.5 * normal(6, 4, seed=1).float()
    found = refine(generator, generator(z).detach(), torch.zeros(6, 4), [], 300)
    torch.testing.assert_close(found, z, atol=0.02, rtol=0)
    assert all(p.requires_grad and p.grad is None for p in generator.parameters())


class Half(nn.Module):
    """Heeds the first of two latents alone."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor) -> Tensor:
        return self.scale * z[:, :1, None, None].expand(-1, 1, 4, 4)


def test_latents_that_no_pixel_needs_come_nearer_to_the_prior() -> None:
    """So that refined latents stay where draws are."""
    start = torch.tensor([[0.0, 2.0], [0.0, -3.0]])
    found = refine(Half(), torch.full((2, 1, 4, 4), 0.8), start, [], 100)
    torch.testing.assert_close(found[:, 0], torch.full((2,), 0.8), atol=0.02, rtol=0)
    assert (found[:, 1].abs() < 0.7 * start[:, 1].abs()).all()


def test_they_are_found_in_half_precision_too() -> None:
    """Autocast keeps half-precise copies of leaves, which do not follow their steps."""
    generator, z = Curved(), 0.5 * normal(6, 4, seed=1).float()
    x = generator(z).detach()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = refine(generator, x, torch.zeros(6, 4), [], 300)
    torch.testing.assert_close(found, z, atol=0.1, rtol=0)


def test_no_image_ends_further_off_than_it_began() -> None:
    """Not even where every step leads away, and not where there are none."""
    generator, z = Curved(), normal(6, 4, seed=1).float()
    x = generator(z).detach()

    def error(latents: Tensor) -> Tensor:
        return (generator(latents) - x).square().flatten(1).mean(1)

    assert (error(refine(generator, x, z, [], 5)) <= error(z) + 1e-12).all()
    start = z + 0.3
    assert torch.equal(refine(generator, x, start, [], 0), start)
    assert (error(refine(generator, x, start, [], 20)) < error(start)).all()


def test_an_image_s_latent_depends_on_no_other_image() -> None:
    generator, x = Curved(), 0.5 * normal(6, 1, 8, 8).float()
    whole = refine(generator, x, torch.zeros(6, 4), [], 30)
    alone = refine(generator, x[2:3], torch.zeros(1, 4), [], 30)
    torch.testing.assert_close(alone, whole[2:3])


def small(name: str = "hinge") -> GAN:
    settings: Any = ConvolutionalSettings(latent=6, width=8) if name == "hinge" else None
    settings = settings or course.CourseGAN(latent=6, width=8)
    module = hinge if name == "hinge" else course
    return module.build(settings, SHAPE)


@pytest.mark.parametrize("name", ["hinge", "course"])
def test_the_encoder_s_loss_is_of_latents_and_pixels(name: str) -> None:
    """The generator is as in use: batch statistics neither taken nor gathered."""
    model = small(name).train()
    objective = model.objectives()[2]
    assert isinstance(objective, InversionObjective)
    noise = objective.noise(4, torch.Generator().manual_seed(0))
    x = images.to_float(random_pixels(4, *SHAPE.size))
    before = {key: t.clone() for key, t in model.generator.state_dict().items()}
    found = objective(batch_of(x, noise))
    assert all(torch.equal(t, before[key]) for key, t in model.generator.state_dict().items())
    assert model.generator.training
    model.eval()
    z = noise["z"]
    latents = (model.encoder(model.generator(z)) - z).square().mean()
    pixels = (model.generator(model.encoder(x)) - x).square().mean()
    torch.testing.assert_close(found["latents"], latents)
    torch.testing.assert_close(found["pixels"], pixels)
    torch.testing.assert_close(found["total"], latents + 10 * pixels)


def batch_of(x: Tensor, noise: dict[str, Tensor]) -> Any:
    from triptych.families.protocol import Batch

    return Batch(x, None, noise)


def test_evaluating_ends_even_after_an_error() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2)).train()
    with pytest.raises(ZeroDivisionError), evaluating(network):
        assert not network[0].training
        raise ZeroDivisionError
    assert network.training and network[0].training


@pytest.mark.parametrize(
    "wrong", [{"share": 0.0}, {"share": 11.0}, {"width": 2}, {"pixels": -1.0}, {"steps": -1}]
)
def test_senseless_inversions_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="inversion needs"):
        Inversion(**wrong)


def test_refinement_is_a_matter_of_asking() -> None:
    model = small().eval()
    x = images.to_float(random_pixels(3, *SHAPE.size))
    with torch.inference_mode():
        first = model.with_refinement(0).encode(x).tensors["z"]
        torch.testing.assert_close(first, model.encoder(x))
        refined = model.with_refinement(40).encode(x)
        again = model.decode(refined, None)
        before = model.decode(model.with_refinement(0).encode(x), None)
    assert ((again - x).square().mean() < (before - x).square().mean()).item()
    assert model.refining_steps == 100


def test_answers_are_named_and_the_last_is_the_nearest() -> None:
    model, pixels = small().eval(), random_pixels(3, *SHAPE.size)
    told: list[tuple[int, int]] = []
    found = reconstruct.answers(model, pixels, 0, MACHINE, lambda *far: told.append(far))
    assert told == [(3, 6), (6, 6)]
    assert list(found) == ["encoded", "reconstruction"]
    errors = [(a.images.double() - pixels).square().mean().item() for a in found.values()]
    assert errors[1] < errors[0]
    alone = reconstruct.answers(model.with_refinement(0), pixels, 0, MACHINE)
    assert list(alone) == ["reconstruction"]
    assert torch.equal(alone["reconstruction"].images, found["encoded"].images)


# After training


def test_the_encoder_is_trained_after_the_generator_which_stays(tmp_path: Path) -> None:
    """It inverts the weights to use, those that samples are drawn with: the averaged ones."""
    wanted = request("gan:hinge", "1.28kimg", "width=8", "inversion.share=0.5")
    state: list[TrainingState] = []
    next_phase = TrainingState.next_phase

    def noted(self: TrainingState) -> None:
        averaged = self.ema
        next_phase(self)
        if self.phase == 1:
            assert averaged is not None and self.ema is None
            for key, tensor in self.model.state_dict().items():
                assert torch.equal(tensor, averaged.state[key])
            state.append(self)
            kept.update({k: t.clone() for k, t in self.model.generator.state_dict().items()})

    kept: dict[str, Tensor] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingState, "next_phase", noted)
        folder = train(wanted, tmp_path / "run")
    run = Run(folder.path, MACHINE)
    assert all(torch.equal(t, kept[k]) for k, t in run.model.generator.state_dict().items())
    assert folder.read().images_seen == 1280


def test_an_interrupted_encoder_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    wanted = request("gan:hinge", "1.28kimg", "width=8", "inversion.share=0.5")
    check_interrupted(wanted, 1, tmp_path)


def check_interrupted(wanted: ResolvedRequest, phase: int, tmp_path: Path) -> None:
    """A run that is interrupted in a phase, and goes on, ends like one that is not."""
    import signal

    from triptych.errors import InterruptedRunError

    whole = train(wanted, tmp_path / "whole")
    one_round = TrainingState.step

    def interrupted(self: TrainingState, *arguments: Any) -> None:
        one_round(self, *arguments)
        if self.phase == phase and self.seen == 10 * self.batch_size:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingState, "step", interrupted)
        with pytest.raises(InterruptedRunError):
            train(wanted, tmp_path / "cut")
    assert digest(train(wanted, tmp_path / "cut")) == digest(whole)


def test_gradients_of_a_refinement_fit_into_float16() -> None:
    """Those of single pixels, whose errors are small where images are nearly right."""
    met: list[Tensor] = []

    class Generator(nn.Module):
        """One that is off by 0.005 in every pixel of 64x64."""

        def forward(self, z: Tensor) -> Tensor:
            pixels = (z.mean(1)[:, None, None, None] + torch.zeros(1, 3, 64, 64)).half()
            if pixels.requires_grad:
                pixels.register_hook(met.append)
            return pixels

    z = torch.zeros(2, 4)
    refine(Generator(), torch.full((2, 3, 64, 64), 0.005), z, [], steps=1)
    assert len(met) == 1 and met[0].dtype == torch.float16
    assert met[0].abs().min() > torch.finfo(torch.float16).smallest_normal
