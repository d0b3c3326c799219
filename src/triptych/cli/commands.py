"""The commands: every one is a frozen record whose fields are its options, and `run` does it.

Torch is imported only when a command runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from triptych.cli import text
from triptych.errors import InputError
from triptych.options import (
    DEFAULT_DATA,
    FILMS,
    CompareRequest,
    ExportRequest,
    FilmOptions,
    LikelihoodOptions,
    MachineOptions,
    MeasureRequest,
    Options,
    PictureOptions,
    PushRequest,
    ReadingOptions,
    ReferenceRequest,
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

    from triptych.cli.output import Target
    from triptych.console import Console
    from triptych.data.dataset import ImageData
    from triptych.data.image_files import ImageFiles
    from triptych.hardware import Machine
    from triptych.run import Run
    from triptych.tasks.reconstruct import Answer

SHOWN = 64  # images that are reconstructed
MANY, FEW = 256, 32  # images of a likelihood, and of one that takes seconds each
BITS = "bits per dimension"
TRAVERSED = 256  # held-out images over which units are compared
RUN = "Folder of the run."
PATHS = 8  # between draws


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
    data: str | None = option(
        None, "Images to encode, or to compare with; the run's own data by default."
    )

    def open_data(self, run: Run) -> ImageData:
        """The data asked for, or the run's own."""
        from triptych.run import run_data

        return run_data(run, self.data, self.part(ReadingOptions), self.console())


@dataclass(frozen=True, kw_only=True)
class ShowsImages(ReadsRunData):
    """A command that shows held-out images to a run, or all those that are named."""

    path: Path = argument("RUN", RUN)  # named again: IMAGE is typed after it
    images: tuple[Path, ...] = argument(
        "IMAGE ...", "Image files, or folders of them, to show instead: all of them.", ()
    )
    count: int | None = option(None, "How many held-out images.")

    def check_asked(self) -> None:
        """InputError on too few images, and on options of data where images are named."""
        from triptych.run import check_count

        if self.count is not None:
            check_count(self.count)
        for name in ("data", "count", "resolution", "image_column", "label_column"):
            if self.images and getattr(self, name) is not None:
                typed = "--" + name.replace("_", "-")
                raise InputError(
                    f"{typed} is for data, and all images that are named are shown",
                    f"leave out {typed} or the images",
                )

    def open_files(self, run: Run) -> ImageFiles | None:
        """The images that are named; None where there are none."""
        return run.open_files(self.images, self.fit, self.console()) if self.images else None


@dataclass(frozen=True, kw_only=True)
class Repeat(ReadsRunData):
    """Train a finished run again, bit for bit: the same progress, order of images and threads."""

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
class Sample(UsesModel, SamplingOptions, FilmOptions):
    """Draw samples from a run; or show how they came about, in moving pictures."""

    path: Path = argument("RUN", RUN)
    out: Path = required(
        ".png for one grid, .npz for arrays, else a folder of PNGs; of points .csv too; of what "
        "moves .gif and .webp too."
    )
    count: int = option(64, "How many.")
    seed: int = option(0, "Image i depends on the seed and i alone.")
    trajectory: bool = option(
        False, "Diffusion: the states of the sampler, from the noise to each sample."
    )
    training: bool = option(
        False, "The pictures that the training made on its way instead, as a film."
    )

    def run(self) -> Any:
        """Where the samples went."""
        from triptych.cli import output
        from triptych.data import points
        from triptych.data.sources.layout import suffix_of
        from triptych.run import Run

        moving = self.trajectory or self.training
        if suffix_of(self.out.name) in FILMS and not moving:
            raise InputError("samples do not move", "add --trajectory, or end --out in .png")
        asked = self.part(FilmOptions)
        target = output.check(self.out, asked, points=not moving, moving=moving)
        if self.training:
            return self.write_training(target)
        run = Run(self.path, self.machine())
        if target.kind == output.POINTS and not run.model.shape.is_point:
            output.check(self.out)  # refuses it
        draw = run.trajectory if self.trajectory else run.sample
        options = vars(self.part(SamplingOptions))
        states = (run.count_states(**options),) if self.trajectory else ()
        target.check_room((self.count, *states, *run.model.shape.size), back=False)
        samples = draw(self.count, self.seed, console=self.console(), **options)
        if target.kind == output.POINTS:
            target.write_points(points.coordinates(samples, run.record.data.ranges))
        else:
            labels = run.sample_labels(self.count, self.seed, self.label)
            classes = () if run.labels is None else run.labels.names
            console = self.console()
            target.write({"images": samples}, labels, classes, back=False, console=console)
        return {"out": str(self.out), "count": self.count} if self.json else str(self.out)

    def write_training(self, target: Target) -> Any:
        """Write the film of the training; InputError on what is asked of new samples."""
        from triptych.run import training_film

        plain = Sample(path=self.path, out=self.out)
        own = ("trajectory", "count", "seed", *vars(self.part(SamplingOptions)))
        for name in own:
            if getattr(self, name) != getattr(plain, name):
                typed = "--" + name.replace("_", "-")
                wrong = f"{typed} is for new samples, and --training shows those of the training"
                raise InputError(wrong, f"leave out {typed}")
        if target.kind not in (*FILMS, ""):
            wrong = f"the pictures of a training are no {target.kind} file"
            raise InputError(wrong, "end --out in .gif or .webp, or name a folder")
        film = training_film(self.path)
        target.write_film(film, self.console())
        return {"out": str(self.out), "frames": len(film)} if self.json else str(self.out)


