"""The commands: every one is a dataclass whose fields are its options.

Those that work on a trained run are in `run_commands`.

Torch is imported only when a command runs.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from triptych import lines
from triptych.errors import InputError
from triptych.options import Everywhere, ReadsData, TrainsOnData, UsesModel
from triptych.run_commands import (
    Average,
    Evaluate,
    Interpolate,
    Likelihood,
    Reconstruct,
    Repeat,
    Sample,
    Traverse,
)


@dataclass(kw_only=True)
class Compare(TrainsOnData, UsesModel):
    """Train one model per family (or those named), measure them alike, write the report."""

    models: Positional[tuple[str, ...]] = ()
    """Models (gan, gan:course, ...), models with settings of their own (gan:r1,average=0.1 or
    gan:r1,size=small) and folders of finished runs."""
    data: str | None = None
    """A named set, hf:owner/name, a folder of images or a file; street-digits by default."""
    budget: str | None = None
    """For each model: 90s, 10m, 500kimg or 30epochs; 75s at tiny, else 10m."""
    size: str | None = None
    """tiny, small or base; by hardware."""
    seeds: int = 1
    """Train each model so many times."""
    conditional: bool = False
    """Tell all models the labels."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Change a setting of all models: KEY=VALUE."""
    count: int | None = None
    """Samples to measure; 2,000 on CPUs, 10,000 on GPUs."""
    features: str | None = None
    """What distances are measured on: labels, patches, inception or dinov2; labels where the data
    have them, else patches."""
    out: Path | None = None
    """Folder of the comparison; the same one again resumes."""
    lang: Literal["en", "fr"] = "en"
    """Language of the report."""
    force: bool = False
    """Show runs that differ, under a loud mark."""

    def run(self) -> Any:
        """The report's path and the results."""
        from triptych import api
        from triptych.families.registry import FAMILIES

        page = api.compare(
            self.models or FAMILIES,
            self.data,
            budget=self.budget,
            size=self.size,
            seeds=self.seeds,
            overrides=self.set,
            conditional=self.conditional,
            count=self.count,
            features=self.features,
            out=self.out,
            language=self.lang,
            force=self.force,
            options=self.options(),
            machine=self.machine(),
            console=self.console(),
            command=shlex.join(["triptych", *sys.argv[1:]]),
        )
        results = json.loads((page.parent / "results.json").read_text())
        return {"report": str(page), **results} if self.json else lines.results(results, page)


@dataclass(kw_only=True)
class Train(TrainsOnData, UsesModel):
    """Train one model; the same command again goes on where it stopped."""

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """vae, gan, diffusion, or one of their recipes such as gan:course."""
    data: str = "street-digits"
    """A named set, hf:owner/name, a folder of images or a file; see `triptych data --help`."""
    budget: str | None = None
    """90s, 10m, 500kimg or 30epochs."""
    size: str | None = None
    """tiny, small or base; by hardware."""
    seed: int = 0
    """First weights, order of images and noise follow from it."""
    out: Path | None = None
    """Folder of the run; a new one under runs/ by default."""
    conditional: bool = False
    """Tell the model the labels, so that samples of one class can be asked for."""
    teacher: Path | None = None
    """A finished diffusion run to start from, for diffusion:consistency."""
    dry_run: bool = False
    """Print the settings and stop."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Change a setting: KEY=VALUE."""
    on_trouble: str = "rewind"
    """When losses stay not finite: rewind to a checkpoint at half the learning rate, or stop."""

    def run(self) -> Any:
        """run.json, or the settings under --dry-run."""
        from triptych import api, config, reading, requesting

        machine = self.machine()
        request = requesting.make_request(
            self.model,
            self.data,
            self.budget,
            requesting.pick_size(self.size, machine.device),
            self.seed,
            self.set,
            self.options(),
            self.console(),
            on_trouble=self.on_trouble,
            conditional=self.conditional,
            teacher=self.teacher,
        )
        if self.dry_run:
            settings = {"model": str(request.name), **config.to_json(request.settings)}
            return settings if self.json else json.dumps(settings, indent=2)
        folder = self.out or api.free_folder(request, machine)
        reading.tell_notes(request.data, self.console())
        self.console().say(f"training {request.name} into {folder}")
        facts = api.train_folder(request, folder, machine, self.console()).read()
        return {"run": str(folder), **facts} if self.json else str(folder)


