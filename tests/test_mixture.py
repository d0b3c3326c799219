"""Discretised mixtures of logistics against enumeration, torch.distributions and 1300 digits."""

from __future__ import annotations

import decimal
import itertools
from dataclasses import fields, replace
from decimal import Decimal
from functools import cache

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Categorical,
    MixtureSameFamily,
    SigmoidTransform,
    TransformedDistribution,
    Uniform,
)

from tests.truths import FixedStreams, normal
from triptych import images
from triptych.families.vae.mixture import (
    FIRST_LOG_SCALE,
    SMALLEST_LOG_SCALE,
    LogisticMixture,
    log_bin_mass,
    mixture_channels,
    read_mixture,
    uniform,
)
from triptych.seeding import ImageStreams


def random_mixture(
    channels: int, width: int, levels: int = 256, components: int = 3, seed: int = 0
) -> LogisticMixture:
    """One row of `width` different mixtures, narrow and wide, with means beyond both edges too."""
    K, C = components, channels
    pairs = C * (C - 1) // 2
    return LogisticMixture(
        logits=normal(1, K, 1, width, seed=seed),
        means=0.8 * normal(1, K, C, 1, width, seed=seed + 1),
        log_scales=normal(1, K, C, 1, width, seed=seed + 2) - 2,
        coefficients=normal(1, K, pairs, 1, width, seed=seed + 3).tanh(),
        levels=levels,
    )


def parts(mixture: LogisticMixture) -> dict[str, Tensor]:
    """The tensors by name."""
    return {f.name: getattr(mixture, f.name) for f in fields(mixture) if f.name != "levels"}


def taken(mixture: LogisticMixture, *size: int) -> LogisticMixture:
    """The mixtures of the first image and pixel, at all pixels of a size [B,H,W]."""
    count, *sides = size
    found = {
        name: tensor[:1, ..., :1, :1].expand(count, *tensor.shape[1:-2], *sides)
        for name, tensor in parts(mixture).items()
    }
    return replace(mixture, **found)


def grid(levels: int) -> Tensor:
    """All values of a pixel, float64."""
    return torch.linspace(-1, 1, levels, dtype=torch.float64)


def every_pixel(channels: int, levels: int, width: int) -> Tensor:
    """All that the channels of a pixel can be, in rows of equal ones: [levels^C, C, 1, width]."""
    values = list(itertools.product(grid(levels).tolist(), repeat=channels))
    return torch.tensor(values, dtype=torch.float64)[:, :, None, None].expand(-1, -1, 1, width)


def at_all(mixture: LogisticMixture, pixels: Tensor) -> Tensor:
    """log P of many images under the mixtures of one: [N,H,W]."""
    found = {name: t.expand(len(pixels), *t.shape[1:]) for name, t in parts(mixture).items()}
    return replace(mixture, **found).log_probability(pixels)


@pytest.mark.parametrize(("channels", "levels"), [(1, 256), (1, 2), (2, 64), (3, 16)])
def test_all_values_together_are_certain(channels: int, levels: int) -> None:
    """The sum over every value of every channel is 1, in float64 to rounding."""
    mixture = random_mixture(channels, width=5, levels=levels)
    total = at_all(mixture, every_pixel(channels, levels, 5)).exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


def test_all_8_bit_pixels_together_are_certain_in_float32() -> None:
    """With the values that images really have, and the narrowest and a very wide scale."""
    mixture = random_mixture(1, width=4)
    log_scales = torch.tensor([SMALLEST_LOG_SCALE, -4.0, 0.0, 6.0]).expand(1, 3, 1, 1, 4)
    single = {name: tensor.float() for name, tensor in parts(mixture).items()}
    mixture = LogisticMixture(**{**single, "log_scales": log_scales})
    pixels = images.to_float(torch.arange(256, dtype=torch.uint8)).view(256, 1, 1, 1)
    total = at_all(mixture, pixels.expand(-1, -1, -1, 4)).double().exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-4)


# Against torch.distributions.


