"""Consistency: its target, its loss, its few calls, and the teacher that it starts from."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.test_guidance import model_of as conditional
from tests.test_guidance import shares
from tests.test_training import DATA, MACHINE, request, train
from tests.truths import ListedStreams, NoStreams, normal
from triptych.config import ImageShape
from triptych.data.dataset import Part
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.diffusion.denoisers import CleanPredictor
from triptych.families.diffusion.recipes.consistency import (
    ConsistencyLoss,
    ConsistencyModel,
    ConsistencySettings,
    Teacher,
    neighbor,
)
from triptych.families.diffusion.samplers import SamplerState, consistency
from triptych.families.diffusion.schedule import jump_sigmas
from triptych.families.latent import Latent
from triptych.families.protocol import Batch
from triptych.options import TrainRequest
from triptych.run import Run
from triptych.tasks import sample
from triptych.training.resolve import ResolvedRequest, resolve
from triptych.training.train import fresh_state

SHAPE = ImageShape(channels=1, resolution=16)
STUDENT = registry.ModelName.parse("diffusion:consistency")


def model_of(**settings: int) -> ConsistencyModel:
    found = registry.build(STUDENT, ConsistencySettings(**settings), SHAPE, seed=0)  # type: ignore[arg-type]
    assert isinstance(found, ConsistencyModel)
    return found


# The target's level.


def test_the_neighbour_comes_nearer_in_stages() -> None:
    """sigma - r = sigma n(sigma) / 2^a, halved from stage to stage; n falls from 5 to 1."""
    sigma = torch.tensor([1e-3, 0.5, 3.0, 80.0], dtype=torch.float64)
    n = 1 + 8 / (1 + sigma.exp())
    assert neighbor(sigma, 0.0, 6)[:2].tolist() == [0.0, 0.0]
    assert neighbor(sigma, 0.0, 6)[3].item() == pytest.approx(40.0)
    for share, a in ((0.0, 1), (0.16, 1), (0.17, 2), (0.5, 4), (0.99, 6), (1.0, 6)):
        expected = (sigma - sigma * n / 2**a).clamp(min=0)
        torch.testing.assert_close(neighbor(sigma, share, 6), expected)


# The loss.


class Constant(nn.Module):
    """A network that answers the same at all levels: its one parameter."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.value.expand_as(x)


def loss_of(value: float, share: float, x: Tensor) -> tuple[Tensor, Constant, dict[str, Tensor]]:
    network, settings = Constant(value), ConsistencySettings()
    optimizer = replace(settings.optimizer, muon_lr=None)
    settings = replace(settings, optimizer=optimizer, sigma_data=1.0)
    objective = ConsistencyLoss(
        CleanPredictor(network, 1.0), SHAPE, network, settings, None, Teacher(1.0)
    )
    noise = objective.noise(len(x), torch.Generator().manual_seed(0))
    return objective(Batch(x, None, noise, progress=share))["total"], network, noise


def test_a_network_with_one_answer_is_consistent_but_where_the_image_is_known() -> None:
    """Above zero noise both answers are alike; next to zero the target is the image itself.

    There the loss is sqrt(|v - x|^2 + c^2) - c, which alone moves the parameter.
    """
    x = 0.5 * normal(64, *SHAPE.size).float()
    found, network, noise = loss_of(0.3, 0.0, x)
    settings = ConsistencySettings()
    sigma = (settings.noise_mean + settings.noise_std * noise["level"]).exp()
    anchored = neighbor(sigma, 0.0, settings.stages) == 0
    assert 0 < anchored.sum() < 64
    c = settings.huber * math.sqrt(x[0].numel())
    distance = ((0.3 - x).square().flatten(1).sum(1) + c**2).sqrt() - c
    torch.testing.assert_close(found, (distance * anchored).mean(), rtol=1e-4, atol=0)
    found.backward()
    assert network.value.grad is not None and network.value.grad.abs() > 0


def test_the_target_is_not_moved() -> None:
    """With a linear answer w x the gradient is that of the upper level's answer alone."""

    class Linear(Constant):
        def forward(self, x: Tensor, level: Tensor) -> Tensor:
            return self.value * x

    x, network = 0.5 * normal(8, *SHAPE.size), Linear(0.4).double()
    settings = ConsistencySettings(huber=0.0, stages=1, noise_mean=3.0, noise_std=0.1)
    settings = replace(settings, optimizer=replace(settings.optimizer, muon_lr=None))
    objective = ConsistencyLoss(
        CleanPredictor(network, 1.0), SHAPE, network, settings, None, Teacher(1.0)
    )
    noise = {k: v.double() for k, v in objective.noise(8, torch.Generator().manual_seed(0)).items()}
    objective(Batch(x, None, noise))["total"].backward()
    sigma = (3.0 + 0.1 * noise["level"]).exp()
    lower = neighbor(sigma, 0.0, 1)
    assert (lower > 0).all()
    w = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)

    def precondition_input(s: Tensor) -> Tensor:
        s = s.view(-1, 1, 1, 1)
        return (x + s * noise["gaussian"]) * (1 + s**2).rsqrt()

    apart = w * precondition_input(sigma) - 0.4 * precondition_input(lower)
    exact = (apart.flatten(1).norm(dim=1) * sigma / (sigma - lower)).mean()
    exact.backward()
    assert network.value.grad is not None and w.grad is not None
    torch.testing.assert_close(network.value.grad, w.grad)


