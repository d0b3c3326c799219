"""The command line: parses and prints, decides nothing.

Every command is a dataclass whose fields are its options; torch is imported only when one runs.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional, UseAppendAction, arg

from triptych.errors import InputError, InterruptedRunError, TrainingFailedError
from triptych.usage import explain

if TYPE_CHECKING:
    from triptych.console import Console
    from triptych.data.opening import DataOptions
    from triptych.hardware import Machine

EXAMPLES = """examples:
  triptych compare                                 one of each family on the embedded digits
  triptych compare --data photos/ --budget 10m     the same on your own images
  triptych train diffusion --out runs/d            train one model
  triptych sample runs/d --count 64 --out d.png    draw from it
  triptych report runs/compare-street-digits-75s --lang fr
"""


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

        return Console(self.quiet)

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
    """Parquet column with the images."""
    label_column: str | None = None
    """Parquet column with the labels, or none."""

    def options(self) -> DataOptions:
        """As the data layer takes them."""
        from triptych.data.opening import DataOptions

        return DataOptions(
            resolution=self.resolution,
            fit=self.fit,  # type: ignore[arg-type] # checked there
            strict=self.strict,
            image_column=self.image_column,
            label_column=self.label_column,
        )


@dataclass(kw_only=True)
class UsesModel(Everywhere):
    """Options wherever a model runs."""

    device: str | None = None
    """cpu or cuda; the best there is by default."""
    precision: str | None = None
    """bf16 or fp32; what the hardware does fastest by default."""
    threads: int | None = None
    """Processor threads; all cores by default."""

    def machine(self) -> Machine:
        """The hardware to run on."""
        from triptych import hardware

        return hardware.pick(self.device, self.precision, self.threads)


@dataclass(kw_only=True)
class Compare(ReadsData, UsesModel):
    """Train one model per family (or those named), measure them alike, write the report."""

    models: Positional[tuple[str, ...]] = ()
    """Models (gan, gan:course, ...) and folders of finished runs."""
    data: str = "street-digits"
    """street-digits, a folder of images, a .parquet or a .npz file."""
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
            command=typed_command(),
        )
        results = json.loads((page.parent / "results.json").read_text())
        return {"report": str(page), **results} if self.json else results_lines(results, page)


@dataclass(kw_only=True)
class Train(ReadsData, UsesModel):
    """Train one model; the same command again goes on where it stopped."""

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """vae, gan, diffusion, or one of their recipes such as gan:course."""
    data: str = "street-digits"
    """street-digits, a folder of images, a .parquet or a .npz file."""
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

    def run(self) -> Any:
        """run.json, or the settings under --dry-run."""
        from triptych import api, config

        request = api.make_request(
            self.model,
            self.data,
            self.budget,
            self.size,
            self.seed,
            self.set,
            self.options(),
            self.console(),
            typed_command(without=("--budget", "--out", "--dry-run", "--json", "--quiet")),
        )
        if self.dry_run:
            settings = {"model": str(request.name), **config.to_json(request.settings)}
            return settings if self.json else json.dumps(settings, indent=2)
        folder = self.out or api.free_folder(request)
        self.console().say(f"training {request.name} into {folder}")
        facts = api.train_folder(request, folder, self.machine(), self.console()).read()
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
class Reconstruct(ReadsData, UsesModel):
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
class Likelihood(ReadsData, UsesModel):
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
        return found if self.json else likelihood_lines(found)


@dataclass(kw_only=True)
class Evaluate(ReadsData, UsesModel):
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
        options = self.options() if self.data is not None else None
        found = api.evaluate(
            self.runs,
            self.data,
            count=self.count,
            options=options,
            machine=self.machine(),
            console=self.console(),
        )
        return {"runs": found} if self.json else results_lines({"runs": found}, None)


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
    """What is in the data, and what would be done with them."""

    data: Positional[str] = "street-digits"
    """street-digits, a folder of images, a .parquet or a .npz file."""
    out: Path | None = None
    """Also write a contact sheet (.png)."""

    def run(self) -> Any:
        """Counts, classes, mean and deviation."""
        from triptych import api, output
        from triptych.data.summary import contact_sheet, summarise

        place = None if self.out is None else output.check(self.out)
        if self.out is not None and self.out.suffix != ".png":
            raise InputError(f"{self.out} is no .png file", "end --out in .png")
        opened = api.open_images(self.data, self.options(), self.console())
        if place is not None:
            place.write({"images": contact_sheet(opened).pixels[None]})
        found = summarise(opened)
        return found if self.json else data_lines(found)


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
            "size": api.pick_size(None),
            "choices": machine.choices,
        }
        return found if self.json else flat_lines(found)


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


def held_out(command: Reconstruct | Likelihood, run: Any, count: int) -> Any:
    """The first images of the test part of the data asked for, or of the run's own."""
    from triptych import api

    options = command.options() if command.data is not None else None
    data = api.run_data(run, command.data, options, command.console())
    return data.test.images[:count]


