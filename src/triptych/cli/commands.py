"""The commands: every one is a frozen record whose fields are its options, and `run` does it.

Torch is imported only when a command runs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from triptych.cli import text
from triptych.errors import InputError
from triptych.options import (
    DEFAULT_DATA,
    CompareRequest,
    LikelihoodOptions,
    MachineOptions,
    MeasureRequest,
    Options,
    ReadingOptions,
    SamplingOptions,
    TrainRequest,
    argument,
    option,
    required,
)
from triptych.records import Note, as_json
from triptych.words import english

if TYPE_CHECKING:
    from torch import Tensor

    from triptych.console import Console
    from triptych.data.dataset import ImageData
    from triptych.hardware import Machine
    from triptych.run import Run
    from triptych.tasks.reconstruct import Answer

MANY, FEW = 256, 32  # images of a likelihood, and of one that takes seconds each
TRAVERSED = 256  # held-out images over which units are compared
RUN = "Folder of the run."


@dataclass(frozen=True, kw_only=True)
class Everywhere(Options):
    """Options of every command."""

    title: ClassVar[str] = "Everywhere"
    runs_models: ClassVar[bool] = True
    needs_torch: ClassVar[bool] = True

    json: bool = option(False, "Print one JSON document on standard output.")
    quiet: bool = option(False, "No messages and no bars.")
    config: Path | None = option(
        None, "A TOML file of options, in a table named after the command: [train]."
    )

    def console(self) -> Console:
        """Where messages go."""
        from triptych.console import Console
        from triptych.distributed import speaks

        return Console(self.quiet or not speaks())

    def run(self) -> Any:
        """Do it; what comes back is printed, as JSON or as lines."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class UsesModel(Everywhere, MachineOptions):
    """A command that runs a model."""

    def machine(self) -> Machine:
        """The hardware to run on."""
        from triptych import hardware

        return hardware.pick_for(self)


@dataclass(frozen=True, kw_only=True)
class ReadsRunData(UsesModel, ReadingOptions):
    """A command that shows images to a run."""

    path: Path = argument("RUN", RUN)
    data: str | None = option(None, "Images to show to it; the run's own data by default.")

    def open_data(self, run: Run) -> ImageData:
        """The data asked for, or the run's own."""
        from triptych.run import run_data

        return run_data(run, self.data, self.part(ReadingOptions), self.console())


@dataclass(frozen=True, kw_only=True)
class Repeat(ReadsRunData):
    """Train a finished run again, bit by bit: the same progress, order of images and threads."""

    out: Path = required("Folder of the new run; the same command again goes on where it stopped.")

    def run(self) -> Any:
        """run.json of the new run."""
        from triptych import api

        into = Note("repeating_into", {"run": str(self.path), "out": str(self.out)})
        self.console().say(english(into))
        run = api.repeat(
            self.path,
            self.out,
            data=self.data,
            machine=self.machine(),
            console=self.console(),
            **vars(self.part(ReadingOptions)),
        )
        return {"run": str(self.out), **run.record.to_json()} if self.json else str(self.out)


@dataclass(frozen=True, kw_only=True)
class Sample(UsesModel, SamplingOptions):
    """Draw samples from a run."""

    path: Path = argument("RUN", RUN)
    out: Path = required(".png for one grid, .npz for arrays, else a folder of PNGs.")
    count: int = option(64, "How many.")
    seed: int = option(0, "Image i depends on the seed and i alone.")

    def run(self) -> Any:
        """Where the samples went."""
        from triptych.cli import output
        from triptych.run import Run

        target = output.check(self.out)
        run = Run(self.path, self.machine())
        options = vars(self.part(SamplingOptions))
        samples = run.sample(self.count, self.seed, console=self.console(), **options)
        target.write({"images": samples}, run.sample_labels(self.count, self.seed, self.label))
        return {"out": str(self.out), "count": self.count} if self.json else str(self.out)


@dataclass(frozen=True, kw_only=True)
class Reconstruct(ReadsRunData):
    """Encode held-out images and decode them again."""

    out: Path = required(
        ".png for originals above what is made of them, .npz for arrays, else a folder."
    )
    count: int = option(64, "How many.")
    steps: int | None = option(
        None,
        "GAN: steps that refine what its encoder answers, 0 for none. Diffusion: steps to the "
        "noise, and as many back. The recipe's by default.",
    )
    seed: int = option(0, "Of the decoder's noise, where it has any.")

    def run(self) -> Any:
        """Where the pictures went, and how near they come to the originals."""
        from triptych.cli import output
        from triptych.run import Run, check_count

        target = output.check(self.out)
        check_count(self.count)
        run = Run(self.path, self.machine())
        run.require_encoder()
        run.with_steps(self.steps)
        originals = self.open_data(run).test.images[: self.count]
        answers = run.answers(originals, self.seed, self.steps)
        target.write({"original": originals} | {name: a.images for name, a in answers.items()})
        near = {name: nearness(originals, answer) for name, answer in answers.items()}
        if self.json:
            return {"out": str(self.out), "count": len(originals), "answers": near}
        for name, numbers in near.items():
            self.console().say(f"{name}: {text.nearness(numbers)}")
        return str(self.out)


