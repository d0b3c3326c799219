"""Samples from elsewhere: what the user names, and the images that come of it.

A folder, an archive, `.npz`, `.npy` or `.parquet` is read; `diffusers:`, `pt2:` and `onnx:` name a
generator that is sampled; in Python also arrays, tensors, batches of them and torch modules. A name
can stand before it: `NAME=PATH`.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from torch import Tensor, nn

from triptych import files
from triptych.console import Console
from triptych.data.dataset import choose_rows
from triptych.data.samples import (
    CHOSEN,
    SampleFormat,
    SampleImages,
    read_samples,
    source_of_arrays,
)
from triptych.data.sources import NO_LABELS, Columns, Source, printable
from triptych.data.sources.find import find_origin, find_path, name_of, path_of, suffix_of
from triptych.data.store import FINGERPRINT_DIGITS
from triptych.errors import InputError
from triptych.evaluation import generators
from triptych.evaluation.generators import GENERATORS, Generator
from triptych.evaluation.reference import LEAST_SAMPLES
from triptych.files import kind_of, portable_name
from triptych.hardware import Machine
from triptych.options import as_data
from triptych.records import Note, SamplesRecord
from triptych.words import english

FILES, ARRAY, MODULE = "files", "array", "module"
HUB = "hf:"
KEYS = ("metrics", "runs")  # of results.json: of one, and of a comparison
NAME = re.compile(r"[^/\\=:,]+")  # before the = of NAME=PATH: neither a model's nor a path's
# What folders of ours hold, whose pictures are no samples; others have files called so one by one.
OURS = (
    ("run.json",),
    ("contract.json",),
    ("log.jsonl", "model.safetensors"),
    ("log.jsonl", "checkpoints"),
)


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples ready to be measured.

    name:   as the page calls them
    source: as the user wrote it
    kind:   files, array, module, or the word before the colon of a generator
    images: uint8 [N,C,H,W]
    labels: class numbers of the data [N], or None
    held:   how many images the source holds; None of a generator
    notes:  what was done with them
    """

    name: str
    source: str
    kind: str
    images: Tensor
    labels: Tensor | None
    held: int | None
    notes: tuple[Note, ...] = ()

    def choose(self, count: int) -> Self:
        """A fixed choice of so many, in their order; all where they are no more."""
        size = len(self.images)
        if size <= count:
            return self
        rows = choose_rows(size, count, "samples").sort().values
        labels = None if self.labels is None else self.labels[rows]
        others = [note for note in self.notes if note.code != CHOSEN]
        note = Note(CHOSEN, {"n": count, "held": self.held or size})
        return replace(self, images=self.images[rows], labels=labels, notes=(note, *others))

    @property
    def fingerprint(self) -> str:
        """Of the images and their labels."""
        digest = hashlib.blake2b(str(tuple(self.images.shape)).encode(), digest_size=16)
        for tensor in (self.images, *([] if self.labels is None else [self.labels])):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:FINGERPRINT_DIGITS]

    def record(self) -> SamplesRecord:
        """What results.json says of them."""
        return SamplesRecord(
            source=self.source,
            kind=self.kind,
            images=self.held,
            fingerprint=self.fingerprint,
            labels=self.labels is not None,
            notes=self.notes,
        )


@dataclass(frozen=True)
class SampleSource:
    """Where samples come from, as the user wrote it.

    name:  as the page calls them
    text:  all of it
    kind:  files, or the word before the colon of a generator
    location: the path, or what follows that colon
    """

    name: str
    text: str
    kind: str
    location: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """From PATH, KIND:PATH or NAME=PATH."""
        name, location = split_name(text)
        kind, _, rest = location.partition(":")
        if kind in GENERATORS:
            if not rest:
                raise InputError(f"'{text}' names no generator", f"give {kind}:PATH")
            usual = Path(rest).stem if kind != "diffusers" else Path(rest).name
        else:
            kind, rest = FILES, location
            usual = (
                location.rpartition("/")[2]
                if location.startswith(HUB)
                else name_of(path_of(location))
            )
        return cls(name or printable(usual) or kind, text, kind, rest)


def split_name(text: str) -> tuple[str, str]:
    """NAME and PATH of NAME=PATH; no name where there is none, or where all of it is a path.

    >>> split_name("stylegan=out/a=b.npz"), split_name("out/a=b.npz"), split_name("gan:r1,ema=0.1")
    (('stylegan', 'out/a=b.npz'), ('', 'out/a=b.npz'), ('', 'gan:r1,ema=0.1'))
    """
    name, equals, location = text.partition("=")
    if not equals or not NAME.fullmatch(name) or exists(text):
        return "", text
    return printable(name).strip(), location


