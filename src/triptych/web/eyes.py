"""The blind test: people say of images, or of one of two, which is real; nobody is told before.

A test is drawn on the server and its images have numbers alone, so a page cannot give away what it
does not know. With every model as many real images are shown as made ones, so 50 % is guessing.
"""

from __future__ import annotations

import contextlib
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from triptych import files, images
from triptych.errors import InputError
from triptych.pages.eyes import MODES, WEIGHTS, accuracies, tests_of
from triptych.records import MOST_TRIALS, BlindTest, JsonObject, Record, Trial, TrialMode
from triptych.web.jobs import HIDDEN
from triptych.web.library import Library, NotFoundError
from triptych.web.play import WarmModels, as_png

LEAST, MOST = 40, MOST_TRIALS  # judgements of a test
MOST_MODELS = 6
MOST_UNFINISHED = 100  # tests that somebody began
MOST_DRAWN = 24  # sets of pictures in memory


@dataclass(frozen=True, kw_only=True)
class TestAsked(Record):
    """What is to be judged: the runs, how many judgements, one image at a time or two."""

    runs: tuple[str, ...] = ()
    count: int = LEAST
    mode: TrialMode = "one"
    __test__ = False  # no test of pytest's


class BlindTests:
    """The tests of a served folder, kept as JSON files beside its jobs."""

    def __init__(self, library: Library, models: WarmModels) -> None:
        self.models = models
        self.folder = library.root / HIDDEN / "eyes"
        self._pictures: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}  # by test and run

    def begin(self, asked: TestAsked) -> BlindTest:
        """Draw a test; InputError on one that would tell nothing."""
        if not 1 <= len(set(asked.runs)) == len(asked.runs) <= MOST_MODELS:
            count = len(asked.runs)
            wrong = f"{count} runs to judge" if count else "no run to judge"
            raise InputError(wrong, f"choose 1 to {MOST_MODELS} runs, each once")
        if not LEAST <= asked.count <= MOST:
            raise InputError(f"{asked.count} judgements", f"choose {LEAST} to {MOST}")
        each = -(-asked.count // (2 * len(asked.runs))) * 2  # of every model, half of them real
        seed = secrets.randbelow(2**31)
        chance = random.Random(seed)
        trials = []
        for path in asked.runs:
            run = self.models.run(path)
            if run.model.shape.is_point:
                raise InputError(f"{path} is of points", "choose runs of images")
            held_out = len(self.models.data(run).test)
            if held_out < each:
                raise InputError(f"{path} has {held_out} real images", "ask for fewer judgements")
            originals = chance.sample(range(held_out), each)
            trials += [
                Trial(
                    run=path,
                    model=run.record.model,
                    weights=run.record.digests[WEIGHTS],
                    number=i,
                    original=o,
                    real=i % 2 == 0,
                )
                for i, o in enumerate(originals)
            ]
        chance.shuffle(trials)
        self._forget_unfinished()
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
            if run.record.digests[WEIGHTS] != trials[0].weights:
                raise InputError(f"{path} is another model than the test began with", "begin anew")
            originals = self.models.real(run, [trial.original for trial in trials])
            self._pictures[key] = (run.sample(len(trials), test.seed, quiet=True), originals)
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
        if any(trial.judged is not None for trial in test.trials):
            raise InputError("this test was judged already", "begin another one")
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
        return [test for test in self._read() if is_judged(test)]

    def _read(self) -> list[BlindTest]:
        """All tests, the oldest first; damaged files are passed over."""
        tests = []
        paths = self.folder.glob("*.json") if self.folder.is_dir() else []
        for path in sorted(paths, key=lambda path: path.stat().st_mtime):
            with contextlib.suppress(OSError, ValueError):
                tests.append(read_test(files.read_bytes(path, files.MOST_JSON)))
        return tests

    def add(self, values: object) -> int:
        """Tests that were exported elsewhere, each once; how many were new."""
        tests = tests_of(values, "the file", "give one that was exported here")
        new = {t.name: t for t in tests if not (self.folder / f"{t.name}.json").exists()}
        for test in new.values():
            self._keep(test)
        return len(new)

    def results(self) -> JsonObject:
        """Accuracies by mode, over all that was judged."""
        tests = self.all()
        return {
            mode: [a.to_json() for a in accuracies([t for t in tests if t.mode == mode])]
            for mode in MODES
        }

    def _forget_unfinished(self) -> None:
        """Remove the oldest tests that nobody judged."""
        unfinished = [test.name for test in self._read() if not is_judged(test)]
        for name in unfinished[: max(0, len(unfinished) - MOST_UNFINISHED)]:
            (self.folder / f"{name}.json").unlink(missing_ok=True)

    def _keep(self, test: BlindTest) -> None:
        files.make_folder(self.folder)
        files.write_json(self.folder / f"{test.name}.json", test.to_json())


def is_judged(test: BlindTest) -> bool:
    """Whether somebody judged any of it."""
    return any(trial.judged is not None for trial in test.trials)


def read_test(content: bytes) -> BlindTest:
    """A test from its file; ValueError on what is none."""
    return BlindTest.read(files.parse_json(content))
