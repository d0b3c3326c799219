"""The commands that work on trained runs; each is a dataclass whose fields are its options.

Torch is imported only when a command runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from triptych import lines
from triptych.errors import InputError
from triptych.options import UsesModel

if TYPE_CHECKING:
    from torch import Tensor

    from triptych.data.dataset import ImageData
    from triptych.run import Run
    from triptych.tasks.reconstruction import Answer

MANY, FEW = 256, 32  # images of a likelihood, and of one that takes seconds each
TRAVERSED = 256  # held-out images over which units are compared


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
        from triptych import output
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
        from triptych import output
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
            self.console().say(f"{name}: {lines.nearness(numbers)}")
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
        from triptych import output
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
        from triptych import output
        from triptych.run import Run

        place = output.check(self.out)
        run = Run(self.path, self.machine())
        run.check_traversal(self.rows, self.points)
        held_out = data_of(self, run).validation.images[:TRAVERSED]
        found = run.traverse(held_out, self.rows, self.points, self.seed)
        place.write({"images": found.pictures})
        if self.json:
            return {"out": str(self.out), "units": [unit.describe() for unit in found.units]}
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
        from triptych.families.base import EstimatesLikelihood
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
        instead = lines.BY_ESTIMATE if isinstance(run.model, EstimatesLikelihood) else ""
        return found if self.json else lines.likelihood(found, instead)


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
        from triptych import averaging

        found = averaging.average(
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
        return {"runs": found} if self.json else lines.results({"runs": found}, None)


def data_of(command: Reconstruct | Traverse | Likelihood, run: Run) -> ImageData:
    """The data asked for, or the run's own."""
    from triptych import reading

    return reading.run_data(run, command.data, command.options(), command.console())