def test_the_target_lies_below_on_the_teacher_s_path() -> None:
    """For a teacher that says D(x) = x / 4: x_r = x / 4 + r / sigma (x - x / 4), or x / 4 at 0."""

    class Quarter(Teacher):
        def denoised(self, x: Tensor, sigma: Tensor, known: Tensor | None) -> Tensor:
            return x / 4

    class Scaled(Constant):
        def forward(self, x: Tensor, level: Tensor) -> Tensor:
            return self.value * x

    x, network, teacher = 0.5 * normal(64, *SHAPE.size), Scaled(0.7).double(), Quarter(1.0)
    teacher.model = model_of()  # type: ignore[assignment] # only that there is one
    settings = ConsistencySettings(stages=2)
    settings = replace(settings, optimizer=replace(settings.optimizer, muon_lr=None))
    objective = ConsistencyLoss(
        CleanPredictor(network, 1.0), SHAPE, network, settings, None, teacher
    )
    noise = {
        k: v.double() for k, v in objective.noise(64, torch.Generator().manual_seed(0)).items()
    }
    found = objective(Batch(x, None, noise, progress=0.9))["total"]
    sigma = (settings.noise_mean + settings.noise_std * noise["level"]).exp().view(-1, 1, 1, 1)
    r = neighbor(sigma, 0.9, 2)
    assert (r > 0).any() and (r == 0).any()
    upper = x + sigma * noise["gaussian"]
    below = upper / 4 + r / sigma * (upper - upper / 4)
    least = r.clamp(min=settings.sigma_min)
    target = torch.where(r > 0, 0.7 * below / (1 + least**2).sqrt(), upper / 4)
    apart = (0.7 * upper / (1 + sigma**2).sqrt() - target).square().flatten(1).sum(1)
    c = settings.huber * math.sqrt(x[0].numel())
    exact = (((apart + c**2).sqrt() - c) * (sigma / (sigma - r)).flatten()).mean()
    torch.testing.assert_close(found, exact)


# Few calls.


def test_one_call_is_the_network_s_answer_and_further_ones_take_in_noise() -> None:
    """arXiv:2303.01469, Algorithm 1, for a denoiser that halves what it is given."""

    def halve(x: Tensor, sigma: Tensor) -> Tensor:
        return x / (2 + sigma.view(-1, 1, 1, 1))

    x, noise = normal(2, 1, 4, 4), normal(2, 1, 4, 4, seed=1)
    chain = SamplerState(halve, ListedStreams({"a": noise}))  # type: ignore[arg-type]
    once = consistency(chain, x, 8.0, 0.0)
    torch.testing.assert_close(once, x / 10)
    between = consistency(chain, x, 8.0, 3.0)
    torch.testing.assert_close(between, x / 10 + 3 * noise)
    torch.testing.assert_close(consistency(chain, x, 8.0, 0.25), x / 10 + 0.25 * noise)
    still = SamplerState(halve, NoStreams())  # type: ignore[arg-type]
    torch.testing.assert_close(consistency(still, between, 3.0, 0.0), between / 5)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_jumps_start_at_the_top_and_end_at_the_image(steps: int) -> None:
    levels = jump_sigmas(steps, 80.0)
    assert len(levels) == steps + 1
    assert (levels[0], levels[-1]) == (80.0, 0.0)
    assert (levels[1:] < levels[:-1]).all()
    assert levels.dtype == torch.float64
    inner = levels[1:-1].log().diff()
    torch.testing.assert_close(inner, inner[:1].expand_as(inner))
    if steps == 2:
        assert levels[1].item() == pytest.approx(math.sqrt(0.4 * 3.0), rel=1e-12)


def test_a_model_of_few_calls() -> None:
    model = model_of().eval()
    assert model.network_calls == 2
    assert model.deterministic().network_calls == 1
    assert model.with_sampler(steps=4).network_calls == 4
    with pytest.raises(InputError, match="no sampler 'heun': choose from consistency"):
        model.with_sampler("heun")
    noise = Latent({"noise": normal(2, *SHAPE.size).float()}, "spherical")
    with torch.no_grad():
        found = model.deterministic().decode(noise, NoStreams())  # type: ignore[arg-type]
        start = 80.0 * noise.tensors["noise"]
        exact = model.denoiser(start, torch.full((2,), 80.0))
    torch.testing.assert_close(found, exact)


# The teacher.


