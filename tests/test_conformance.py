"""One suite for every model there is; a new recipe is covered as soon as its file is there."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from tests.truths import MACHINE, NoStreams, grey_levels_apart, random_pixels
from triptych import config, images
from triptych.config import POINT, ImageShape
from triptych.families import registry
from triptych.families.capabilities import (
    LACKING,
    BoundsLikelihood,
    Diagnoses,
    Encodes,
    EncodesByPath,
    Iterative,
    Refines,
    Represents,
    why_not,
)
from triptych.families.diffusion.likelihood import FlowLikelihood
from triptych.families.diffusion.model import Diffusion
from triptych.families.latent import Latent
from triptych.families.protocol import Batch, GenerativeModel, Objective
from triptych.pages.language import Language
from triptych.seeding import ImageStreams, generator
from triptych.tasks import interpolate, reconstruct, sample
from triptych.training.optimizer import ObjectiveOptimizer

SHAPES = {
    "grey16": ImageShape(channels=1, resolution=16),
    "colour32": ImageShape(channels=3, resolution=32),
    "point": POINT,
}
CASES = {
    f"{name}-{label}": (name, shape)
    for name in registry.known_models()
    for label, shape in SHAPES.items()
    if registry.recipe(registry.ModelName.parse(name)).points == shape.is_point
}
CAPABILITIES: dict[type, tuple[str, ...]] = {
    Encodes: ("encode",),
    EncodesByPath: ("path_up",),
    Represents: ("represent",),
    Diagnoses: ("diagnose",),
    BoundsLikelihood: ("bounds", "negative_bound"),
    Iterative: ("samplers", "with_sampler", "deterministic", "trajectory"),
}
WAY_OF = {"vae": "straight", "gan": "straight", "diffusion": "spherical", "mixture": "spherical"}
FITTED = 200  # images, more than are needed for one group
STEPS = 4  # of a chain, so that the slowest sampler is quick


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[str, ImageShape]:
    return CASES[request.param]


@pytest.fixture
def name(case: tuple[str, ImageShape]) -> str:
    return case[0]


@pytest.fixture
def shape(case: tuple[str, ImageShape]) -> ImageShape:
    return case[1]


@pytest.fixture
def model(name: str, shape: ImageShape) -> GenerativeModel:
    return copy.deepcopy(kept(name, shape))


@cache
def kept(name: str, shape: ImageShape) -> GenerativeModel:
    return fresh(name, shape)


def fresh(name: str, shape: ImageShape, seed: int = 0) -> GenerativeModel:
    """An untrained model, stirred so that no weight starts at zero, with short chains.

    One that is not trained is fitted on noise.
    """
    parsed = registry.ModelName.parse(name)
    settings = registry.defaults(parsed, "tiny", shape)
    model = registry.build(parsed, settings, shape, seed)
    rng = generator(seed, "stir")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=rng))
    if not registry.is_trained(parsed.family):
        model.fit_before_training(random_pixels(FITTED, *shape.size, seed=seed), seed)
    model.eval()
    if isinstance(model, Diffusion):  # of each density the path from noise in a tenth of the steps
        model.likelihoods = {
            method: replace(each, sigmas=each.sigmas[::10])
            if isinstance(each, FlowLikelihood)
            else each
            for method, each in model.likelihoods.items()
        }
    return model.with_sampler(steps=STEPS) if isinstance(model, Iterative) else model


def batch_for(objective: Objective, shape: ImageShape, count: int = 4) -> Batch:
    pixels = random_pixels(count, *shape.size)
    noise = objective.noise(count, generator(0, objective.name))
    return Batch(images.to_float(pixels), None, noise)


def part(batch: Batch, index: slice) -> Batch:
    return Batch(batch.images[index], None, {k: t[index] for k, t in batch.noise.items()})


def nearly_all(reached: list[bool]) -> bool:
    """All but one or 5 %: the hinge loss leaves a critic's last bias at 0 inside both margins."""
    return reached.count(False) <= max(1, 0.05 * len(reached))


