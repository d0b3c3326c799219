"""Every option once: what users may ask for, as frozen records that commands and Python share.

A field is an option: its name, type, default and help. The command line (`cli`), the signatures of
the Python verbs and the command that a run records all derive from it.
"""

from __future__ import annotations

import inspect
import math
import numbers
import os
import shlex
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

from triptych import plugins
from triptych.config import SIZES, Size
from triptych.errors import InputError
from triptych.files import as_path, as_paths, fits_64_bits, kind_of

RESOLUTIONS = (16, 32, 64, 128)
DEFAULT_DATA = "street-digits"
Fit = Literal["stretch", "crop", "pad"]
FITS: tuple[Fit, ...] = ("stretch", "crop", "pad")
DEFAULT_BUDGETS: dict[Size, str] = {"tiny": "75s", "small": "10m", "base": "10m"}
COURSE_RECIPE = "course"  # the practical's own recipe of a family
COURSE_EPOCHS = 30
COURSE_BUDGET = f"{COURSE_EPOCHS}epochs"
DEFAULT_COUNTS = {"cpu": 2_000, "cuda": 10_000}  # samples measured: --count
OnTrouble = Literal["rewind", "stop"]
TRACKERS = ("tensorboard", "trackio", "wandb", "mlflow", "csv")  # --log-to; training/trackers
DEFAULT_RESOLUTION = 32
DEFAULT_FIT: Fit = "stretch"
FILMS = (".gif", ".webp")  # files of moving pictures
FPS = 10.0  # their frames a second
MOST_FPS = 50  # faster ones are slowed down by what shows them
MOST_SCALE = 64

R = TypeVar("R", bound="Options")
F = TypeVar("F", bound=Callable[..., Any])


def option(default: Any, help: str, **more: Any) -> Any:
    """An option of the command line, and a keyword in Python.

    more: `name`, as it is typed where that cannot be a name in Python
    """
    return field(default=default, metadata={"help": help, **more})


def required(help: str) -> Any:
    """An option that must be given."""
    return field(metadata={"help": help})


def argument(metavar: str, help: str, default: Any = MISSING, **more: Any) -> Any:
    """What is typed without a name, as `metavar` is called in help.

    more: `paths`, where texts stand for paths
    """
    return field(default=default, metadata={"help": help, "metavar": metavar, **more})


def is_argument(each: Field[Any]) -> bool:
    """Whether a field is typed without a name."""
    return "metavar" in each.metadata


def typed_name(each: Field[Any]) -> str:
    """An option as it is typed: `--image-column`."""
    return "--" + str(each.metadata.get("name", each.name)).replace("_", "-")


def as_data(value: object, name: str = "data") -> str:
    """What names images, given as text or as os.PathLike; InputError on anything else.

    A path of one word is that of a file or folder, also where a named set has the same name.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, os.PathLike):
        text = os.fsdecode(value)
        is_name = text.startswith("hf:") or not {os.sep, "."} & set(text)
        return f".{os.sep}{text}" if is_name else text
    holds_images = hasattr(value, "__getitem__") and not isinstance(value, bytes)
    raise InputError(
        f"{name} takes a path or the name of a set, not {kind_of(value)}",
        "open the images by triptych.open_images"
        if holds_images
        else "give a path, or a name such as street-digits",
    )


def as_whole(value: object, name: str) -> int:
    """A whole number of 64 bits, one of NumPy's too; InputError on anything else."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InputError(f"{name} takes a whole number, not {kind_of(value)}", "give an int")
    if not fits_64_bits(int(value)):
        raise InputError(f"{name} takes no number of more than 64 bits", "give a smaller one")
    return int(value)