def nearness(originals: Tensor, answer: Answer) -> dict[str, float]:
    """PSNR in dB and SSIM, where they are defined, and the seconds all took."""
    from triptych.metrics import reconstruction

    return reconstruction.nearness(originals, answer.images) | {"seconds": answer.seconds}


@dataclass(frozen=True, kw_only=True)
class Interpolate(UsesModel):
    """Walk between two prior draws, or between two images."""

    path: Path = argument("RUN", RUN)
    out: Path = required(".png for one row a path, .npz for arrays, else a folder.")
    first: Path | None = option(None, "An image to start from.", name="from")
    last: Path | None = option(None, "An image to arrive at.", name="to")
    points: int = option(10, "Images on the way, both ends included.")
    way: Literal["straight", "spherical"] | None = option(
        None, "straight or spherical; as suits the model by default."
    )
    seed: int = option(0, "Of the draws.")

    def run(self) -> Any:
        """Where the pictures went."""
        from triptych.cli import output
        from triptych.run import Run

        target = output.check(self.out)
        run = Run(self.path, self.machine())
        first = None if self.first is None else run.read_image(self.first)
        last = None if self.last is None else run.read_image(self.last)
        paths = run.interpolate(first, last, self.points, self.seed, paths=8, way=self.way)
        target.write({"images": paths})
        return {"out": str(self.out), "points": self.points} if self.json else str(self.out)


@dataclass(frozen=True, kw_only=True)
class Traverse(ReadsRunData):
    """Walk one latent unit after another through the prior, around a held-out image."""

    out: Path = required(".png for one row a unit, .npz for arrays, else a folder.")
    rows: int = option(10, "Units: those that vary most over the images come first.")
    points: int = option(9, "Images in a row, from -3 to 3 deviations of the prior.")
    seed: int = option(0, "Picks the image that the rows are around.")

    def run(self) -> Any:
        """Where the pictures went, and the units."""
        from triptych.cli import output
        from triptych.run import Run

        target = output.check(self.out)
        run = Run(self.path, self.machine())
        run.check_traversal(self.rows, self.points)
        held_out = self.open_data(run).validation.images[:TRAVERSED]
        traversal = run.traverse(held_out, self.rows, self.points, self.seed)
        target.write({"images": traversal.pictures})
        if self.json:
            return {"out": str(self.out), "units": [asdict(unit) for unit in traversal.units]}
        for row, unit in enumerate(traversal.units):
            self.console().say(f"row {row}: {unit}")
        return str(self.out)


@dataclass(frozen=True, kw_only=True)
class Likelihood(ReadsRunData, LikelihoodOptions):
    """Bits per dimension of held-out images, term by term."""

    count: int | None = option(None, "How many images; 256 by default, 32 for a GAN's estimate.")

    def run(self) -> Any:
        """The bits_per_dim entry."""
        from triptych.families.capabilities import EstimatesLikelihood
        from triptych.run import Run, check_count

        count = (FEW if self.method == "ais" else MANY) if self.count is None else self.count
        check_count(count)
        run = Run(self.path, self.machine())
        data = self.open_data(run)
        record = run.log_likelihood(
            data.test.images[:count],
            console=self.console(),
            validation=data.validation.images,
            **vars(self.part(LikelihoodOptions)),
        )
        instead = text.BY_ESTIMATE if isinstance(run.model, EstimatesLikelihood) else ""
        return record.to_json() if self.json else text.likelihood(record, instead)


@dataclass(frozen=True, kw_only=True)
class Average(UsesModel):
    """Write a run with its weights averaged over another span of the training."""

    path: Path = argument("RUN", "Folder of the run; one of diffusion's, which keeps the averages.")
    out: Path = required("Folder of the new run.")
    width: float | None = option(
        None,
        "Deviation of the average's moments, as a share of the training; by default the one whose "
        "samples come nearest to the validation images.",
    )
    data: str | None = option(None, "Where those are; the run's own data by default.")

    def run(self) -> Any:
        """The new run, and how each width scored."""
        from triptych import api

        averaged = api.average(
            self.path,
            self.out,
            self.width,
            data=self.data,
            machine=self.machine(),
            console=self.console(),
        )
        if self.json:
            return {"run": str(averaged.run), "width": averaged.width, "scores": averaged.scores}
        for width, score in averaged.scores.items():
            chosen = " (used)" if width == averaged.width else ""
            self.console().say(f"width {width:g}: kernel distance {score:.4g}{chosen}")
        return str(averaged.run)


