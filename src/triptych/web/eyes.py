"""The blind test: people say of images, or of one of two, which is real; nobody is told before.

A test is drawn on the server and its images have numbers alone, so a page cannot give away what it
does not know. With every model as many real images are shown as made ones, so 50 % is guessing.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from triptych import files, images
from triptych.errors import InputError
from triptych.metrics.intervals import wilson
from triptych.records import JsonObject, Record
from triptych.web.jobs import HIDDEN
from triptych.web.library import Library, NotFoundError
from triptych.web.play import WarmModels, as_png

LEAST, MOST = 40, 400  # judgements of a test
MOST_MODELS = 6
MOST_TESTS = 500  # imported at once
MOST_DRAWN = 24  # sets of pictures in memory
Mode = Literal["one", "two"]  # is this one real; which of the two is


@dataclass(frozen=True, kw_only=True)
class TestAsked(Record):
    """What is to be judged: the runs, how many judgements, one image at a time or two."""

    runs: tuple[str, ...] = ()
    count: int = LEAST
    mode: Mode = "one"
    __test__ = False  # no test of pytest's


@dataclass(frozen=True, kw_only=True)
class Trial(Record):
    """One judgement: of which run, and what was shown.

    real:   of one image whether it is real; of two whether the left one is
    judged: what the person said of that; None before
    """

    run: str
    model: str
    number: int  # of the made image among the run's samples
    original: int  # of the real image among the held-out ones
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
    mode: Mode
    seed: int
    trials: tuple[Trial, ...]
    __test__ = False

    def __post_init__(self) -> None:
        if len(self.trials) > MOST or not self.name.isalnum() or len(self.name) > 40:
            raise ValueError("it is no blind test of ours")


@dataclass(frozen=True, kw_only=True)
class Accuracy(Record):
    """How often people told the images of one model: share with its 95 % interval (Wilson).

    told: whether the interval lies above one half
    """

    model: str
    run: str
    n: int
    people: int
    value: float
    low: float
    high: float
    told: bool


def accuracies(tests: Sequence[BlindTest]) -> list[Accuracy]:
    """Of each run, over the judgements of all tests of one kind together.

    Judgements of one person are not independent, so of several people the interval is too narrow
    by as much as they differ; the page says so.
    """
    found = []
    runs = dict.fromkeys((t.run, t.model) for test in tests for t in test.trials)
    for run, model in runs:
        judged = [
            [t for t in test.trials if t.run == run and t.judged is not None] for test in tests
        ]
        n = sum(map(len, judged))
        if n == 0:
            continue
        share = wilson(sum(t.right for trials in judged for t in trials), n)
        assert share.low is not None and share.high is not None
        found.append(
            Accuracy(
                model=model,
                run=run,
                n=n,
                people=sum(bool(trials) for trials in judged),
                value=share.value,
                low=share.low,
                high=share.high,
                told=share.low > 0.5,
            )
        )
    return found


class BlindTests:
    """The tests of a served folder, kept as JSON files beside its jobs."""

    def __init__(self, library: Library, models: WarmModels) -> None:
        self.models = models
        self.folder = library.root / HIDDEN / "eyes"
        self._pictures: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}  # by test and run

    def begin(self, asked: TestAsked) -> BlindTest:
        """Draw a test; InputError on one that would tell nothing."""
        if not 1 <= len(set(asked.runs)) == len(asked.runs) <= MOST_MODELS:
            raise InputError("no models to judge", f"choose 1 to {MOST_MODELS} runs, each once")
        if not LEAST <= asked.count <= MOST:
            raise InputError(f"{asked.count} judgements", f"choose {LEAST} to {MOST}")
        each = -(-asked.count // (2 * len(asked.runs))) * 2  # of every model, half of them real
        seed = secrets.randbelow(2**31)
        chance = random.Random(seed)
        trials = []
        for path in asked.runs:
            run = self.models.run(path)
            held_out = len(self.models.data(run).test)
            if held_out < each:
                raise InputError(f"{path} has {held_out} real images", "ask for fewer judgements")
            originals = chance.sample(range(held_out), each)
            trials += [
                Trial(run=path, model=run.record.model, number=i, original=o, real=i % 2 == 0)
                for i, o in enumerate(originals)
            ]
        chance.shuffle(trials)
        name = secrets.token_hex(8)
        test = BlindTest(name=name, mode=asked.mode, seed=seed, trials=tuple(trials))
        self._keep(test)
        return test

    def pictures(self, test: BlindTest, path: str) -> tuple[Tensor, Tensor]:
        """The made and the real images of one run in a test, each uint8 [N,C,H,W].

        They follow from the test's file, so a test goes on after the server was started again.
        """
        key = (test.name, path)
        if key not in self._pictures:
            trials = sorted((t for t in test.trials if t.run == path), key=lambda t: t.number)
            run = self.models.run(path)
            originals = self.models.real(run, [trial.original for trial in trials])
            self._pictures[key] = (run.sample(len(trials), test.seed), originals)
            while len(self._pictures) > MOST_DRAWN:
                del self._pictures[next(iter(self._pictures))]
        return self._pictures[key]

    def picture(self, name: str, number: int) -> bytes:
        """What one judgement is about: one image, or a real and a made one beside each other."""
        test = self.get(name)
        if not 0 <= number < len(test.trials):
            raise NotFoundError(f"judgement {number}")
        trial = test.trials[number]
        made, originals = self.pictures(test, trial.run)
        real = originals[trial.number]
        if test.mode == "one":
            return as_png(real if trial.real else made[trial.number])
        left, right = (real, made[trial.number])[:: 1 if trial.real else -1]
        return as_png(images.grid(torch.stack([left, right]), columns=2, gap=8).pixels)

    def finish(self, name: str, judged: Sequence[bool | None]) -> BlindTest:
        """Keep what a person said, in the order of the judgements; None where they stopped."""
        test = self.get(name)
        if len(judged) != len(test.trials):
            raise InputError(f"{len(judged)} judgements of {len(test.trials)}", "judge them all")
        pairs = zip(test.trials, judged, strict=True)
        trials = tuple(replace(trial, judged=answer) for trial, answer in pairs)
        done = replace(test, trials=trials)
        self._keep(done)
        return done

    def get(self, name: str) -> BlindTest:
        """The test of that name; NotFoundError where there is none."""
        path = self.folder / f"{name}.json"
        if not name.isalnum() or not path.is_file():
            raise NotFoundError("no such test")
        return read_test(files.read_bytes(path, files.MOST_JSON))

    def all(self) -> list[BlindTest]:
        """Every test that somebody judged, the oldest first."""
        if not self.folder.is_dir():
            return []
        tests = []
        for path in sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime):
            try:
                test = read_test(files.read_bytes(path, files.MOST_JSON))
            except (OSError, ValueError):
                continue
            if any(trial.judged is not None for trial in test.trials):
                tests.append(test)
        return tests

    def add(self, values: object) -> int:
        """Tests that were exported elsewhere, each once; how many were new."""
        if not isinstance(values, list):
            raise InputError("this is no list of blind tests", "give a file that was exported here")
        try:
            tests = [BlindTest.read(value) for value in values[:MOST_TESTS]]
        except ValueError as error:
            raise InputError(f"this is no blind test ({error})", "give an exported file") from None
        new = [test for test in tests if not (self.folder / f"{test.name}.json").exists()]
        for test in new:
            self._keep(test)
        return len(new)

    def results(self) -> JsonObject:
        """Accuracies by mode, over all that was judged."""
        tests = self.all()
        modes: tuple[Mode, ...] = ("one", "two")
        return {
            mode: [a.to_json() for a in accuracies([t for t in tests if t.mode == mode])]
            for mode in modes
        }

    def _keep(self, test: BlindTest) -> None:
        files.make_folder(self.folder)
        files.write_json(self.folder / f"{test.name}.json", test.to_json())


def read_test(content: bytes) -> BlindTest:
    """A test from its file; ValueError on what is none."""
    return BlindTest.read(files.parse_json(content))