@dataclass(frozen=True, kw_only=True)
class Reconstruct(ShowsImages, PictureOptions):
    """Encode images, held-out ones or your own, and decode them again."""

    out: Path = required(
        ".png for originals above what is made of them, .npz for arrays, else a folder."
    )
    count: int | None = option(None, "How many held-out images; 64 by default.")
    steps: int | None = option(
        None,
        "GAN: steps that refine what its encoder answers, 0 for none. Diffusion: steps to the "
        "noise, and as many back. The recipe's by default.",
    )
    seed: int = option(0, "Of the decoder's noise, where it has any.")

    def run(self) -> Any:
        """Where the pictures went, and how near they come to the originals."""
        from triptych.cli import output
        from triptych.run import Run

        target = output.check(self.out, self.part(PictureOptions))
        self.check_asked()
        run = Run(self.path, self.machine())
        run.require_encoder()
        run.with_steps(self.steps)
        files = self.open_files(run)
        if files is None:
            originals = self.open_data(run).test.images[: self.count or SHOWN]
        else:
            originals = files.images
        target.check_room(originals.shape, bands=3)  # those of a GAN, which has the most
        answers = run.answers(originals, self.seed, self.steps, console=self.console())
        target.write({"original": originals} | {name: a.images for name, a in answers.items()})
        near = {name: nearness(originals, answer) for name, answer in answers.items()}
        each = {name: psnr_of_each(originals, a) for name, a in answers.items() if files}
        if self.json:
            found = {"out": str(self.out), "count": len(originals), "answers": near}
            return found if files is None else found | per_image(files, psnr=by_row(each))
        for name, numbers in near.items():
            self.console().say(f"{name}: {text.nearness(numbers)}")
            if files is not None:
                self.console().say(text.by_image(files.names, each[name], "dB", 2))
        return str(self.out)


def nearness(originals: Tensor, answer: Answer) -> dict[str, float]:
    """PSNR in dB and SSIM, where they are defined, and the seconds all took."""
    from triptych.metrics import reconstruction

    pair = map(twice_if_alone, (originals, answer.images))
    return reconstruction.nearness(*pair) | {"seconds": answer.seconds}


def psnr_of_each(originals: Tensor, answer: Answer) -> list[float | None]:
    """PSNR of each image in dB; None where nothing differs."""
    from triptych.metrics import reconstruction

    pairs = zip(originals, answer.images, strict=True)
    near = (reconstruction.nearness(*map(twice_if_alone, (a[None], b[None]))) for a, b in pairs)
    return [each.get("psnr") for each in near]