def streams(*indices: int, seed: int = 0) -> ImageStreams:
    return ImageStreams(seed, "conformance", indices)


def test_samples_have_the_data_s_shape_and_differ(
    model: GenerativeModel, shape: ImageShape
) -> None:
    drawn = sample.sample(model, 3, 0, MACHINE)
    assert drawn.shape == (3, *shape.size)
    assert drawn.dtype == torch.uint8
    assert not torch.equal(drawn[0], drawn[1])


def test_a_seed_fixes_samples_and_weights(name: str, shape: ImageShape) -> None:
    """Whatever torch's global generator holds, which is left as it was."""
    torch.manual_seed(1)
    first = fresh(name, shape)
    after = torch.random.get_rng_state()
    expected = sample.sample(first, 2, 5, MACHINE)
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), after)
    torch.manual_seed(2)
    again = fresh(name, shape)
    assert torch.equal(sample.sample(again, 2, 5, MACHINE), expected)
    assert not torch.equal(sample.sample(again, 2, 6, MACHINE), expected)


def test_an_image_does_not_depend_on_its_batch(model: GenerativeModel) -> None:
    whole = sample.sample(model, 5, 0, MACHINE)
    late = sample.sample(model, 2, 0, MACHINE, start=3)
    assert grey_levels_apart(whole[3:], late) <= 1
    few = replace(MACHINE, microbatch=2)
    assert grey_levels_apart(whole, sample.sample(model, 5, 0, few)) <= 1


def test_latents_of_a_seed_decode_to_its_samples(model: GenerativeModel) -> None:
    """Bit for bit, whatever noise the decoder adds."""
    latents = sample.draw_latents(model, 3, 5, MACHINE)
    expected = sample.sample(model, 3, 5, MACHINE)
    assert torch.equal(sample.sample(model, 3, 5, MACHINE, latents=latents), expected)


def test_a_latent_s_noise_is_the_same_in_any_batch(model: GenerativeModel) -> None:
    """The noise exactly; what is decoded from it up to rounding."""
    rng, late_rng = streams(0, 1, 2, 3, 4), streams(3, 4)
    whole, late = model.draw_latent(5, rng), model.draw_latent(2, late_rng)
    for key, tensor in whole.tensors.items():
        assert torch.equal(tensor[3:], late.tensors[key])
    with torch.inference_mode():
        expected, found = model.decode(whole, rng)[3:], model.decode(late, late_rng)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


def test_weights_and_settings_survive_a_file(name: str, shape: ImageShape) -> None:
    model, other = fresh(name, shape), fresh(name, shape, seed=1)
    expected = sample.sample(model, 2, 0, MACHINE)
    assert not torch.equal(sample.sample(other, 2, 0, MACHINE), expected)
    weights = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    other.load_state_dict(load(save(weights)))
    assert torch.equal(sample.sample(other, 2, 0, MACHINE), expected)
    settings = registry.defaults(registry.ModelName.parse(name), "tiny", shape)
    assert config.from_json(type(settings), config.to_json(settings)) == settings


def test_each_parameter_belongs_to_one_objective(model: GenerativeModel) -> None:
    owned = [id(p) for objective in model.objectives() for p in objective.parameters()]
    assert len(owned) == len(set(owned))
    assert set(owned) == {id(p) for p in model.parameters()}


def test_gradients_reach_an_objective_s_own_parameters_alone(
    model: GenerativeModel, shape: ImageShape
) -> None:
    """All of them, none that is another's; hardly one is zero (see `nearly_all`)."""
    model.train()
    for objective in model.objectives():
        model.zero_grad(set_to_none=True)
        own = {id(p) for p in objective.parameters()}
        objective(batch_for(objective, shape))["total"].backward()
        for key, parameter in model.named_parameters():
            assert (parameter.grad is not None) == (id(parameter) in own), key
        assert nearly_all([bool(p.grad.count_nonzero()) for p in objective.parameters()])
        assert all(p.requires_grad for p in model.parameters())


