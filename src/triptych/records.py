"""What run.json, results.json, contract.json and checkpoints hold: the only schema.

Records are plain frozen dataclasses. pydantic reads them where JSON is met, here and nowhere else;
it is imported when that happens, so that help does not wait for it. Folders of earlier versions are
brought up to date by the record's own `migrate`; their notes are English sentences, whose codes are
in `earlier.toml`. `python -m triptych.records FOLDER` writes the
JSON Schemas.
"""

from __future__ import annotations

import json
import math
import operator
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from triptych import notebook
from triptych.config import NEW_NAMES, Budget, Size
from triptych.errors import InputError
from triptych.options import Fit
from triptych.words import Words, english

if TYPE_CHECKING:
    from pydantic import TypeAdapter

JsonObject = dict[str, Any]  # of a shape that its reader knows: settings of recipes, requests
Points = tuple[tuple[int, float], ...]  # images seen and progress there
ThreadChanges = tuple[tuple[int, int, int], ...]  # phase, images seen in it, threads from there on
SCHEMA = 1
EARLIER = Path(__file__).with_name("earlier.toml")
EXTRAPOLATED = "extrapolated"  # the method of a number as of infinitely many images
DEEPEST_SETTINGS = 4  # settings within settings; a stranger's may be nested without end
LONGEST_EARLIER = 2000  # letters of a sentence that is looked for there
R = TypeVar("R", bound="Record")


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one JSON object holds; unknown names are refused."""

    __pydantic_config__: ClassVar[JsonObject] = {"extra": "forbid", "allow_inf_nan": False}

    @classmethod
    def migrate(cls, values: JsonObject) -> JsonObject:
        """The object as this version writes it; `values` may be of an earlier one."""
        return values

    @classmethod
    def read(cls, values: Any) -> Self:
        """From parsed JSON; ValueError says where it does not fit, and why."""
        from pydantic import ValidationError

        if not isinstance(values, Mapping):  # a stranger's may be large: it is not gone through
            raise ValueError("it is no JSON object")
        current = cls.migrate(dict(values))
        try:
            record: Self = reader(cls).validate_json(json.dumps(current), strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(name)[:LONGEST_NAME] for name in first["loc"])
            what = PLAINLY.get(first["type"]) or first["msg"].removeprefix("Value error, ")
            raise ValueError(f"{where}: {what}" if where else what) from error
        return record

    def to_json(self) -> JsonObject:
        """As plain values."""
        return asdict(self)


PLAINLY = {"missing": "it is missing", "unexpected_keyword_argument": "no such name"}
LONGEST_NAME = 40  # of what is shown of a stranger's file
_readers: dict[str, TypeAdapter[Any]] = {}


def reader(kind: type[Record]) -> Any:
    """pydantic's reader of a record; making one takes a while, so each is made once."""
    from pydantic import TypeAdapter

    if kind.__name__ not in _readers:
        _readers[kind.__name__] = TypeAdapter(kind)
    return _readers[kind.__name__]


@dataclass(frozen=True)
class Note(Record):
    """A note, warning, piece of advice or reason: a code, whose words are in the locales alone.

    values: what the words name, by the names that stand in them
    """

    code: str
    values: dict[str, str | int | float] = field(default_factory=dict)


def as_json(note: Note | None) -> JsonObject | None:
    """A note as JSON files hold it: {"code": ..., "values": {...}}, or null."""
    return None if note is None else note.to_json()


def read_note(value: object) -> Note | None:
    """A note from a JSON file of any version; None where there is none."""
    if isinstance(value, str):
        return note_from_text(value) if value else None
    if not isinstance(value, dict) or not isinstance(value.get("code"), str):
        return None
    values = value.get("values")
    items = values.items() if isinstance(values, dict) else ()
    return Note(value["code"], {k: v for k, v in items if isinstance(v, str | int | float)})


def read_notes(values: object) -> tuple[Note, ...]:
    """The notes of a JSON list; what is none is passed over."""
    notes = map(read_note, values) if isinstance(values, list) else ()
    return tuple(note for note in notes if note is not None)


def note_from_text(text: str) -> Note:
    """The note of an earlier version's English sentence; one that no version wrote stays a text."""
    for pattern, note in earlier_notes() if len(text) <= LONGEST_EARLIER else ():
        if match := pattern.fullmatch(text):
            words = match.groupdict().items()
            return Note(note.code, {**note.values, **{k: number_in(word) for k, word in words}})
    return Note("text", {"text": text})


def note_of(text: str) -> JsonObject | None:
    """An earlier version's sentence as JSON holds it now; null for none."""
    return note_from_text(text).to_json() if text else None