def by_row(columns: dict[str, list[float | None]]) -> list[dict[str, float | None]]:
    """Lists by name -> for each place what they hold there, by name."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def twice_if_alone(images: Tensor) -> Tensor:
    """One image alone, which gives no interval, counts twice in a mean; others as they are."""
    return images.repeat(2, 1, 1, 1) if len(images) == 1 else images


def per_image(files: ImageFiles, **values: Sequence[Any] | None) -> dict[str, Any]:
    """What JSON says of each file that was named, and of what was done with them.

    values: one of each file under a name; None where there are none
    """
    defined = {name: each for name, each in values.items() if each is not None}
    rows = [
        {"image": image} | {name: each[row] for name, each in defined.items()}
        for row, image in enumerate(files.names)
    ]
    return {"images": rows, "notes": [as_json(note) for note in files.notes]}


@dataclass(frozen=True, kw_only=True)
class Interpolate(UsesModel, FilmOptions):
    """Walk between two prior draws, or between two images."""

    path: Path = argument("RUN", RUN)
    out: Path = required(
        ".png for one row a path, .gif or .webp for a film of all, .npz for arrays, else a folder."
    )
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

        target = output.check(self.out, self.part(FilmOptions), moving=True)
        run = Run(self.path, self.machine())
        console = self.console()
        first = None if self.first is None else run.read_images(self.first, console=console)
        last = None if self.last is None else run.read_images(self.last, console=console)
        drawn = PATHS if first is None and last is None else None
        count = PATHS if first is None else len(first)
        target.check_room((count, self.points, *run.model.shape.size))
        paths = run.interpolate(
            first, last, self.points, self.seed, paths=drawn, way=self.way, console=console
        )
        target.write({"images": paths}, console=console)
        return {"out": str(self.out), "points": self.points} if self.json else str(self.out)


@dataclass(frozen=True, kw_only=True)
class Traverse(ReadsRunData, FilmOptions):
    """Walk one latent unit after another through the prior, around a held-out image."""

    out: Path = required(
        ".png for one row a unit, .gif or .webp for a film of all, .npz for arrays, else a folder."
    )
    rows: int = option(10, "Units: those that vary most over the images come first.")
    points: int = option(9, "Images in a row, from -3 to 3 deviations of the prior.")
    seed: int = option(0, "Picks the image that the rows are around.")

    def run(self) -> Any:
        """Where the pictures went, and the units."""
        from triptych.cli import output
        from triptych.run import Run

        target = output.check(self.out, self.part(FilmOptions), moving=True)
        run = Run(self.path, self.machine())
        run.check_traversal(self.rows, self.points)
        target.check_room((self.rows, self.points, *run.model.shape.size))
        held_out = self.open_data(run).validation.images[:TRAVERSED]
        console = self.console()
        traversal = run.traverse(held_out, self.rows, self.points, self.seed, console=console)
        target.write({"images": traversal.pictures}, console=console)
        if self.json:
            return {"out": str(self.out), "units": [asdict(unit) for unit in traversal.units]}
        for row, unit in enumerate(traversal.units):
            self.console().say(f"row {row}: {unit}")
        return str(self.out)


@dataclass(frozen=True, kw_only=True)
class Likelihood(ShowsImages, LikelihoodOptions):
    """Bits per dimension of images, held-out ones or your own, term by term."""

    count: int | None = option(
        None, "How many held-out images; 256 by default, 32 for a GAN's estimate."
    )

    def run(self) -> Any:
        """The bits_per_dim entry, and the value of each image that is named."""
        from triptych.families.capabilities import EstimatesLikelihood
        from triptych.run import Run

        self.check_asked()
        run = Run(self.path, self.machine())
        files = self.open_files(run)
        validation: Tensor | None
        if files is None:
            data = self.open_data(run)
            count = self.count or (FEW if self.method == "ais" else MANY)
            images, validation = data.test.images[:count], data.validation.images
        else:
            images, validation = files.images, self.validation(run)
        record = run.log_likelihood(
            images,
            console=self.console(),
            validation=validation,
            **vars(self.part(LikelihoodOptions)),
        )
        instead = text.BY_ESTIMATE if isinstance(run.model, EstimatesLikelihood) else ""
        each, record = record.by_image, replace(record, by_image=None)
        if files is None:
            return record.to_json() if self.json else text.likelihood(record, instead)
        record = replace(record, reference="none")  # these may be any images
        if self.json:
            return record.to_json() | per_image(files, bits_per_dim=each)
        lines = text.likelihood(record, instead)
        return lines if each is None else f"{lines}\n{text.by_image(files.names, each, BITS)}"

    def validation(self, run: Run) -> Tensor | None:
        """The run's own validation images, if the noise of an estimate is chosen on them."""
        from triptych.families.capabilities import EstimatesLikelihood
        from triptych.run import run_data

        model = run.model
        if not isinstance(model, EstimatesLikelihood) or self.method not in model.estimates:
            return None
        if self.noise is not None:
            return None
        try:
            return run_data(run, None, None, self.console()).validation.images
        except InputError as error:
            raise InputError(
                f"the noise is chosen on the run's own validation images, but {error.wrong}",
                "give --noise",
            ) from error


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
    """Measure runs, or samples from elsewhere, on held-out images; writes results.json."""

    def run(self) -> Any:
        """The results."""
        from triptych import api
        from triptych.cli import output

        if self.out is not None:
            output.check_folder(self.out)
        asked = self.part(MeasureRequest)
        results = api.evaluate(asked, machine=self.machine(), console=self.console())
        return {"runs": [r.to_json() for r in results]} if self.json else text.results(results)