def test_a_step_moves_an_objective_s_own_weights_alone(
    model: GenerativeModel, shape: ImageShape
) -> None:
    """The others stay as they are, bit by bit; half the training gone, every rate is positive."""
    model.train()
    for objective in model.objectives():
        before = {key: p.detach().clone() for key, p in model.named_parameters()}
        own = {id(p) for p in objective.parameters()}
        optimizer = ObjectiveOptimizer(objective)
        for _ in range(2):
            optimizer.gradients(batch_for(objective, shape), MACHINE)
            assert optimizer.step(optimizer.rates_at(0.5)) == 0
        moved = {k: not torch.equal(p, before[k]) for k, p in model.named_parameters()}
        for key, parameter in model.named_parameters():
            assert moved[key] <= (id(parameter) in own), key
        assert nearly_all([moved[k] for k, p in model.named_parameters() if id(p) in own])


def test_the_first_term_is_a_scalar_total(model: GenerativeModel, shape: ImageShape) -> None:
    for objective in model.objectives():
        terms = objective(batch_for(objective, shape))
        assert next(iter(terms)) == "total"
        assert all(term.ndim == 0 and term.isfinite() for term in terms.values())


def test_a_step_is_the_mean_of_its_ranks(model: GenerativeModel, shape: ImageShape) -> None:
    """Noise has a row per image: the loss of a batch is the mean over its slices' losses.

    In evaluation mode, where the course recipes use no batch statistics either.
    """
    for objective in model.objectives():
        batch = batch_for(objective, shape)
        assert all(len(t) == 4 for t in batch.noise.values())
        again = objective.noise(4, generator(0, objective.name))
        assert all(torch.equal(t, again[key]) for key, t in batch.noise.items())
        whole = objective(batch)["total"].detach()  # with gradients: they may be a part of it
        ranks = [objective(part(batch, slice(i, i + 2)))["total"].detach() for i in (0, 2)]
        torch.testing.assert_close(torch.stack(ranks).mean(), whole, rtol=1e-4, atol=1e-5)


def test_capabilities_are_declared_and_absences_explained(
    model: GenerativeModel, name: str
) -> None:
    for capability, promised in CAPABILITIES.items():
        for method in promised:
            assert hasattr(model, method) == isinstance(model, capability)
    if not isinstance(model, Encodes):
        assert why_not(model, "encode")
    if not isinstance(model, BoundsLikelihood):
        assert why_not(model, "likelihood")
    if not isinstance(model, Represents):
        assert why_not(model, "represent")
    for why in (*model.lacks.values(), *LACKING.values()):
        assert f"note.{why.code}" in Language("fr")


def test_what_is_encoded_can_be_decoded(model: GenerativeModel, shape: ImageShape) -> None:
    if not isinstance(model, Encodes):
        pytest.skip("does not encode")
    pixels = images.to_float(random_pixels(2, *shape.size))
    with torch.inference_mode():
        latent = model.encode(pixels)
        drawn = model.draw_latent(2, streams(0, 1))
        decoded = model.decode(latent, streams(0, 1))
    assert {k: t.shape for k, t in latent.tensors.items()} == {
        k: t.shape for k, t in drawn.tensors.items()
    }
    assert decoded.shape == pixels.shape


def test_features_are_one_row_per_image(model: GenerativeModel, shape: ImageShape) -> None:
    """The same alone as among others, and not the same of another image."""
    if not isinstance(model, Represents):
        pytest.skip("does not represent")
    found = reconstruct.represent(model, random_pixels(3, *shape.size), MACHINE)
    alone = reconstruct.represent(model, random_pixels(3, *shape.size)[1:2], MACHINE)
    assert found.shape[0] == 3 and found.ndim == 2 and found.dtype == torch.float32
    torch.testing.assert_close(alone, found[1:2], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[0], found[1])


