"""What is handed to an engine: one training, or one measurement, as plain values.

They are the plain verbs: a training goes on in its folder, whoever began it, and a measurement
writes results.json and figures into the run. Workers write into the comparison's own folder, so
they must see it, and the cache beside it that holds the data's classifier. This module loads no
torch, for workers read it before they prepare their process.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from triptych import config, files, hardware
from triptych.console import Console
from triptych.errors import InputError
from triptych.options import DataOptions, MachineOptions, TrainRequest
from triptych.records import JsonObject

if TYPE_CHECKING:
    from triptych.data.dataset import ImageData
    from triptych.evaluation.evaluate import Measure
    from triptych.hardware import Machine

HIDDEN = ".engine"  # inside a comparison: marks that workers look for, and an engine's files
SEEN_WITHIN = 10.0  # seconds after which a shared file system shows a new file everywhere
PAUSE = 2.0  # seconds between looks at a folder that another process trains into
MEASURERS: dict[str, Measure] = {}  # of this process: real images are read once, for all its works


@dataclass(frozen=True)
class Site:
    """What all machines share: the comparison's folder, and the cache.

    mark: the name of a file that lies in both
    """

    folder: str
    cache: str
    mark: str

    @classmethod
    def make(cls, folder: Path, cache: Path) -> Site:
        """Mark both, so that workers can tell that theirs are the same."""
        mark = f"seen-{os.urandom(8).hex()}"
        for each in (folder, cache):
            files.make_folder(each / HIDDEN)
            files.write_bytes(each / HIDDEN / mark, b"")
        return cls(str(folder.absolute()), str(cache.absolute()), mark)

    def clean(self) -> None:
        """Take the marks away."""
        for each in (self.folder, self.cache):
            (Path(each) / HIDDEN / self.mark).unlink(missing_ok=True)

    def enter(self) -> None:
        """Use that cache; InputError where this machine sees one of both folders not."""
        for each in (self.folder, self.cache):
            until = time.monotonic() + SEEN_WITHIN
            while not (Path(each) / HIDDEN / self.mark).exists():
                if time.monotonic() > until:
                    raise InputError(
                        f"the machine {socket.gethostname()} does not see {each}",
                        "name an --out, and a folder in TRIPTYCH_CACHE, that all machines share",
                    )
                time.sleep(0.1)
        os.environ["TRIPTYCH_CACHE"] = self.cache


@dataclass(frozen=True, kw_only=True)
class Source:
    """The images of a comparison: where they are read, and what they must be."""

    data: str
    options: DataOptions
    fingerprint: str

    def open(self, console: Console) -> ImageData:
        """The images; InputError where this machine finds others."""
        from triptych.data.open import open_images

        images = open_images(self.data, self.options, console)
        if images.fingerprint != self.fingerprint:
            raise InputError(
                f"the machine {socket.gethostname()} finds other images at {self.data}",
                "name data that all machines share",
            )
        return images


@dataclass(frozen=True, kw_only=True)
class TrainWork:
    """Train one model into its folder, going on where it was stopped.

    settings: as the head resolved them, which a worker with other hardware must not choose anew
    """

    asked: TrainRequest
    settings: JsonObject
    source: Source
    out: str
    machine: MachineOptions
    site: Site

    @property
    def name(self) -> str:
        """The verb and the run's folder."""
        return f"train {Path(self.out).name}"

    def do(self) -> JsonObject:
        """Train to the end; another process that trains into the folder is waited for."""
        self.site.enter()
        from triptych.training.resolve import resolve
        from triptych.training.run_folder import HeldError
        from triptych.training.train import train

        console, machine = Console(), hardware.pick_for(self.machine)
        images = self.source.open(console)
        request = resolve(self.asked, machine.device, images, precision=machine.precision)
        settings = config.from_json(type(request.settings), self.settings)
        while True:
            try:
                train(replace(request, settings=settings), Path(self.out), machine, console)
                return {}
            except HeldError:  # by a job of before, whose head is gone
                time.sleep(PAUSE)


@dataclass(frozen=True, kw_only=True)
class MeasureWork:
    """Measure one finished run; results.json and figures go into it.

    samplers: by model, the name and steps of one that stands in for the recipe's while measuring
    """

    out: str
    source: Source
    count: int
    features: str
    machine: MachineOptions
    site: Site
    samplers: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The verb and the run's folder."""
        return f"measure {Path(self.out).name}"

    def do(self) -> JsonObject:
        """results.json of the run; where it was measured just so before, as it was kept."""
        self.site.enter()
        from triptych.training.run_folder import RunFolder

        folder = RunFolder(Path(self.out))
        weights, version = folder.read().digests, hardware.own_version()
        measured = repr((self.out, self.how, sorted(weights.items()), version)).encode()
        digest = hashlib.blake2b(measured, digest_size=16).hexdigest()
        kept = Path(self.site.folder) / HIDDEN / f"measured-{digest}.json"
        if kept.is_file() and folder.results.is_file():
            return files.read_json(kept, "remove it")
        measure = self.measurer(hardware.pick_for(self.machine), Console())
        results = measure(folder).to_json()
        files.write_json(folder.results, results)
        files.write_json(kept, results)
        return results

    @property
    def how(self) -> str:
        """All that decides the numbers, but for the run itself."""
        return repr((self.source, self.count, self.features, self.machine, self.samplers))

    def measurer(self, machine: Machine, console: Console) -> Measure:
        """What measures runs on these images; kept, for a worker may be handed several."""
        from triptych.evaluation.evaluate import MeasuringSampler, measurer, plan_measurement

        if self.how not in MEASURERS:
            MEASURERS.clear()
            images = self.source.open(console)
            plan = plan_measurement(self.count, self.features, images, machine, console)
            samplers = {model: MeasuringSampler(*each) for model, each in self.samplers.items()}
            plan = replace(plan, samplers=samplers)
            MEASURERS[self.how] = measurer(images, plan, machine, console)
        return MEASURERS[self.how]
