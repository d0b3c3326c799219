"""diffusers opens what we export, and draws the images that the run draws."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

import triptych
from tests.making import one_thread, untrained_diffusion
from tests.test_earlier_versions import EARLIER
from triptych import config
from triptych.config import ImageShape
from triptych.console import QUIET
from triptych.errors import InputError
from triptych.export import check_sampler
from triptych.export import diffusers as exported
from triptych.families import registry
from triptych.families.diffusion.model import Diffusion
from triptych.families.diffusion.recipes.course import CourseDDPM
from triptych.families.registry import ModelName
from triptych.images import to_uint8
from triptych.run import Run
from triptych.seeding import generator
from triptych.tasks import sample

diffusers = pytest.importorskip("diffusers")
STEPS = 6  # of the practical's schedule, instead of 1,000


@pytest.fixture(autouse=True)
def others_may_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """diffusers and torch.export warn of what they will do otherwise one day; modules go here."""
    monkeypatch.setattr(diffusers.utils.dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def ddpm() -> Run:
    """An untrained DDPM of the practical, of few steps, in the place of a run."""
    settings = CourseDDPM(steps=STEPS, width=24)
    shape = ImageShape(channels=3, resolution=16)
    model = registry.build(ModelName("diffusion", "course"), settings, shape, seed=0).eval()
    record = SimpleNamespace(model="diffusion:course", settings=config.to_json(settings))
    return cast(Run, SimpleNamespace(model=model, record=record, labels=None))


def drawn(run: Run, count: int, **sampler: Any) -> Tensor:
    """Samples of seed 0."""
    model = run.model
    assert isinstance(model, Diffusion)
    return sample.sample(model.with_sampler(**sampler), count, 0, one_thread())


def written(run: Run, folder: Path) -> Path:
    folder.mkdir()
    exported.write(run, folder, QUIET)
    return folder


def opened(folder: Path) -> Any:
    pipe = diffusers.DiffusionPipeline.from_pretrained(str(folder), trust_remote_code=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def streams(count: int, seed: int = 0) -> list[torch.Generator]:
    """The streams from which a run draws its samples."""
    return [generator(seed, "sample", number) for number in range(count)]


def apart(pixels: Any, samples: Tensor) -> int:
    """The largest difference of images on [0, 1] from 8-bit ones, in levels."""
    drawn = to_uint8(2 * torch.as_tensor(pixels) - 1)
    assert drawn.shape == samples.shape
    return int((drawn.int() - samples.int()).abs().max())


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_a_pipeline_of_ours_draws_the_run_s_samples(name: str, tmp_path: Path) -> None:
    """Image by image, of the class that is asked for; and the run differs between images."""
    run = triptych.Run(EARLIER / name, one_thread())
    pipe = opened(written(run, tmp_path / "p"))
    label = None if run.labels is None else run.labels.names[1]
    samples = run.sample(3, 0, **({} if label is None else {"label": label}))
    assert (samples[0] != samples[1]).any()
    made = pipe(batch_size=3, generator=streams(3), class_labels=label, output_type="pt")
    assert apart(made.images, samples) <= 1
    one = pipe(batch_size=4, generator=torch.Generator().manual_seed(0)).images
    again = pipe(batch_size=4, generator=torch.Generator().manual_seed(0)).images
    assert len(one) == 4 and one[0].size == (16, 16)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    arrays = pipe(batch_size=2, generator=streams(2), output_type="np").images
    assert arrays.shape == (2, 16, 16, 3) and 0 <= arrays.min() <= arrays.max() <= 1


def test_classes_are_those_that_the_model_was_told(tmp_path: Path) -> None:
    gan = opened(written(triptych.Run(EARLIER / "gan", one_thread()), tmp_path / "gan"))
    names = gan.sampler.classes
    by_name = gan(batch_size=2, generator=streams(2), class_labels=names[3], output_type="pt")
    by_number = gan(batch_size=2, generator=streams(2), class_labels=[3, 3], output_type="pt")
    other = gan(batch_size=2, generator=streams(2), class_labels=4, output_type="pt")
    assert torch.equal(by_name.images, by_number.images)
    assert not torch.equal(by_name.images, other.images)
    vae = opened(written(triptych.Run(EARLIER / "vae", one_thread()), tmp_path / "vae"))
    with pytest.raises(ValueError, match="no classes"):
        vae(class_labels=3)
    with pytest.raises(ValueError, match="2 generators for 3 images"):
        vae(batch_size=3, generator=streams(2))


def test_noise_of_steps_comes_after_that_of_latents(tmp_path: Path) -> None:
    """A consistency model adds some between its two steps, of the same streams as the run's."""
    run = triptych.Run(untrained_diffusion(tmp_path / "run", (3, 0, 1)), one_thread())
    pipe = opened(written(run, tmp_path / "p"))
    assert [each["holds"] for each in pipe.sampler.programs["sample"]["inputs"]][-1] == "normal"
    samples = run.sample(3, 0, label="c", quiet=True)
    assert (samples[0] != samples[1]).any()
    made = pipe(batch_size=3, generator=streams(3), class_labels="c", output_type="pt").images
    assert apart(made, samples) <= 1
    alone = pipe(batch_size=2, generator=streams(2), class_labels="c", output_type="pt").images
    torch.testing.assert_close(alone, made[:2], rtol=0, atol=1e-5)
    # Classes by their counts, each image's of its own stream.
    drawn = pipe.labels(1_000, torch.Generator().manual_seed(0), None).bincount(minlength=3)
    assert drawn[1] == 0 and 700 < drawn[0] < 800
    assert torch.equal(pipe.labels(2, streams(2), None), pipe.labels(9, streams(9), None)[:2])
    with pytest.raises(ValueError, match="no training image was of class b"):
        pipe(class_labels="b")