def results_lines(results: dict[str, Any], page: Path | None) -> str:
    """A small table of what was measured."""
    lines = []
    for run in results["runs"]:
        lines.append(f"{run['model']}  ({run['run']})")
        for metric in run["metrics"]:
            reference = f" ({metric['reference']})" if metric["reference"] != "none" else ""
            lines.append(f"  {metric['name'] + reference:32} {metric_text(metric)}")
    if page is not None:
        lines.append(f"report: {page}")
    return "\n".join(lines)


def metric_text(metric: dict[str, Any]) -> str:
    """Value, interval and floor of one metric."""
    if metric["value"] is None:
        return f"not defined: {metric['note']}"
    text = f"{metric['value']:.4g} [{metric['low']:.4g}, {metric['high']:.4g}]"
    floor = "" if metric["floor"] is None else f"  floor {metric['floor']:.4g}"
    return f"{text} {metric['unit']}{floor}"


def likelihood_lines(found: dict[str, Any]) -> str:
    """The bound and its terms."""
    if found["value"] is None:
        return f"bits per dimension: not defined: {found['note']}"
    lines = [
        f"bits per dimension: {found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}] "
        f"({found['kind']}, {found['method']}, {found['n']} {found['reference']} images)"
    ]
    for name, term in found["terms"].items():
        lines.append(f"  {name:22} {term['bits_per_dim']:9.4f}   {term['nats']:12.2f} nats")
    return "\n".join(lines)


def data_lines(found: dict[str, Any]) -> str:
    """The summary of a data set."""
    classes = found.pop("histogram")
    lines = [flat_lines(found)]
    if classes:
        most = max(classes.values())
        for name, count in classes.items():
            lines.append(f"  {name:>12} {count:7,} {'█' * round(30 * count / most)}")
    return "\n".join(lines)


def flat_lines(found: dict[str, Any], indent: str = "") -> str:
    """Nested values, one a line."""
    lines = []
    for name, value in found.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}:", flat_lines(value, indent + "  ")]
        elif isinstance(value, list):
            lines.append(f"{indent}{name}: {', '.join(map(str, value)) or '-'}")
        else:
            lines.append(f"{indent}{name}: {value}")
    return "\n".join(lines)


def typed_command(without: tuple[str, ...] = ()) -> str:
    """This command as it could be typed again, less some options."""
    import shlex

    words, kept, skip = sys.argv[1:], ["triptych"], False
    for word in words:
        name = word.partition("=")[0]
        if skip:
            skip = False
        elif name in without:
            skip = "=" not in word and name in ("--budget", "--out")
        else:
            kept.append(word)
    return shlex.join(kept)


def parse(arguments: Sequence[str]) -> Everywhere:
    """The command asked for; InputError with one line for whatever the parser dislikes."""
    printed = io.StringIO()
    os.environ.setdefault("COLUMNS", "100")
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.extras.subcommand_cli_from_dict(
                COMMANDS,
                prog="triptych",
                description=EXAMPLES,
                args=list(arguments),
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.HelptextFromCommentsOff),
            )
    except SystemExit as stopped:
        if stopped.code in (0, None):
            raise
        known = {name: option_names(command) for name, command in COMMANDS.items()}
        raise InputError(*explain(printed.getvalue(), arguments, known)) from None


def option_names(command: Any) -> list[str]:
    """The options of a command as they are typed."""
    renamed = {"first": "from", "last": "to"}
    names = [field.name for field in fields(command) if "Positional" not in str(field.type)]
    return ["--" + renamed.get(name, name).replace("_", "-") for name in names]


def main() -> None:
    """Entry point: exit code 0 done, 1 our fault, 2 the input's, 130 and 143 interrupted."""
    try:
        command = parse(sys.argv[1:])
        if not isinstance(command, Data | Report):
            from triptych.hardware import keep_memory

            keep_memory()  # before torch is imported
        found = command.run()
        print(json.dumps(found, indent=2) if command.json else found)
    except InputError as error:
        sys.exit(complain(str(error), 2))
    except TrainingFailedError as error:
        sys.exit(complain(str(error), 1))
    except InterruptedRunError as error:
        print("triptych: saved; the same command goes on from here", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


def complain(message: str, code: int) -> int:
    """One line on standard error."""
    print(f"triptych: {' '.join(message.split())}", file=sys.stderr)
    return code