def logistic(mean: Tensor, scale: Tensor) -> TransformedDistribution:
    """By its quantiles: mean + scale * logit(uniform)."""
    uniform = Uniform(torch.zeros_like(mean), torch.ones_like(mean))
    return TransformedDistribution(uniform, [SigmoidTransform().inv, AffineTransform(mean, scale)])


def test_one_channel_is_a_mixture_s_mass_in_each_bin() -> None:
    """Differences of torch's cdf; 0 below the lowest bin and 1 above the highest."""
    mixture = random_mixture(1, width=1)
    flat = {name: tensor.flatten() for name, tensor in parts(mixture).items()}
    truth = MixtureSameFamily(
        Categorical(logits=flat["logits"]), logistic(flat["means"], flat["log_scales"].exp())
    )
    between = (grid(256)[1:] + grid(256)[:-1]) / 2
    ends = torch.tensor([0.0]).double(), torch.tensor([1.0]).double()
    exact = torch.cat([ends[0], truth.cdf(between), ends[1]]).diff()
    found = at_all(mixture, every_pixel(1, 256, 1)).exp().flatten()
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-14)


def test_channels_are_moved_by_those_before_them() -> None:
    """Written out: green by red; blue by red and by green; each with its own coefficient."""
    mixture = random_mixture(3, width=1, levels=16)
    pixels = every_pixel(3, 16, 1)[::7]
    r, g, b = pixels.flatten(1).unbind(1)
    half = 1 / 15

    def mass(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        truth = logistic(mean, scale.expand_as(mean))
        upper = truth.cdf(x + half).where(x < 1 - half, 1.0)
        return upper - truth.cdf(x - half).where(x > half - 1, 0.0)

    exact = torch.zeros_like(r)
    shares = mixture.logits.flatten().softmax(0)
    for k, share in enumerate(shares):
        m, s = mixture.means[0, k, :, 0, 0], mixture.log_scales[0, k, :, 0, 0].exp()
        r_in_g, r_in_b, g_in_b = mixture.coefficients[0, k, :, 0, 0]
        red = mass(r, m[0].expand_as(r), s[0])
        green = mass(g, m[1] + r_in_g * r, s[1])
        blue = mass(b, m[2] + r_in_b * r + g_in_b * g, s[2])
        exact += share * red * green * blue
    torch.testing.assert_close(
        at_all(mixture, pixels).exp().flatten(), exact, rtol=1e-8, atol=1e-14
    )


# Far tails, where differences of the cdf are zero.


@cache
def exact_log_mass(x: float, mean: float, log_scale: float, levels: int) -> float:
    """log(s(b) - s(a)) from 1300 digits."""
    with decimal.localcontext() as context:
        context.prec = 1300
        scale, half = Decimal(log_scale).exp(), Decimal(1) / (levels - 1)

        def below(end: Decimal) -> Decimal:
            return 1 / (1 + (-(end - Decimal(mean)) / scale).exp())

        lower = Decimal(0) if x == -1 else below(Decimal(x) - half)
        upper = Decimal(1) if x == 1 else below(Decimal(x) + half)
        return float((upper - lower).ln())


TAILS = list(itertools.product([-1.0, -0.875, 0.125, 1.0], [-1.5, -0.5, 0.75], [-7.0, -2.0, 8.0]))


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-11), (torch.float32, 2e-5)])
def test_far_tails_and_extreme_scales_keep_their_digits(dtype: torch.dtype, rtol: float) -> None:
    x, mean, log_scale = torch.tensor(TAILS, dtype=dtype).unbind(1)
    found = log_bin_mass(x, mean, log_scale, 256)
    exact = torch.tensor([exact_log_mass(*case, 256) for case in TAILS], dtype=dtype)
    assert exact.min() < -2000  # the float64 cdf ends at -745
    # A pixel that is almost certain has a log P of almost 0: there the rounding of 1 counts.
    torch.testing.assert_close(found, exact, rtol=rtol, atol=rtol / 100)