@dataclass(frozen=True, kw_only=True)
class Evaluate(UsesModel, MeasureRequest):
    """Measure runs on held-out images; writes results.json into each."""

    def run(self) -> Any:
        """The results."""
        from triptych import api

        asked = self.part(MeasureRequest)
        results = api.evaluate(asked, machine=self.machine(), console=self.console())
        return {"runs": [r.to_json() for r in results]} if self.json else text.results(results)


@dataclass(frozen=True, kw_only=True)
class Compare(UsesModel, CompareRequest):
    """Train one model per family (or those named), measure them alike, write the report."""

    def run(self) -> Any:
        """The report's path and the results."""
        from triptych import api
        from triptych.comparison.compare import read_comparison

        asked = self.part(CompareRequest)
        page = api.compare(asked, machine=self.machine(), console=self.console())
        results = read_comparison(page.parent)
        if self.json:
            return {"report": str(page), **results.to_json()}
        return text.results(results.models or results.runs, page)


@dataclass(frozen=True, kw_only=True)
class Train(UsesModel, TrainRequest):
    """Train one model; the same command again goes on where it stopped."""

    dry_run: bool = option(False, "Print the settings and stop.")

    def run(self) -> Any:
        """run.json, or the settings under --dry-run."""
        from triptych import api, config
        from triptych.training.resolve import resolve

        machine, asked = self.machine(), self.part(TrainRequest)
        if self.dry_run:
            request = resolve(asked, machine.device, console=self.console())
            settings = {"model": str(request.name), **config.to_json(request.settings)}
            return settings if self.json else json.dumps(settings, indent=2)
        run = api.train(asked, machine=machine, console=self.console())
        folder = str(run.folder.path)
        return {"run": folder, **run.record.to_json()} if self.json else folder


@dataclass(frozen=True, kw_only=True)
class Report(Everywhere):
    """Write the page of a comparison, or of finished and evaluated runs."""

    runs_models = needs_torch = False

    paths: tuple[Path, ...] = argument("PATH ...", "One comparison, or several runs.", ())
    lang: str = option("en", "Language: en or fr.")
    course: bool = option(False, "Order the page by the practical's questions.")
    force: bool = option(False, "Show runs that differ, under a loud mark.")
    out: Path | None = option(None, "FILE.html; report.html in the comparison by default.")

    def run(self) -> Any:
        """The page's path."""
        from triptych import api

        page = api.report(
            self.paths, lang=self.lang, course=self.course, force=self.force, out=self.out
        )
        return {"report": str(page)} if self.json else str(page)


@dataclass(frozen=True, kw_only=True)
class Data(Everywhere, ReadingOptions):
    """What is in the data, and what would be done with them; draws a contact sheet."""

    runs_models = False

    data: str = argument(
        "DATA",
        "street-digits, svhn, svhn+extra, cifar10, mnist, fashion-mnist, hf:owner/name[:config], "
        "or a path: a folder of images, a .zip or .tar of them, .parquet (a file or a folder), "
        ".npz, .npy, .mat.",
        DEFAULT_DATA,
    )
    out: Path | None = option(
        None,
        "The contact sheet (.png); runs/data-NAME.png by default, or in the cache where the folder "
        "one stands in is the data.",
    )

    def run(self) -> Any:
        """Counts, sizes, classes, what is bad, what would be done."""
        from triptych.cli import output
        from triptych.data.describe import contact_sheet, contact_sheet_path, summarize
        from triptych.data.open import open_images

        target = None if self.out is None else output.check(self.out)
        if self.out is not None and self.out.suffix != ".png":
            raise InputError(f"{self.out} is no .png file", "end --out in .png")
        opened = open_images(self.data, self.part(ReadingOptions), self.console())
        sheet = self.out or contact_sheet_path(opened)
        target = target or output.check(sheet)
        target.write({"images": contact_sheet(opened).pixels[None]})
        summary = summarize(opened)
        if self.json:
            return summary.to_json() | {"contact_sheet": str(sheet)}
        return text.summary(summary, sheet)


@dataclass(frozen=True, kw_only=True)
class Doctor(UsesModel):
    """What this machine has, and what would be picked on it."""

    def run(self) -> Any:
        """Hardware, versions and choices."""
        from triptych import hardware
        from triptych.training import resolve
        from triptych.training.calibration import steps_now

        machine = self.machine()
        size = resolve.pick_size(None, machine.device)
        findings = {
            "hardware": hardware.describe(),
            "versions": hardware.versions(),
            "device": machine.device,
            "precision": machine.precision,
            "threads": machine.threads,
            "size": size,
            "choices": {name: as_json(note) for name, note in machine.choices.items()},
        }
        with machine.own_threads(), self.console().bar("timing training steps") as bar:
            steps = steps_now(machine, size, bar)
        if steps:
            findings["milliseconds of a training step now"] = {
                f"{name}, {count} thread{'s' if count > 1 else ''}": round(1000 * seconds, 1)
                for name, counts in steps.items()
                for count, seconds in counts.items()
            }
        return findings if self.json else text.flat(findings)