def test_a_diagnosis_changes_nothing(model: GenerativeModel, shape: ImageShape) -> None:
    """Its numbers are finite, the same again, and the model stays as it was."""
    if not isinstance(model, Diagnoses):
        pytest.skip("makes no diagnoses")
    before = {key: t.clone() for key, t in model.state_dict().items()}
    x = images.to_float(random_pixels(4, *shape.size))
    with torch.inference_mode():
        first, again = (model.diagnose(x[:2], x[2:], streams(0, 1, 2, 3)) for _ in range(2))
    assert first == again
    assert first.numbers and all(math.isfinite(n) for n in first.numbers.values())
    assert all(torch.equal(t, before[key]) for key, t in model.state_dict().items())


def test_what_settles_is_done_by_settling_once(model: GenerativeModel, shape: ImageShape) -> None:
    """A second time finds it where it is; a model with nothing to settle stays as it was."""
    x, rng = images.to_float(random_pixels(16, *shape.size)), tuple(range(16))
    before = {key: t.clone() for key, t in model.state_dict().items()}
    model.fit_after_training(x, streams(*rng))
    once = {key: t.clone() for key, t in model.state_dict().items()}
    model.fit_after_training(x, streams(*rng))
    assert all(torch.equal(t, once[key]) for key, t in model.state_dict().items())
    settles = type(model).fit_after_training is not GenerativeModel.fit_after_training
    moved = any(not torch.equal(t, before[key]) for key, t in once.items())
    assert settles or not moved


def test_a_bound_does_not_depend_on_the_batch(model: GenerativeModel, shape: ImageShape) -> None:
    """Every term of every method: one number per image, its noise from the image's stream."""
    if not isinstance(model, BoundsLikelihood):
        pytest.skip("has no bound")
    if isinstance(model, Iterative) and shape.channels == 3:
        pytest.skip("grey images show it in less time")
    pixels = images.to_float(random_pixels(2, *shape.size))
    with torch.inference_mode():
        for method in model.bounds:
            whole = model.negative_bound(pixels, streams(0, 1), method)
            alone = model.negative_bound(pixels[1:], streams(1), method)
            for key, term in whole.items():
                assert term.shape == (2,)
                torch.testing.assert_close(alone[key], term[1:], rtol=1e-3, atol=1e-3)


def test_network_calls_are_counted_right(model: GenerativeModel) -> None:
    """A guided call shows the network each image twice."""
    kinds = (
        [model.with_sampler(kind) for kind in model.samplers]
        if isinstance(model, Iterative)
        else [model]
    )
    for kind in kinds:
        shown: list[int] = []
        hooks = [
            child.register_forward_hook(lambda _, given, __, to=shown: to.append(len(given[0])))
            for child in kind.children()
        ]
        rng = streams(0)
        with torch.inference_mode():
            kind.decode(kind.draw_latent(1, rng), rng)
        assert sum(shown) == kind.network_calls
        for hook in hooks:
            hook.remove()


def test_a_trajectory_ends_in_the_sample(model: GenerativeModel, shape: ImageShape) -> None:
    if not isinstance(model, Iterative):
        pytest.skip("not iterative")
    with torch.inference_mode():
        latent = model.draw_latent(2, streams(0, 1))
        states = model.trajectory(latent, streams(2, 3), STEPS + 1)
        expected = model.decode(latent, streams(2, 3))
    assert states.shape == (2, STEPS + 1, *shape.size)
    assert torch.equal(states[:, -1], expected)
    assert 0.9 < states[:, 0].std() < 1.1  # the start is shown as unit noise


