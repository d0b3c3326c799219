"""The residual networks: blocks that begin as nothing, sums, groups and labels."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.truths import normal
from triptych.nn.resnet_gan import (
    GAIN,
    Backbone,
    ResidualBlock,
    ResidualDiscriminator,
    ResidualGenerator,
    scaled,
)
from triptych.seeding import initializing

SMALL = Backbone(width=8, most=24, blocks=2, expand=1.5, group=4)


def test_a_block_begins_as_the_identity() -> None:
    x = normal(2, 8, 4, 4).float()
    assert torch.equal(ResidualBlock(8, 12, 3, blocks=4)(x), x)


def test_a_block_is_its_three_convolutions() -> None:
    block = ResidualBlock(8, 12, 3, blocks=4).double()
    with torch.no_grad():
        for number, parameter in enumerate(block.parameters()):
            parameter.copy_(0.3 * normal(*parameter.shape, seed=number))
    x = normal(2, 8, 5, 5, seed=9)
    h = F.leaky_relu(F.conv2d(x, block.widen.weight, block.widen.bias), 0.2)
    mixed = torch.cat(
        [
            F.conv2d(part, weight, padding=1)
            for part, weight in zip(h.chunk(3, 1), block.mix.weight.chunk(3), strict=True)
        ],
        dim=1,
    )
    h = F.leaky_relu(mixed + block.bias, 0.2)
    torch.testing.assert_close(block(x), x + F.conv2d(h, block.narrow.weight))


def test_first_weights_are_smaller_the_more_blocks_there_are() -> None:
    """Deviation GAIN L^(-1/4) / sqrt(inputs) (arXiv:1901.09321, section 3, with m = 3)."""
    with initializing(0):
        block = ResidualBlock(64, 64, 1, blocks=16)
    for layer, inputs in ((block.widen, 64), (block.mix, 64 * 9)):
        exact = GAIN * 16**-0.25 / inputs**0.5
        assert layer.weight.std().item() == pytest.approx(exact, rel=0.05)
    assert not block.narrow.weight.any()


def test_leaky_relu_keeps_the_second_moment() -> None:
    x = normal(100_000)
    layer = scaled(nn.Linear(64, 64), GAIN)
    assert F.leaky_relu(x, 0.2).square().mean().item() == pytest.approx(1 / GAIN**2, rel=0.02)
    assert not layer.bias.any()


def test_widths_double_up_to_the_most() -> None:
    assert Backbone(width=32, most=128).widths(32) == [128, 64, 32, 32]
    assert Backbone(width=32, most=64).widths(64) == [64, 64, 64, 32, 32]
    stages = SMALL.stages(SMALL.widths(32))
    assert [len(stage) for stage in stages] == [2, 2, 2, 2]
    assert [stage[0].mix.groups for stage in stages] == [9, 6, 3, 3]
    assert [stage[0].mix.in_channels for stage in stages] == [36, 24, 12, 12]


@pytest.mark.parametrize("wrong", [{"width": 0}, {"blocks": 0}, {"expand": 0.0}, {"group": 0}])
def test_senseless_sizes_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        Backbone(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("resolution", [8, 16, 32, 64])
@pytest.mark.parametrize("classes", [None, 3])
def test_networks_fit_every_resolution(resolution: int, classes: int | None) -> None:
    labels = () if classes is None else (F.one_hot(torch.tensor([0, 3]), 4).float(),)
    generator = ResidualGenerator(5, 3, resolution, SMALL, classes)
    discriminator = ResidualDiscriminator(3, resolution, SMALL, classes)
    fake = generator(normal(2, 5).float(), *labels)
    assert fake.shape == (2, 3, resolution, resolution)
    assert discriminator(fake, *labels).shape == (2,)


def test_first_images_and_scores_are_of_a_sane_size() -> None:
    """At the start: images within about -1 to 1, scores about 1 apart."""
    with initializing(0):
        generator = ResidualGenerator(64, 3, 32, Backbone())
        discriminator = ResidualDiscriminator(3, 32, Backbone())
    fake = generator(normal(64, 64).float())
    assert 0.05 < fake.std().item() < 1
    assert 0.01 < discriminator(normal(64, 3, 32, 32).float().clamp(-1, 1)).std().item() < 3


def test_the_last_picture_is_summed_channel_by_channel() -> None:
    discriminator = ResidualDiscriminator(1, 32, SMALL).double()
    x = normal(2, 24, 4, 4)
    found = (x * discriminator.sums.weight[:, 0]).sum((2, 3))
    torch.testing.assert_close(found, discriminator.sums(x).flatten(1))


def test_a_conditional_discriminator_projects_its_features_on_the_label() -> None:
    """Score = head + mean over features of label vector times feature."""
    discriminator = ResidualDiscriminator(1, 16, SMALL, classes=3).double()
    x, labels = normal(2, 1, 16, 16), F.one_hot(torch.tensor([1, 3]), 4).double()
    features = discriminator.features(x)
    exact = features @ discriminator.head.weight[0] + torch.stack(
        [(features[i] * discriminator.label.weight[:, k]).mean() for i, k in enumerate((1, 3))]
    )
    torch.testing.assert_close(discriminator(x, labels), exact)
