"""What tasks make of a model: every image has its own noise, every path its ends.

The model is one whose every number is known: its decoder adds noise to the latent, its bound is
noise and pixels, so that streams and batches show.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from tests.making import one_thread
from triptych import images, tasks
from triptych.config import ImageShape
from triptych.families.capabilities import BoundsLikelihood, Encodes, Represents
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel, Objective
from triptych.options import LikelihoodOptions
from triptych.seeding import ImageStreams, generator
from triptych.tasks import figures, interpolate, likelihood, reconstruct, sample

SHAPE = ImageShape(channels=1, resolution=4)
PIXELS = torch.randint(256, (70, *SHAPE.size), generator=generator(0, "test"), dtype=torch.uint8)


class Known(GenerativeModel, Encodes, Represents, BoundsLikelihood):
    """Images are the latent, 0.1 times noise added to it."""

    shape = SHAPE
    bounds: ClassVar = {"exact": 1}
    network_calls = 1

    def objectives(self) -> Sequence[Objective]:
        return ()

    def networks(self) -> Sequence[nn.Module]:
        return ()

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        return Latent({"z": 0.3 * rng.normal(*SHAPE.size)}, "straight")

    def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
        return latent.tensors["z"] + 0.1 * rng.normal(*SHAPE.size)

    def encode(self, images: Tensor) -> Latent:
        return Latent({"z": 0.5 * images}, "straight")

    def represent(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def negative_bound(
        self, images: Tensor, rng: ImageStreams, method: str, draws: int | None = None
    ) -> dict[str, Tensor]:
        return {"noise": rng.normal().abs(), "pixels": 1 + images.flatten(1).square().sum(1)}


MODEL, MACHINE = Known(), one_thread()


def bits(machine: Any) -> Tensor:
    record = likelihood.bits_per_dim(MODEL, PIXELS, 5, machine, LikelihoodOptions())
    assert record.by_image is not None
    return torch.tensor(record.by_image)


TASKS: dict[str, Callable[[Any], Tensor]] = {
    "sample": lambda machine: sample.sample(MODEL, 70, 5, machine),
    "reconstruct": lambda machine: reconstruct.reconstruct(MODEL, PIXELS, 5, machine),
    "represent": lambda machine: reconstruct.represent(MODEL, PIXELS, machine),
    "likelihood": bits,
}


@pytest.mark.parametrize("task", TASKS)
def test_images_do_not_depend_on_how_many_are_worked_on_at_once(task: str) -> None:
    """Nor do those of a second batch repeat the first one's noise."""
    work = TASKS[task]
    whole = work(MACHINE)
    assert len(whole) == 70
    for microbatch in (1, 7, 64):
        assert torch.equal(work(replace(MACHINE, microbatch=microbatch)), whole)
    if task == "sample":
        assert len(whole.flatten(1).unique(dim=0)) == 70


def test_a_gpu_works_on_more_images_at_once() -> None:
    """At most `--microbatch` of them."""
    gpu = replace(MACHINE, device="cuda")
    assert [tasks.at_once(machine) for machine in (MACHINE, gpu)] == [64, 512]
    assert [tasks.at_once(machine, 16) for machine in (MACHINE, gpu)] == [16, 128]
    for machine in (MACHINE, gpu):
        assert tasks.at_once(replace(machine, microbatch=9)) == 9


def test_fewer_images_are_worked_on_where_memory_is_refused() -> None:
    """With the same results; another error, and one image that does not fit, are raised."""
    asked: list[int] = []

    def limited(most: int, error: str) -> Callable[[range], Tensor]:
        def work(numbers: range) -> Tensor:
            asked.append(len(numbers))
            if len(numbers) > most:
                raise RuntimeError(error)
            return torch.tensor([[number] for number in numbers])

        return work

    rows = tasks.shared(limited(20, "CUDA out of memory"), 70, MACHINE)
    assert rows.flatten().tolist() == list(range(70))
    assert asked == [64, 32, 16, 16, 16, 16, 6]
    with pytest.raises(RuntimeError, match="out of memory"):
        tasks.shared(limited(0, "CUDA out of memory"), 70, MACHINE)
    asked.clear()
    with pytest.raises(RuntimeError, match="a fault"):
        tasks.shared(limited(20, "a fault"), 70, MACHINE)
    assert asked == [64]


