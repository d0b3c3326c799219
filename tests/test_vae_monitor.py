"""Diagnoses find each trouble where it was built in, and nowhere else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.ladders import tiny_ladder
from tests.truths import FixedStreams, normal, random_pixels
from triptych import images
from triptych.config import ImageShape, OptimizerConfig
from triptych.families.capabilities import Diagnosis
from triptych.families.pixels import EDGE
from triptych.families.protocol import Batch
from triptych.families.vae import monitor
from triptych.families.vae.gaussian import GaussianVAE
from triptych.families.vae.ladder import LadderVAE
from triptych.families.vae.monitor import Gap, LevelUse, advise
from triptych.images import BIN_WIDTH
from triptych.records import Note
from triptych.seeding import ImageStreams
from triptych.words import english

SHAPE = ImageShape(channels=1, resolution=6)
LATENT = 3
OPTIMISER = OptimizerConfig(learning_rate=0.02)


class Line(nn.Module):
    """x -> the mean x A and one log-variance for each unit."""

    def __init__(self, log_variance: float = -2.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.3 * normal(SHAPE.dimensions, LATENT))
        self.log_variance = nn.Parameter(torch.full((LATENT,), log_variance, dtype=torch.float64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.flatten(1) @ self.weight
        return mean, self.log_variance.expand_as(mean)


class Back(nn.Module):
    """z -> z A' + b."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.3 * normal(LATENT, SHAPE.dimensions, seed=1))
        self.bias = nn.Parameter(torch.zeros(SHAPE.dimensions, dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return (z @ self.weight + self.bias).view(-1, *SHAPE.size)


def line_vae(std: float = 0.3, learn_std: bool = True, warm_up: float = 0.0) -> GaussianVAE:
    return GaussianVAE(
        Line(),
        Back(),
        latent=LATENT,
        std=std,
        learn_std=learn_std,
        shape=SHAPE,
        optimizer=OPTIMISER,
        warm_up=warm_up,
    ).double()


def pixels(count: int, seed: int = 0) -> Tensor:
    """8-bit images, float64; none of their pixels is black or white."""
    found = random_pixels(count, *SHAPE.size, seed=seed).clamp(1, 254)
    return images.to_float(found).double()


def told(model: Any, seen: Tensor, unseen: Tensor, share: float = 1.0) -> Diagnosis:
    count = len(seen) + len(unseen)
    with torch.inference_mode():
        return model.diagnose(seen, unseen, DoubleStreams(0, "test", range(count)), share)


class DoubleStreams(ImageStreams):
    """In float64."""

    def normal(self, *shape: int) -> Tensor:
        return super().normal(*shape).double()


# The numbers


def test_the_numbers_are_those_worked_out_by_hand() -> None:
    """With NumPy and SciPy from the encoder's and the decoder's matrices alone."""
    from scipy.stats import norm

    model, seen, unseen = line_vae(0.9), pixels(5), pixels(4, seed=1)
    with torch.no_grad():
        model.encoder.weight[:, 1] = 0.0
        model.encoder.weight[:, 2] *= 0.02
    noise = normal(9, LATENT, seed=2)
    with torch.no_grad():
        found = model.diagnose(seen, unseen, FixedStreams(noise)).numbers
    x = torch.cat([seen, unseen]).flatten(1).numpy()
    A, B = model.encoder.weight.detach().numpy(), model.decoder.weight.detach().numpy()
    mean, variance = x @ A, np.exp(-2.0)
    std = math.exp(model.log_std.item())
    z = mean + np.sqrt(variance) * noise.numpy()
    edges = (z @ B - BIN_WIDTH / 2, z @ B + BIN_WIDTH / 2)
    mass = norm.cdf(x, edges[0], std) - norm.cdf(x, edges[1], std)
    distortion = -np.log(mass).sum(1)
    rate = 0.5 * (mean**2 + variance - 1 + 2.0).sum(1)
    own = norm.logpdf(x, mean @ B, std).sum(1)
    other = norm.logpdf(x, np.roll(mean, 1, axis=0) @ B, std).sum(1)
    active = int((mean.var(0, ddof=1) > 0.01).sum())
    least = -math.log(norm.cdf(BIN_WIDTH / 2, 0, std) - norm.cdf(-BIN_WIDTH / 2, 0, std))
    bits = 36 * math.log(2)
    bound = (rate + distortion) / bits
    expected = {
        "rate": rate.mean() / bits,
        "distortion": distortion.mean() / bits,
        "gain": (own - other).mean(),
        "kl": rate.mean(),
        "active": active,
        "active_share": active / 3,
        "bound_train": bound[:5].mean(),
        "bound_validation": bound[5:].mean(),
        "gap": bound[5:].mean() - bound[:5].mean(),
        "gap_error": math.sqrt(bound[:5].var(ddof=1) / 5 + bound[5:].var(ddof=1) / 4),
    }
    assert 0 < active < 3
    assert found == pytest.approx(expected, rel=1e-6)
    cost = model.least_distortion(seen).detach()
    assert cost.numpy() == pytest.approx(36 * least, rel=1e-6)


def test_black_and_white_may_cost_nothing() -> None:
    """A pixel at an edge is as sure as one likes where the mean lies beyond it."""
    x = pixels(2)
    x[0, 0, 0, :2] = torch.tensor([-1.0, 1.0])
    assert x.abs().max() > EDGE
    found = line_vae().least_distortion(x).detach()
    assert found[0] / found[1] == pytest.approx(34 / 36)
    assert tiny_ladder().least_distortion(x).tolist() == [0, 0]


def test_levels_pool_their_blocks() -> None:
    """Units and KL of a ladder's level are those of all its latents, by torch's own divergence."""
    model = tiny_ladder().eval()
    x = images.to_float(random_pixels(7, *model.shape.size)).double()
    found = told(model, x[:4], x[4:]).numbers
    with torch.no_grad():
        means = model.posterior(model.encode_features(x), None).means
        rng = DoubleStreams(0, "test", range(7))
        noise = {name: rng.normal(*shape) for name, shape in model.latents.items()}
        drawn = model.posterior(model.encode_features(x), noise)
    total = 0.0
    for level, units in (("1x1", 3), ("4x4", 64)):
        names = [name for name in means if name.startswith(level)]
        variances = torch.cat([means[name].flatten(1).var(0) for name in names])
        assert len(variances) == units
        active = int((variances > 0.01).sum())
        assert found[f"active_{level}"] == active
        assert found[f"active_share_{level}"] == pytest.approx(active / units)
        q, p = torch.distributions.Normal, torch.distributions.Normal(0.0, 1.0)
        kl = sum(
            torch.distributions.kl_divergence(
                q(drawn.means[name], (drawn.log_variances[name] / 2).exp()), p
            )
            .flatten(1)
            .sum(1)
            for name in names
        )
        assert found[f"kl_{level}"] == pytest.approx(float(kl.mean()), rel=1e-6)  # type: ignore[union-attr]
        total += found[f"kl_{level}"]
    assert found["rate"] == pytest.approx(total / (model.shape.dimensions * math.log(2)))


# The troubles, each built in, and none where it is not


def healthy_ladder() -> LadderVAE:
    """Posteriors that move with the image, a decoder that looks at them."""
    model = tiny_ladder().eval()
    with torch.no_grad():
        for level in model.levels():
            for name, block in level.named():
                block.spread.weight.mul_(10)
                block.posterior.last.weight.mul_(100 if name == "1x1.0" else 1)
    return model


def bright_and_dark(model: LadderVAE, count: int) -> Tensor:
    """Noise, brighter from image to image."""
    noise = random_pixels(count, *model.shape.size) // 4
    levels = torch.linspace(0, 190, count).to(torch.uint8)
    return images.to_float(noise + levels.view(-1, 1, 1, 1)).double()


def good_line() -> GaussianVAE:
    """Posteriors that know an image's place on a plane of images, and a decoder that finds it."""
    model = line_vae()
    with torch.no_grad():
        basis, _ = torch.linalg.qr(normal(SHAPE.dimensions, LATENT))
        model.encoder.weight.copy_(basis)
        model.decoder.weight.copy_(basis.T)
    return model


def plane(count: int, seed: int = 0) -> Tensor:
    """Images of `good_line`'s plane, within [-1, 1]."""
    basis, _ = torch.linalg.qr(normal(SHAPE.dimensions, LATENT))
    places = normal(count, LATENT, seed=seed)
    return (places @ basis.T).view(-1, *SHAPE.size).clamp(-0.9, 0.9)


def test_a_healthy_model_is_told_nothing() -> None:
    found = told(good_line(), plane(32), plane(32, seed=1))
    assert found.advice == []
    assert found.numbers["active"] == 3 and found.numbers["gain"] > 10


def test_an_encoder_that_returns_the_prior_has_collapsed() -> None:
    model = good_line()
    with torch.no_grad():
        model.encoder.weight.zero_()
        model.encoder.log_variance.zero_()
    found = told(model, plane(8), plane(8, seed=1))
    assert (found.numbers["kl"], found.numbers["active"], found.numbers["gain"]) == (0, 0, 0)
    mend: Any = {"warm_up": "0.2", "setting": "latent"}
    unused = {"active": 0, "units": 3, "kl": 0, "least_units": 1, "least_kl": monitor.LEAST_KL}
    ignored = {"gain": 0, "rate": 0, "least": monitor.LEAST_GAIN}
    assert found.advice == [
        Note("unused_latent", mend | unused),
        Note("ignored_latents", mend | ignored),
    ]
    mend = "lengthen the KL warm-up, --set warm_up=0.2, raise the --budget, or lower --set latent"
    assert all(english(note).endswith(mend) for note in found.advice)


def test_a_decoder_without_latent_weights_ignores_them() -> None:
    """Though the encoder still pays for them."""
    model = good_line()
    with torch.no_grad():
        model.decoder.weight.zero_()
    found = told(model, plane(8), plane(8, seed=1))
    assert found.numbers["active"] == 3 and found.numbers["gain"] == 0
    (note,) = found.advice
    assert note.code == "ignored_latents"
    assert note.values["rate"] == note.values["least"] == pytest.approx(found.numbers["kl"])


def test_latents_that_cost_more_than_they_gain_are_ignored() -> None:
    """A gain of 3 nats is no gain where the latents cost 4."""
    level = [LevelUse("", 4.0, 10, 10)]
    assert len(advise(line_vae(), level, 3.0, 4.0, None)) == 1
    assert advise(line_vae(), level, 5.0, 4.0, None) == []
    cheap = [LevelUse("", 0.5, 10, 10)]
    assert len(advise(line_vae(), cheap, 0.9, 0.5, None)) == 1
    assert advise(line_vae(), cheap, 1.1, 0.5, None) == []


def test_a_level_without_divergence_is_named() -> None:
    """Both blocks of the 4x4 level answer with the prior; the single pixel is well."""
    model = healthy_ladder()
    x = bright_and_dark(model, 32)
    advice = told(model, x[:16], x[16:]).advice
    assert "unused_level" not in {note.code for note in advice}
    with torch.no_grad():
        for name, block in model.levels()[1].named():
            assert name.startswith("4x4")
            block.posterior.last.weight.zero_()
            block.posterior.last.bias.zero_()
    found = told(model, x[:16], x[16:])
    assert (found.numbers["kl_4x4"], found.numbers["active_4x4"]) == (0, 0)
    assert found.numbers["active_1x1"] > 0
    (note,) = [note for note in found.advice if note.code == "unused_level"]
    assert [note.values[name] for name in ("active", "units", "level", "kl")] == [0, 64, "4x4", 0]
    assert english(note).endswith("or lower --set latents")


@pytest.mark.parametrize("picture", [False, True])
@pytest.mark.parametrize(
    ("kl", "active", "collapsed"),
    [(3.0, 9, True), (3.0, 10, False), (0.009, 90, True), (0.011, 90, False)],
)
def test_a_level_collapses_below_its_least_share_or_its_least_divergence(
    kl: float, active: int, collapsed: bool, picture: bool
) -> None:
    """A tenth of a vector's units, a hundredth of a picture's; a hundredth of a nat."""
    units = 1000 if picture else 100
    assert LevelUse("", kl, units, active, picture).collapsed == collapsed


def test_a_vector_that_sleeps_is_named_with_its_own_setting() -> None:
    levels = [LevelUse("_vector", 0.0, 96, 2), LevelUse("_4x4", 9.0, 64, 60, picture=True)]
    (note,) = advise(tiny_ladder(), levels, 9.0, 9.0, None)
    assert [note.values[name] for name in ("active", "units", "level")] == [2, 96, "vector"]
    assert note.values["least_units"] == 10  # a tenth of them
    assert english(note).endswith("or lower --set vector")


def test_levels_of_more_than_a_pixel_are_pictures() -> None:
    model = tiny_ladder().eval()
    with torch.no_grad():
        found = model.posterior(model.encode_features(bright_and_dark(model, 4)), None)
    levels = monitor.find_levels(found.kl(), found.means)
    assert [level.picture for level in levels] == [False, True]
    (alone,) = monitor.find_levels({"kl": torch.ones(4)}, {"z": normal(4, 3)})
    assert not alone.picture


def test_a_fixed_deviation_is_named_as_the_cause() -> None:
    model = line_vae(1.0, learn_std=False)
    (note,) = advise(model, [LevelUse("", 0.0, 32, 0)], 50.0, 0.0, None)
    assert "train vae:sigma" in english(note) and "warm_up" not in english(note)


def trained_on(x: Tensor, steps: int = 400) -> GaussianVAE:
    """By Adam on all of them at once."""
    model = line_vae()
    objective = model.objectives()[0]
    adam = torch.optim.Adam(model.parameters(), 0.02)
    for step in range(steps):
        noise = {"z": normal(len(x), LATENT, seed=step)}
        adam.zero_grad()
        objective(Batch(x, None, noise))["total"].backward()
        adam.step()
    return model


def test_a_model_trained_on_four_images_over_fits() -> None:
    x, unseen = pixels(4), pixels(32, seed=1)
    found = told(trained_on(x), x, unseen)
    numbers = found.numbers
    assert numbers["gap"] > 3 * numbers["gap_error"] > 0
    note = found.advice[-1]
    assert note.code == "overfitting"
    for name, number in (("seen", "bound_train"), ("unseen", "bound_validation"), ("gap", "gap")):
        assert note.values[name] == numbers[number]
    assert float(note.values["most"]) >= 3 * numbers["gap_error"]
    for option in ("--flip", "--crop 2", "--size", "--budget"):
        assert option in english(note)


def test_a_model_trained_on_enough_does_not_over_fit() -> None:
    model = trained_on(plane(256), 200)
    assert told(model, plane(64), plane(64, seed=1)).advice == []


def test_a_gap_is_of_what_could_be_saved() -> None:
    """Two images that differ by what nobody can save are alike."""
    cost, least = normal(9) + 20, 3 * normal(9, seed=1)
    found = monitor.find_gap(cost + least, least, 5)
    train, validation = cost[:5].numpy(), cost[5:].numpy()
    assert found.gap == pytest.approx(validation.mean() - train.mean())
    assert found.error == pytest.approx(
        math.sqrt(train.var(ddof=1) / 5 + validation.var(ddof=1) / 4)
    )
    assert found.avoidable == pytest.approx(train.mean())
    assert found.seen == pytest.approx((cost + least)[:5].mean().item())
    assert found.unseen == pytest.approx((cost + least)[5:].mean().item())


def test_a_gap_must_be_sure_and_large() -> None:
    def gap(size: float, error: float) -> bool:
        return Gap(seen=8.0, unseen=8.0 + size, gap=size, error=error, avoidable=2.0).overfitted

    assert gap(0.2, 0.01) and not gap(0.2, 0.1) and not gap(0.09, 0.001)
    assert not gap(-0.2, 0.01) and not gap(math.nan, 0.01)


def test_advice_waits_for_a_quarter_and_for_the_warm_up() -> None:
    model = line_vae(warm_up=0.4)
    with torch.no_grad():
        model.encoder.weight.zero_()
        model.encoder.log_variance.zero_()
    x = plane(8)
    assert [bool(told(model, x, x, share).advice) for share in (0.2, 0.3, 0.4)] == [
        False,
        False,
        True,
    ]
    model.warm_up = 0.0
    assert [bool(told(model, x, x, share).advice) for share in (0.2, 0.25)] == [False, True]
    assert told(model, x, x, 0.0).numbers["active"] == 0
    assert told(model, x, x).advice[0].values["warm_up"] == "0.2"
    model.warm_up = 0.15
    assert told(model, x, x).advice[0].values["warm_up"] == "0.3"


def test_without_validation_images_only_the_bounds_are_missing() -> None:
    found = told(good_line(), plane(8), plane(8)[:0]).numbers
    whole = told(good_line(), plane(8), plane(8)).numbers
    assert whole.keys() - found.keys() == {"bound_train", "bound_validation", "gap", "gap_error"}
    assert all(math.isfinite(number) for number in found.values())