def with_new_names(settings: Any, depth: int = DEEPEST_SETTINGS) -> Any:
    """Settings of an earlier version under the names that they have now."""
    if not isinstance(settings, dict) or depth == 0:
        return settings
    return {NEW_NAMES.get(n, n): with_new_names(v, depth - 1) for n, v in settings.items()}


def with_notes(values: JsonObject, name: str) -> JsonObject:
    """The object with notes in place of the sentences of an earlier version."""
    if isinstance(values.get(name), list):
        values[name] = [note_of(v) if isinstance(v, str) else v for v in values[name]]
    return values


def with_note(values: JsonObject) -> JsonObject:
    """The event with a note in place of its message."""
    message = values.pop("message", None)
    return values | {"note": note_of(message)} if isinstance(message, str) else values


def with_data(values: JsonObject) -> JsonObject:
    """The object with its data's record brought up to date."""
    if isinstance(values.get("data"), dict):
        values["data"] = DataRecord.migrate(dict(values["data"]))
    return values


@cache
def earlier_notes() -> list[tuple[re.Pattern[str], Note]]:
    """Patterns of earlier sentences, with the codes and the values that they do not have."""
    notes = []
    for text, entry in tomllib.loads(EARLIER.read_text(encoding="utf-8")).items():
        values = {"code": entry} if isinstance(entry, str) else dict(entry)
        notes.append((pattern_of(re.split(r"\{(\w+)\}", text)), Note(values.pop("code"), values)))
    return notes


def pattern_of(parts: list[str]) -> re.Pattern[str]:
    """What matches literal texts with values between them, `[text, name, text, name, ...]`.

    A value at the end may hold anything, others are single words.
    """
    written = [re.escape(parts[0])]
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        last = name == parts[-2] and not text
        written += [f"(?P<{name}>{'.+' if last else r'[^ ]{1,30}'})", re.escape(text)]
    return re.compile("".join(written), re.DOTALL)


def number_in(word: str) -> str | int | float:
    """The number that a word writes, else the word.

    >>> number_in("5,000"), number_in("-0.25"), number_in("(12.5%)"), number_in("16x16")
    (5000, -0.25, 0.125, '16x16')
    """
    if share := re.fullmatch(r"\((\d+\.?\d*)%\)", word):
        return float(share[1]) / 100
    if re.fullmatch(r"-?\d{1,15}|-?\d{1,3}(,\d{3}){1,4}", word):
        return int(word.replace(",", ""))
    return float(word) if re.fullmatch(r"-?\d+\.?\d*(e[-+]\d+)?", word) else word


# run.json


@dataclass(frozen=True, kw_only=True)
class DataRecord(Record):
    """Images: where they came from, how they were read, how many there are."""

    name: str
    source: str  # as the user wrote it
    place: str | None = None  # its absolute path, where it is a file or folder
    fingerprint: str  # of pixels, labels and membership
    resolution: int
    channels: int
    fit: Fit
    image_column: str | None = None
    label_column: str | None = None
    range: str | None = None  # LOW,HIGH as the user gave it
    ranges: dict[str, tuple[float, float]] = field(
        default_factory=dict
    )  # by type; not of plain bytes
    flip: bool = False
    crop: int = 0
    train: int  # images
    validation: int = 0
    test: int
    classes: tuple[str, ...] | None = None
    notes: tuple[Note, ...] = ()

    @classmethod
    def migrate(cls, values: JsonObject) -> JsonObject:
        """Its notes were sentences."""
        return with_notes(values, "notes")

    def to_json(self) -> JsonObject:
        """As plain values; ranges only where images are not bytes as usual."""
        values = asdict(self)
        return {k: v for k, v in values.items() if k not in ("range", "ranges") or v}


