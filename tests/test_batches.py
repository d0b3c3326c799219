"""Batches: every pass a shuffle, a function of the count, whole over ranks, kept out of memory."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from triptych import images as pixels
from triptych.data import augment, batches
from triptych.data.augment import OFF, Augment, changed
from triptych.data.batches import Batches
from triptych.data.dataset import Part
from triptych.errors import InputError
from triptych.seeding import generator

UNLIKELY = 1e-4  # the seeds are fixed: a right shuffle passes always


def chance(counts: NDArray[np.int64], expected: float, lost: int = 1) -> float:
    """The probability of counts at least this uneven; `lost`: degrees of freedom that are fixed."""
    return float(stats.chi2.sf(((counts - expected) ** 2 / expected).sum(), counts.size - lost))


# Order


@pytest.fixture(scope="module")
def part() -> Part:
    """Noise; the first pixel is the image's number, the label a tenth of it."""
    images = torch.randint(256, (100, 3, 16, 16), generator=generator(0, "test")).to(torch.uint8)
    images[:, :, 0, 0] = torch.arange(100)[:, None]
    return Part(images, torch.arange(100) // 10)


def seen_numbers(batch: Tensor) -> list[int]:
    return pixels.to_uint8(batch)[:, 0, 0, 0].tolist()


def test_every_pass_shows_each_image_once(part: Part) -> None:
    shown = Batches(part, batch_size=20, seed=0)
    passes = [
        [n for i in range(5) for n in seen_numbers(shown.at(epoch * 100 + i * 20)[0])]
        for epoch in range(3)
    ]
    for each in passes:
        assert sorted(each) == list(range(100))
    assert passes[0] != passes[1] != passes[2] != passes[0]


def test_passes_of_any_seed_are_in_all_orders_as_often(part: Part) -> None:
    """All 24 orders of four images, and a pass says nothing of the next one or the next seed."""
    few = Part(part.images[:4], None)
    orders = np.array(
        [
            [seen_numbers(Batches(few, 4, seed).at(4 * epoch)[0]) for epoch in range(3)]
            for seed in range(1000)
        ]
    )
    numbers = np.unique(orders.reshape(-1, 4), axis=0, return_inverse=True)[1].reshape(1000, 3)
    assert chance(np.bincount(numbers.ravel(), minlength=24), 3000 / 24) > UNLIKELY
    firsts = orders[:, :, 0]
    for before, after in ((firsts[:, 0], firsts[:, 1]), (firsts[:-1, 0], firsts[1:, 0])):
        pairs = np.bincount(4 * before + after, minlength=16)
        assert chance(pairs, len(before) / 16) > UNLIKELY


def test_batches_cross_the_end_of_a_pass(part: Part) -> None:
    whole = Batches(part, batch_size=300, seed=3)
    expected = seen_numbers(whole.at(0)[0])
    pieces = Batches(part, batch_size=48, seed=3)
    assert [n for i in range(6) for n in seen_numbers(pieces.at(i * 48)[0])] == expected[:288]
    assert seen_numbers(pieces.at(90)[0]) == expected[90:138]


@pytest.mark.parametrize("changes", [OFF, Augment(flip=True, crop=3)])
def test_a_batch_is_a_function_of_the_count(part: Part, changes: Augment) -> None:
    def fresh(seed: int = 1) -> Batches:
        return Batches(part, 48, seed, augment=changes)

    walked = fresh()
    for seen in range(0, 4800, 48):
        walked.at(seen, stream=seen % 5)
    assert len(walked._orders) == 5  # however far the walk
    assert torch.equal(walked.at(960)[0], fresh().at(960)[0])
    assert torch.equal(walked.at(960, stream=3)[0], fresh().at(960, stream=3)[0])
    for other in (fresh().at(960, stream=1), fresh().at(1008), fresh(seed=2).at(960)):
        assert not torch.equal(fresh().at(960)[0], other[0])


def test_batches_are_pixels_on_minus_one_to_one_with_their_labels(part: Part) -> None:
    x, labels = Batches(part, 100, seed=0).at(0)
    assert x.dtype == torch.float32
    assert labels is not None and part.labels is not None
    shown = seen_numbers(x)
    torch.testing.assert_close(x, part.images[shown].float() / 127.5 - 1)
    assert x.min() >= -1 and x.max() <= 1
    assert labels.tolist() == part.labels[shown].tolist()
    assert Batches(dataclasses.replace(part, labels=None), 10, seed=0).at(0)[1] is None


@pytest.mark.parametrize("changes", [OFF, Augment(flip=True, crop=3)])
@pytest.mark.parametrize("ranks", [1, 2, 3, 48])
def test_ranks_share_one_batch(part: Part, ranks: int, changes: Augment) -> None:
    alone = Batches(part, 48, seed=5, augment=changes)
    shares = [Batches(part, 48, 5, "cpu", changes, rank, ranks) for rank in range(ranks)]
    for seen, stream in ((0, 0), (48, 0), (76, 0), (96, 2)):  # two of them cross a pass's end
        found = [share.at(seen, stream) for share in shares]
        x, labels = alone.at(seen, stream)
        assert torch.equal(torch.cat([f[0] for f in found]), x)
        assert labels is not None
        assert [n for f in found if f[1] is not None for n in f[1].tolist()] == labels.tolist()
        assert {len(f[0]) for f in found} == {48 // ranks}


def test_batches_that_cannot_be_shared_are_refused(part: Part) -> None:
    for batch_size, rank, ranks in ((48, 0, 5), (48, 2, 2), (48, -1, 2), (0, 0, 1), (8, 0, 0)):
        with pytest.raises(ValueError, match="no batches"):
            Batches(part, batch_size, seed=0, rank=rank, ranks=ranks)


# Changes


def expected_images(images: Tensor, drawn: Tensor) -> NDArray[np.uint8]:
    """Image by image: a reflected border, the window that moves the image, a mirror."""
    found, border = [], int(drawn[:, 1:].abs().max())
    for image, (mirrored, down, right) in zip(images.numpy(), drawn.tolist(), strict=True):
        padded = np.pad(image, ((0, 0), (border, border), (border, border)), mode="reflect")
        top, left = border - down, border - right
        moved = padded[:, top : top + image.shape[1], left : left + image.shape[2]]
        found.append(moved[:, :, ::-1] if mirrored else moved)
    return np.stack(found)


@pytest.mark.parametrize("changes", [Augment(True), Augment(crop=1), Augment(True, 15)])
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 16, 20)])
def test_changes_are_exact(changes: Augment, shape: tuple[int, ...]) -> None:
    rng = generator(0, "test")
    images = torch.randint(256, (200, *shape), generator=rng).to(torch.uint8)
    drawn = changes.draw(200, rng)
    assert np.array_equal(changed(images, drawn).numpy(), expected_images(images, drawn))