@dataclass(kw_only=True)
class Report(Everywhere):
    """Write the page of a comparison, or of finished and evaluated runs."""

    paths: Annotated[Positional[tuple[Path, ...]], arg(metavar="PATH ...")]
    """One comparison, or several runs."""
    lang: Literal["en", "fr"] = "en"
    """Language."""
    course: bool = False
    """Order the page by the practical's questions."""
    force: bool = False
    """Show runs that differ, under a loud mark."""
    out: Path | None = None
    """FILE.html; report.html in the comparison by default."""

    def run(self) -> Any:
        """The page's path."""
        from triptych import api

        page = api.report(
            self.paths, language=self.lang, course=self.course, force=self.force, out=self.out
        )
        return {"report": str(page)} if self.json else str(page)


@dataclass(kw_only=True)
class Data(ReadsData):
    """What is in the data, and what would be done with them; draws a contact sheet."""

    data: Annotated[Positional[str], arg(metavar="DATA")] = "street-digits"
    """street-digits, svhn, svhn+extra, cifar10, mnist, fashion-mnist, hf:owner/name[:config], or
    a path: a folder of images, a .zip or .tar of them, .parquet (a file or a folder), .npz, .npy,
    .mat."""
    out: Path | None = None
    """The contact sheet (.png); runs/data-NAME.png by default, or in the cache where the folder
    one stands in is the data."""

    def run(self) -> Any:
        """Counts, sizes, classes, what is bad, what would be done."""
        from triptych import output, reading
        from triptych.data.summary import contact_sheet, contact_sheet_place, summarise

        place = None if self.out is None else output.check(self.out)
        if self.out is not None and self.out.suffix != ".png":
            raise InputError(f"{self.out} is no .png file", "end --out in .png")
        opened = reading.open_images(self.data, self.options(), self.console())
        sheet = self.out or contact_sheet_place(opened)
        place = place or output.check(sheet)
        place.write({"images": contact_sheet(opened).pixels[None]})
        found = {**summarise(opened), "contact_sheet": str(sheet)}
        return found if self.json else lines.summary(found)


@dataclass(kw_only=True)
class Doctor(UsesModel):
    """What this machine has, and what would be picked on it."""

    def run(self) -> Any:
        """Hardware, versions and choices."""
        from triptych import hardware, requesting
        from triptych.training.calibration import steps_now

        machine = self.machine()
        size = requesting.pick_size(None, machine.device)
        found = {
            "hardware": hardware.describe(),
            "versions": hardware.versions(),
            "device": machine.device,
            "precision": machine.precision,
            "threads": machine.threads,
            "size": size,
            "choices": machine.choices,
        }
        with machine.own_threads(), self.console().bar("timing training steps") as bar:
            steps = steps_now(machine, size, bar)
        if steps:
            found["milliseconds of a training step now"] = {
                f"{name}, {count} thread{'s' if count > 1 else ''}": round(1000 * seconds, 1)
                for name, counts in steps.items()
                for count, seconds in counts.items()
            }
        return found if self.json else lines.flat(found)


COMMANDS: dict[str, Callable[..., Everywhere]] = {
    "compare": Compare,
    "train": Train,
    "repeat": Repeat,
    "sample": Sample,
    "reconstruct": Reconstruct,
    "interpolate": Interpolate,
    "traverse": Traverse,
    "average": Average,
    "likelihood": Likelihood,
    "evaluate": Evaluate,
    "report": Report,
    "data": Data,
    "doctor": Doctor,
}