def as_number(value: object, name: str) -> float:
    """The same for any real number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InputError(f"{name} takes a number, not {kind_of(value)}", "give a float")
    return float(value)


def kinds_of(kind: Any) -> tuple[Any, ...]:
    """The types that an option's annotation names; one of some texts is a text.

    >>> kinds_of(int | None), kinds_of(Fit)
    ((<class 'int'>, <class 'NoneType'>), (<class 'str'>,))
    """
    many = typing.get_origin(kind) in (typing.Union, types.UnionType, tuple)
    each = typing.get_args(kind) if many else (kind,)
    return tuple(str if typing.get_origin(one) is Literal else one for one in each)


def as_asked(value: Any, name: str, kind: Any) -> Any:
    """A value as the option of that name and kind holds it; InputError where it takes no such."""
    kinds = kinds_of(kind)
    if value is None and type(None) in kinds:
        return None
    if Path in kinds:
        return as_paths(value, name) if typing.get_origin(kind) is tuple else as_path(value, name)
    if name == "data":
        return as_data(value)
    if str in kinds:
        texts = set(kinds) <= {str, int, type(None)}  # a list of them is looked at by its request
        if texts and not isinstance(value, str):
            if int not in kinds:
                raise InputError(f"{name} takes text, not {kind_of(value)}", "give a str")
            return as_whole(value, name)
        return value
    if bool in kinds and not isinstance(value, bool):
        raise InputError(f"{name} takes True or False, not {kind_of(value)}", "give a bool")
    if int in kinds:
        return as_whole(value, name)
    return as_number(value, name) if float in kinds else value


def as_list(value: object) -> list[Any]:
    """What is given as a list or the like; anything else alone."""
    return list(value) if isinstance(value, Iterable) else [value]


def as_texts(value: object, name: str, kinds: Any = str) -> tuple[str, ...]:
    """Texts that are given as a list or the like; one alone stands for a list of one.

    A path of one word, where `kinds` has paths, is none of a name: it gets a dot before it.
    """
    each = (value,) if isinstance(value, kinds) or not isinstance(value, Iterable) else tuple(value)
    for one in each:
        if not isinstance(one, kinds):
            raise InputError(f"{name} takes texts, not {kind_of(one)}", "give a list of str")
    return tuple(map(as_data, each))


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be asked of one verb or of several.

    Paths, and what names data, may be given as text or as os.PathLike.
    """

    verb: ClassVar[str] = ""
    title: ClassVar[str] = "Options"  # above those of this class in help

    def __post_init__(self) -> None:
        kinds = typing.get_type_hints(type(self))
        for each in fields(self):
            value = as_asked(getattr(self, each.name), each.name, kinds[each.name])
            object.__setattr__(self, each.name, value)

    @classmethod
    def of(cls, **values: Any) -> Self:
        """From Python's keywords; InputError on a name that is no option of this verb."""
        names = [each.name for each in fields(cls)]
        for name in values:
            if name not in names:
                near = get_close_matches(name, names, n=1)
                mend = f"did you mean {near[0]}?" if near else f"choose from {', '.join(names)}"
                raise InputError(f"{cls.verb or cls.__name__} takes no option '{name}'", mend)
        return cls(**values)

    def part(self, kind: type[R]) -> R:
        """The options of this kind alone, where a request holds more."""
        return kind(**{each.name: getattr(self, each.name) for each in fields(kind)})

    def command(self, leave_out: Collection[str] = ()) -> str:
        """What could be typed to ask the same: all that differs from the defaults."""
        words, tail = ["triptych", self.verb], []
        for _, each in own_first(type(self)):
            value = getattr(self, each.name)
            if value == each.default or each.name in leave_out:
                continue
            if is_argument(each):
                words += map(str, value if isinstance(value, tuple) else [value])
            elif value is True:
                tail.append(typed_name(each))
            else:
                for one in map(str, value if isinstance(value, tuple) else [value]):
                    joined = one.startswith("-") and isinstance(value, str | tuple | Path)
                    joined = joined and each.name != "range"  # which the parser joins itself
                    tail += [f"{typed_name(each)}={one}"] if joined else [typed_name(each), one]
        return shlex.join([*words, *tail])


def own_first(kind: type[Options]) -> list[tuple[type, Field[Any]]]:
    """The options, each with the class that declares it: a verb's own before what it shares."""
    by_name = {each.name: each for each in fields(kind)}
    return [
        (owner, by_name.pop(name))
        for owner in kind.__mro__
        for name in vars(owner).get("__annotations__", {})
        if name in by_name
    ]


