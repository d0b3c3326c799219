"""The generator that refines the mixture: it begins there exactly, and every weight can move."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.test_conditioning import planted
from triptych import images
from triptych.nn.mppca import MPPCA
from triptych.nn.refiner import LARGEST, RefiningGenerator

RANK = 12


def fitted(channels: int = 3, told: bool = True) -> tuple[RefiningGenerator, Tensor, Tensor]:
    """A fresh generator on the mixture of planted groups; images and their groups."""
    pixels, kinds = planted(channels)
    x = images.to_float(pixels)
    mixture = MPPCA((channels, 32, 32), 4, RANK)
    mixture.fit(x, kinds, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    return RefiningGenerator(mixture, 8, 4 if told else None), x, kinds


def stirred(generator: RefiningGenerator) -> RefiningGenerator:
    """The same, as after training: no weight is zero."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    return generator


def latents(count: int) -> Tensor:
    return torch.randn(count, RANK, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("channels", [1, 3])
def test_before_training_it_is_the_mixture(channels: int) -> None:
    """m + U (c_k + A_k diag(v_k)^(1/2) z) of each group, and of all where none is told."""
    generator, _, _ = fitted(channels)
    m = generator.mixture
    z = 0.3 * latents(5)
    for k, told in ((2, torch.eye(5)[[2] * 5]), (4, torch.eye(5)[[4] * 5]), (4, None)):
        rows = []
        for one in z:
            y = m.centres[k] + m.axes[k] @ (m.variances[k].sqrt() * one)
            rows.append((m.mean + m.basis @ y).view(channels, 32, 32))
        exact = torch.stack(rows)
        assert exact.abs().max() < LARGEST
        torch.testing.assert_close(generator(z, told), exact, rtol=1e-4, atol=1e-5)


def test_values_beyond_the_range_are_clamped_and_stay_finite() -> None:
    generator, _, _ = fitted()
    z = (50 * latents(5)).requires_grad_()
    found = generator(z)
    assert found.abs().max().item() == pytest.approx(LARGEST, abs=1e-6)
    (gradient,) = torch.autograd.grad(stirred(generator)(z).sum(), z)
    assert gradient.isfinite().all() and gradient.count_nonzero() > 0


def test_gradients_reach_all_weights_and_leave_the_mixture() -> None:
    """The fresh network's last layer alone at first, then everything."""
    generator, _, _ = fitted()
    told = torch.eye(5)[[0, 1, 2, 3]]
    assert not list(generator.mixture.parameters())
    generator(latents(4), told).square().sum().backward()
    moving = {name for name, p in generator.named_parameters() if p.grad.any()}
    assert moving == {"head.weight", "head.bias"}
    stirred(generator).zero_grad()
    generator(latents(4), told).square().sum().backward()
    assert all(p.grad.any() for p in generator.parameters())


def test_what_it_adds_heeds_z_and_the_group_beside_the_linear_image() -> None:
    generator, x, _ = fitted()
    stirred(generator)
    z, told = latents(2), torch.eye(5)[[0, 1]]
    with torch.no_grad():
        first = generator.refine(x[:2], z, told)
        assert (generator.refine(x[:2], z.flip(0), told) - first).abs().max() > 1e-3
        assert (generator.refine(x[:2], z, told.flip(0)) - first).abs().max() > 1e-3
        assert (generator.refine(x[2:4], z, told) - first).abs().max() > 1e-3


def test_it_works_on_the_scale_of_atanh() -> None:
    """tanh(atanh(linear) + c) of a network that answers c everywhere."""
    generator, _, _ = fitted()
    z = 0.3 * latents(3)
    linear = generator(z)
    torch.nn.init.constant_(generator.head.bias, 0.7)
    exact = (linear + torch.tanh(torch.tensor(0.7))) / (1 + linear * torch.tanh(torch.tensor(0.7)))
    torch.testing.assert_close(generator(z), exact, rtol=1e-4, atol=1e-5)


def test_between_two_groups_it_walks() -> None:
    """Half way between two groups is neither of them, and no jump is on the way."""
    generator, _, _ = fitted()
    generator.eval()
    z, a, b = 0.3 * latents(1), torch.eye(5)[:1], torch.eye(5)[1:2]
    with torch.no_grad():
        ends = generator(z, a), generator(z, b)
        torch.testing.assert_close(generator(z, (a + b) / 2), sum(ends) / 2, rtol=1e-4, atol=1e-5)


def test_encoding_is_exact_inside_the_basis() -> None:
    generator, _, kinds = fitted()
    z, told = 0.3 * latents(4), torch.eye(5)[kinds[::200]]
    torch.testing.assert_close(generator.encode(generator(z, told), told), z, rtol=0, atol=1e-3)
    torch.testing.assert_close(generator.encode(generator(z)), z, rtol=0, atol=1e-3)


@pytest.mark.parametrize("resolution", [8, 16, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_fits_every_resolution(resolution: int, channels: int) -> None:
    generator = stirred(RefiningGenerator(MPPCA((channels, resolution, resolution), 1, 5), 8))
    found = generator(torch.randn(2, 5, generator=torch.Generator().manual_seed(0)))
    assert found.shape == (2, channels, resolution, resolution)
    assert found.abs().max() <= 1


def test_half_precision_leaves_the_linear_image_as_it_is() -> None:
    """Of 128 directions each rounded to 8 bits of mantissa little would be left."""
    generator, _, _ = fitted()
    z = 0.3 * latents(5)
    exact = generator(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = generator(z)
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-6)
