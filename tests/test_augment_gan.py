"""Differentiable augmentation: what it does to each image, and that gradients pass through it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.truths import normal
from triptych.families.gan.augment import NUMBERS, augment, colour, cut, translate

STILL = 0.5  # the number that changes nothing, but for the hole


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def spread(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def test_the_middle_of_every_range_leaves_an_image_as_it_is() -> None:
    x = normal(3, 3, 16, 16)
    still = torch.full((3,), STILL, dtype=torch.float64)
    torch.testing.assert_close(colour(x, *(spread(still),) * 3), x)
    torch.testing.assert_close(translate(x, still, still), x)


def test_colour_by_hand() -> None:
    """Brightness adds, saturation scales the distance to grey, contrast that to the mean."""
    x = normal(1, 3, 4, 4)
    bright, pale, flat = 0.9, 0.1, 0.2
    found = colour(x, *(spread(column(v)) for v in (bright, pale, flat)))
    step = x + 0.4
    grey = step.mean(1, keepdim=True)
    step = grey + 0.2 * (step - grey)
    mean = step.mean()
    torch.testing.assert_close(found, mean + 0.7 * (step - mean))


def test_translation_moves_by_whole_pixels_and_fills_with_zero() -> None:
    """A side of 16 moves by -2 to 2; down is along rows."""
    x = 1 + normal(5, 2, 16, 16).abs()
    chances = column(0.0, 0.2, 0.4, 0.6, 0.999)
    down = translate(x, chances, torch.full_like(chances, STILL))
    for image, moved, shift in zip(x, down, (-2, -1, 0, 1, 2), strict=True):
        exact = torch.zeros_like(image)
        for row in range(16):
            if 0 <= row - shift < 16:
                exact[:, row] = image[:, row - shift]
        assert torch.equal(moved, exact)
    right = translate(x, torch.full_like(chances, STILL), chances)
    assert torch.equal(right, translate(x.mT, chances, torch.full_like(chances, STILL)).mT)


def test_the_hole_is_half_the_side_and_may_leave_the_image() -> None:
    x = torch.ones(3, 1, 16, 16, dtype=torch.float64)
    found = cut(x, column(0.0, 0.5, 0.999), column(0.0, 0.5, 0.999))
    for image, centre in zip(found, (0, 8, 16), strict=True):
        exact = torch.ones(16, 16, dtype=torch.float64)
        exact[max(0, centre - 4) : centre + 4, max(0, centre - 4) : centre + 4] = 0
        assert torch.equal(image[0], exact)


def test_all_shifts_and_holes_are_as_likely() -> None:
    count = 4000
    chance = torch.rand(count, NUMBERS, generator=torch.Generator().manual_seed(0))
    ramp = torch.arange(1.0, 17.0).expand(count, 1, 16, 16)
    moved = translate(ramp, torch.full((count,), STILL), chance[:, 4])
    shifts = 8 - moved[:, 0, 8, 7].round()  # place 7 holds 8 - shift
    counts = torch.bincount((shifts + 2).long(), minlength=5).double()
    assert ((counts - count / 5).abs() < 4 * (count * 0.16) ** 0.5).all()
    holes = cut(torch.ones(count, 1, 16, 16), chance[:, 5], chance[:, 6])[:, 0]
    kept = holes.mean(0)
    assert kept[8, 8] < kept[0, 0] < 1 and torch.allclose(kept, kept.flip(0, 1), atol=0.05)


def test_each_image_has_its_own_numbers() -> None:
    x = normal(4, 3, 16, 16).float()
    chance = torch.rand(4, NUMBERS, generator=torch.Generator().manual_seed(1))
    whole = augment(x, chance)
    torch.testing.assert_close(augment(x[2:3], chance[2:3]), whole[2:3])
    assert all(not torch.allclose(whole[i], x[i]) for i in range(4))


def test_gradients_pass_through() -> None:
    x = normal(2, 2, 8, 8).requires_grad_()
    chance = torch.rand(2, NUMBERS, generator=torch.Generator().manual_seed(2)).double()
    assert torch.autograd.gradcheck(lambda y: augment(y, chance), (x,))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_channels_keep_their_shape(channels: int) -> None:
    x = normal(3, channels, 32, 32).float()
    found = augment(x, torch.rand(3, NUMBERS))
    assert found.shape == x.shape and found.dtype == x.dtype