def exists(text: str) -> bool:
    """Whether this is the path of something."""
    try:
        return files.expanded(text).exists()
    except (OSError, ValueError):
        return False


def is_ours(path: Path) -> bool:
    """Whether a folder is a run, a comparison or a measurement of ours."""
    if any(all((path / name).exists() for name in names) for names in OURS):
        return True
    try:
        values = files.read_json(path / "results.json", "", files.MOST_RESULTS)
    except InputError:
        return False
    return isinstance(values, dict) and "schema" in values and not values.keys().isdisjoint(KEYS)


def are_samples(text: str) -> bool:
    """Whether the user's words name samples, and neither a folder of ours nor a model."""
    name, location = split_name(text)
    if name or location.partition(":")[0] in GENERATORS or location.startswith(HUB):
        return True
    path = files.expanded(location)
    if exists(location):
        return not (path.is_dir() and is_ours(path))
    return suffix_of(location) is not None


def folder_name(name: str) -> str:
    """The name of samples as a folder's.

    >>> folder_name("StyleGAN 2/b")
    'StyleGAN-2-b'
    """
    return portable_name(re.sub(r"[^\w.+-]+", "-", name).strip("-.")) or "samples"


def open_samples(
    source: SampleSource,
    wanted: SampleFormat,
    count: int,
    machine: Machine,
    console: Console,
    *,
    labeled: bool = True,
    strict: bool = False,
) -> Samples:
    """The samples that the user named: at most `count`, and so many of a generator.

    InputError where there are none that can be measured.
    """
    if source.kind in GENERATORS:
        made_by = GENERATORS[source.kind](source.location, machine)
        return draw(made_by, source.name, source.text, source.kind, wanted, count, machine, console)
    path = files.expanded(source.location)
    if not source.location.startswith(HUB) and path.is_dir() and is_ours(path):
        raise InputError(
            f"{source.location} is a folder of triptych's, its pictures are no samples",
            "name a run without NAME=, or a folder of images",
        )
    with console.bar(f"  reading {source.name}") as bar:
        columns = Columns(None, None if labeled else NO_LABELS)
        on_hub = source.location.startswith(HUB)
        origin = (
            find_origin(source.location, columns)
            if on_hub
            else find_path(path_of(source.location), columns)
        )
        opened = origin.read(bar.update)
        read = read_samples(
            opened,
            source.location,
            wanted,
            count,
            labeled=labeled,
            strict=strict,
            progress=bar.update,
        )
    return finish(read, source.name, source.text, source.kind, read.held)


def samples_of(
    images: object,
    labels: object,
    name: str,
    wanted: SampleFormat,
    count: int,
    machine: Machine,
    console: Console,
    *,
    latent: int | None = None,
    labeled: bool = True,
    strict: bool = False,
) -> Samples:
    """The same of what Python holds: an array, a tensor, batches, a torch module, or a path."""
    if isinstance(images, str | os.PathLike):
        parsed = SampleSource.parse(as_data(images, "images"))
        parsed = replace(parsed, name=name or parsed.name)
        return open_samples(parsed, wanted, count, machine, console, labeled=labeled, strict=strict)
    called = name or kind_of(images)
    if isinstance(images, nn.Module):
        kind = kind_of(images)
        with generators.left_as_it_was(images):
            made_by = generators.of_module(images, latent, machine)
            return draw(made_by, called, kind, MODULE, wanted, count, machine, console)
    source: Source = source_of_arrays(images, labels if labeled else None, called)
    read = read_samples(source, called, wanted, count, labeled=labeled)
    return finish(read, called, kind_of(images), ARRAY, read.held)


def draw(
    made_by: Generator,
    name: str,
    text: str,
    kind: str,
    wanted: SampleFormat,
    count: int,
    machine: Machine,
    console: Console,
) -> Samples:
    """Samples of a generator."""
    with console.bar(f"  sampling {name}", count) as bar:
        drawn = generators.sample(made_by, count, machine, bar.update)
    read = read_samples(source_of_arrays(drawn, None, made_by.name), made_by.name, wanted)
    return finish(read, name, text, kind, None)


def finish(read: SampleImages, name: str, text: str, kind: str, held: int | None) -> Samples:
    """Samples of what was read; InputError where there are too few to measure."""
    count = len(read.images)
    if count < LEAST_SAMPLES:
        few = f"one sample in {name} is" if count == 1 else f"{count} samples in {name} are"
        left_out = "".join(f" ({english(note)})" for note in read.notes)
        raise InputError(f"{few} too few to measure{left_out}", f"give at least {LEAST_SAMPLES}")
    return Samples(name, text, kind, read.images, read.labels, held, read.notes)