@dataclass(frozen=True, kw_only=True)
class LabelsRecord(Record):
    """The classes that a conditional model was trained on.

    names:  of the classes, by their numbers
    counts: training images of each
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.counts):
            raise ValueError(f"{len(self.names)} classes, {len(self.counts)} counts")
        if not self.counts or min(self.counts) < 0 or sum(self.counts) < 1:
            raise ValueError("no class has an image")


@dataclass(frozen=True, kw_only=True)
class Deadline(Record):
    """A budget in seconds, and the calibration's seconds by which the rest is planned.

    per_image: seconds of an image in each phase
    finishing: seconds of what follows the last phase
    """

    seconds: float
    per_image: tuple[float, ...]
    finishing: float

    def __post_init__(self) -> None:
        if not all(0 < number < math.inf for number in (self.seconds, *self.per_image)):
            raise ValueError("the deadline's seconds are no positive numbers")
        if not self.finishing >= 0:
            raise ValueError("the deadline's finishing is no number of seconds")


@dataclass(frozen=True, kw_only=True)
class Speed(Record):
    """What the calibration measured, in seconds.

    per_image: of each phase
    shares:    images of each phase over the planned ones
    grid, checkpoint, finishing: of a picture, of a checkpoint, of what follows the last phase
    threads:   the fastest count
    tried:     seconds of a step with each count that was tried
    """

    per_image: tuple[float, ...]
    shares: tuple[float, ...]
    grid: float
    checkpoint: float
    finishing: float = 0.0
    threads: int = 1
    tried: dict[str, float] = field(default_factory=dict)

    @property
    def per_planned(self) -> float:
        """Of all phases together for each planned image."""
        return sum(map(operator.mul, self.per_image, self.shares))


@dataclass(frozen=True, kw_only=True)
class AveragedFrom(Record):
    """The run whose weights were averaged anew, and the digests of its files."""

    run: str
    digests: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class OriginRecord(Record):
    """A finished run that another one went on from.

    run:           its folder
    digests:       of its files
    state:         the digest of its last checkpoint; None where it kept none
    images_seen, train_seconds, budget: its own, without what it went on from itself
    data, fingerprint: the name of its data, and what tells them from others
    notes:         what could not be taken over
    """

    run: str
    digests: dict[str, str]
    state: str | None
    images_seen: int
    train_seconds: float
    budget: Budget
    data: str
    fingerprint: str
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunRecord(Record):
    """run.json: what was trained, on what, how, where, and what it took."""

    schema: int = SCHEMA
    triptych: str = ""  # the version that began it
    model: str  # family:recipe
    family: str
    recipe: str
    variant: str = ""  # what sets it apart from the plain recipe, in the user's words
    size: Size
    settings: JsonObject  # of the recipe
    data: DataRecord
    labels: LabelsRecord | None = None
    teacher: str | None = None  # the run that it started from
    budget: Budget
    planned_images: int
    timed: bool = False  # whether progress follows a budget in seconds
    deadline: Deadline | None = None
    follows: str | None = None  # the run whose plan it repeats
    checkpoints: int
    calibration: Speed | None = None
    calibration_seconds: float
    seed: int
    identity: JsonObject  # what must agree for it to be resumed
    status: Literal["running", "done"]
    images_seen: int = 0
    train_seconds: float | None = None
    kimg: float = 0.0
    command: str = ""  # that trains the same weights again
    versions: dict[str, str]
    hardware: dict[str, str | int | None]
    device: str
    precision: str
    threads: int
    compile: bool
    microbatch: int | None = None
    processes: int = 1
    choices: dict[str, Note] = field(default_factory=dict)  # what was picked, and why
    plan: Points | None = None  # None in runs that went straight through their images
    later_plans: tuple[Points, ...] = ()
    threads_along: ThreadChanges = ()
    # From here on of runs that are done; the file of one that is not does not have them.
    images_per_second: float | None = None
    peak_memory_bytes: int | None = None
    peak_memory_of: int = 1  # trainings that the process held
    rewinds: int = 0
    digests: dict[str, str] = field(default_factory=dict)
    advice: tuple[Note, ...] = ()
    finished: str = ""
    averaged_from: AveragedFrom | None = None
    # Of runs that went on from a finished one; the files of others do not have them.
    origins: tuple[OriginRecord, ...] = ()  # the run that it went on from, that one's origin, ...
    carried: int = 0  # images that stand for the origin in its averages

    @classmethod
    def migrate(cls, values: JsonObject) -> JsonObject:
        """In 0.1 settings had other names; first runs do not say how labels are used.

        What the first ones calibrated, nothing reads; no calibration is {} in the file.
        """
        identity, calibration = values.get("identity"), values.get("calibration")
        if isinstance(identity, dict):
            values["identity"] = {"use of labels": "none", **identity}
            values["identity"]["settings"] = with_new_names(identity.get("settings"))
        values["settings"] = with_new_names(values.get("settings"))
        if isinstance(calibration, dict) and "per_image" not in calibration:
            values["calibration"] = None
        if isinstance(values.get("choices"), dict):
            choices = values["choices"].items()
            values["choices"] = {k: note_of(v) if isinstance(v, str) else v for k, v in choices}
        return with_notes(with_data(values), "advice")

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema {SCHEMA} is read")
        least = {"planned_images": 0 if self.origins else 1, "checkpoints": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"{name} is not positive")
        if self.microbatch is not None and self.microbatch < 1:
            raise ValueError("microbatch is no number of images")
        for name in ("calibration_seconds", "train_seconds", "images_per_second", "images_seen"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} is below zero")
        none_seen = () if self.planned_images else ("images_seen", "images_per_second")
        lacking = [name for name in DONE if name not in none_seen and not getattr(self, name)]
        if self.done and lacking:
            raise ValueError(f"{lacking[0]} is missing, though the run is done")

    @property
    def done(self) -> bool:
        """Whether it is trained to its end."""
        return self.status == "done"

    @property
    def total_images(self) -> int:
        """Images seen by it and by all that it went on from."""
        return self.images_seen + self.images_before

    @property
    def images_before(self) -> int:
        """Images seen by all that it went on from."""
        return sum(origin.images_seen for origin in self.origins)

    @property
    def total_seconds(self) -> float | None:
        """Seconds of its training and of all that it went on from; None before it is done."""
        if self.train_seconds is None:
            return None
        return self.train_seconds + sum(origin.train_seconds for origin in self.origins)

    def to_json(self) -> JsonObject:
        """As plain values; what only some runs have is left out of the others."""
        values = asdict(self)
        names = list(values)
        first, last = names.index("images_per_second"), names.index("averaged_from")
        absent = set() if self.done else {*names[first:last]}
        absent |= set() if self.averaged_from is not None else {"averaged_from"}
        absent |= set() if self.origins else {"origins", "carried"}
        kept = {name: value for name, value in values.items() if name not in absent}
        return kept | {"data": self.data.to_json(), "calibration": values["calibration"] or {}}


DONE = ("images_seen", "train_seconds", "images_per_second", "digests")


# checkpoints/*/progress.json


@dataclass(frozen=True, kw_only=True)
class Progress(Record):
    """How far a training had come at a checkpoint.

    in_a_row:  failed steps in a row, by objective
    returned:  whether it was gone back to before
    plans:     of each phase; none in those of earlier versions, which follow run.json
    """

    phase: int
    seen: int
    rewinds: int
    log_bytes: int
    returned: bool
    seconds: float
    in_a_row: dict[str, int]
    plans: tuple[Points, ...] = ()
    threads: ThreadChanges = ()

    def __post_init__(self) -> None:
        for name in ("phase", "seen", "rewinds", "log_bytes", "seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is below zero")
        if any(count < 0 for count in self.in_a_row.values()):
            raise ValueError("in_a_row counts below zero")


# log.jsonl


@dataclass(frozen=True, kw_only=True)
class Event(Record):
    """One line of the log.

    images: seen in the phase so far
    """

    event: str
    images: int


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """A process begins, or goes on; where a machine has several, each counts."""

    event: Literal["start", "resume"]
    threads: int = 1
    processes: int = 1


@dataclass(frozen=True, kw_only=True)
class LossesEvent(Event):
    """Means since the line of this kind before.

    losses:         by "objective/term"; None where one was not finite
    learning_rates: of the next step, by "objective/optimizer"; earlier versions did not write them
    memory_bytes:   the most that was taken so far; None where the system cannot tell
    """

    event: Literal["losses"] = "losses"
    phase: int
    seconds: float  # of training so far
    images_per_second: float
    memory_bytes: int | None
    losses: dict[str, float | None]
    learning_rates: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """Steps that were left out, or how they are computed where that is not as planned."""

    event: Literal["warning"] = "warning"
    note: Note

    @classmethod
    def migrate(cls, values: JsonObject) -> JsonObject:
        """It was a sentence, called its message."""
        return with_note(values)


@dataclass(frozen=True, kw_only=True)
class Rewound(Event):
    """The training went back to a checkpoint.

    images: where it was, and to: where it went on, both of the phase
    """

    event: Literal["rewind"] = "rewind"
    to: int
    note: Note  # why
    phase: int = 0

    @classmethod
    def migrate(cls, values: JsonObject) -> JsonObject:
        """It was a sentence, called its message."""
        return with_note(values)


@dataclass(frozen=True, kw_only=True)
class DiagnosisEvent(Event):
    """What a checkup of the model gave.

    numbers: by name; None where one was not finite
    vital:   its health, 0 where nothing is learned; earlier versions did not write it
    """

    event: Literal["diagnosis"] = "diagnosis"
    numbers: dict[str, float | None]
    advice: tuple[Note, ...] = ()
    vital: float | None = 0.0

    @classmethod
    def migrate(cls, values: JsonObject) -> JsonObject:
        """Advice was sentences; a value that was not finite is left out of its note."""
        return values | {"advice": [n.to_json() for n in read_notes(values.get("advice"))]}


@dataclass(frozen=True, kw_only=True)
class Scored(Event):
    """The score of a snapshot, lower is better, and the digest of its file."""

    event: Literal["score"] = "score"
    value: float | None  # None where it was not finite
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Chosen(Event):
    """The snapshot whose weights are used, and its score."""

    event: Literal["choice"] = "choice"
    value: float


@dataclass(frozen=True, kw_only=True)
class Done(Event):
    """The run is trained to its end."""

    event: Literal["done"] = "done"


LogLine = Started | LossesEvent | Warned | Rewound | DiagnosisEvent | Scored | Chosen | Done


# results.json


@dataclass(frozen=True, kw_only=True)
class TermRecord(Record):
    """One term of a likelihood: mean over images with its 95 % interval, in both units."""

    bits_per_dim: float
    bits_per_dim_low: float
    bits_per_dim_high: float
    nats: float
    nats_low: float
    nats_high: float


@dataclass(frozen=True, kw_only=True)
class ImageTermRecord(Record):
    """One term of the likelihood of one image, which alone has no interval; in both units."""

    bits_per_dim: float
    nats: float


@dataclass(frozen=True, kw_only=True)
class MetricRecord(Record):
    """One number of one model, or why it is not defined; what it is goes with it.

    low, high:   95 % interval of the expected value at this number of images
    n:           images that were measured
    floor:       what real images score
    floor_low, floor_high: its 95 % interval, where it is of so few images that it varies itself
    group:       of the page's tables
    kind:        exact, estimate, lower bound, upper bound or not defined
    note:        what must be known to read it right, or why it is not defined
    left_out:    values without each group of samples, or of real images, by side
    terms:       what a likelihood is made of
    values:      of each training, where there were several, and interval: how theirs was found
    by_image:    bits per dimension of each image, where they were asked for
    no_interval: why a defined number has none
    """

    name: str
    better: str = ""  # lower, higher or floor
    group: str = ""
    unit: str = ""
    moves_with_n: bool = False
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    floor: float | None = None
    floor_low: float | None = None
    floor_high: float | None = None
    features: str | None = None
    reference: str = "none"  # train, test, validation or none
    kind: str = "estimate"
    method: str | None = None
    note: Note | None = None
    left_out: dict[str, tuple[float, ...]] | None = None
    terms: dict[str, TermRecord | ImageTermRecord] | None = None
    values: tuple[float, ...] | None = None
    interval: str | None = None
    by_image: tuple[float, ...] | None = None
    no_interval: Note | None = None

    @property
    def defined(self) -> bool:
        """Whether there is a number to show."""
        return self.value is not None and self.kind != "not defined"

    def to_json(self) -> JsonObject:
        """As plain values; what only some metrics have is left out of the others."""
        values = asdict(self)
        optional = {"left_out", "terms", "values", "interval", "by_image", "no_interval"}
        optional |= {"floor_low", "floor_high"}
        return {k: v for k, v in values.items() if k not in optional or v is not None}

    @classmethod
    def migrate(cls, values: JsonObject) -> JsonObject:
        """In 0.1 notes were sentences, and nothing said the table or whether it moves with n."""
        name = values.get("name")
        if "group" not in values and isinstance(name, str):
            values["group"] = next((g for g, names in EARLIER_GROUPS.items() if name in names), "")
            values["moves_with_n"] = name in EARLIER_MOVE
        if isinstance(values.get("note"), str):
            values["note"] = note_of(values["note"])
        return values


EARLIER_GROUPS = {
    "distance": ("frechet_distance", "kernel_distance"),
    "samples": (
        "precision", "recall", "density", "coverage", "recognisable", "label_balance",
        "sharpness", "memorised",
    ),
    "abilities": (
        "bits_per_dim", "reconstruction_psnr", "reconstruction_ssim", "path_length",
        "path_uniformity", "probe_accuracy",
    ),
}  # fmt: skip
EARLIER_MOVE = {
    "frechet_distance", "precision", "recall", "density", "coverage", "memorised", "label_balance",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MeasuredOn(Record):
    """The data that a run was measured on: their name, fingerprint and numbers of images."""

    name: str
    fingerprint: str
    train: int
    validation: int
    test: int


@dataclass(frozen=True, kw_only=True)
class LegibilityRecord(Record):
    """How well a classifier names the labels of held-out images, none of which are test images.

    accuracy:  the share that it names right, with its 95 % interval
    chance:    the share of the most frequent label: what always naming that one gets right
    n:         how many images
    usable:    whether the labels can be told, so that what needs them is defined
    """

    accuracy: float
    low: float
    high: float
    chance: float
    n: int
    usable: bool


@dataclass(frozen=True, kw_only=True)
class ExtractorRecord(Record):
    """What the distances are found on, and what the data's classifier is worth.

    accuracy:   of the classifier on test images; None where there is none
    legibility: of the labels; None where there are none, or where an earlier version measured
    key:        of the data's classifier, a digest of its weights: each machine trains its own;
                None where there is none, and where an earlier version measured
    """

    name: str
    accuracy: float | None = None
    legibility: LegibilityRecord | None = None
    key: str | None = None

    def to_json(self) -> JsonObject:
        """As plain values; `legibility` and `key` only where there is one."""
        later = ("legibility", "key")
        return {name: v for name, v in asdict(self).items() if name not in later or v}


@dataclass(frozen=True, kw_only=True)
class CostRecord(Record):
    """What a model costs; None where it was not measured, or not by all of several trainings."""

    parameters: float | None = None
    exemplar_numbers: float | None = None  # in the encodings of training images that a prior keeps
    train_seconds: float | None = None
    images_seen: float | None = None
    train_images_per_second: float | None = None
    flops_per_image: float | None = None  # of a sample
    sample_seconds_per_image: float | None = None
    network_calls: float | None = None  # for a sample
    peak_memory_bytes: float | None = None
    peak_memory_of: float | None = None  # trainings that the process held
    code_size: float | None = None  # numbers that an image is encoded into
    reconstruct_seconds_per_image: float | None = None  # encoding and decoding

    def to_json(self) -> JsonObject:
        """As plain values; those of encodings only where the model makes or keeps some."""
        optional = ("exemplar_numbers", "code_size", "reconstruct_seconds_per_image")
        return {k: v for k, v in asdict(self).items() if k not in optional or v is not None}


BASELINE = "baseline"  # its folder in a comparison, and the name of its results
ELSEWHERE = "elsewhere"  # before the colon of such a model


@dataclass(frozen=True, kw_only=True)
class SamplesRecord(Record):
    """Samples that a model trained elsewhere gave: where they came from.

    source:      as the user wrote it; what they were in Python
    kind:        files, array, module, diffusers, pt2 or onnx
    images:      that the source holds; None where a generator was sampled
    fingerprint: of the images that were measured, and of their labels
    labels:      whether each has one
    notes:       what was done with them
    """

    source: str
    kind: str
    images: int | None
    fingerprint: str
    labels: bool = False
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ResultsRecord(Record):
    """results.json of a run: all its numbers. Several trainings of a model have one of means.

    samples: set for what was trained elsewhere, of which nothing but samples is known
    """

    schema: int = SCHEMA
    model: str
    run: str = ""
    data: MeasuredOn
    metrics: tuple[MetricRecord, ...]
    extractor: ExtractorRecord | None = None
    cost: CostRecord
    warnings: tuple[Note, ...] = ()
    runs: tuple[str, ...] | None = None  # the trainings that these are the means of
    samples: SamplesRecord | None = None

    @classmethod
    def migrate(cls, values: JsonObject) -> JsonObject:
        """Its metrics are brought up to date."""
        metrics = values.get("metrics")
        if isinstance(metrics, list):
            values["metrics"] = [
                MetricRecord.migrate(dict(each)) if isinstance(each, dict) else each
                for each in metrics
            ]
        return with_notes(values, "warnings")

    def to_json(self) -> JsonObject:
        """As plain values; `runs` only where there are several, `samples` only of such."""
        values = asdict(self) | {"metrics": [metric.to_json() for metric in self.metrics]}
        values["extractor"] = None if self.extractor is None else self.extractor.to_json()
        values["cost"] = self.cost.to_json()
        return {n: value for n, value in values.items() if n not in ("runs", "samples") or value}

    def _repr_html_(self) -> str:
        named = f"{self.model} ({self.run})" if self.run else self.model
        return notebook.block(
            notebook.heading(f"{named}: {self.data.name}"),
            notebook.table(map(cells_of, self.metrics), METRIC_HEAD),
            *(notebook.line(english(note)) for note in self.warnings),
        )


class Measured(list[ResultsRecord]):
    """Results of several runs, one after another; in a notebook a table each."""

    def _repr_html_(self) -> str:
        return notebook.block(*(each._repr_html_() for each in self))


METRIC_HEAD = ("", "value", "95 % interval", "floor", "unit", "images", "kind")


def cells_of(metric: MetricRecord) -> list[str]:
    """One number in a table, under METRIC_HEAD; where there is none, why not stands as its kind."""
    words, key = Words(), f"metric.{metric.name}"
    name = words.text(key) if key in words else metric.name
    about = [metric.reference] * (metric.reference != "none")
    about += [metric.method or ""] * (metric.method == EXTRAPOLATED)
    numbers = [
        "" if number is None else f"{number:.4g}"
        for number in (metric.value, metric.low, metric.high, metric.floor)
    ]
    value, low, high, floor = numbers
    interval = f"{low} to {high}" if low and high else ""
    images = "" if metric.n is None else f"{metric.n:,}"
    reason = "" if metric.defined or metric.note is None else f": {english(metric.note)}"
    return [
        f"{name} ({', '.join(about)})" if about else name,
        value,
        interval,
        floor,
        metric.unit,
        images,
        metric.kind + reason,
    ]


@dataclass(frozen=True, kw_only=True)
class ReferenceRecord(Record):
    """What the metadata of a saved reference say of its tensors, and how samples are read for it.

    data:      the real images, of which it holds none
    ranges:    which of their numbers became black and white, by their type
    count:     samples that it measures, and images behind its floors
    features:  the extractor's name, and key: the same with a digest of all that it depends on
    second_features, second_key: the same of the second feature set, where there is one
    accuracy:  of the data's classifier on test images
    no_labels: why what the classifier reads is not defined
    seen:      training images among those behind the floors, which the classifier has seen; None
               where that was not recorded
    same:      the references whose images are all one and the same
    digest:    of the tensors
    """

    schema: int
    triptych: str
    data: MeasuredOn
    resolution: int
    channels: int
    fit: Fit
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    count: int
    features: str
    key: str
    second_features: str | None = None
    second_key: str | None = None
    accuracy: float | None = None
    legibility: LegibilityRecord | None = None
    no_labels: Note | None = None
    seen: int | None = None
    same: tuple[str, ...] = ()
    digest: str
    versions: dict[str, str]


Holds = Literal["normal", "uniform", "class", "latent", "shares", "images", "sigma"]


@dataclass(frozen=True, kw_only=True)
class TensorRecord(Record):
    """An input or an output of an exported program.

    holds: normal and uniform are random numbers that the caller draws, standard normal ones or on
           [0, 1); class is a number into `classes`; shares are weights of classes or groups, the
           last one unknown; images are on [-1, 1]; sigma is a deviation of noise on that scale
    shape: None stands for the number of images
    """

    name: str
    holds: Holds
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class ProgramRecord(Record):
    """An exported program.

    difference: the largest from the run's own output, on a few inputs; None before it is measured,
                or where nothing is there to run the program
    """

    inputs: tuple[TensorRecord, ...]
    outputs: tuple[TensorRecord, ...]
    difference: float | None = None


@dataclass(frozen=True, kw_only=True)
class SamplerRecord(Record):
    """The sampler that an exported program holds, step by step."""

    name: str
    steps: int
    eta: float
    guidance: float
    network_calls: int


@dataclass(frozen=True, kw_only=True)
class ExportRecord(Record):
    """export.json, which lies beside exported programs.

    classes:      names of the classes that the model is told, by their numbers
    class_counts: training images of each; as often are they drawn
    programs:     by the name of their file without its ending
    absent:       why there is no such program
    """

    schema: int
    format: str
    model: str
    images_seen: int
    resolution: int
    channels: int
    classes: tuple[str, ...] | None = None
    class_counts: tuple[int, ...] | None = None
    sampler: SamplerRecord | None = None
    programs: dict[str, ProgramRecord]
    absent: dict[str, Note]
    notes: tuple[Note, ...]
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class DifferenceRecord(Record):
    """How much worse one model is than another in one number, where lower is better.

    p, p_together: the chance of such a difference where there is none; alone, and by Holm's
                   procedure among so many `comparisons`: `better` follows from that one
    disputed:      whether the same distance on the other feature set says the opposite: then
                   nothing is decided
    """

    name: str
    features: str | None
    reference: str
    method: str | None
    first: str
    second: str
    value: float
    low: float
    high: float
    better: str  # first, second or undecided
    p: float | None = None  # None in results of earlier versions, as the next two
    p_together: float | None = None
    comparisons: int | None = None
    disputed: bool = False


@dataclass(frozen=True, kw_only=True)
class BaselineRecord(Record):
    """What no training gives: a mixture in closed form, measured as the models are.

    It stands beside them and is none of them: no difference from it is among `differences`.

    results: None where it could not be measured
    note:    then, why not
    """

    results: ResultsRecord | None = None
    note: Note | None = None

    def __post_init__(self) -> None:
        if (self.results is None) == (self.note is None):
            raise ValueError("a baseline has either results or the reason why there are none")

    @classmethod
    def migrate(cls, values: JsonObject) -> JsonObject:
        """Its results are brought up to date."""
        if isinstance(values.get("results"), dict):
            values["results"] = ResultsRecord.migrate(dict(values["results"]))
        return values

    def to_json(self) -> JsonObject:
        """As plain values."""
        results = None if self.results is None else self.results.to_json()
        return {"results": results, "note": as_json(self.note)}


@dataclass(frozen=True, kw_only=True)
class ComparisonResults(Record):
    """results.json of a comparison: runs, several trainings of a model as one, differences."""

    schema: int = SCHEMA
    runs: tuple[ResultsRecord, ...]
    models: tuple[ResultsRecord, ...] | None = None  # where there are fewer of them than runs
    differences: tuple[DifferenceRecord, ...] = ()
    baseline: BaselineRecord | None = None  # None where there was to be none

    @classmethod
    def migrate(cls, values: JsonObject) -> JsonObject:
        """Its results are brought up to date."""
        for name in ("runs", "models"):
            if isinstance(values.get(name), list):
                values[name] = [
                    ResultsRecord.migrate(dict(each)) if isinstance(each, dict) else each
                    for each in values[name]
                ]
        if isinstance(values.get("baseline"), dict):
            values["baseline"] = BaselineRecord.migrate(dict(values["baseline"]))
        return values

    def to_json(self) -> JsonObject:
        """As plain values; `models` only where there are fewer than runs, `baseline` if any."""
        values: JsonObject = {"schema": self.schema, "runs": [r.to_json() for r in self.runs]}
        if self.models is not None:
            values["models"] = [model.to_json() for model in self.models]
        if self.baseline is not None:
            values["baseline"] = self.baseline.to_json()
        return values | {"differences": [each.to_json() for each in self.differences]}


# contract.json


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord(Record):
    """How all runs were measured: samples, features, and the seed of the samples."""

    count: int
    features: str | None
    seed: int


@dataclass(frozen=True, kw_only=True)
class ContractRecord(Record):
    """contract.json: what was held equal between runs, and what was not."""

    schema: int = SCHEMA
    triptych: str = ""
    command: str
    request: JsonObject  # what must agree for the comparison to be gone on with
    data: DataRecord | MeasuredOn
    size: str | None  # None, as the budget, where nothing was trained here
    budget: Budget | None
    seeds: tuple[int, ...]
    evaluation: EvaluationRecord
    device: str | None  # as precision and threads, None where nobody recorded it
    precision: str | None
    threads: int | None
    versions: dict[str, str]
    hardware: dict[str, str | int | None]
    runs: tuple[str, ...]  # their folders
    differences: tuple[Note, ...] = ()
    forced: bool = False
    notes: tuple[Note, ...] = ()  # how it was made, where that is not the usual way

    @classmethod
    def migrate(cls, values: JsonObject) -> JsonObject:
        """What differs was in sentences."""
        return with_notes(with_data(values), "differences")

    def to_json(self) -> JsonObject:
        """As plain values."""
        return asdict(self) | {"data": self.data.to_json()}


# Blind tests of the live page

TrialMode = Literal["one", "two"]  # is this image real; which of the two is
MOST_TRIALS = 400  # of one test


@dataclass(frozen=True, kw_only=True)
class Trial(Record):
    """One judgement: of which run, and what was shown.

    weights:  the digest of the run's weights, which tells it from others of its name
    number:   of the made image among the run's samples
    original: the number of the real image among the held-out ones
    real:     of one image whether it is real; of two whether the left one is
    judged:   what the person said of that; None before
    """

    run: str
    model: str
    weights: str
    number: int
    original: int
    real: bool
    judged: bool | None = None

    @property
    def right(self) -> bool:
        """Whether it was told."""
        return self.judged == self.real


@dataclass(frozen=True, kw_only=True)
class BlindTest(Record):
    """One person's judgements.

    seed: of the samples, a new one for each test
    """

    name: str
    mode: TrialMode
    seed: int
    trials: tuple[Trial, ...]

    def __post_init__(self) -> None:
        if len(self.trials) > MOST_TRIALS or not self.name.isalnum() or len(self.name) > 40:
            raise ValueError("it is no blind test of ours")
        for run in {trial.run for trial in self.trials}:
            numbers = sorted(trial.number for trial in self.trials if trial.run == run)
            if numbers != list(range(len(numbers))):
                raise ValueError("an image is missing, or shown twice")


def read_record(kind: type[R], values: Any, path: Path, mend: str) -> R:
    """The record in a file's JSON; InputError with the path and the mend where it does not fit."""
    try:
        return kind.read(values)
    except ValueError as error:
        raise InputError(f"{path} is not of this version of triptych ({error})", mend) from error


SCHEMAS: Mapping[str, Any] = {
    "run": RunRecord,
    "results": ResultsRecord,
    "comparison-results": ComparisonResults,
    "contract": ContractRecord,
    "reference": ReferenceRecord,
    "progress": Progress,
    "log": LogLine,
    "export": ExportRecord,
}


def schemas() -> dict[str, JsonObject]:
    """The JSON Schema of each file that people's scripts read, by name."""
    from pydantic import TypeAdapter

    made: dict[str, JsonObject] = {}
    for name, kind in SCHEMAS.items():  # a line of the log has all its fields, the others not
        mode: Literal["serialization", "validation"]
        mode = "serialization" if kind is LogLine else "validation"
        made[name] = TypeAdapter(kind).json_schema(mode=mode)
    made["run"]["properties"]["calibration"]["anyOf"][1] = {"type": "object", "maxProperties": 0}
    return made  # no calibration is {}, not null


def write_schemas(folder: Path) -> None:
    """All of them into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        (folder / f"{name}.json").write_text(
            json.dumps(schema, indent=2) + "\n", encoding="utf-8", newline="\n"
        )


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
