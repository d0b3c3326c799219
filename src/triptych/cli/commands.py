"""The commands: every one is a dataclass whose fields are its options.

Those that work on a trained run are in `run_commands`.

Torch is imported only when a command runs.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from triptych.cli import text
from triptych.errors import InputError
from triptych.options import DataOptions

if TYPE_CHECKING:
    from torch import Tensor

    from triptych.console import Console
    from triptych.data.dataset import ImageData
    from triptych.hardware import Machine
    from triptych.run import Run
    from triptych.tasks.reconstruct import Answer

MANY, FEW = 256, 32  # images of a likelihood, and of one that takes seconds each
TRAVERSED = 256  # held-out images over which units are compared


@dataclass(kw_only=True)
class Everywhere:
    """Options of every command."""

    json: bool = False
    """Print one JSON document on standard output."""
    quiet: bool = False
    """No messages and no bars."""

    def console(self) -> Console:
        """Where messages go."""
        from triptych.console import Console
        from triptych.distributed import speaks

        return Console(self.quiet or not speaks())

    def run(self) -> Any:
        """Do it; what comes back is printed, as JSON or as lines."""
        raise NotImplementedError


@dataclass(kw_only=True)
class ReadsData(Everywhere):
    """Options wherever data are read."""

    resolution: int = 32
    """Height and width that images are brought to: 16, 32, 64 or 128."""
    fit: str = "stretch"
    """How: stretch, crop or pad."""
    strict: bool = False
    """Refuse data with bad files instead of skipping them."""
    image_column: str | None = None
    """Column or array with the images, where the data have several."""
    label_column: str | None = None
    """Column or array with the labels; none leaves every kind of label out."""

    def options(self) -> DataOptions:
        """As the data layer takes them."""
        return DataOptions(
            resolution=self.resolution,
            fit=self.fit,  # type: ignore[arg-type] # checked there
            strict=self.strict,
            image_column=self.image_column,
            label_column=self.label_column,
        )


@dataclass(kw_only=True)
class TrainsOnData(ReadsData):
    """Options wherever models are trained on data."""

    flip: bool = False
    """Mirror half of the images that models are trained on: not where left and right matter."""
    crop: int = 0
    """Shift training images by up to so many pixels."""

    def options(self) -> DataOptions:
        """As the data layer takes them."""
        return replace(super().options(), flip=self.flip, crop=self.crop)


@dataclass(kw_only=True)
class UsesModel(Everywhere):
    """Options wherever a model runs."""

    device: str | None = None
    """cpu or cuda; the best there is by default."""
    precision: str | None = None
    """bf16 or fp32; what the hardware does fastest by default."""
    threads: int | None = None
    """Processor threads; all cores by default."""
    compile: bool = False
    """Send the networks through torch.compile, which takes a while to pay off."""
    microbatch: int | None = None
    """Most images in a network at once: larger batches are split; by default as memory allows."""

    def machine(self) -> Machine:
        """The hardware to run on."""
        from triptych import hardware

        return hardware.pick(
            self.device, self.precision, self.threads, self.compile or None, self.microbatch
        )


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
        """Those that were given, as `run.run_data` takes them."""
        names = ("resolution", "fit", "strict", "image_column", "label_column")
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(kw_only=True)
class Repeat(ReadsRunData):
    """Train a finished run again, bit by bit: the same progress, order of images and threads."""

    trained: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of a finished run."""
    out: Path
    """Folder of the new run; the same command again goes on where it stopped."""
    data: str | None = None
    """Where its images are now; where they were by default."""

    def run(self) -> Any:
        """run.json of the new run."""
        from triptych import api

        self.console().say(f"repeating {self.trained} into {self.out}")
        found = api.repeat(
            self.trained,
            self.out,
            data=self.data,
            options=self.options(),
            machine=self.machine(),
            console=self.console(),
        )
        return {"run": str(self.out), **found.facts} if self.json else str(self.out)