def test_the_path_up_goes_from_the_image_to_its_latent(
    model: GenerativeModel, shape: ImageShape
) -> None:
    if not isinstance(model, EncodesByPath):
        pytest.skip("does not encode by a path")
    x = images.to_float(random_pixels(2, *shape.size))
    with torch.inference_mode():
        states, _ = model.path_up(x, STEPS + 1)
        noise = model.encode(x).tensors["noise"]
    assert states.shape == (2, STEPS + 1, *shape.size)
    assert grey_levels_apart(images.to_uint8(states[:, 0]), images.to_uint8(x)) <= 1
    # States have unit variance at every level, latents at the highest.
    top = model.process.prior_std  # type: ignore[attr-defined]
    shown = noise * top / (1 + top**2) ** 0.5
    torch.testing.assert_close(states[:, -1], shown, rtol=1e-4, atol=1e-4)


def test_interpolations_end_in_the_decoded_draws(model: GenerativeModel) -> None:
    """Without any noise on the way, so `NoStreams` serves the decoder here."""
    found = interpolate.between_draws(model, 2, 3, 0, MACHINE)
    still = model.deterministic() if isinstance(model, Iterative) else model
    with torch.inference_mode():
        latent = model.draw_latent(4, ImageStreams(0, "interpolate", range(4)))
        ends = images.to_uint8(still.decode(latent, NoStreams()))
    assert found.shape == (2, 3, *ends.shape[1:])
    assert grey_levels_apart(found[:, 0], ends[::2]) <= 1
    assert grey_levels_apart(found[:, -1], ends[1::2]) <= 1
    assert not torch.equal(found[:, 1], found[:, 0])


def test_the_way_between_draws_can_be_chosen(model: GenerativeModel, name: str) -> None:
    """Other images on the way, the same at its ends; by default that of the family."""
    ways = {
        way: interpolate.between_draws(model, 1, 3, 0, MACHINE, way=way)
        for way in (None, "straight", "spherical")
    }
    straight, spherical = ways["straight"], ways["spherical"]
    assert not torch.equal(straight[:, 1], spherical[:, 1])
    assert torch.equal(ways[None], ways[WAY_OF[registry.ModelName.parse(name).family]])
    assert torch.equal(straight[:, 0], spherical[:, 0])
    assert grey_levels_apart(straight[:, -1], spherical[:, -1]) <= 1


def test_draws_and_encoded_images_walk_as_suits_their_family(
    model: GenerativeModel, name: str, shape: ImageShape
) -> None:
    """Half way lies (a + b) / 2 on a line, (a + b) / (2 cos(angle / 2)) on a great circle."""
    spherical = WAY_OF[registry.ModelName.parse(name).family] == "spherical"
    with torch.inference_mode():
        pairs = [[model.draw_latent(1, streams(index)) for index in (0, 1)]]
        if isinstance(model, Encodes):
            few = model.with_refinement(1) if isinstance(model, Refines) else model
            assert isinstance(few, Encodes)
            x = images.to_float(random_pixels(2, *shape.size))
            pairs.append([few.encode(one[None]) for one in x])
    for a, b in pairs:
        middle = a.interpolate(b, 0.5)
        for key, found in middle.tensors.items():
            ours, theirs = a.tensors[key].double(), b.tensors[key].double()
            cosine = (ours * theirs).sum() / (ours.norm() * theirs.norm())
            stretch = math.cos(math.acos(cosine) / 2) if spherical else 1.0
            exact = (ours + theirs) / (2 * stretch)
            torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("path", ["straight", "spherical"])
def test_a_latent_walks_from_itself_to_the_other(path: Any) -> None:
    def latent(seed: int) -> Latent:
        tensor: Tensor = torch.randn(3, 4, generator=generator(seed, "walk"))
        return Latent({"z": tensor}, path)

    a, b = latent(0), latent(1)
    assert torch.equal(a.interpolate(b, 0.0).tensors["z"], a.tensors["z"])
    assert torch.equal(a.interpolate(b, 1.0).tensors["z"], b.tensors["z"])
    assert len(a[1:]) == 2