def test_slopes_in_far_tails_are_finite() -> None:
    """And right: for x far above a narrow logistic, log P falls by (x - mean) / scale."""
    x, mean, log_scale = torch.tensor(TAILS).unbind(1)
    mean.requires_grad_()
    log_scale = log_scale.clone().requires_grad_()
    by_mean, by_scale = torch.autograd.grad(
        log_bin_mass(x, mean, log_scale, 256).sum(), (mean, log_scale)
    )
    assert by_mean.isfinite().all()
    assert by_scale.isfinite().all()
    case = TAILS.index((0.125, -0.5, -7.0))
    assert by_mean[case].item() == pytest.approx(1096.633, rel=1e-5)  # exp(7)
    assert by_scale[case].item() == pytest.approx((0.625 - 1 / 255) * 1096.633, rel=1e-3)


@pytest.mark.parametrize("pixel", [-1.0, 0.2, 1.0])
def test_gradients_are_the_difference_quotients(pixel: float) -> None:
    """At both edges and inside, where no kink of the bins is near, in all four tensors."""
    mixture = random_mixture(3, width=2, levels=16)
    pixels = torch.full((1, 3, 1, 2), pixel, dtype=torch.float64)
    pixels[:, 1] = 3 / 15  # one channel always inside

    def log_p(*tensors: Tensor) -> Tensor:
        return LogisticMixture(*tensors, levels=16).log_probability(pixels)

    inputs = tuple(tensor.clone().requires_grad_() for tensor in parts(mixture).values())
    assert torch.autograd.gradcheck(log_p, inputs)


# The mean and draws.


def narrow_mixture() -> tuple[LogisticMixture, Tensor, Tensor]:
    """Components that each hit one colour exactly; their shares [K] and their colours [K,3].

    The third one's red and blue means lie beyond the edges, which draw them in.
    """
    shares = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    colours = grid(16)[torch.tensor([[2, 9, 14], [7, 0, 3], [15, 4, 0]])]
    coefficients = torch.tensor([[0.5, -0.7, 0.2], [0.3, 0.9, -0.4], [-0.6, 0.1, 0.8]]).double()
    beyond = torch.tensor([[0, 0, 0], [0, 0, 0], [0.7, 0, -0.9]]).double()
    r, g = colours[:, 0], colours[:, 1]
    moved = torch.stack(
        [
            torch.zeros(3).double(),
            coefficients[:, 0] * r,
            coefficients[:, 1] * r + coefficients[:, 2] * g,
        ],
        dim=1,
    )
    mixture = LogisticMixture(
        logits=shares.log().view(1, 3, 1, 1) + 1.7,
        means=(colours - moved + beyond).view(1, 3, 3, 1, 1),
        log_scales=torch.full((1, 3, 3, 1, 1), -7.0).double(),
        coefficients=coefficients.view(1, 3, 3, 1, 1),
        levels=16,
    )
    return mixture, shares, colours


def test_the_mean_of_narrow_components_is_the_expectation() -> None:
    """By enumeration of all 4096 colours, and by hand."""
    mixture, shares, colours = narrow_mixture()
    pixels = every_pixel(3, 16, 1)
    expectation = (at_all(mixture, pixels).exp()[:, None] * pixels).sum(0).flatten()
    torch.testing.assert_close(expectation, shares @ colours, rtol=0, atol=1e-12)
    torch.testing.assert_close(mixture.mean().flatten(), expectation, rtol=0, atol=1e-12)


def test_draws_of_narrow_components_are_their_colours() -> None:
    """Three colours and no blend of them, as often as the shares say."""
    mixture, shares, colours = narrow_mixture()
    drawn = taken(mixture, 1, 100, 100).sample(ImageStreams(0, "pixels", [0]))
    same = (drawn[0, :, None] - colours.T[:, :, None, None]).abs().amax(0) < 1e-6
    assert torch.equal(same.sum(0), torch.ones(100, 100).long())
    found = same.double().mean((1, 2))
    assert (found - shares).abs().max() < 0.02  # four standard errors