@dataclass(kw_only=True)
class Sample(UsesModel):
    """Draw samples from a run."""

    path: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of the run."""
    out: Path
    """.png for one grid, .npz for arrays, else a folder of PNGs."""
    count: int = 64
    """How many."""
    label: str | None = None
    """The class to draw, by name or number, for models that were trained with --conditional."""
    sampler: str | None = None
    """Diffusion: ancestral, ddim, dpm-solver++, euler, heun or stochastic-heun; the recipe's by
    default."""
    steps: int | None = None
    """Diffusion: steps of the sampler."""
    eta: float | None = None
    """Diffusion, ddim: share of fresh noise in a step, from 0 to 1."""
    guidance: float | None = None
    """Diffusion trained with --conditional: how strongly samples are led to their class; 1 is as
    trained."""
    temperature: float = 1.0
    """Deviation of the latent; below 1 samples are more typical."""
    pixel_noise: bool = False
    """Draw from the distribution of the pixels, where a model has one, and not its mean."""
    seed: int = 0
    """Image i depends on the seed and i alone."""

    def run(self) -> Any:
        """Where the samples went."""
        from triptych.cli import output
        from triptych.run import Run

        place = output.check(self.out)
        run = Run(self.path, self.machine())
        found = run.sample(
            self.count,
            self.seed,
            sampler=self.sampler,
            steps=self.steps,
            eta=self.eta,
            guidance=self.guidance,
            temperature=self.temperature,
            label=self.label,
            pixel_noise=self.pixel_noise,
            console=self.console(),
        )
        place.write({"images": found}, run.sample_labels(self.count, self.seed, self.label))
        return {"out": str(self.out), "count": self.count} if self.json else str(self.out)


@dataclass(kw_only=True)
class Reconstruct(ReadsRunData):
    """Encode held-out images and decode them again."""

    path: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of the run."""
    out: Path
    """.png for originals above what is made of them, .npz for arrays, else a folder."""
    data: str | None = None
    """Images to reconstruct; the test part of the run's own data by default."""
    count: int = 64
    """How many."""
    steps: int | None = None
    """GAN: steps that refine what its encoder answers, 0 for none. Diffusion: steps to the noise,
    and as many back. The recipe's by default."""
    seed: int = 0
    """Of the decoder's noise, where it has any."""

    def run(self) -> Any:
        """Where the pictures went, and how near they come to the originals."""
        from triptych.cli import output
        from triptych.run import Run, check_count

        place = output.check(self.out)
        check_count(self.count)
        run = Run(self.path, self.machine())
        run.require_encoder()
        run.with_steps(self.steps)
        originals = data_of(self, run).test.images[: self.count]
        found = run.answers(originals, self.seed, self.steps)
        place.write({"original": originals} | {name: a.images for name, a in found.items()})
        near = {name: nearness(originals, answer) for name, answer in found.items()}
        if self.json:
            return {"out": str(self.out), "count": len(originals), "answers": near}
        for name, numbers in near.items():
            self.console().say(f"{name}: {text.nearness(numbers)}")
        return str(self.out)


def nearness(originals: Tensor, answer: Answer) -> dict[str, float]:
    """PSNR in dB, SSIM where the images are large enough for it, and the seconds all took."""
    from triptych.metrics import reconstruction

    found = {"psnr": reconstruction.reconstruction_psnr(originals, answer.images).value}
    if min(originals.shape[2:]) >= reconstruction.WINDOW:
        found["ssim"] = reconstruction.reconstruction_ssim(originals, answer.images).value
    return found | {"seconds": answer.seconds}


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
    way: str | None = None
    """straight or spherical; as suits the model by default."""
    seed: int = 0
    """Of the draws."""

    def run(self) -> Any:
        """Where the pictures went."""
        from triptych.cli import output
        from triptych.run import Run

        place = output.check(self.out)
        run = Run(self.path, self.machine())
        first = None if self.first is None else run.read_image(self.first)
        last = None if self.last is None else run.read_image(self.last)
        found = run.interpolate(first, last, self.points, self.seed, paths=8, way=self.way)  # type: ignore[arg-type] # checked there
        place.write({"images": found})
        return {"out": str(self.out), "points": self.points} if self.json else str(self.out)


@dataclass(kw_only=True)
class Traverse(ReadsRunData):
    """Walk one latent unit after another through the prior, around a held-out image."""

    path: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of the run."""
    out: Path
    """.png for one row a unit, .npz for arrays, else a folder."""
    data: str | None = None
    """Images whose validation part is encoded; the run's own data by default."""
    rows: int = 10
    """Units: those that vary most over the images come first."""
    points: int = 9
    """Images in a row, from -3 to 3 deviations of the prior."""
    seed: int = 0
    """Picks the image that the rows are around."""

    def run(self) -> Any:
        """Where the pictures went, and the units."""
        from triptych.cli import output
        from triptych.run import Run

        place = output.check(self.out)
        run = Run(self.path, self.machine())
        run.check_traversal(self.rows, self.points)
        held_out = data_of(self, run).validation.images[:TRAVERSED]
        found = run.traverse(held_out, self.rows, self.points, self.seed)
        place.write({"images": found.pictures})
        if self.json:
            return {"out": str(self.out), "units": [asdict(unit) for unit in found.units]}
        for row, unit in enumerate(found.units):
            self.console().say(f"row {row}: {unit}")
        return str(self.out)


