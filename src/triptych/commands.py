"""The commands: every one is a dataclass whose fields are its options.

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


@dataclass(kw_only=True)
class ReadsRunData(UsesModel):
    """Options wherever a run meets data; what is left out is as the run was trained."""

    resolution: int | None = None
    """Height and width that images are brought to; the run's own by default."""
    fit: str | None = None
    """How: stretch, crop or pad; the run's own by default."""
    strict: bool = False
    """Refuse data with bad files instead of skipping them."""
    image_column: str | None = None
    """Column or array with the images, where the data have several."""
    label_column: str | None = None
    """Column or array with the labels; none leaves every kind of label out."""

    def options(self) -> dict[str, Any]:
        """Those that were given, as `reading.run_data` takes them."""
        names = ("resolution", "fit", "strict", "image_column", "label_column")
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(kw_only=True)
class Compare(TrainsOnData, UsesModel):
    """Train one model per family (or those named), measure them alike, write the report."""

    models: Positional[tuple[str, ...]] = ()
    """Models (gan, gan:course, ...) and folders of finished runs."""
    data: str | None = None
    """A named set, hf:owner/name, a folder of images or a file; street-digits by default."""
    budget: str | None = None
    """For each model: 90s, 10m, 500kimg or 30epochs; 75s at tiny, else 10m."""
    size: str | None = None
    """tiny, small or base; by hardware."""
    seeds: int = 1
    """Train each model so many times."""
    count: int | None = None
    """Samples to measure; 2,000 on CPUs, 10,000 on GPUs."""
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
            count=self.count,
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
    dry_run: bool = False
    """Print the settings and stop."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Change a setting: KEY=VALUE."""
    on_trouble: str = "rewind"
    """When losses stay not finite: rewind to a checkpoint at half the learning rate, or stop."""

    def run(self) -> Any:
        """run.json, or the settings under --dry-run."""
        from triptych import api, config, reading

        machine = self.machine()
        request = api.make_request(
            self.model,
            self.data,
            self.budget,
            api.pick_size(self.size, machine.device),
            self.seed,
            self.set,
            self.options(),
            self.console(),
            on_trouble=self.on_trouble,
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
class Sample(UsesModel):
    """Draw samples from a run."""

    path: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of the run."""
    out: Path
    """.png for one grid, .npz for arrays, else a folder of PNGs."""
    count: int = 64
    """How many."""
    label: int | None = None
    """The class to draw, for conditional models."""
    sampler: str | None = None
    """Diffusion: ancestral, ddim or heun; the recipe's by default."""
    steps: int | None = None
    """Diffusion: steps of the sampler."""
    temperature: float = 1.0
    """Deviation of the latent; below 1 samples are more typical."""
    seed: int = 0
    """Image i depends on the seed and i alone."""

    def run(self) -> Any:
        """Where the samples went."""
        from triptych import output
        from triptych.run import Run

        place = output.check(self.out)
        run = Run(self.path, self.machine())
        if self.label is not None:
            raise InputError(f"{self.path} was trained without labels", "leave out --label")
        found = run.sample(
            self.count,
            self.seed,
            sampler=self.sampler,
            steps=self.steps,
            temperature=self.temperature,
            console=self.console(),
        )
        place.write({"images": found})
        return {"out": str(self.out), "count": self.count} if self.json else str(self.out)


@dataclass(kw_only=True)
class Reconstruct(ReadsRunData):
    """Encode held-out images and decode them again."""

    path: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of the run."""
    out: Path
    """.png for originals above reconstructions, .npz for both arrays, else a folder."""
    data: str | None = None
    """Images to reconstruct; the test part of the run's own data by default."""
    count: int = 64
    """How many."""
    seed: int = 0
    """Of the decoder's noise, where it has any."""

    def run(self) -> Any:
        """Where the pictures went."""
        from triptych import output
        from triptych.run import Run, check_count

        place = output.check(self.out)
        check_count(self.count)
        run = Run(self.path, self.machine())
        run.require_encoder()
        originals = held_out(self, run, self.count)
        found = run.reconstruct(originals, self.seed)
        place.write({"original": originals, "reconstruction": found})
        return {"out": str(self.out), "count": len(originals)} if self.json else str(self.out)


@dataclass(kw_only=True)
class Interpolate(UsesModel):
    """Walk between two prior draws, or between two images."""

    path: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of the run."""
    out: Path
    """.png for one row a path, .npz for arrays, else a folder."""
    first: Annotated[Path | None, arg(name="from")] = None
    """An image to start from."""
    last: Annotated[Path | None, arg(name="to")] = None
    """An image to arrive at."""
    points: int = 10
    """Images on the way, both ends included."""
    seed: int = 0
    """Of the draws."""

    def run(self) -> Any:
        """Where the pictures went."""
        from triptych import output
        from triptych.run import Run

        place = output.check(self.out)
        run = Run(self.path, self.machine())
        first = None if self.first is None else run.read_image(self.first)
        last = None if self.last is None else run.read_image(self.last)
        found = run.interpolate(first, last, points=self.points, seed=self.seed, paths=8)
        place.write({"images": found})
        return {"out": str(self.out), "points": self.points} if self.json else str(self.out)


@dataclass(kw_only=True)
class Likelihood(ReadsRunData):
    """Bits per dimension of held-out images, term by term."""

    path: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of the run."""
    data: str | None = None
    """Images to measure on; the test part of the run's own data by default."""
    count: int = 256
    """How many images."""
    method: str | None = None
    """VAE: elbo or importance; diffusion: variational."""

    def run(self) -> Any:
        """The bits_per_dim entry."""
        from triptych.run import Run, check_count

        check_count(self.count)
        run = Run(self.path, self.machine())
        found = run.log_likelihood(
            held_out(self, run, self.count), self.method, console=self.console()
        )
        return found if self.json else lines.likelihood(found)


@dataclass(kw_only=True)
class Evaluate(ReadsRunData):
    """Measure runs on held-out images; writes results.json into each."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN ...")]
    """Folders of runs."""
    data: str | None = None
    """The run's own by default."""
    count: int | None = None
    """Samples to measure; 2,000 on CPUs, 10,000 on GPUs."""
    features: str = "labels"
    """Feature extractor."""

    def run(self) -> Any:
        """The results."""
        from triptych import api

        if self.features != "labels":
            raise InputError(f"no features '{self.features}'", "choose labels")
        if not self.runs:
            raise InputError("no run named", "give folders that `triptych train` made")
        found = api.evaluate(
            self.runs,
            self.data,
            count=self.count,
            options=self.options(),
            machine=self.machine(),
            console=self.console(),
        )
        return {"runs": found} if self.json else lines.results({"runs": found}, None)


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
        from triptych import api, hardware

        machine = self.machine()
        found = {
            "hardware": hardware.describe(),
            "versions": hardware.versions(),
            "device": machine.device,
            "precision": machine.precision,
            "threads": machine.threads,
            "size": api.pick_size(None, machine.device),
            "choices": machine.choices,
        }
        return found if self.json else lines.flat(found)


def held_out(command: Reconstruct | Likelihood, run: Any, count: int) -> Any:
    """The first images of the test part of the data asked for, or of the run's own."""
    from triptych import reading

    data = reading.run_data(run, command.data, command.options(), command.console())
    return data.test.images[:count]


COMMANDS: dict[str, Callable[..., Everywhere]] = {
    "compare": Compare,
    "train": Train,
    "sample": Sample,
    "reconstruct": Reconstruct,
    "interpolate": Interpolate,
    "likelihood": Likelihood,
    "evaluate": Evaluate,
    "report": Report,
    "data": Data,
    "doctor": Doctor,
}