def test_a_known_shift_and_a_known_mirror() -> None:
    image = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3)
    down = changed(image, torch.tensor([[0, 1, 0]]))
    assert down.flatten().tolist() == [3, 4, 5, 0, 1, 2, 3, 4, 5]
    right = changed(image, torch.tensor([[0, 0, 1]]))
    assert right.flatten().tolist() == [1, 0, 1, 4, 3, 4, 7, 6, 7]
    mirrored = changed(image, torch.tensor([[1, 0, 0]]))
    assert mirrored.flatten().tolist() == [2, 1, 0, 5, 4, 3, 8, 7, 6]


def test_half_of_the_images_are_mirrored_and_all_shifts_are_as_likely() -> None:
    drawn = Augment(flip=True, crop=2).draw(20_000, generator(0, "test"))
    kinds = (drawn + torch.tensor([0, 2, 2])) @ torch.tensor([25, 5, 1])
    assert chance(torch.bincount(kinds, minlength=50).numpy(), 400) > UNLIKELY
    assert not Augment(flip=True).draw(999, generator(0, "test"))[:, 1:].any()
    assert not Augment(crop=2).draw(999, generator(0, "test"))[:, 0].any()


def test_batches_show_changed_images_in_the_same_order(part: Part) -> None:
    plain = Batches(part, 100, seed=4)
    other = Batches(part, 100, seed=4, augment=Augment(flip=True))
    masks = []
    for seen, stream in ((0, 0), (100, 0), (100, 1)):
        (x, labels), (found, found_labels) = plain.at(seen, stream), other.at(seen, stream)
        assert labels is not None and found_labels is not None
        assert torch.equal(labels, found_labels)
        mirrored = (found == x.flip(3)).flatten(1).all(1)
        assert ((found == x).flatten(1).all(1) ^ mirrored).all()
        assert 35 <= mirrored.sum() <= 65
        masks.append(tuple(mirrored.tolist()))
    assert len(set(masks)) == 3  # other images are mirrored each time


