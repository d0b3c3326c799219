"""What a few images tell of a GAN in training, on players whose faults are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.truths import normal
from triptych.config import ImageShape, OptimizerConfig
from triptych.families.capabilities import Diagnosis
from triptych.families.gan import monitor
from triptych.families.gan.inversion import Inversion
from triptych.families.gan.losses import (
    GANLoss,
    hinge_discriminator,
    hinge_generator,
    pairing_discriminator,
    pairing_generator,
)
from triptych.families.gan.model import GAN
from triptych.records import Note
from triptych.seeding import ImageStreams
from triptych.words import english

SHAPE = ImageShape(channels=1, resolution=8)
HINGE = GANLoss(discriminator=hinge_discriminator, generator=hinge_generator)


class Painter(nn.Module):
    """z itself, as an image, times a factor and plus a mean."""

    def __init__(self, factor: float = 0.3, mean: float = 0.0) -> None:
        super().__init__()
        self.factor, self.mean = factor, mean

    def forward(self, z: Tensor) -> Tensor:
        return self.mean + self.factor * z.double().view(-1, 1, 8, 8)


class FewKinds(nn.Module):
    """One of some images, whichever the first numbers of z choose."""

    def __init__(self, kinds: int) -> None:
        super().__init__()
        self.images = 0.3 * normal(kinds, 1, 8, 8, seed=5)

    def forward(self, z: Tensor) -> Tensor:
        return self.images[z[:, : len(self.images)].argmax(1)]


class Linear(nn.Module):
    """w.x, with a weight for every pixel."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight


def players(
    generator: nn.Module | None = None, weight: Tensor | None = None, loss: GANLoss = HINGE
) -> GAN:
    adam = OptimizerConfig(learning_rate=1e-3)
    return GAN(
        generator or Painter(),
        Linear(normal(64, seed=3) if weight is None else weight),
        latent=64,
        loss=loss,
        discriminator_optimizer=adam,
        generator_optimizer=adam,
        inversion=Inversion(),
        shape=SHAPE,
    ).eval()


def real(count: int, seed: int = 0, mean: float = 0.0) -> Tensor:
    return mean + 0.3 * normal(count, 1, 8, 8, seed=seed)


def told(model: GAN, seen: Tensor, unseen: Tensor, share: float = 1.0) -> Diagnosis:
    rng = ImageStreams(0, "diagnosis", range(len(seen) + len(unseen)))
    with torch.inference_mode():
        return model.diagnose(seen, unseen, rng, share)


def test_players_that_are_well_are_told_nothing() -> None:
    """Fake images of the very distribution of the real ones."""
    found = told(players(), real(64), real(64, seed=1))
    assert found.advice == [] and found.health > 0.7
    assert found.numbers["spread"] == pytest.approx(1, abs=0.1)
    assert found.numbers["reach"] == pytest.approx(1, abs=0.25)
    assert found.numbers["separation"] == pytest.approx(0.5, abs=0.1)


def test_one_image_for_all_is_a_collapse() -> None:
    found = told(players(Painter(factor=0.0)), real(64), real(64, seed=1))
    assert found.numbers["spread"] == found.health == 0
    values = {"spread": 0, "reach": found.numbers["reach"], "least": monitor.NARROW}
    assert found.failure == Note("generator_collapsed", values)
    assert "they are 0 times as far apart" in english(found.failure)
    (note,) = [note for note in found.advice if note.code == "few_kinds_of_images"]
    assert (note.values["spread"], note.values["least"]) == (0, monitor.NARROW)


def test_few_kinds_of_image_are_a_collapse_though_they_are_far_apart() -> None:
    found = told(players(FewKinds(4)), real(64), real(64, seed=1))
    assert found.numbers["spread"] > monitor.NARROW
    assert found.numbers["reach"] == found.health < 0.25
    assert found.failure is not None and found.failure.code == "generator_collapsed"


def test_reach_counts_real_images_that_are_nearest_to_fake_ones() -> None:
    """Of 0, 1, 10, 11 the fake ones are nearest to 0 and 10; each is the nearest of another."""
    real_ones, fake = (
        torch.tensor(v).view(-1, 1) for v in ([0.0, 1, 10, 11], [0.1, 0.2, 0.3, 9.9])
    )
    assert monitor.find_reach(real_ones, fake) == 0.5


def test_the_slope_of_a_linear_discriminator() -> None:
    """Each image's loss -w.x has the gradient -w: |w| times the real images' mean radius."""
    weight, x = normal(64, seed=3), real(32)
    flat = x.flatten(1)
    away = (flat - flat.mean(0)).norm(dim=1).mean()
    found = told(players(weight=weight), x[:16], x[16:])
    assert found.numbers["slope"] == pytest.approx((weight.norm() * away).item(), rel=1e-5)