@dataclass(frozen=True, kw_only=True)
class Reference(UsesModel, ReferenceRequest):
    """Keep features and statistics of real images in one file, to measure samples against again."""

    def run(self) -> Any:
        """The file's path and what it says of itself."""
        from triptych import api

        asked = self.part(ReferenceRequest)
        record = api.save_reference(asked, machine=self.machine(), console=self.console())
        return {"out": str(self.out), **record.to_json()} if self.json else str(self.out)


@dataclass(frozen=True, kw_only=True)
class Compare(UsesModel, CompareRequest):
    """Train one model per family (or those named), measure them alike, write the report."""

    def run(self) -> Any:
        """The report's path and the results."""
        from triptych import api
        from triptych.comparison.compare import read_comparison

        asked = self.part(CompareRequest)
        page = Path(api.compare(asked, console=self.console()))
        results = read_comparison(page.parent)
        if self.json:
            return {"report": str(page), **results.to_json()}
        return text.results(results.models or results.runs, page, results.baseline)


@dataclass(frozen=True, kw_only=True)
class Train(UsesModel, TrainRequest):
    """Train one model; the same command again goes on where it stopped."""

    dry_run: bool = option(False, "Print the settings and stop.")

    def run(self) -> Any:
        """run.json, or the settings under --dry-run."""
        from triptych import api, config

        machine, asked = self.machine(), self.part(TrainRequest)
        if self.dry_run:
            request = api.resolve_training(asked, None, machine, self.console())
            origin = {} if request.origin is None else {"from": request.origin.summary()}
            settings = {"model": str(request.name), **origin, **config.to_json(request.settings)}
            return settings if self.json else json.dumps(settings, indent=2)
        run = api.train(asked, machine=machine, console=self.console())
        folder = str(run.folder.path)
        return {"run": folder, **run.record.to_json()} if self.json else folder


@dataclass(frozen=True, kw_only=True)
class Export(Everywhere, ExportRequest):
    """Write a run in a form that other programs open without triptych."""

    def run(self) -> Any:
        """The folder, and the files in it."""
        from triptych import api

        out = api.export_run(self.part(ExportRequest), console=self.console())
        names = sorted(str(each.relative_to(out)) for each in out.rglob("*") if each.is_file())
        return {"out": str(out), "files": names} if self.json else text.exported(out, names)