@pytest.mark.parametrize("seed", [0, 10])
def test_draws_follow_the_distribution_of_all_channels_together(seed: int) -> None:
    """Pearson's chi-square over all 64 colours of three channels with four levels."""
    mixture = random_mixture(3, width=1, levels=4, seed=seed)
    mixture = replace(mixture, log_scales=mixture.log_scales / 2)  # leaves no colour without hope
    drawn = taken(mixture, 1, 200, 200).sample(ImageStreams(seed, "pixels", [0]))
    level = ((drawn[0] + 1) * 1.5).round().long().flatten(1)
    counts = torch.bincount(level[0] * 16 + level[1] * 4 + level[2], minlength=64).double()
    expected = 40_000 * at_all(mixture, every_pixel(3, 4, 1)).exp().flatten()
    seldom = expected < 5
    counts = torch.cat([counts[~seldom], counts[seldom].sum()[None]])
    expected = torch.cat([expected[~seldom], expected[seldom].sum()[None].clamp(min=1e-3)])
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    assert len(counts) > 30
    assert statistic < chi2.isf(1e-4, len(counts) - 1)


def test_draws_are_8_bit_values() -> None:
    """Exactly those that images have, up to both edges."""
    mixture = random_mixture(3, width=1)
    single = {name: tensor.float() for name, tensor in parts(taken(mixture, 2, 50, 50)).items()}
    drawn = LogisticMixture(**single).sample(ImageStreams(0, "pixels", [0, 1]))
    assert drawn.shape == (2, 3, 50, 50)
    assert torch.equal(drawn, images.to_float(images.to_uint8(drawn)))
    assert {drawn.min().item(), drawn.max().item()} == {-1.0, 1.0}


def test_no_share_of_chance_is_endless() -> None:
    """Uniform numbers may be 0, and 1 after rounding: their logit and their logarithm are not."""
    ends = uniform(FixedStreams(torch.tensor([[0.0, 1.0]])), 2)  # type: ignore[arg-type]
    assert ends.logit().isfinite().all() and (-ends.log()).log().isfinite().all()


def test_a_draw_depends_on_its_own_image_s_stream_alone() -> None:
    mixture = taken(random_mixture(3, width=1), 5, 4, 4)
    whole = mixture.sample(ImageStreams(3, "pixels", range(5)))
    late = replace(mixture, **{name: t[3:] for name, t in parts(mixture).items()})
    assert torch.equal(late.sample(ImageStreams(3, "pixels", [3, 4])), whole[3:])
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole[0, :, 0, 0], whole[0, :, 0, 1])


# A network's numbers.


@pytest.mark.parametrize(
    ("channels", "components", "count"),
    [(1, 1, 3), (1, 10, 30), (2, 5, 30), (3, 1, 10), (3, 4, 40)],
)
def test_a_network_s_numbers_are_taken_apart(channels: int, components: int, count: int) -> None:
    """Component after component: share, means, log-scales less their start, coefficients."""
    assert mixture_channels(channels, components) == count
    numbers = normal(2, count, 3, 4)
    for layout in (torch.contiguous_format, torch.channels_last):
        mixture = read_mixture(numbers.contiguous(memory_format=layout), channels, components)
        assert mixture.levels == 256
        for k in range(components):
            first, C = k * count // components, channels
            own = numbers[:, first : first + count // components]
            assert torch.equal(mixture.logits[:, k], own[:, 0])
            assert torch.equal(mixture.means[:, k], own[:, 1 : 1 + C])
            log_scales = FIRST_LOG_SCALE + own[:, 1 + C : 1 + 2 * C]
            assert torch.equal(mixture.log_scales[:, k], log_scales)
            assert torch.equal(mixture.coefficients[:, k], own[:, 1 + 2 * C :].tanh())
        assert mixture.log_probability(torch.zeros(2, channels, 3, 4)).shape == (2, 3, 4)


def test_scales_stop_at_a_tenth_of_a_bin() -> None:
    numbers = torch.tensor([-50.0, -7.5, -6.5, 3.0]) - FIRST_LOG_SCALE
    numbers = numbers.view(1, 1, 1, 4).expand(1, 3, 1, 4)
    found = read_mixture(numbers, channels=1, components=1).log_scales.flatten()
    assert found.tolist() == [-7.0, -7.0, -6.5, 3.0]