def test_the_slope_of_pairs_is_damped_by_how_sure_the_discriminator_is() -> None:
    """-log sigmoid(m) has the slope sigmoid(-m) in its margin m = D(G(z)) - D(x)."""
    loss = GANLoss(discriminator=pairing_discriminator, generator=pairing_generator, paired=True)
    model, x = players(weight=0.1 * normal(64, seed=3), loss=loss), real(32)
    rng = ImageStreams(0, "diagnosis", range(32))
    fake = model.decode(model.draw_latent(32, rng), rng)
    margin = model.discriminator(fake) - model.discriminator(x)
    flat = x.flatten(1)
    away = (flat - flat.mean(0)).norm(dim=1).mean()
    exact = torch.sigmoid(-margin).mean() * model.discriminator.weight.norm() * away
    found = told(model, x[:16], x[16:])
    assert found.numbers["slope"] == pytest.approx(exact.item(), rel=1e-4)


def test_a_flat_discriminator_teaches_nothing() -> None:
    found = told(players(weight=torch.zeros(64, dtype=torch.float64)), real(64), real(64, seed=1))
    assert found.numbers["slope"] == found.health == 0
    assert found.failure == Note("gradient_vanished", {"slope": 0, "least": monitor.FAINT})
    (note,) = [note for note in found.advice if note.code == "discriminator_wins"]
    assert (note.values["slope"], note.values["least"]) == (0, monitor.FAINT)


@pytest.mark.parametrize(("scale", "said"), [(1.0, False), (1e-3, True)])
def test_a_discriminator_that_knows_all_is_bad_only_where_it_is_flat(
    scale: float, said: bool
) -> None:
    weight = scale * torch.ones(64, dtype=torch.float64)
    model = players(Painter(mean=-2.0), weight=weight)
    found = told(model, real(64), real(64, seed=1))
    assert found.numbers["separation"] == 1
    assert ("discriminator_wins" in {note.code for note in found.advice}) == said


def test_memory_is_the_share_of_the_way_to_training_images() -> None:
    """Mean scores: 1 on training, -0.6 on validation, -1 on fake images."""
    weight = torch.full((64,), 1 / 64, dtype=torch.float64)

    def centered(x: Tensor, mean: float) -> Tensor:
        return x - x.mean() + mean

    class Exact(Painter):
        def forward(self, z: Tensor) -> Tensor:
            return centered(super().forward(z), -1.0)

    model = players(Exact(), weight=weight)
    seen, unseen = centered(real(64), 1.0), centered(real(64, seed=1), -0.6)
    found = told(model, seen, unseen)
    assert found.numbers["memory"] == pytest.approx(0.8, abs=1e-6)
    (note,) = [note for note in found.advice if note.code == "discriminator_memorizes"]
    assert note.values == {"memory": found.numbers["memory"], "most": 0.75}
    assert "memory" not in told(model, seen, unseen[:0]).numbers


def test_memory_is_no_number_where_fake_images_pass_for_real_ones() -> None:
    """A generator that draws as the data do: its ratio would be of two differences by chance."""
    for seed in range(4):
        found = told(players(), real(24, seed=seed + 20), real(24, seed=seed + 40))
        assert "memory" not in found.numbers
        assert "discriminator_memorizes" not in {note.code for note in found.advice}


@pytest.mark.parametrize(("share", "count"), [(0.19, 32), (1.0, 3)])
def test_nothing_is_judged_early_or_on_few_images(share: float, count: int) -> None:
    found = told(players(Painter(factor=0.0)), real(count), real(count, seed=1), share)
    assert (found.advice, found.failure, found.health) == ([], None, 0.0)
    assert found.numbers["spread"] == 0


def test_the_discriminator_can_still_be_trained_afterwards() -> None:
    model = players()
    told(model, real(8), real(8, seed=1))
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def all_advice(points: bool = False) -> list[Note]:
    """A note for each fault."""
    worst = {"separation": 1.0, "slope": 0.0, "spread": 0.1, "reach": 0.1, "memory": 1.0}
    return monitor.advise(worst, augmented=False, points=points)


def test_a_discriminator_that_is_shown_changed_images_is_not_told_to_be() -> None:
    by_heart = {"separation": 0.5, "slope": 1.0, "spread": 1.0, "reach": 1.0, "memory": 1.0}
    [note] = monitor.advise(by_heart, augmented=False, points=False)
    assert "--set augment=true" in english(note)
    assert monitor.advise(by_heart, augmented=True, points=False) == []


def test_every_fault_has_its_note() -> None:
    assert len({note.code for note in all_advice()}) == 3


def test_advice_on_points_names_no_recipe_of_images() -> None:
    assert [each for each in all_advice(points=True) if "gan:r3" in english(each)] == []
    assert any("--set gamma" in english(each) for each in all_advice(points=True))


def test_a_small_slope_of_networks_that_are_done_is_no_failure() -> None:
    """Where the discriminator cannot tell, its slope is small as it should be."""
    done = {"separation": 0.5, "slope": 0.01, "spread": 0.9, "reach": 0.8}
    health, failure = monitor.find_failure(done)
    assert health == 0.8 and failure.code == "generator_collapsed"
    health, failure = monitor.find_failure(done | {"separation": 0.99})
    assert health == pytest.approx(0.2) and failure.code == "gradient_vanished"
