"""Whether samples can be told from real images: what is seen, what is chance, what is repeated."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from tests.truths import coverage, normal
from triptych.metrics import NotDefinedError, real_or_fake
from triptych.metrics.intervals import Estimate, wilson, wilson_of_share
from triptych.metrics.real_or_fake import (
    SPLITS,
    Judge,
    Learn,
    accuracy,
    halves,
    judgements,
)
from triptych.metrics.real_or_fake import real_or_fake as measured

REPEATS = 200
SEEN = real_or_fake.SEEN  # before the other tests' shorter trainings


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_or_fake, "SEEN", SEEN)


def linear(x: Tensor, fake: Tensor, number: int) -> Judge:
    """Fisher's discriminant: a quick learner in the place of the network, on numbers [N,d]."""
    kinds = x[~fake], x[fake]
    means = [each.mean(0) for each in kinds]
    around = torch.cat([each - mean for each, mean in zip(kinds, means, strict=True)])
    covariance = around.T @ around / len(x) + 0.01 * torch.eye(x.shape[1], dtype=x.dtype)
    direction = torch.linalg.solve(covariance, means[1] - means[0])
    threshold = direction @ (means[0] + means[1]) / 2
    return lambda unseen: unseen @ direction - threshold


def by_heart(x: Tensor, fake: Tensor, number: int) -> Judge:
    """Knows all that it has seen, and answers as of the nearest of it."""
    return lambda unseen: fake[torch.cdist(unseen, x).argmin(1)].double() - 0.5


def told(real: Tensor, samples: Tensor, learn: Learn = linear) -> Estimate:
    return accuracy(judgements(real, samples, [learn] * (2 * SPLITS)))


def test_threads_that_start_later_have_as_many_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a thread is given becomes torch's number for new ones, after the workers too."""

    def of_a_new_one() -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.get_num_threads).result()

    before = torch.get_num_threads()
    monkeypatch.setattr(torch, "set_num_threads", torch._C.set_num_threads)  # as outside of pytest
    try:
        torch.set_num_threads(2)
        assert of_a_new_one() == 2
        told(normal(40, 3), normal(40, 3, seed=1))
        assert of_a_new_one() == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_halves_are_equal_complete_and_take_turns() -> None:
    for count in (40, 41):
        seen = []
        for split in range(SPLITS):
            (known, unseen), (then_known, then_unseen) = halves(count, split)
            assert torch.equal(known, then_unseen) and torch.equal(unseen, then_known)
            assert sorted(torch.cat([known, unseen]).tolist()) == list(range(2 * count))
            assert (known < count).sum() * 2 == len(known)  # as many samples as real images
            seen.append(frozenset(known.tolist()))
        assert len(set(seen)) == SPLITS


def test_each_image_is_judged_once_in_each_split_by_one_who_has_not_seen_it() -> None:
    """A judge that is right of what it was taught, and wrong of all else, is never right."""

    def learn(x: Tensor, fake: Tensor, number: int) -> Judge:
        taught = dict(zip(x[:, 0].tolist(), fake.tolist(), strict=True))
        asked.append(number)

        def judge(unseen: Tensor) -> Tensor:
            answers = [
                taught.get(each, each < 100) for each in unseen[:, 0].tolist()
            ]  # the others are real from 100 on
            return torch.tensor(answers).double() - 0.5

        return judge

    asked: list[int] = []
    samples, real = torch.arange(50.0)[:, None] + 100, torch.arange(50.0)[:, None]
    right = judgements(real, samples, [learn] * (2 * SPLITS))
    assert right.shape == (SPLITS, 100)
    assert right.sum() == 0
    assert sorted(asked) == list(range(2 * SPLITS))


def test_the_accuracy_is_that_of_every_training_written_out() -> None:
    """With the sides as they are: swapped, a one-sided learner would be right on the other one."""

    def shy(x: Tensor, fake: Tensor, number: int) -> Judge:
        return lambda unseen: unseen[:, 0] - 1

    real, samples = normal(60, 2), normal(60, 2, seed=1) + 0.5
    right = judgements(real, samples, [shy] * (2 * SPLITS))
    expected = [*(real[:, 0] <= 1).tolist(), *(samples[:, 0] > 1).tolist()]
    assert (right == torch.tensor(expected).double()).all()
    by_hand = []
    for split in range(SPLITS):
        for known, unseen in halves(60, split):
            x, fake = torch.cat([real, samples]), torch.arange(120) >= 60
            judged = linear(x[known], fake[known], 0)(x[unseen]) > 0
            by_hand.append((judged == fake[unseen]).double().mean().item())
    assert told(real, samples).value == pytest.approx(np.mean(by_hand))