def test_changes_that_are_off_cost_nothing(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("called")

    monkeypatch.setattr(batches, "changed", refuse)
    monkeypatch.setattr(augment.Augment, "draw", refuse)
    Batches(part, 10, seed=0).at(0)
    with pytest.raises(AssertionError, match="called"):
        Batches(part, 10, seed=0, augment=Augment(crop=1)).at(0)


def test_crops_that_cannot_be_are_refused(part: Part) -> None:
    with pytest.raises(InputError, match="no crop of -1"):
        Augment(crop=-1)
    Batches(part, 10, seed=0, augment=Augment(crop=15))
    with pytest.raises(InputError, match="crop of 16 pixels is too large for images of 16"):
        Batches(part, 10, seed=0, augment=Augment(crop=16))


# Where the images are


def test_on_a_cpu_images_are_used_where_they_are(part: Part) -> None:
    assert Batches(part, 10, seed=0).images.data_ptr() == part.images.data_ptr()


def anonymous_memory() -> int:
    """Bytes of this process that no file stands behind."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_large_set_stays_on_disk(tmp_path: Path) -> None:
    file = tmp_path / "images"
    with file.open("wb") as written:
        written.truncate(2 * 10**9)
    shape = 2 * 10**9 // (3 * 64 * 64), 3, 64, 64
    mapped = torch.from_numpy(np.memmap(file, np.uint8, "c", shape=shape))
    before = anonymous_memory()
    large = Batches(Part(mapped, None), 64, seed=0)
    for number in range(200):
        large.at(number * 64)
    assert anonymous_memory() - before < 50 * 10**6


@pytest.mark.parametrize("changes", [OFF, Augment(flip=True, crop=3)])
def test_sets_too_large_for_the_device_are_sent_batch_by_batch(
    part: Part, changes: Augment, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, labels = Batches(part, 48, seed=0, augment=changes).at(76)
    monkeypatch.setattr(batches, "fits", lambda part, device: False)
    streamed = Batches(part, 48, seed=0, augment=changes)
    found, found_labels = streamed.at(76)
    assert torch.equal(found, x)
    assert labels is not None and found_labels is not None and torch.equal(found_labels, labels)


@pytest.mark.parametrize("resident", [True, False])
def test_where_images_and_batches_are(
    part: Part, resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The meta device, which has shapes but no numbers, stands in for a GPU."""
    monkeypatch.setattr(batches, "fits", lambda part, device: resident)
    there = Batches(part, 48, seed=0, device="meta", augment=Augment(flip=True, crop=3))
    home = "meta" if resident else "cpu"
    assert there.images.device.type == there._pass(0, 0).device.type == home
    assert resident or there.images.data_ptr() == part.images.data_ptr()
    x, labels = there.at(76)
    assert labels is not None
    assert x.device.type == labels.device.type == "meta"
    assert x.shape == (48, 3, 16, 16) and labels.shape == (48,)


def test_a_part_fits_into_a_share_of_the_free_memory(
    part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = math.ceil(part.images.nbytes / batches.SHARE_OF_FREE)
    for given, expected in ((free + 1, True), (free - 2, False)):
        monkeypatch.setattr(batches, "free_memory_bytes", {"cuda": given, "mps": given}.get)
        assert batches.fits(part, torch.device("cuda")) == expected
        assert batches.fits(part, torch.device("mps")) == expected
    assert batches.fits(part, torch.device("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("resident", [True, False])
def test_a_gpu_shows_what_a_cpu_does(
    part: Part, resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = Augment(flip=True, crop=3)
    monkeypatch.setattr(batches, "fits", lambda part, device: resident or device.type == "cpu")
    here, there = (Batches(part, 48, 0, device, changes) for device in ("cpu", "cuda"))
    for seen in range(0, 4800, 48):
        (x, labels), (found, found_labels) = here.at(seen), there.at(seen)
        assert labels is not None and found_labels is not None
        torch.testing.assert_close(found.cpu(), x)
        assert torch.equal(found_labels.cpu(), labels)