def test_samples_of_a_later_start_go_on_where_the_first_ended() -> None:
    whole = sample.sample(MODEL, 70, 5, MACHINE)
    later = sample.sample(MODEL, 6, 5, MACHINE, start=64)
    assert torch.equal(later, whole[64:])
    assert not torch.equal(sample.sample(MODEL, 6, 6, MACHINE, start=64), later)


def test_reconstructions_of_a_batch_have_noise_of_their_own() -> None:
    """Equal originals at places 0 and 64: only the noise of their answers differs."""
    same = PIXELS[:1].repeat(70, 1, 1, 1)
    made = reconstruct.reconstruct(MODEL, same, 5, MACHINE)
    assert len(made.flatten(1).unique(dim=0)) == 70


def test_bounds_of_a_batch_have_noise_of_their_own() -> None:
    same = PIXELS[:1].repeat(70, 1, 1, 1)
    terms = likelihood.negative_bounds(MODEL, same, "exact", 5, MACHINE)
    assert len(terms["noise"].unique()) == 70 and len(terms["pixels"].unique()) == 1


def test_bits_of_an_image_are_its_nats_over_log_2_and_its_pixels() -> None:
    """Terms of 1 and of the squares of 16 pixels; the streams' noise is known too."""
    x = PIXELS[:3].double() / 127.5 - 1
    noise = ImageStreams(5, "likelihood/exact", range(3)).normal().abs()
    nats = noise.double() + 1 + x.flatten(1).square().sum(1)
    found = likelihood.bits_per_dim(MODEL, PIXELS[:3], 5, MACHINE, LikelihoodOptions())
    assert found.by_image == pytest.approx((nats / math.log(2) / 16).tolist(), rel=1e-5)
    assert found.terms is not None
    assert found.terms["noise"].nats == pytest.approx(noise.mean().item(), rel=1e-5)


def test_a_path_between_images_is_evenly_spaced_and_has_both_ends() -> None:
    class Quiet(Known):
        def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
            return 2 * latent.tensors["z"]

    first, last = (torch.full((1, *SHAPE.size), level, dtype=torch.uint8) for level in (0, 200))
    walked = interpolate.between_images(Quiet(), first, last, 5, 0, MACHINE)
    assert walked.shape == (1, 5, *SHAPE.size)
    assert walked[0, :, 0, 0, 0].tolist() == [0, 50, 100, 150, 200]


def test_ends_of_paths_between_draws_are_the_seed_s() -> None:
    walked = interpolate.between_draws(MODEL, 2, 3, 5, MACHINE)
    z = 0.3 * ImageStreams(5, "interpolate", range(4)).normal(*SHAPE.size)
    noise = ImageStreams(5, "walk", range(2))
    ways = [torch.lerp(z[::2], z[1::2], share) for share in (0.0, 0.5, 1.0)]
    exact = torch.stack([way + 0.1 * noise.normal(*SHAPE.size) for way in ways], dim=1)
    assert torch.equal(walked, images.to_uint8(exact))


def test_many_paths_are_decoded_in_parts() -> None:
    """Of at most so many images as the machine may hold at once, to the same pictures."""
    seen = []

    class Watched(type(MODEL)):  # type: ignore[misc] # the toy's class
        def decode(self, latent: Any, rng: ImageStreams) -> Tensor:
            seen.append(len(latent))
            return super().decode(latent, rng)

    whole = interpolate.between_draws(MODEL, 5, 3, 5, MACHINE)
    parts = interpolate.between_draws(Watched(), 5, 3, 5, replace(MACHINE, microbatch=2))
    assert torch.equal(parts, whole) and max(seen) == 2


def test_a_figure_says_how_its_pictures_lie(tmp_path: Path) -> None:
    figures.save(tmp_path, "a", PIXELS[:23], 10)
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "defined": True, "rows": 3, "columns": 10, "cell": [4, 4], "gap": 2, "note": None,
    }  # fmt: skip


def test_likelihoods_are_computed_where_there_is_float64() -> None:
    """On an Apple GPU by a copy of the model on the processor."""
    apple = replace(MACHINE, device="mps", precision="fp16")
    model, machine = likelihood.precise(MODEL, apple)
    assert model is not MODEL and (machine.device, machine.precision) == ("cpu", "fp32")
    there = likelihood.bits_per_dim(MODEL, PIXELS, 5, MACHINE, LikelihoodOptions())
    assert likelihood.bits_per_dim(MODEL, PIXELS, 5, apple, LikelihoodOptions()) == there
    assert likelihood.precise(MODEL, MACHINE) == (MODEL, MACHINE)