def takes(request: type[Options]) -> Callable[[F], F]:
    """Shows a verb's `**options` in its signature and its documentation as what they may be."""

    def decorate(verb: F) -> F:
        own = inspect.signature(verb)
        named = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        types = typing.get_type_hints(request)
        more = [each for _, each in own_first(request) if each.name not in own.parameters]
        named += [
            inspect.Parameter(
                each.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=each.default,
                annotation=types[each.name],
            )
            for each in more
        ]
        verb.__signature__ = own.replace(parameters=named)  # type: ignore[attr-defined]
        lines = [f"    {each.name}: {each.metadata['help']}" for each in more]
        verb.__doc__ = "\n".join([inspect.getdoc(verb) or "", "", "Options:", *lines])
        return verb

    return decorate


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(Options):
    """How a source of images is read; None stands for the usual, or for how a run's were read."""

    title = "Reading images"

    resolution: int | None = option(
        None,
        "Height and width that images are brought to: 16, 32, 64 or 128; 32 by default, or a "
        "run's own.",
    )
    fit: Fit | None = option(
        None, "How: stretch, crop or pad; stretch by default, or as a run's own were."
    )
    strict: bool = option(False, "Refuse data with bad files instead of skipping them.")
    image_column: str | None = option(
        None, "Column or array with the images, where the data have several."
    )
    label_column: str | None = option(
        None,
        "Column or array with the labels; of folders, first or last: which one is the class; none "
        "leaves every kind of label out.",
    )
    range: str | None = option(
        None,
        "Numbers that become black and white: LOW,HIGH, as 0,4095 or -1,1; by default they follow "
        "from the type and the extremes of all the images.",
    )

    def __post_init__(self) -> None:
        if self.range is not None:  # first: from Python it may be two numbers
            object.__setattr__(self, "range", written_range(self.range))
        super().__post_init__()
        if self.resolution is not None and self.resolution not in RESOLUTIONS:
            choices = ", ".join(map(str, RESOLUTIONS))
            raise InputError(f"no resolution {self.resolution}", f"choose from {choices}")
        if self.fit is not None and self.fit not in FITS:
            raise InputError(f"no fit '{self.fit}'", f"choose from {', '.join(FITS)}")

    def over(self, usual: ReadingOptions) -> ReadingOptions:
        """These, and what is not said here as it is there."""
        own = {name: value for name, value in vars(self.part(ReadingOptions)).items() if value}
        return replace(usual, **own)


@dataclass(frozen=True, kw_only=True)
class DataOptions(ReadingOptions):
    """How a source is read, and how training varies its images."""

    title = "Reading images"

    flip: bool = option(
        False,
        "Mirror half of the images that models are trained on: not where left and right matter.",
    )
    crop: int = option(0, "Shift training images by up to so many pixels.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crop(self.crop, self.resolution or DEFAULT_RESOLUTION)


def parse_range(text: str | Sequence[float]) -> tuple[int | float, int | float]:
    """LOW and HIGH of `LOW,HIGH`, or of two numbers; InputError where they are no range.

    >>> parse_range("0,4095"), parse_range((-0.5, 0.5))
    ((0, 4095), (-0.5, 0.5))
    """
    words = text.split(",") if isinstance(text, str) else text
    mend = "give LOW,HIGH, as 0,4095 or -1,1"
    try:
        low, high = map(float, words)
    except (TypeError, ValueError):
        raise InputError(f"--range {text} is not two numbers", mend) from None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"--range {text} is not finite", mend)
    if not low < high:
        raise InputError(f"--range {text} does not rise", "give the lower number first")
    first, second = (int(end) if end.is_integer() else end for end in (low, high))
    return first, second


def written_range(text: str | Sequence[float]) -> str:
    """The range as it is typed."""
    return ",".join(map(str, parse_range(text)))


def check_crop(crop: int, resolution: int) -> None:
    """InputError on pixels that images cannot be moved by: a border has no more to reflect."""
    if crop < 0:
        raise InputError(f"no crop of {crop} pixels", "give 0 or more")
    if crop >= resolution:
        raise InputError(
            f"a crop of {crop} pixels is too large for images of {resolution}",
            f"give {resolution - 1} or less",
        )


