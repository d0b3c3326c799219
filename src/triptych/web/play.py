"""Trained models kept warm, and what the page asks of them: pictures, and films of pictures.

A film is one picture whose rows are models' images and whose columns are moments; the page shows a
column at a time, so that a slider needs no request. Models run one question at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triptych import files, images
from triptych.console import QUIET
from triptych.data.dataset import ImageData
from triptych.data.decode import quietly, read_pictures
from triptych.data.sources import BadImageError
from triptych.errors import InputError
from triptych.families.capabilities import (
    Encodes,
    EncodesByPath,
    Iterative,
    Refines,
    is_guided,
    why_not,
)
from triptych.families.latent import Way
from triptych.options import SamplingOptions
from triptych.records import Record
from triptych.run import Run, run_data
from triptych.tasks import denoise, figures, sample
from triptych.web import plane
from triptych.web.jobs import HIDDEN
from triptych.web.library import RUN_JSON, Library, NotFoundError
from triptych.web.plane import PlaneAsked
from triptych.words import english

WARM = 6  # models in memory
MOST_SHOWN = 64  # images of one answer
MOST_POINTS = 60  # of a film
MOST_UPLOADS = 200  # kept
MOST_STEPS = 200  # of a sampler
LEAST_SIGMA, MOST_SIGMA = 0.01, 10.0  # noise levels of a score field
REAL_POINTS = 500  # behind a picture of the plane
MOST_DECODED = 400  # images of a film
REFINED = (0, 3, 10, 30, 100)  # steps of a GAN's inversion that are shown
TRAVERSED = 64  # held-out images over which the units of a traversal are found
CHAIN_POINTS = 25  # moments of a sampler's way from noise to image
UNITS, REACH_POINTS = 8, 15  # rows and columns of a traversal
FILM_FPS = 11  # moments of a GIF a second
ENLARGED = 192  # pixels: least height of a saved film


@dataclass(frozen=True, kw_only=True)
class SampleAsked(Record):
    """Samples of one run."""

    run: str
    count: int = 16
    seed: int = 0
    label: str | None = None
    temperature: float = 1.0
    guidance: float | None = None
    sampler: str | None = None
    steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class WalkAsked(Record):
    """A film between two draws, or between two uploaded images."""

    run: str
    seed: int = 0
    points: int = 24
    paths: int = 4
    way: Way | None = None
    first: str | None = None
    last: str | None = None


@dataclass(frozen=True, kw_only=True)
class ImageAsked(Record):
    """A question about one image: an uploaded one, or a held-out image of the run by its number."""

    run: str
    upload: str | None = None
    held_out: int = 0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class NoiseAsked(ImageAsked):
    """The same image with noise of one level: its deviation on [-1, 1]."""

    sigma: float


@dataclass(frozen=True)
class Film:
    """Moments side by side.

    pixels: uint8 [rows,points,C,H,W]
    words:  what is said of each moment, or nothing
    """

    pixels: Tensor
    words: tuple[str, ...] = ()

    @property
    def pictures(self) -> Tensor:
        """The same; points of the plane are, at each moment, one picture: [1,points,1,H,W]."""
        if not images.is_points(self.pixels):
            return self.pixels
        return torch.stack([images.scatter(moment) for moment in self.pixels.unbind(1)])[None]

    def png(self) -> bytes:
        """One picture without gaps: a row for each image, a column for each moment."""
        pictures = self.pictures
        return as_png(images.grid(pictures.flatten(0, 1), pictures.shape[1], gap=0).pixels)

    def gif(self) -> bytes:
        """Forth and back, enlarged; the rows of a moment stand side by side."""
        film = images.film(self.pixels, columns=len(self.pixels), gap=1)
        factor = max(1, ENLARGED // self.pictures.shape[-2])
        return film.encoded(".gif", factor, fps=FILM_FPS)


def as_png(pixels: Tensor) -> bytes:
    """uint8 [C,H,W] as a PNG file that is soon made: it goes to a browser beside."""
    return images.as_png(pixels, compression=1)


class WarmModels:
    """The runs of a served folder, loaded when they are first asked for.

    One thread asks them: models are not made for more.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self.uploads = library.root / HIDDEN / "uploads"
        self._runs: OrderedDict[Path, tuple[float, Run]] = OrderedDict()
        self._data: OrderedDict[str, ImageData] = OrderedDict()

    def run(self, path: str) -> Run:
        """A trained run; loaded again where its folder holds another one by now."""
        folder = self.library.run_folder(path)
        time = (folder / RUN_JSON).stat().st_mtime
        kept = self._runs.pop(folder, None)
        if kept is None or kept[0] != time:
            kept = (time, Run(folder))
        self._runs[folder] = kept
        while len(self._runs) > WARM:
            self._runs.popitem(last=False)
        return kept[1]

    def capabilities(self, path: str) -> dict[str, Any]:
        """What can be asked of a run, for the page's controls; notes say why something cannot."""
        run = self.run(path)
        model, labels = run.model, run.labels
        named = [] if labels is None else zip(labels.names, labels.counts, strict=True)
        answer: dict[str, Any] = {
            "shape": list(model.shape.size),
            "classes": [name for name, count in named if count],
            "samplers": list(model.samplers) if isinstance(model, Iterative) else [],
            "guided": is_guided(model),
            "calls": model.network_calls,
            "encodes": isinstance(model, Encodes),
            "refines": isinstance(model, Refines) and model.refining_steps > 0,
            "traverses": isinstance(model, Encodes) and not isinstance(model, Iterative),
            "chain": isinstance(model, Iterative),
        }
        if isinstance(model, Iterative):
            answer["steps"] = len(model.noise_levels()) - 1
            answer["sigmas"] = [figures.LEAST, figures.LARGEST]
        if not isinstance(model, Encodes):
            answer["why_not"] = why_not(model, "encode")
        return answer

    def sample(self, asked: SampleAsked) -> bytes:
        """A picture of samples; image i is the same whatever the count."""
        check_sampling(asked)
        run = self.run(asked.run)
        iterative = isinstance(run.model, Iterative)
        pixels = run.sample(
            asked.count,
            asked.seed,
            **vars(
                SamplingOptions.of(
                    label=asked.label,
                    temperature=asked.temperature,
                    guidance=asked.guidance if iterative else None,
                    sampler=asked.sampler if iterative else None,
                    steps=asked.steps if iterative else None,
                )
            ),
            quiet=True,
        )
        columns = max(1, round(asked.count**0.5))
        return as_png(images.grid(pixels, columns, gap=1).pixels)

    def plane(self, asked: PlaneAsked) -> bytes:
        """A picture of what a model of points makes of the plane."""
        if asked.steps is not None:
            check_range("steps", asked.steps, 1, MOST_STEPS)
        if not LEAST_SIGMA <= asked.sigma <= MOST_SIGMA:
            raise InputError(f"no noise level {asked.sigma}", f"give {LEAST_SIGMA} to {MOST_SIGMA}")
        run = self.run(asked.run)
        model = run.model
        if isinstance(model, Iterative) and asked.steps is not None:
            model = run.with_sampler(None, asked.steps, None, None)
        try:
            real = self.data(run).test.images[:REAL_POINTS]
        except InputError:  # of a run whose data are elsewhere: it is seen without real points
            real = torch.empty(0, *run.model.shape.size, dtype=torch.uint8)
        return as_png(plane.draw(model, run.family, real, run.machine, asked))

    def walk(self, asked: WalkAsked) -> Film:
        """Between draws, or from one uploaded image to another."""
        check_range("points", asked.points, 2, MOST_POINTS)
        check_range("paths", asked.paths, 1, MOST_DECODED // asked.points)
        run = self.run(asked.run)
        if asked.first is None and asked.last is None:
            film = run.interpolate(
                points=asked.points,
                seed=asked.seed,
                paths=asked.paths,
                way=asked.way,
                quiet=True,
            )
            return Film(film)
        first, last = (self.upload(run, name) for name in (asked.first, asked.last))
        points, seed = asked.points, asked.seed
        return Film(run.interpolate(first, last, points, seed, way=asked.way, quiet=True))

    def traverse(self, asked: ImageAsked) -> Film:
        """The units that vary most, a row each, around a held-out image."""
        run = self.run(asked.run)
        held_out = self.data(run).test.images[:TRAVERSED]
        walked = run.traverse(
            held_out, rows=UNITS, points=REACH_POINTS, seed=asked.seed, quiet=True
        )
        return Film(walked.pictures)

    def invert(self, asked: ImageAsked) -> Film:
        """What a GAN makes of an image after more and more steps of refining its latent."""
        run = self.run(asked.run)
        model = run.model
        if not isinstance(model, Refines):
            raise InputError(f"a {run.family} encodes in one step", "choose a GAN")
        original = self.image(run, asked)
        steps = [s for s in REFINED if s < model.refining_steps] + [model.refining_steps]
        moments = [run.reconstruct(original, asked.seed, step, quiet=True) for step in steps]
        film = torch.stack([original, *moments], dim=1)
        return Film(film, ("", *map(str, steps)))

    def chain(self, asked: SampleAsked) -> Film:
        """The states of a diffusion model's sampler from noise to image."""
        check_sampling(asked)
        run = self.run(asked.run)
        require_chain(run)
        model = run.with_sampler(asked.sampler, asked.steps, None, asked.guidance)
        return Film(
            sample.trajectory(
                model,
                asked.count,
                CHAIN_POINTS,
                asked.seed,
                run.machine,
                temperature=asked.temperature,
                labels=run.labels_for(asked.label),
            )
        )

    def denoise(self, asked: NoiseAsked) -> Film:
        """The image, the image with noise, and what the network takes it to be by one call."""
        check_range("sigma", asked.sigma, figures.LEAST, figures.LARGEST)
        run = self.run(asked.run)
        model = require_chain(run)
        original = self.image(run, asked)
        shown = denoise.denoise(model, original, asked.sigma, asked.seed, run.machine)
        return Film(torch.cat([original[:, None], shown], dim=1))

    def round_trip(self, asked: ImageAsked) -> Film:
        """The states from the image up to the noise that encodes it, and down to an image again."""
        run = self.run(asked.run)
        model = require_chain(run)
        if not isinstance(model, EncodesByPath):
            raise InputError(
                english(why_not(run.model, "encode")), "choose another diffusion model"
            )
        original = self.image(run, asked)
        points = CHAIN_POINTS // 2 + 1
        return Film(denoise.round_trip(model, original, points, asked.seed, run.machine))

    def reconstruct(self, asked: ImageAsked) -> Film:
        """The image as the model takes it, and what it makes of it."""
        run = self.run(asked.run)
        run.require_encoder()
        original = self.image(run, asked)
        again = run.reconstruct(original, asked.seed, quiet=True)
        return Film(torch.stack([original, again], dim=1))

    def real(self, run: Run, numbers: Sequence[int]) -> Tensor:
        """Held-out images of a run by their numbers: uint8 [N,C,H,W]."""
        test = self.data(run).test.images
        if not 0 <= min(numbers) <= max(numbers) < len(test):
            raise InputError(f"there are {len(test):,} held-out images", "choose a lower number")
        return test[torch.tensor(numbers)]

    def image(self, run: Run, asked: ImageAsked) -> Tensor:
        """The image that is asked about, as the model takes it: uint8 [1,C,H,W]."""
        if asked.upload is not None:
            return self.upload(run, asked.upload)
        return self.real(run, [asked.held_out])

    def data(self, run: Run) -> ImageData:
        """The images that a run was trained on, opened once."""
        name = run.record.data.fingerprint
        if name not in self._data:
            self._data[name] = run_data(run, None, None, QUIET)
            while len(self._data) > WARM:
                self._data.popitem(last=False)
        self._data.move_to_end(name)
        return self._data[name]

    def upload(self, run: Run, name: str | None) -> Tensor:
        """An uploaded image as the model takes it: uint8 [1,C,H,W]."""
        if name is None:
            raise InputError("one end of the walk is missing", "choose two images")
        path = self.uploads / name
        if not name.isalnum() or not path.is_file():
            raise NotFoundError("no such upload")
        return run.read_images(path, quiet=True)[:1]

    def receive(self, content: bytes) -> str:
        """Keep an uploaded image, by its digest; InputError on what is no image that we read."""
        name = sha256(content).hexdigest()[:32]
        try:
            with quietly():
                first = next(read_pictures(content).each)
            if isinstance(first, BadImageError):
                raise first
        except BadImageError as error:
            raise InputError(f"this image is bad: {error}", "give another") from None
        files.make_folder(self.uploads)
        files.write_bytes(self.uploads / name, content)
        kept = sorted(self.uploads.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in kept[:-MOST_UPLOADS]:
            files.remove(old)
        return name


def require_chain(run: Run) -> Iterative:
    """The run's model; InputError where its images do not come step by step from noise."""
    if not isinstance(run.model, Iterative):
        raise InputError(f"a {run.family} samples in one step", "choose a diffusion model")
    return run.model


def check_sampling(asked: SampleAsked) -> None:
    """InputError on more images or steps than the page offers: one answer must not take hours."""
    check_range("count", asked.count, 1, MOST_SHOWN)
    if asked.steps is not None:
        check_range("steps", asked.steps, 1, MOST_STEPS)


def check_range(name: str, value: float, least: float, most: float) -> None:
    """InputError on a number that the page does not offer."""
    if not least <= value <= most:
        raise InputError(f"no {name} {value}", f"give {least} to {most}")