def test_their_scheduler_takes_no_sampler_of_ours(ddpm: Run) -> None:
    with pytest.raises(InputError, match=r"diffusers' own scheduler draws.*: leave out --sampler"):
        check_sampler(ddpm, "diffusers")
    check_sampler(ddpm, "pt2")


@pytest.mark.sweep
def test_the_practical_s_ddpm_is_diffusers_own(ddpm: Run, tmp_path: Path) -> None:
    """Their pipeline and scheduler draw our ancestral samples, of the same noise."""
    pipe = opened(written(ddpm, tmp_path / "p"))
    assert type(pipe) is diffusers.DDPMPipeline
    assert type(pipe.scheduler) is diffusers.DDPMScheduler
    samples = drawn(ddpm, 3)
    made = pipe(
        batch_size=3, generator=streams(3), num_inference_steps=STEPS, output_type="pt"
    ).images
    assert made.min() < 0.4 < 0.6 < made.max()  # images, and not one grey
    assert apart(made, samples) <= 1


@pytest.mark.sweep
def test_their_other_schedulers_take_its_place(ddpm: Run, tmp_path: Path) -> None:
    """DDIM without fresh noise is our Euler's step."""
    pipe = opened(written(ddpm, tmp_path / "p"))
    pipe.scheduler = diffusers.DDIMScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="leading", set_alpha_to_one=True
    )
    made = pipe(
        batch_size=2, generator=streams(2), num_inference_steps=STEPS, output_type="pt"
    ).images
    assert apart(made, drawn(ddpm, 2, name="euler")) <= 1


@pytest.mark.sweep
def test_the_noise_is_the_network_s(ddpm: Run, tmp_path: Path) -> None:
    """At every step, for each image its own."""
    pipe = opened(written(ddpm, tmp_path / "p"))
    x = torch.randn(STEPS, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    steps = torch.arange(STEPS)
    with torch.no_grad():
        own = ddpm.model.denoiser.network(x, steps)  # type: ignore[union-attr, operator]
        theirs = pipe.unet(x, steps).sample
        alone = pipe.unet(x[2:3], 2, return_dict=False)[0]
    torch.testing.assert_close(theirs, own, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(alone, own[2:3], atol=1e-4, rtol=1e-4)


@pytest.mark.sweep
def test_it_needs_nothing_of_ours(tmp_path: Path) -> None:
    """Not even the package: an import of it fails there."""
    folder = written(triptych.Run(EARLIER / "vae", one_thread()), tmp_path / "p")
    code = (
        "import sys, warnings; warnings.simplefilter('ignore'); sys.modules['triptych'] = None\n"
        "import torch, diffusers\n"
        f"pipe = diffusers.DiffusionPipeline.from_pretrained({str(folder)!r}, "
        "trust_remote_code=True)\n"
        "print(len(pipe(batch_size=2, generator=torch.Generator().manual_seed(0)).images))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "2", ran.stderr
    assert json.loads((folder / "model_index.json").read_text())["_class_name"][0] == "pipeline"