def test_the_interval_is_of_images_and_of_what_was_learned() -> None:
    """Variance of each image's mean over the images, and (1 + 1 / S) times that between splits."""
    rng = torch.Generator().manual_seed(0)
    right = (torch.rand(3, 80, generator=rng) < torch.tensor([0.5, 0.6, 0.8])[:, None]).double()
    share = right.numpy().mean()
    variance = right.numpy().mean(0).var() / 80 + 4 / 3 * right.numpy().mean(1).var(ddof=1)
    found, expected = accuracy(right), wilson_of_share(share, share * (1 - share) / variance)
    assert (found.value, found.low, found.high) == pytest.approx(
        (share, expected.low, expected.high)
    )


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (3, 10), (10, 10), (431, 2000)])
def test_as_many_independent_images_give_wilson_s_interval(successes: int, count: int) -> None:
    found, exact = wilson_of_share(successes / count, count), wilson(successes, count)
    assert (found.value, found.low, found.high) == pytest.approx(
        (exact.value, exact.low, exact.high), abs=1e-12
    )
    less = wilson_of_share(successes / count, count / 4)
    assert less.low <= found.low and less.high >= found.high


def test_all_right_has_an_interval_that_is_not_empty() -> None:
    found = told(normal(50, 3), 40 + normal(50, 3, seed=1))
    assert found.value == found.high == 1
    assert found.low == pytest.approx(wilson(100, 100).low)


@pytest.mark.parametrize(
    ("count", "dimensions", "shift"),
    [(20, 3, 0.0), (100, 20, 0.0), (100, 20, 0.5), (100, 5, 2.0), (150, 5, 1.0)],
)
def test_the_interval_holds_the_expected_value(count: int, dimensions: int, shift: float) -> None:
    """Where nothing, little and much can be learned; of the expected value at this count."""
    found = []
    for repeat in range(REPEATS):
        real, samples = (normal(count, dimensions, seed=2 * repeat + side) for side in (0, 1))
        found.append(told(real, samples + shift / dimensions**0.5))
    assert 0.92 <= coverage(found) <= 0.98
    if shift == 0:
        assert 0.92 <= coverage(found, 0.5) <= 0.98


def test_learning_by_heart_finds_nothing_where_there_is_nothing() -> None:
    """Nearest neighbours know every image that they have seen: of the others half are right."""
    found = [
        told(normal(60, 4, seed=2 * repeat), normal(60, 4, seed=2 * repeat + 1), by_heart)
        for repeat in range(100)
    ]
    assert coverage(found, 0.5) >= 0.92
    assert sum(each.value for each in found) / 100 == pytest.approx(0.5, abs=0.02)


def textures(count: int, seed: int, share: float = 0.0) -> Tensor:
    """Noise of 12x12 pixels, a share of it smoothed sideways without losing variance."""
    noise = normal(count, 1, 12, 12, seed=seed)
    smooth = (noise + noise.roll(1, 3)) / 2**0.5
    smoothed = torch.arange(count)[:, None, None, None] < share * count
    return (128 + 40 * torch.where(smoothed, smooth, noise)).clamp(0, 255).to(torch.uint8)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_or_fake, "SEEN", 1600)


@pytest.mark.usefixtures("brief")
def test_the_network_sees_a_texture_and_guesses_where_there_is_none() -> None:
    real = textures(60, 0)
    guessed, seen = (measured(real, textures(60, 1, share)) for share in (0.0, 1.0))
    assert guessed.low < 0.5 < guessed.high
    assert 0.75 < seen.low < seen.high <= 1


@pytest.mark.usefixtures("brief")
def test_it_is_the_same_with_any_number_of_threads_and_whatever_was_drawn_before() -> None:
    real, samples = textures(40, 0), textures(40, 1, share=0.6)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = measured(real, samples)
        torch.manual_seed(123)
        torch.set_num_threads(2)
        assert measured(real, samples) == one
    finally:
        torch.set_num_threads(before)


def test_too_few_images_teach_nothing() -> None:
    with pytest.raises(NotDefinedError) as error:
        measured(textures(19, 0), textures(19, 1))
    assert error.value.note.code == "few_to_learn_from"
    assert error.value.note.values == {"n": 19, "least": 20}


@pytest.mark.parametrize(("side", "first"), [(8, 1), (32, 1), (63, 1), (64, 2), (128, 4)])
def test_large_images_are_looked_at_with_larger_steps(side: int, first: int) -> None:
    network = real_or_fake.Network(3, side)
    convolutions = [each for each in network.layers if isinstance(each, torch.nn.Conv2d)]
    assert [each.stride[0] for each in convolutions] == [first, 2, 2]
    assert convolutions[0].kernel_size[0] >= first  # no pixel is passed over
    with torch.inference_mode():
        assert network.eval()(torch.zeros(2, 3, side, side)).shape == (2,)


def test_the_network_is_shown_the_laplacian() -> None:
    """Beside the image itself, channel by channel; SciPy's, up to its sign, borders repeated."""
    network, seen = real_or_fake.Network(2, 9).eval(), []
    network.scale.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = normal(3, 2, 9, 9).float()
    with torch.inference_mode():
        network(x)
    expected = -np.stack([[ndimage.laplace(c, mode="nearest") for c in i] for i in x.numpy()])
    torch.testing.assert_close(seen[0][:, :2], x)
    torch.testing.assert_close(seen[0][:, 2:], torch.from_numpy(expected), rtol=1e-4, atol=1e-5)