@dataclass(frozen=True, kw_only=True)
class MachineOptions(Options):
    """On what hardware a model runs."""

    title = "Machine"

    device: str | None = option(None, "cpu, cuda, xpu or mps; the best there is by default.")
    precision: str | None = option(
        None, "bf16, fp16 or fp32; what the hardware does fastest by default."
    )
    threads: int | None = option(None, "Processor threads; all cores by default.")
    compile: bool = option(
        False, "Send the networks through torch.compile, which takes a while to pay off."
    )
    microbatch: int | None = option(
        None,
        "Most images in a network at once: larger batches are split; by default as memory allows.",
    )


MACHINE = tuple(each.name for each in fields(MachineOptions))  # their names


def as_trackers(value: object) -> tuple[str, ...]:
    """Names of trackers, each once, from texts with commas; InputError on one that there is not.

    >>> as_trackers(["wandb,csv", "csv"])
    ('wandb', 'csv')
    """
    words = [word.strip() for text in as_texts(value, "log_to") for word in text.split(",")]
    names = tuple(dict.fromkeys(filter(None, words)))
    for name in names:
        if name not in TRACKERS and name not in plugins.announced(plugins.TRACKERS):
            near = get_close_matches(name, TRACKERS, n=1)
            choices = f"choose from {', '.join(TRACKERS)}"
            mend = f"did you mean {near[0]}? {choices}" if near else choices
            raise InputError(f"no tracker '{name}' to log to", mend)
    return names


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(DataOptions):
    """What is asked of every training, whether one model's or several."""

    budget: str | None = option(
        None, "For each model: 90s, 10m, 500kimg or 30epochs; 75s at tiny, else 10m."
    )
    size: Size | None = option(None, "tiny, small or base; by hardware.")
    conditional: bool = option(
        False, "Train on the labels too, so that samples of one class can be asked for."
    )
    set: tuple[str, ...] = option((), "Change a setting: KEY=VALUE.")
    log_to: tuple[str, ...] = option(
        (), f"Watch it elsewhere too, several with commas: {', '.join(TRACKERS)}."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "log_to", as_trackers(self.log_to))
        if self.size is not None and self.size not in SIZES:
            raise InputError(f"no size '{self.size}'", f"choose from {', '.join(SIZES)}")
        if isinstance(self.set, Mapping):
            pairs = tuple(f"{key}={value}" for key, value in self.set.items())
            object.__setattr__(self, "set", pairs)
        object.__setattr__(self, "set", as_texts(self.set, "set"))


