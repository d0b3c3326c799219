"""A folder that diffusers opens: by its own pipeline where ours is the same, else by one of ours.

`diffusion:course` is DDPM: its schedule and its sampling are `DDPMScheduler` and `DDPMPipeline` of
diffusers, and other schedulers of theirs for predicted noise take their place. Its network is no
configuration of their U-Nets, so it comes along as a program. Of every other model the way from
random numbers to images is two programs, with a pipeline of our own around them.

A program is what `torch.export` makes of a network: it needs torch, and neither us nor our code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from triptych import config, files
from triptych.console import Console
from triptych.export import pt2
from triptych.export.programs import programs_of, trace
from triptych.families import registry
from triptych.families.diffusion.denoisers import NoisePredictor
from triptych.families.diffusion.model import Diffusion
from triptych.families.diffusion.recipes.course import CourseDDPM
from triptych.families.registry import ModelName
from triptych.run import Run

TEMPLATES = Path(__file__).parent / "templates"
INDEX = "model_index.json"
OUR_PIPELINE = {
    "_class_name": ["pipeline", "TriptychPipeline"],
    "sampler": ["sampler", "TriptychSampler"],
}
THEIR_PIPELINE = {
    "_class_name": "DDPMPipeline",
    "unet": ["unet", "TriptychUNet"],
    "scheduler": ["diffusers", "DDPMScheduler"],
}


def write(run: Run, out: Path, console: Console) -> None:
    """Fill the empty folder `out` with what `DiffusionPipeline.from_pretrained` opens."""
    settings = ddpm_settings(run)
    if settings is not None and isinstance(run.model, Diffusion):
        write_ddpm(run, run.model, settings, out, console)
    else:
        write_own(run, out, console)


def ddpm_settings(run: Run) -> CourseDDPM | None:
    """The settings of the practical's DDPM; None of any other recipe."""
    recipe = registry.recipe(ModelName.parse(run.record.model))
    settings = config.from_json(recipe.settings, run.record.settings)
    return settings if isinstance(settings, CourseDDPM) else None


def write_ddpm(
    run: Run, model: Diffusion, settings: CourseDDPM, out: Path, console: Console
) -> None:
    """Their pipeline and scheduler around our network."""
    assert isinstance(model.denoiser, NoisePredictor)  # the recipe's
    unet = out / "unet"
    unet.mkdir()
    copy_template("unet.py", unet)
    [denoise] = [each for each in programs_of(run).programs if each.name == "denoise"]
    with console.bar("  exporting"):
        torch.export.save(trace(denoise), unet / "denoise.pt2")
    described = {
        "sample_size": model.shape.resolution,
        "in_channels": model.shape.channels,
        "sigmas": model.denoiser.sigmas.tolist(),
    }
    files.write_json(unet / "config.json", described)
    scheduler = out / "scheduler"
    scheduler.mkdir()
    files.write_json(scheduler / "scheduler_config.json", ddpm_scheduler(settings))
    files.write_json(out / INDEX, THEIR_PIPELINE)


def ddpm_scheduler(settings: CourseDDPM) -> dict[str, Any]:
    """The configuration of diffusers' DDPMScheduler that draws as our ancestral sampler does."""
    return {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": settings.steps,
        "beta_schedule": "linear",
        "beta_start": settings.beta_first,
        "beta_end": settings.beta_last,
        "prediction_type": "epsilon",
        "variance_type": "fixed_small",
        "clip_sample": False,
    }


def write_own(run: Run, out: Path, console: Console) -> None:
    """All programs of the run, and our pipeline around two of them."""
    sampler = out / "sampler"
    sampler.mkdir()
    pt2.write(run, sampler, console)  # into an empty folder, as every format
    copy_template("sampler.py", sampler)
    copy_template("pipeline.py", out)
    files.write_json(out / INDEX, OUR_PIPELINE)


def copy_template(name: str, folder: Path) -> None:
    """A module of the folder, which needs diffusers and torch alone."""
    files.write_bytes(folder / name, (TEMPLATES / f"{name}.txt").read_bytes())
