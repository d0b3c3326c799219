"""A trained run as an object: what `triptych.load` gives."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triptych import files, hardware, images, notebook
from triptych.config import ImageShape
from triptych.console import Console, console_for
from triptych.data import ranges
from triptych.data.dataset import ImageData
from triptych.data.image_files import ImageFiles, read_image_files
from triptych.data.ingest import Reading
from triptych.data.open import check_read_as, open_images
from triptych.data.points import is_points, open_points
from triptych.data.sources.memory import Held, holds_images
from triptych.errors import InputError
from triptych.families.capabilities import (
    Encodes,
    Iterative,
    NoisyPixels,
    Refines,
    Represents,
    why_not,
)
from triptych.families.labels import Labels
from triptych.families.latent import Latent, Way
from triptych.families.protocol import GenerativeModel
from triptych.files import as_path, as_paths, kind_of
from triptych.hardware import Machine
from triptych.options import (
    Fit,
    LikelihoodOptions,
    ReadingOptions,
    SamplerOptions,
    SamplingOptions,
    as_data,
    as_whole,
    parse_range,
    takes,
)
from triptych.records import (
    METRIC_HEAD,
    DataRecord,
    MetricRecord,
    ResultsRecord,
    cells_of,
    read_record,
)
from triptych.tasks import interpolate, likelihood, play, reconstruct, sample, traverse
from triptych.tasks.reconstruct import Answer
from triptych.tasks.traverse import Traversal
from triptych.training.run_folder import RunFolder, labels_of, load_model
from triptych.words import english

MOST_PICTURE = 2**26  # bytes
PLAYED = 16  # samples beside the sliders
ENLARGED = 2  # times, in a notebook: a grid has eight images in a row

MOST_STATES = 61  # of a trajectory: six seconds of a film

Data = str | os.PathLike[str] | ImageData | Any  # as the verbs take it: of the last, `Held`


class Run:
    """A trained model and what can be asked of it. Images are uint8 tensors (N,C,H,W)."""

    def __init__(self, path: str | os.PathLike[str], machine: Machine | None = None) -> None:
        self.folder = RunFolder(as_path(path, "path"))
        self.machine = machine or hardware.pick()
        self.model, self.record = load_model(self.folder, self.machine.device)
        self.labels = labels_of(self.record)

    @property
    def family(self) -> str:
        """vae, gan or diffusion."""
        return str(self.record.family)

    def with_sampler(
        self,
        name: str | None = None,
        steps: int | None = None,
        eta: float | None = None,
        guidance: float | None = None,
    ) -> GenerativeModel:
        """The model with other sampler settings; InputError where it has no sampler."""
        asked = SamplerOptions(sampler=name, steps=steps, eta=eta, guidance=guidance)
        if asked == SamplerOptions():
            return self.model
        if not isinstance(self.model, Iterative):
            raise InputError(
                f"a {self.family} samples in one step",
                "leave out --sampler, --steps, --eta and --guidance",
            )
        return self.model.with_sampler(asked.sampler, asked.steps, asked.eta, asked.guidance)

    def labels_for(self, label: int | str | None) -> Labels | None:
        """What to tell the model: one class, or all by their shares in the training data.

        label: the name of a class; InputError where the model knows no labels, or not this one
        """
        if label is None:
            return self.labels
        if self.labels is None:
            raise InputError(f"{self.folder.path} was trained without labels", "leave out --label")
        return self.labels.only(label)

    @takes(SamplingOptions)
    def sample(
        self,
        count: int | None = None,
        seed: int = 0,
        *,
        latents: Latent | None = None,
        console: Console | None = None,
        quiet: bool = False,
        **options: Any,
    ) -> Tensor:
        """Samples: uint8 (count,C,H,W); without a label image i's class follows from the seed.

        count:   64 by default, or as many as there are latents
        latents: what is decoded, as `draw_latents` and `encode` give it, labels included; the
                 noise that a decoder adds follows from the seed
        quiet:   no messages and no bars
        """
        asked = SamplingOptions.of(**options)
        if latents is not None:
            self.check_latents(latents, count, asked)
        if count is None:
            count = 64 if latents is None else len(latents)
        check_count(count)
        seed = as_whole(seed, "seed")
        labels = self.labels_for(asked.label)
        model = self.with_sampler(asked.sampler, asked.steps, asked.eta, asked.guidance)
        if asked.pixel_noise:
            if not isinstance(model, NoisyPixels):
                raise InputError(
                    f"a {self.family} has no distribution of pixels to draw from",
                    "leave out --pixel-noise",
                )
            model = model.with_pixel_noise()
        with console_for(console, quiet).bar("  sampling", count) as bar:
            return sample.sample(
                model,
                count,
                seed,
                self.machine,
                temperature=asked.temperature,
                labels=labels,
                latents=latents,
                report=bar.update,
            )

    def draw_latents(
        self, count: int = 64, seed: int = 0, label: int | str | None = None
    ) -> Latent:
        """Latents from the prior, one an image, on the CPU.

        `run.sample(latents=run.draw_latents(n, seed), seed=seed)` is `run.sample(n, seed)`, bit
        for bit. `latents.tensors` holds what is decoded, by name, each tensor (count, ...);
        `latents.labels` the shares of the classes and of "unknown", (count, classes + 1), where
        the model is told labels. `latents[:8]` are the first, `a.interpolate(b, 0.5)` is half way.
        """
        check_count(count)
        seed, labels = as_whole(seed, "seed"), self.labels_for(label)
        return sample.draw_latents(self.model, count, seed, self.machine, labels)

    def encode(
        self, originals: Tensor, *, console: Console | None = None, quiet: bool = False
    ) -> Latent:
        """Latents of images uint8 (N,C,H,W), as `sample(latents=...)` takes them, labels unknown.

        Where decoding takes steps, `sample` takes those of sampling: a sampler that adds no noise
        and more steps come nearer to the images, as `reconstruct` does.
        InputError with the reason where the model cannot encode.
        """
        self.check_images(originals)
        self.require_encoder()
        with console_for(console, quiet).bar("  encoding", len(originals)) as bar:
            return reconstruct.encode(self.model, originals, self.machine, bar.update)

    def check_latents(self, latents: object, count: int | None, asked: SamplingOptions) -> None:
        """InputError on what are no latents of this model, or on other options that name them."""
        if not isinstance(latents, Latent):
            raise InputError(
                f"latents are not {kind_of(latents)}",
                "give those of run.draw_latents or run.encode",
            )
        if asked.label is not None:
            raise InputError("latents bring their labels along", "leave out label")
        if len(latents) == 0:
            raise InputError("there are no latents", "give 1 or more")
        if count is not None and count != len(latents):
            raise InputError(f"{len(latents)} latents are no {count}", "leave out count")
        theirs, ours = latents.shapes(), self.draw_latents(1).shapes()
        if theirs != ours:
            raise InputError(
                f"latents of {theirs}, but the run's are of {ours}",
                "give those of run.draw_latents or run.encode of this run",
            )

    @takes(SamplingOptions)
    def trajectory(
        self,
        count: int = 64,
        seed: int = 0,
        *,
        console: Console | None = None,
        quiet: bool = False,
        **options: Any,
    ) -> Tensor:
        """The way of the same samples from noise to image: uint8 (count,states,C,H,W).

        They are the states of a diffusion model's sampler, each divided by sqrt(1 + sigma^2), its
        noise's deviation being sigma; the last is the sample. Of more than 61 they are 61, evenly
        spaced.
        quiet: no messages and no bars
        InputError where a model samples in one step.
        """
        check_count(count)
        seed = as_whole(seed, "seed")
        asked = SamplingOptions.of(**options)
        labels = self.labels_for(asked.label)
        model, states = self.walking(asked)
        points = MOST_STATES if states > MOST_STATES else None
        with console_for(console, quiet).bar("  sampling", count) as bar:
            return sample.trajectory(
                model,
                count,
                points,
                seed,
                self.machine,
                temperature=asked.temperature,
                labels=labels,
                report=bar.update,
            )

    def count_states(self, **options: Any) -> int:
        """How many states `trajectory` gives of each sample; its options and its errors."""
        return min(self.walking(SamplingOptions.of(**options))[1], MOST_STATES)

    def walking(self, asked: SamplingOptions) -> tuple[GenerativeModel, int]:
        """The model in as many steps as its samples take, and how many states these have.

        InputError where it takes but one step.
        """
        model = self.with_sampler(asked.sampler, asked.steps, asked.eta, asked.guidance)
        if not isinstance(model, Iterative):
            raise InputError(f"a {self.family} samples in one step", "leave out --trajectory")
        if asked.pixel_noise:
            wrong = f"a {self.family} has no distribution of pixels to draw from"
            raise InputError(wrong, "leave out --pixel-noise")
        model = model.with_sampler(steps=len(model.noise_levels()) - 1)
        return model, model.count_states()

    def sample_labels(
        self, count: int = 64, seed: int = 0, label: int | str | None = None
    ) -> Tensor | None:
        """Class numbers of the same samples, int64 (count,); None for models without labels."""
        check_count(count)
        seed, labels = as_whole(seed, "seed"), self.labels_for(label)
        return None if labels is None else labels.draw(seed, range(count))

    def play(self) -> Any:
        """Sliders over a picture of samples, in a notebook: an ipywidgets box, which shows itself.

        There are those that the model has: seed, class, steps, guidance, temperature, and the
        latent units that vary most over its samples.
        InputError where ipywidgets is missing.
        """
        units = play.units_to_move(self.model, self.machine, self.labels)

        def draw(moved: Mapping[str, play.Value]) -> bytes:
            seed, label = int(moved.get("seed", 0)), moved.get("label")
            latents = self.draw_latents(PLAYED, seed, None if label is None else str(label))
            asked = ("steps", "guidance", "temperature")
            named: dict[str, Any] = {name: moved[name] for name in asked if name in moved}
            samples = self.sample(
                latents=play.shifted(latents, units, moved), seed=seed, quiet=True, **named
            )
            return images.grid(samples)._repr_png_()

        return play.show(play.controls_of(self.model, self.labels, units), draw)

    def represent(
        self, originals: Tensor, *, console: Console | None = None, quiet: bool = False
    ) -> Tensor:
        """The model's own features of images: float (N,F).

        quiet: no messages and no bars
        """
        self.check_images(originals)
        assert isinstance(self.model, Represents)  # all do
        with console_for(console, quiet).bar("  encoding", len(originals)) as bar:
            return reconstruct.represent(self.model, originals, self.machine, bar.update)

    def reconstruct(
        self,
        originals: Tensor,
        seed: int = 0,
        steps: int | None = None,
        *,
        console: Console | None = None,
        quiet: bool = False,
    ) -> Tensor:
        """What the model makes of images of its own size: uint8 (N,C,H,W).

        steps: for a GAN of the latents' refinement, 0 for none; for diffusion of the way to the
               noise and of that back; the recipe's by default
        quiet: no messages and no bars
        """
        answers = self.answers(originals, seed, steps, console=console, quiet=quiet)
        return answers["reconstruction"].images

    def answers(
        self,
        originals: Tensor,
        seed: int = 0,
        steps: int | None = None,
        *,
        console: Console | None = None,
        quiet: bool = False,
    ) -> dict[str, Answer]:
        """As `reconstruct`, with the seconds; for a GAN also what its encoder says first.

        quiet: no messages and no bars
        """
        self.check_images(originals)
        self.require_encoder()
        model, seed = self.with_steps(steps), as_whole(seed, "seed")
        with console_for(console, quiet).bar("  reconstructing", len(originals)) as bar:
            return reconstruct.answers(model, originals, seed, self.machine, bar.update)

    def with_steps(self, steps: int | None) -> GenerativeModel:
        """The model whose inverse takes so many steps; InputError where it takes but one."""
        if steps is None:
            return self.model
        steps = as_whole(steps, "steps")
        if isinstance(self.model, Iterative):
            return self.model.deterministic().with_sampler(steps=steps)
        if not isinstance(self.model, Refines):
            raise InputError(f"a {self.family} encodes in one step", "leave out --steps")
        if steps < 0:
            raise InputError(f"--steps {steps} is below zero", "give 0 or more")
        return self.model.with_refinement(steps)

    def interpolate(
        self,
        first: Tensor | None = None,
        last: Tensor | None = None,
        points: int = 10,
        seed: int = 0,
        paths: int | None = None,
        way: Way | None = None,
        *,
        console: Console | None = None,
        quiet: bool = False,
    ) -> Tensor:
        """The way between two images (N,C,H,W), or between prior draws: (N,points,C,H,W).

        paths: how many between draws, 1 by default; between images there are as many as images
        way:   "straight" or "spherical"; as suits the model by default
        quiet: no messages and no bars
        """
        console = console_for(console, quiet)
        if way not in (None, "straight", "spherical"):
            raise InputError(f"no --way '{way}'", "choose straight or spherical")
        seed = as_whole(seed, "seed")
        if as_whole(points, "points") < 2:
            raise InputError(f"--points {points} is too few", "give 2 or more")
        if paths is not None and as_whole(paths, "paths") < 1:
            raise InputError(f"{paths} paths are too few", "give 1 or more")
        if first is None and last is None:
            paths = 1 if paths is None else paths
            with console.bar("  walking", points) as bar:
                return interpolate.between_draws(
                    self.model, paths, points, seed, self.machine, self.labels, way, bar.update
                )
        if first is None or last is None:
            raise InputError("one end of the interpolation is missing", "give --from and --to")
        if paths is not None:
            raise InputError("between images there is a path for each pair", "leave out paths")
        self.check_images(first)
        self.check_images(last)
        if len(first) != len(last):
            raise InputError(
                f"{len(first)} images to start from, {len(last)} to arrive at",
                "give as many of each",
            )
        if not isinstance(self.model, Encodes):
            raise InputError(english(why_not(self.model, "encode")), "leave out --from and --to")
        with console.bar("  walking", points) as bar:
            return interpolate.between_images(
                self.model, first, last, points, seed, self.machine, way, bar.update
            )

    def traverse(
        self,
        originals: Tensor,
        rows: int = 10,
        points: int = 9,
        seed: int = 0,
        *,
        console: Console | None = None,
        quiet: bool = False,
    ) -> Traversal:
        """Rows of images, each along one of the latent units that vary most over held-out images.

        Each goes from -3 to 3 deviations of the prior, around the latent of one of the images.
        quiet: no messages and no bars
        """
        self.check_traversal(rows, points)
        if isinstance(originals, Tensor) and len(originals) == 0:
            raise InputError("there is no held-out image to walk around", "name other data")
        self.check_images(originals)
        seed = as_whole(seed, "seed")
        total = len(originals) + rows * points
        with console_for(console, quiet).bar("  walking", total) as bar:
            return traverse.traverse(
                self.model, originals, rows, points, seed, self.machine, bar.update
            )

    def check_traversal(self, rows: int, points: int) -> None:
        """InputError where the model has no latents to walk, or rows or points are too few."""
        if isinstance(self.model, Iterative):
            raise InputError(
                "traversals are of latents that hold little; noise has a unit for each pixel",
                "use a vae or a gan",
            )
        if as_whole(rows, "rows") < 1:
            raise InputError(f"--rows {rows} is too few", "give 1 or more")
        if as_whole(points, "points") < 2:
            raise InputError(f"--points {points} is too few", "give 2 or more")

    @takes(LikelihoodOptions)
    def log_likelihood(
        self,
        originals: Tensor,
        seed: int = 0,
        *,
        validation: Tensor | None = None,
        console: Console | None = None,
        quiet: bool = False,
        **options: Any,
    ) -> MetricRecord:
        """Bits per dimension of images with their terms; not defined, with the reason, for a GAN.

        One image alone has a value and no interval. `by_image` of the record has each image's.
        validation: uint8 (M,C,H,W), on which the noise of a GAN's estimate is chosen
        quiet:      no messages and no bars
        """
        asked = LikelihoodOptions.of(**options)
        self.check_images(originals)
        if validation is not None:
            self.check_images(validation)
        seed = as_whole(seed, "seed")
        with console_for(console, quiet).bar("  likelihood", len(originals)) as bar:
            return likelihood.bits_per_dim(
                self.model, originals, seed, self.machine, asked, validation, bar.update
            )

    def require_encoder(self) -> None:
        """InputError with the reason where the model cannot encode."""
        if not isinstance(self.model, Encodes):
            raise InputError(english(why_not(self.model, "encode")), "use a vae")

    def read_images(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        fit: Fit | None = None,
        console: Console | None = None,
        quiet: bool = False,
    ) -> Tensor:
        """Image files as this model takes them: uint8 (N,C,H,W), in their order.

        A folder stands for all images in and below it, by name. Grey pictures get three channels
        for a run of coloured images; for a run of grey ones coloured pictures are turned grey, and
        the console is told.
        fit:   how they are brought to the run's size; as the run's own data were by default
        quiet: no messages
        InputError names what cannot be read.
        """
        console = console_for(console, quiet)
        return self.open_files(as_paths(paths, "paths"), fit, console).images

    def open_files(self, paths: Sequence[Path], fit: Fit | None, console: Console) -> ImageFiles:
        """The same with the files' names; the notes are said. InputError for a run of points."""
        if self.model.shape.is_point:
            raise InputError(f"{self.folder.path} is of points, not of images", "name a .csv")
        fit = ReadingOptions(fit=fit or self.record.data.fit).fit
        assert fit is not None
        reading = replace(reading_of(self.record.data), fit=fit)
        opened = read_image_files(paths, self.model.shape, reading)
        for note in opened.notes:
            console.say(f"note: {english(note)}")
        return opened

    def check_images(self, originals: object) -> None:
        """InputError on what are no images that the model was made for."""
        shape = self.model.shape
        if not isinstance(originals, Tensor):
            wrong = f"images come as uint8 (N,C,H,W), not as {kind_of(originals)}"
            raise InputError(wrong, "read files by run.read_images")
        if originals.dtype != torch.uint8 or originals.ndim != 4:
            raise InputError("images are not uint8 (N,C,H,W)", "convert them")
        if tuple(originals.shape[1:]) != shape.size:
            theirs = "x".join(map(str, originals.shape[1:]))
            ours = "x".join(map(str, shape.size))
            raise InputError(
                f"images of {theirs}, but the run is of {ours}",
                "read files by run.read_images, or use the run's own data",
            )
        if len(originals) == 0:
            raise InputError("there are no images", "give 1 or more")

    def __repr__(self) -> str:
        return f"Run({self.record.model}, {self.record.total_images:,} images seen)"

    def _repr_html_(self) -> str:
        record = self.record
        rows = [
            ["data", record.data.name],
            ["images seen", f"{record.total_images:,}"],
            ["folder", str(self.folder.path)],
        ]
        if self.labels is not None:
            rows.append(["classes", f"{len(self.labels.names)}"])
        return notebook.block(
            notebook.heading(record.model),
            notebook.table(rows),
            self.show_samples(),
            self.show_results(),
        )

    def show_samples(self) -> str:
        """Samples that were drawn when it was trained or measured, as HTML; nothing without any.

        None is drawn for it: of some models that takes minutes.
        """
        for path in [self.folder.figures / "samples.png", *reversed(self.folder.pictures())]:
            with suppress(OSError, ValueError):  # absent, damaged, or a stranger's
                png = files.read_bytes(path, MOST_PICTURE)
                return notebook.picture(png, f"samples of {self.record.model}", ENLARGED)
        return ""

    def show_results(self) -> str:
        """What was measured of it, as HTML; nothing where that was not, or is damaged."""
        try:
            values = files.read_json(self.folder.results, "", files.MOST_RESULTS)
            results = read_record(ResultsRecord, values, self.folder.results, "")
        except InputError:
            return ""
        return notebook.table(map(cells_of, results.metrics), METRIC_HEAD)