@dataclass(kw_only=True)
class Likelihood(ReadsRunData):
    """Bits per dimension of held-out images, term by term."""

    path: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of the run."""
    data: str | None = None
    """Images to measure on; the test part of the run's own data by default."""
    count: int | None = None
    """How many images; 256 by default, 32 for a GAN's estimate."""
    method: str | None = None
    """VAE: elbo or importance; GAN: ais, which adds noise; diffusion: variational or ode."""
    draws: int | None = None
    """For each image: K of the importance-weighted bound, 100 by default; other bounds are
    averaged over them, 1 by default; temperatures of ais, 300 by default."""
    noise: float | None = None
    """Deviation of a GAN's noise on [-1, 1] for ais; chosen on validation images by default."""

    def run(self) -> Any:
        """The bits_per_dim entry."""
        from triptych.families.capabilities import EstimatesLikelihood
        from triptych.run import Run, check_count

        count = (FEW if self.method == "ais" else MANY) if self.count is None else self.count
        check_count(count)
        run = Run(self.path, self.machine())
        data = data_of(self, run)
        found = run.log_likelihood(
            data.test.images[:count],
            self.method,
            console=self.console(),
            draws=self.draws,
            noise=self.noise,
            validation=data.validation.images,
        )
        instead = text.BY_ESTIMATE if isinstance(run.model, EstimatesLikelihood) else ""
        return found if self.json else text.likelihood(found, instead)


@dataclass(kw_only=True)
class Average(UsesModel):
    """Write a run with its weights averaged over another span of the training."""

    path: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of the run; one of diffusion's, which keeps what that takes."""
    out: Path
    """Folder of the new run."""
    width: float | None = None
    """Deviation of the average's moments, as a share of the training; by default the one whose
    samples come nearest to the validation images."""
    data: str | None = None
    """Where those are; the run's own data by default."""

    def run(self) -> Any:
        """The new run, and how each width scored."""
        from triptych import api

        found = api.average(
            self.path,
            self.out,
            self.width,
            data=self.data,
            machine=self.machine(),
            console=self.console(),
        )
        if self.json:
            return {"run": str(found.run), "width": found.width, "scores": found.scores}
        for width, score in found.scores.items():
            chosen = " (used)" if width == found.width else ""
            self.console().say(f"width {width:g}: kernel distance {score:.4g}{chosen}")
        return str(found.run)


@dataclass(kw_only=True)
class Evaluate(ReadsRunData):
    """Measure runs on held-out images; writes results.json into each."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN ...")]
    """Folders of runs."""
    data: str | None = None
    """The run's own by default."""
    count: int | None = None
    """Samples to measure; 2,000 on CPUs, 10,000 on GPUs."""
    features: str | None = None
    """What distances are measured on: labels, patches, inception or dinov2; labels where the data
    have them, else patches."""

    def run(self) -> Any:
        """The results."""
        from triptych import api

        if not self.runs:
            raise InputError("no run named", "give folders that `triptych train` made")
        found = api.evaluate(
            self.runs,
            self.data,
            count=self.count,
            features=self.features,
            options=self.options(),
            machine=self.machine(),
            console=self.console(),
        )
        return {"runs": found} if self.json else text.results({"runs": found}, None)


def data_of(command: Reconstruct | Traverse | Likelihood, run: Run) -> ImageData:
    """The data asked for, or the run's own."""
    from triptych.run import run_data

    return run_data(run, command.data, command.options(), command.console())


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
    lang: str = "en"
    """Language of the report: en or fr."""
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
        return {"report": str(page), **results} if self.json else text.results(results, page)


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
        from triptych import api, config
        from triptych.data.open import tell_notes
        from triptych.training import resolve

        machine = self.machine()
        request = resolve.make_request(
            self.model,
            self.data,
            self.budget,
            resolve.pick_size(self.size, machine.device),
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
        tell_notes(request.data, self.console())
        self.console().say(f"training {request.name} into {folder}")
        facts = api.train_folder(request, folder, machine, self.console()).read()
        return {"run": str(folder), **facts} if self.json else str(folder)


@dataclass(kw_only=True)
class Report(Everywhere):
    """Write the page of a comparison, or of finished and evaluated runs."""

    paths: Annotated[Positional[tuple[Path, ...]], arg(metavar="PATH ...")]
    """One comparison, or several runs."""
    lang: str = "en"
    """Language: en or fr."""
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
        from triptych.cli import output
        from triptych.data.describe import contact_sheet, contact_sheet_path, summarize
        from triptych.data.open import open_images

        place = None if self.out is None else output.check(self.out)
        if self.out is not None and self.out.suffix != ".png":
            raise InputError(f"{self.out} is no .png file", "end --out in .png")
        opened = open_images(self.data, self.options(), self.console())
        sheet = self.out or contact_sheet_path(opened)
        place = place or output.check(sheet)
        place.write({"images": contact_sheet(opened).pixels[None]})
        summary = summarize(opened)
        if self.json:
            return summary.to_json() | {"contact_sheet": str(sheet)}
        return text.summary(summary, sheet)


@dataclass(kw_only=True)
class Doctor(UsesModel):
    """What this machine has, and what would be picked on it."""

    def run(self) -> Any:
        """Hardware, versions and choices."""
        from triptych import hardware
        from triptych.training import resolve
        from triptych.training.calibration import steps_now

        machine = self.machine()
        size = resolve.pick_size(None, machine.device)
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
        return found if self.json else text.flat(found)


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