@dataclass(frozen=True, kw_only=True)
class TrainRequest(TrainingOptions, MachineOptions):
    """One model to be trained."""

    verb = "train"

    model: str = argument(
        "MODEL",
        "vae, gan, diffusion, or one of their recipes: gan:course; or mixture, which is fitted in "
        "closed form and takes no budget.",
    )
    data: str | None = option(
        None,
        "A named set, hf:owner/name, a folder of images or a file, see `triptych data --help`; "
        "street-digits by default, or the images of --from.",
    )
    seed: int | None = option(
        None,
        "First weights, order of images and noise follow from it; 0 by default, or the seed of the "
        "run that --from names.",
    )
    out: Path | None = option(None, "Folder of the run; a new one under runs/ by default.")
    teacher: Path | None = option(
        None, "A finished diffusion run to start from, for diffusion:consistency."
    )
    origin: Path | None = option(
        None,
        "A finished run of the same recipe to go on from: its weights, averages and moments; on "
        "other data, or with other settings, if asked. The budget is that of the new images.",
        name="from",
    )
    on_trouble: OnTrouble = option(
        "rewind",
        "When losses stay not finite: rewind to a checkpoint at half the learning rate, or stop.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.on_trouble not in typing.get_args(OnTrouble):
            raise InputError(f"no --on-trouble '{self.on_trouble}'", "choose rewind or stop")


@dataclass(frozen=True, kw_only=True)
class LikelihoodOptions(Options):
    """How a likelihood is bounded or estimated."""

    method: str | None = option(
        None,
        "VAE: elbo or importance; GAN: ais, which adds noise; diffusion: variational or ode; "
        "mixture: dequantised.",
    )
    draws: int | None = option(
        None,
        "For each image: K of the importance-weighted bound, 100 by default; other bounds are "
        "averaged over them, 1 by default; temperatures of ais, 300 by default.",
    )
    noise: float | None = option(
        None,
        "Deviation of a GAN's noise on [-1, 1] for ais; chosen on validation images by default.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws is not None and self.draws < 1:
            raise InputError(f"--draws {self.draws} is too few", "give 1 or more")


COUNT_HELP = "Samples to measure; 2,000 on CPUs, 10,000 on GPUs."
FEATURES_HELP = (
    "What distances are measured on: labels, patches, inception or dinov2; labels where the data "
    "have some that can be told, else patches."
)


IGNORE_LABELS_HELP = "Measure samples from elsewhere as if they had no labels."
SAMPLES_HELP = (
    "samples from elsewhere: a folder of images, an archive, .npz, .npy or .parquet, "
    "diffusers:FOLDER or diffusers:owner/name, pt2:FILE or onnx:FILE, each also as NAME=PATH"
)


@dataclass(frozen=True, kw_only=True)
class MeasuringOptions(ReadingOptions, MachineOptions):
    """How samples are measured."""

    verb = "measure"

    count: int | None = option(None, COUNT_HELP)
    features: str | None = option(None, FEATURES_HELP)
    ignore_labels: bool = option(False, IGNORE_LABELS_HELP)


@dataclass(frozen=True, kw_only=True)
class MeasureRequest(MeasuringOptions):
    """Runs, and samples from elsewhere, to be measured."""

    verb = "evaluate"

    runs: tuple[str, ...] = argument(
        "RUN|SAMPLES ...", f"Folders of runs, or {SAMPLES_HELP}.", (), paths=True
    )
    data: str | None = option(
        None,
        "What to measure on: data, or a file that `triptych reference` wrote; a run's own data by "
        "default.",
    )
    out: Path | None = option(
        None,
        "Folder for what is measured of samples from elsewhere; runs/NAME-measured by default.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        runs = (self.runs,) if isinstance(self.runs, str | os.PathLike) else self.runs
        named = [as_path(each, "runs") and os.fsdecode(each) for each in as_list(runs)]
        object.__setattr__(self, "runs", tuple(named))


@dataclass(frozen=True, kw_only=True)
class ReferenceRequest(ReadingOptions, MachineOptions):
    """Real images to be kept as a reference."""

    verb = "reference"

    data: str = argument("DATA", "The real images, as `triptych data` takes them.")
    out: Path = required("The file, which ends in .safetensors.")
    count: int | None = option(None, COUNT_HELP)
    features: str | None = option(None, FEATURES_HELP)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out.suffix.lower() != ".safetensors":
            raise InputError(f"{self.out} is no .safetensors file", "end --out in .safetensors")


@dataclass(frozen=True, kw_only=True)
class CompareRequest(TrainingOptions, MachineOptions):
    """Models to be trained, measured alike and shown beside each other."""

    verb = "compare"

    models: tuple[str, ...] = argument(
        "MODEL|RUN|SAMPLES ...",
        "Models (gan, gan:course, ...), models with settings of their own (gan:r1,ema=0.1 or "
        f"gan:r1,size=small), folders of finished runs, and {SAMPLES_HELP}; vae, gan and "
        "diffusion by default.",
        (),
    )
    data: str | None = option(
        None,
        "A named set, hf:owner/name, a folder of images or a file; street-digits by default. "
        "For samples alone also a file that `triptych reference` wrote.",
    )
    seeds: int = option(1, "Train each model so many times.")
    count: int | None = option(None, COUNT_HELP)
    features: str | None = option(None, FEATURES_HELP)
    ignore_labels: bool = option(False, IGNORE_LABELS_HELP)
    no_baseline: bool = option(
        False, "Leave out what no training gives: the mixture that is shown beside the models."
    )
    on: str | None = option(
        None,
        "Hand every training and measurement to an engine: ray (on this machine), ray:HOST:PORT, "
        "slurm, slurm:KEY=VALUE,... or local (processes of this machine).",
    )
    out: Path | None = option(None, "Folder of the comparison; the same one again resumes.")
    lang: str = option("en", "Language of the report: en or fr.")
    force: bool = option(False, "Show runs that differ, under a loud mark.")
    course: bool = option(
        False, "Train the practical's three recipes, and answer its questions on the page."
    )
    sampler: str | None = option(
        None,
        "With --course: the diffusion model's sampler for measuring; dpm-solver++ in 25 steps by "
        "default, for the practical's own 1,000 ancestral steps take long.",
    )
    steps: int | None = option(
        None, "With --course: its steps; those of the recipe where a sampler is named."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        models = as_texts(self.models, "models", (str, os.PathLike))
        object.__setattr__(self, "models", models)
        if self.seeds < 1:
            raise InputError(f"--seeds {self.seeds} is too few", "give 1 or more")


@dataclass(frozen=True, kw_only=True)
class PictureOptions(Options):
    """How pictures are written."""

    title = "Pictures"

    scale: int = option(1, "Enlarge pictures so many times; each pixel becomes a square.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scale(self.scale)


@dataclass(frozen=True, kw_only=True)
class FilmOptions(PictureOptions):
    """The same where they may move."""

    title = "Pictures"

    fps: float | None = option(None, "Frames a second of a .gif or .webp; 10 by default.")
    frames: bool = option(
        False,
        "Into a folder: a picture of each moment with all paths, not a picture of each path.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fps is not None:
            check_fps(self.fps)


def check_scale(scale: int) -> None:
    """InputError on what pictures cannot be enlarged by."""
    if not 1 <= as_whole(scale, "scale") <= MOST_SCALE:
        raise InputError(f"no --scale {scale}", f"give 1 to {MOST_SCALE}")


def check_fps(fps: float) -> None:
    """InputError on what no film can show."""
    if not 0 < as_number(fps, "fps") <= MOST_FPS:
        raise InputError(f"no --fps {fps:g}", f"give one above 0 and up to {MOST_FPS}")


@dataclass(frozen=True, kw_only=True)
class PushRequest(Options):
    """A run or a comparison to be put on the Hugging Face Hub."""

    verb = "push"

    path: Path = argument("RUN|COMPARISON", "Folder of a finished run, or of a comparison.")
    name: str = argument("HUB_NAME", "Where it goes: owner/name.")
    license: str | None = option(
        None, "Licence of the weights as the Hub writes it: apache-2.0, mit, cc-by-4.0, other, ..."
    )
    data_license: str | None = option(
        None, "Licence of the images, in any words; unknown where nobody knows it."
    )
    private: bool = option(False, "For you alone; what is public there already is not touched.")


@dataclass(frozen=True, kw_only=True)
class SamplerOptions(Options):
    """By which sampler noise becomes an image."""

    title = "Sampler"

    sampler: str | None = option(
        None,
        "Diffusion: ancestral, ddim, dpm-solver++, euler, heun or stochastic-heun; the recipe's by "
        "default.",
    )
    steps: int | None = option(None, "Diffusion: steps of the sampler.")
    eta: float | None = option(None, "Diffusion, ddim: share of fresh noise in a step, 0 to 1.")
    guidance: float | None = option(
        None,
        "Diffusion with classes or groups: guidance scale; 1 is none; the recipe's own by default.",
    )


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(SamplerOptions):
    """How samples are drawn."""

    verb = "sample"

    temperature: float = option(1.0, "Deviation of the latent; below 1 samples are more typical.")
    label: str | int | None = option(
        None, "Name of the class to draw, of models trained with --conditional."
    )
    pixel_noise: bool = option(
        False,
        "Draw from the distribution of the pixels, where a model has one, and not its mean.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.temperature < math.inf:
            wrong = f"--temperature {self.temperature:g} is not positive and finite"
            raise InputError(wrong, "give one above 0")


@dataclass(frozen=True, kw_only=True)
class ExportRequest(SamplerOptions):
    """A run to be written in a form that other programs open."""

    verb = "export"

    path: Path = argument("RUN", "Folder of the run.")
    format: str = option(
        "pt2",
        "pt2: programs for torch alone; onnx: the same in ONNX; safetensors: weights beside a "
        "plain Python module; diffusers: what DiffusionPipeline opens; hub: what `push` uploads.",
    )
    out: Path = required("A new folder, or an empty one.")