@dataclass(frozen=True, kw_only=True)
class Report(Everywhere):
    """Write the page of a comparison, or of finished and evaluated runs."""

    runs_models = needs_torch = False

    paths: tuple[Path, ...] = argument("PATH ...", "One comparison, or several runs.", ())
    lang: str = option("en", "Language: en or fr.")
    course: bool = option(False, "Order the page by the practical's questions.")
    force: bool = option(False, "Show runs that differ, under a loud mark.")
    out: Path | None = option(
        None, "The page's file; report.html (or .md, .tex) in the comparison by default."
    )
    format: str = option(
        "html", "html, md (Markdown) or tex (LaTeX), with figures in NAME_figures/ beside these."
    )
    eyes: Path | None = option(
        None, "Blind tests to show too: a file that the page of `triptych serve` exported."
    )

    def run(self) -> Any:
        """The page's path."""
        from triptych import api

        page = api.report(
            self.paths,
            lang=self.lang,
            course=self.course,
            force=self.force,
            out=self.out,
            format=self.format,
            eyes=self.eyes,
            console=self.console(),
        )
        return {"report": str(page)} if self.json else str(page)


@dataclass(frozen=True, kw_only=True)
class Push(UsesModel, PushRequest):
    """Put a run or a comparison on the Hugging Face Hub, with a card filled from its records."""

    path: Path = argument("RUN|COMPARISON", "Folder of a finished run, or of a comparison.")
    name: str = argument("HUB_NAME", "Where it goes: owner/name.")

    def run(self) -> Any:
        """Its address there."""
        from triptych import api

        asked = self.part(PushRequest)
        address = api.push(asked, machine=self.machine(), console=self.console())
        return {"address": address} if self.json else address


@dataclass(frozen=True, kw_only=True)
class Pull(Everywhere):
    """Fetch a run or a comparison from the Hugging Face Hub; every file is checked."""

    runs_models = False

    name: str = argument("HUB_NAME", "What `triptych push` put there: owner/name.")
    out: Path = required("Folder for it, which must not exist.")

    def run(self) -> Any:
        """The folder."""
        from triptych import api

        folder = str(api.pull(self.name, self.out, console=self.console()))
        return {"out": folder} if self.json else folder


@dataclass(frozen=True, kw_only=True)
class Serve(Everywhere):
    """Open the live page: watch models learn, play with them, test your eyes. Ctrl-C ends it.

    Trainings that the page started go on without it.
    """

    needs_torch = False  # it is loaded when a model is first asked

    path: Path | None = argument("DIR", "Folder with runs and comparisons; runs by default.", None)
    port: int = option(8765, "Where it listens; 0 for any port that is free.")
    host: str | None = option(
        None,
        "Another address than this machine's own, as 0.0.0.0 for all: the printed link then has a "
        "token, without which nobody is answered.",
    )
    lang: str = option("en", "Language that the page opens in: en or fr.")

    def run(self) -> Any:
        """The folder, once the page is closed."""
        from triptych.words import check_language

        check_language(self.lang)
        try:
            from triptych.web.server import serve
        except ImportError as error:
            raise InputError(
                f"the live page needs a package that is not installed ({error.name})",
                "pip install 'triptych[web]'",
            ) from None
        serve(self.path, self.host, self.port, self.lang, self.console())
        folder = str(self.path or "runs")
        return {"served": folder} if self.json else folder


@dataclass(frozen=True, kw_only=True)
class Data(Everywhere, ReadingOptions, PictureOptions):
    """What is in the data, and what would be done with them; draws a contact sheet."""

    runs_models = False

    data: str = argument(
        "DATA",
        "street-digits, svhn, svhn+extra, cifar10, mnist, fashion-mnist, hf:owner/name[:config], "
        "or a path: a folder of images, a .zip or .tar of them, .parquet (a file or a folder), "
        ".npz, .npy, .mat, .csv.",
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

        asked = self.part(PictureOptions)
        target = None if self.out is None else output.check(self.out, asked)
        if target is not None and target.kind != ".png":
            raise InputError(f"{self.out} is no .png file", "end --out in .png")
        opened = open_images(self.data, self.part(ReadingOptions), self.console())
        sheet = self.out or contact_sheet_path(opened)
        target = target or output.check(sheet, asked)
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
        choices = dict(machine.choices)
        advice = hardware.build_advice(machine.device)
        if advice is not None:
            choices["torch"] = advice
        findings = {
            "hardware": hardware.describe(),
            "versions": hardware.versions(),
            "device": machine.device,
            "precision": machine.precision,
            "threads": machine.threads,
            "size": size,
            "choices": {name: as_json(note) for name, note in choices.items()},
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