def reading_of(own: DataRecord) -> Reading:
    """How a run's data were read, with the ranges of their numbers."""
    given = None if own.range is None else parse_range(own.range)
    known = {ranges.BYTE: ranges.BYTES, **own.ranges}
    return Reading(own.resolution, own.fit, given, known)


def training_film(path: str | os.PathLike[str]) -> images.Film:
    """The pictures that a training made of its samples, in order; the run need not be finished.

    InputError where there are none, or they do not go together.
    """
    folder = RunFolder(as_path(path, "path"))
    folder.read()
    pictures = [images.read_png(file) for file in folder.pictures()]
    if not pictures:
        raise InputError(f"{folder.path} has no pictures of its training", "name another run")
    if len({picture.shape for picture in pictures}) > 1:
        raise InputError(f"the pictures in {folder.samples} differ in size", "name another run")
    return images.film(torch.stack(pictures), back=False)


def check_count(count: int) -> None:
    """InputError below 1."""
    if as_whole(count, "count") < 1:
        raise InputError(f"--count {count} is too few", "give 1 or more")


def run_data(
    run: Run,
    data: Data | None,
    options: ReadingOptions | None,
    console: Console,
) -> ImageData:
    """The data to measure a run on: its own unless others are named; the shapes must agree.

    options: what they do not say is as the run's own data were read
    """
    own, options = run.record.data, options or ReadingOptions()
    if isinstance(data, ImageData):
        check_read_as(data, options)
        opened = data
    elif holds_images(data):
        opened = open_images(Held(data), options.over(own_options(own, "")), console)
    else:
        source = own.source if data is None else as_data(data)
        reading = options.over(own_options(own, source))
        if data is None and own.place and not files.expanded(source).exists():
            source = own.place  # seen from another folder
        try:
            if is_points(source) and not run.model.shape.is_point:
                wrong = f"{source} is of points, and {run.folder.path} of images"
                raise InputError(wrong, "name images")
            if run.model.shape.is_point and options.range is None:
                opened = open_points(source, options, own.ranges)  # on the run's own square
            else:
                opened = open_images(source, reading, console)
        except InputError as error:
            if data is not None or options != ReadingOptions():
                raise
            raise InputError(
                f"the run's own data are gone ({error})", "name data by --data"
            ) from error
    if data is None and own.place and opened.fingerprint != own.fingerprint:
        with suppress(InputError):  # here another thing has the name by which they were asked for
            there = run_data(run, own.place, options.over(own_options(own, own.source)), console)
            opened = there if there.fingerprint == own.fingerprint else opened
    check_shape(opened, run.model.shape)
    if data is None and opened.fingerprint != own.fingerprint:
        raise InputError(
            f"{own.source} is not what {run.folder.path} was trained on", "give --data"
        )
    return opened


def check_shape(data: ImageData, shape: ImageShape) -> None:
    """InputError on data whose images are of another shape than the model's."""
    if data.shape.size == shape.size:
        return
    mend = f"leave out --resolution, or give --resolution {shape.resolution}"
    if data.shape.channels != shape.channels:
        kind = "grey" if shape.channels == 1 else "coloured"
        mend = (
            f"save {kind} images, or name image files to reconstruct and likelihood, "
            "which convert them"
        )
    raise InputError(f"{data.name} is {data.shape.size}, the run {shape.size}", mend)


def own_options(own: DataRecord, source: str) -> ReadingOptions:
    """How a run's data were read; the columns belong to its own source alone."""
    point = ImageShape(channels=own.channels, resolution=own.resolution).is_point
    reading = ReadingOptions() if point else ReadingOptions(resolution=own.resolution, fit=own.fit)
    if source != own.source:
        return reading
    return replace(
        reading, image_column=own.image_column, label_column=own.label_column, range=own.range
    )
