"""A GAN's likelihood under noise, where the generator is linear and the answer is known."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from tests.truths import MACHINE, normal
from triptych import images
from triptych.config import ImageShape, OptimizerConfig
from triptych.errors import InputError
from triptych.families.gan import ais
from triptych.families.gan.ais import of_pixels, rounded
from triptych.families.gan.inversion import Inversion
from triptych.families.gan.losses import GANLoss, hinge_discriminator, hinge_generator
from triptych.families.gan.model import GAN
from triptych.images import BIN_WIDTH
from triptych.options import LikelihoodOptions
from triptych.seeding import ImageStreams
from triptych.tasks import likelihood

pytestmark = pytest.mark.usefixtures("latents_are_refined_as_asked")

SIDE, LATENT, STD = 8, 5, 0.1
SHAPE = ImageShape(channels=1, resolution=SIDE)
WEIGHT = normal(SIDE**2, LATENT, seed=1) / 12


class Plane(nn.Module):
    """Images W z, well inside [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(WEIGHT.clone())

    def forward(self, z: Tensor) -> Tensor:
        return (z @ self.weight.T).view(-1, 1, SIDE, SIDE)


def plane(dtype: torch.dtype = torch.float64) -> GAN:
    adam = OptimizerConfig(learning_rate=1e-3)
    return (
        GAN(
            Plane(),
            nn.Flatten(0),
            latent=LATENT,
            loss=GANLoss(discriminator=hinge_discriminator, generator=hinge_generator),
            discriminator_optimizer=adam,
            generator_optimizer=adam,
            inversion=Inversion(),
            shape=SHAPE,
        )
        .to(dtype)
        .eval()
    )


def drawn(count: int) -> Tensor:
    """8-bit images of the noisy model."""
    x = normal(count, LATENT, seed=2) @ WEIGHT.T + STD * normal(count, SIDE**2, seed=3)
    assert x.abs().max() < 1
    return rounded(x).view(-1, 1, SIDE, SIDE)


def exact(x: Tensor) -> Tensor:
    """log N(x; 0, W W^T + std^2 I) times the bins' widths: the noise is many bins wide."""
    covariance = WEIGHT @ WEIGHT.T + STD**2 * torch.eye(SIDE**2, dtype=torch.float64)
    density = MultivariateNormal(torch.zeros(SIDE**2, dtype=torch.float64), covariance)
    return density.log_prob(x.flatten(1)) + SIDE**2 * math.log(BIN_WIDTH)


def test_the_estimate_is_the_marginal_likelihood_of_8_bit_images() -> None:
    model, x = plane(), drawn(24)
    with torch.inference_mode():
        rng = ImageStreams(0, "likelihood/ais", range(24))
        found = model.estimate_likelihood(x, rng, STD, 300)
    assert abs((found - exact(x)).mean()) < 0.5


def test_bounds_on_its_own_images_meet() -> None:
    """Mean bounds on 24 images, a nat apart, in the right order."""
    model = plane()
    with torch.inference_mode():
        rng = ImageStreams(0, "simulated/ais", range(24))
        below, above = model.simulated_bounds(rng, STD, 300)
    assert abs((above - below).mean()) < 1
    assert (below - above).mean() < 3 * (above - below).std() / 24**0.5


def test_its_own_images_are_8_bit_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those that are measured: a number between two grey levels has no probability."""
    shown: list[Tensor] = []

    def watched(generator: Any, pixels: Tensor, *rest: Any) -> Any:
        shown.append(pixels)
        return of_pixels(generator, pixels, *rest)

    monkeypatch.setattr(ais, "of_pixels", watched)
    model = plane()
    with torch.inference_mode():
        model.simulated_bounds(ImageStreams(0, "simulated/ais", range(4)), STD, 10)
    assert len(shown) == 2 and torch.equal(*shown)
    levels = (shown[0] + 1) / BIN_WIDTH
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-9)


def test_pixels_are_binned_with_endless_edges() -> None:
    """Probabilities of all 256 values sum to one, whatever the mean."""
    values = images.to_float(torch.arange(256, dtype=torch.uint8)).double()
    for z in (0.0, 3.0, 10.0):
        total = 0.0
        mean = z * WEIGHT[0, 0]
        for value in values:
            x = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.float64)
            x[0, 0, 0, 0] = value
            at = torch.zeros(1, LATENT, dtype=torch.float64)
            at[0, 0] = z
            whole = of_pixels(plane().generator, x, [], 0.05)(at)
            x[0, 0, 0, 0] = 0.0
            base = of_pixels(plane().generator, x, [], 0.05)(at)
            total += (whole - base).exp().item() * normal_mass(mean.item(), 0.05)
        assert total == pytest.approx(1, abs=1e-6)


def normal_mass(mean: float, std: float) -> float:
    """Of the bin around 0 on [-1, 1], which is no level: its pixels are off by half a bin."""
    cumulative = torch.special.ndtr(
        torch.tensor([(BIN_WIDTH / 2 - mean) / std, (-BIN_WIDTH / 2 - mean) / std]).double()
    )
    return (cumulative[0] - cumulative[1]).item()


def test_the_noise_is_what_inversions_leave() -> None:
    """Off the plane noise of 0.1 stays but for the latents' own share: D - 5 of D parts."""
    model, x = plane().with_refinement(400), drawn(16)
    with torch.inference_mode():
        found = model.noise_for(x)
    left = STD * ((SIDE**2 - LATENT) / SIDE**2) ** 0.5
    assert found == pytest.approx(left, rel=0.05)


def entry(validation: Tensor | None = None, **more: Any) -> dict[str, Any]:
    pixels, asked = images.to_uint8(drawn(6)), LikelihoodOptions(method="ais", draws=20, **more)
    record = likelihood.bits_per_dim(plane(torch.float32), pixels, 0, MACHINE, asked, validation)
    return record.to_json()


def test_the_entry_says_what_was_estimated() -> None:
    found = entry(noise=STD)
    assert (found["kind"], found["method"], found["n"]) == ("estimate", "ais", 6)
    bits = -exact(drawn(6)).mean().item() / (SIDE**2 * math.log(2))
    assert found["value"] == pytest.approx(bits, rel=0.2)  # 20 temperatures are few
    assert found["low"] < found["value"] < found["high"]
    note, gap = found["note"], found["terms"]["gap_on_simulated"]["nats"]
    assert note["code"] == "noisy_model_asked" and gap > 0
    assert note["values"] == {"std": STD, "temperatures": 20, "images": 16, "gap": gap}
    assert json.dumps(found)


def test_noise_is_chosen_on_validation_images() -> None:
    found = entry(validation=images.to_uint8(drawn(9)))
    assert found["note"]["code"] == "noisy_model_chosen"
    with pytest.raises(InputError, match="no validation images"):
        entry(validation=torch.zeros(0, *SHAPE.size, dtype=torch.uint8))


@pytest.mark.parametrize("noise", [0.0, -1.0, 0.003, 1.5, math.nan, math.inf])
def test_absurd_noise_is_refused(noise: float) -> None:
    with pytest.raises(InputError, match="is no noise of 8-bit pixels"):
        entry(noise=noise)
    assert likelihood.LEAST_NOISE > 0.003


def test_without_asking_it_is_not_defined() -> None:
    pixels = images.to_uint8(drawn(2))
    found = likelihood.bits_per_dim(plane(), pixels, 0, MACHINE, LikelihoodOptions()).to_json()
    assert found["value"] is None and found["note"]["code"] == "gan_no_density"
    with pytest.raises(InputError, match="no method 'elbo' for this model"):
        likelihood.bits_per_dim(plane(), pixels, 0, MACHINE, LikelihoodOptions(method="elbo"))