def test_the_teacher_s_path_is_guided_as_it_samples() -> None:
    """D(unknown) + w (D(class) - D(unknown)) (arXiv:2207.12598, eq. 6), w of the settings."""
    trained, teacher = conditional("diffusion:edm"), Teacher(2.5)
    teacher.model = trained
    x, sigma = normal(2, *trained.shape.size).float(), torch.tensor([0.3, 4.0])
    with torch.no_grad():
        known, unknown = (trained.denoiser(x, sigma, shares(*k)) for k in ((0, 2), (3, 3)))
    assert (known - unknown).abs().max() > 1e-3
    found = teacher.denoised(x, sigma, shares(0, 2))
    torch.testing.assert_close(found, unknown + 2.5 * (known - unknown), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taught") / "teacher"
    train(request("diffusion:x0", "1.28kimg", "widths=8,16,16"), folder)
    return folder


def student_request(
    teacher: Path | None, model: str = "diffusion:consistency", **others: Any
) -> ResolvedRequest:
    return request(model, "0.64kimg", teacher=teacher, **others)


def doubled(part: Part) -> Part:
    """Of twice the resolution."""
    return Part(part.images.repeat_interleave(2, 2).repeat_interleave(2, 3), part.labels)


def test_a_student_has_its_teacher_s_networks_and_first_weights(
    teacher: Path, tmp_path: Path
) -> None:
    wanted = student_request(teacher)
    assert wanted.settings.widths == (8, 16, 16) and wanted.settings.teacher == "x0"
    trained = Run(teacher)
    assert wanted.settings.led == trained.record.settings["guidance"] > 1
    still = replace(
        wanted.settings,
        optimizer=replace(wanted.settings.optimizer, learning_rate=0.0, muon_lr=0.0),
    )
    train(replace(wanted, settings=still), tmp_path / "still")
    run = Run(tmp_path / "still")
    assert isinstance(run.model, ConsistencyModel)
    taken = [n for n in trained.model.state_dict() if not n.startswith("prior.")]  # of its draws
    assert run.model.state_dict().keys() == set(taken)
    for name in taken:
        torch.testing.assert_close(run.model.state_dict()[name], trained.model.state_dict()[name])
    assert "--teacher" in run.record.command
    with pytest.raises(InputError, match="a consistency model jumps to the image"):
        run.reconstruct(run.sample(2))
    assert run.log_likelihood(run.sample(4)).to_json()["kind"] == "not defined"
    assert run.sample(3).shape == run.sample(3, steps=4).shape
    assert run.represent(run.sample(3)).shape[0] == 3


def test_a_student_goes_on_with_its_teacher(teacher: Path, tmp_path: Path) -> None:
    """From its own weights, not from the teacher's again."""
    train(request("diffusion:consistency", "0.16kimg", teacher=teacher), tmp_path / "student")
    asked = TrainRequest(model="diffusion:consistency", origin=tmp_path / "student")
    state = fresh_state(resolve(asked, data=DATA), MACHINE)
    assert isinstance(state.model, ConsistencyModel) and state.model.teacher.model is not None
    [last] = (tmp_path / "student" / "checkpoints").iterdir()
    own, taught = load_file(last / "model.safetensors"), Run(teacher, MACHINE).model.state_dict()
    for name, tensor in state.model.state_dict().items():
        assert torch.equal(tensor, own[name]), name
    assert any(not torch.equal(own[name], taught[name]) for name in own)


def test_a_picture_along_training_takes_few_calls() -> None:
    """By the one sampler that there is, whatever the settings ask for."""
    model = model_of(steps=50)
    assert sample.quick_grid(model, 0, MACHINE).shape == (sample.GRID_SAMPLES, *SHAPE.size)


def test_other_networks_than_the_teacher_s_are_refused(teacher: Path, tmp_path: Path) -> None:
    wanted = request("diffusion:consistency", "0.64kimg", "widths=8,24,24", teacher=teacher)
    with pytest.raises(InputError, match="the teacher's networks are other ones"):
        train(wanted, tmp_path / "student")
    assert not (tmp_path / "student").exists()


def test_teachers_that_will_not_do(teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="starts from a trained model: name it: --teacher RUN"):
        student_request(None)
    with pytest.raises(InputError, match="diffusion:x0 starts from no trained model"):
        student_request(teacher, model="diffusion:x0")
    with pytest.raises(InputError, match="no run folder"):
        student_request(tmp_path / "nowhere")
    train(request("gan:hinge", "0.64kimg", "width=8"), tmp_path / "gan")
    with pytest.raises(InputError, match="it is gan:hinge, not one of edm, flow, x0"):
        student_request(tmp_path / "gan")
    parts = {name: doubled(getattr(DATA, name)) for name in ("train", "validation", "test")}
    with pytest.raises(InputError, match=r"makes images of \(1, 16, 16\), the data have \(1, 32"):
        student_request(teacher, data=replace(DATA, **parts))
    with pytest.raises(InputError, match="was trained without labels: leave out --conditional"):
        student_request(teacher, conditional=True)
