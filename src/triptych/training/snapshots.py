"""Which weights of a run become its model: snapshots along training, scored on held-out images.

For players of a game the last weights need not be the best. Snapshots are of the weights as they
would be used; each is scored by a kernel distance, lower being better, and the best one is what
the first phase leaves. When, how often and on how many samples follows from the plan alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from triptych import files
from triptych.console import Console
from triptych.data.dataset import ImageData
from triptych.families.labels import Labels
from triptych.families.protocol import GenerativeModel
from triptych.hardware import Machine
from triptych.metrics.kernel_distance import Kernels, kernel_value
from triptych.nn.patch_features import Patches
from triptych.records import Chosen, Note, Scored
from triptych.tasks import sample
from triptych.training.compilation import uncompiled
from triptych.training.ema import as_used
from triptych.training.log import RunLog, events
from triptych.training.plan import Plan
from triptych.training.run_folder import RunFolder, save_weights
from triptych.training.state import TrainingState
from triptych.words import english

Score = Callable[[GenerativeModel, int, Machine], float]  # the model, how many samples to draw

TIMES = 8
FIRST = 0.3  # progress at the first of them, the last one being at the end
SHARE = 0.06  # samples of all scores, over the planned images: under 3 % of the time
LEAST, MOST = 100, 1000  # samples of one score
NOISE = 0.5  # of the best score
MOST_REAL = 1000
SMALLEST = 16  # side of images that patches describe
SCORE_SEED = 2_000_003  # of samples that are neither shown nor measured


class Scorer:
    """Kernel distance of samples to the validation images, on patches: no labels, no weights."""

    def __init__(self, validation: Tensor, labels: Labels | None) -> None:
        self.validation, self.labels = validation, labels

    @cached_property
    def real(self) -> tuple[Patches, Tensor, Kernels]:
        """What describes patches, the validation images so described, and their kernels."""
        patches = Patches(self.validation)
        features = patches(self.validation)
        return patches, features, Kernels.within(features)

    def __call__(self, model: GenerativeModel, count: int, machine: Machine) -> float:
        """Draw so many samples and measure them."""
        patches, real, kernels = self.real
        with uncompiled(machine):
            drawn = sample.sample(model, count, SCORE_SEED, machine, labels=self.labels)
        return kernel_value(patches(drawn), real, kernels)


def scorer(
    data: ImageData, labels: Labels | None
) -> Callable[[GenerativeModel, int, Machine], float] | None:
    """The score on this data's validation part; None where there is none to measure on."""
    validation = data.validation.choose(MOST_REAL, "score").images
    if len(validation) < 2 or data.shape.resolution < SMALLEST:
        return None
    return Scorer(validation, labels)


def samples_for(planned: int) -> int:
    """Samples of each score; 0 where the budget is too small for scores that tell anything.

    >>> samples_for(10**6), samples_for(20_000), samples_for(10_000)
    (1000, 150, 0)
    """
    count = min(MOST, int(SHARE * planned / TIMES))
    return count if count >= LEAST else 0


def note_last(planned: int, selects: bool) -> Note | None:
    """What to say where a recipe would choose among snapshots and the budget is too small."""
    if not selects or samples_for(planned):
        return None
    least = math.ceil(LEAST * TIMES / SHARE)
    budget = f"{math.ceil(least / 1000)}kimg"
    return Note("no_snapshots", {"images": planned, "least": least, "budget": budget})


# Progress at each snapshot: 0.3, 0.4, ... 1.
PLACES = [FIRST + (1 - FIRST) / (TIMES - 1) * number for number in range(TIMES)]


class Selection:
    """The snapshots of one run; called after each round.

    score: None where the last weights are the ones to use
    """

    def __init__(
        self,
        state: TrainingState,
        folder: RunFolder,
        plan: Plan,
        machine: Machine,
        console: Console,
        score: Score | None,
    ) -> None:
        self.state, self.folder, self.plan = state, folder, plan
        self.machine, self.console, self.score = machine, console, score
        self.count = 0 if score is None else samples_for(plan.planned)

    def __call__(self, before: int, log: RunLog) -> None:
        """Score the weights where one of the places was passed since `before` images."""
        state = self.state
        passed = self.plan.passed(before, state.seen, PLACES)
        if state.phase > 0 or not passed or not self.count or self.score is None:
            return
        with as_used(state.model, state.ema) as model:
            value = self.score(model, self.count, self.machine)
            if self.machine.group.is_main:
                path = self.path(state.seen)
                files.make_folder(path.parent)
                digest = save_weights(path, model.state_dict(), {})
                log.write(Scored(images=state.seen, value=value, sha256=digest))

    def forget_later(self) -> None:
        """Remove what was saved beyond the moment that the training went back to."""
        if self.machine.group.is_main and self.state.phase == 0:
            for path in self.folder.snapshots.glob("*.safetensors"):
                if path.stem.isdecimal() and int(path.stem) > self.state.seen:
                    path.unlink()

    def path(self, seen: int) -> Path:
        """Of a snapshot."""
        return self.folder.snapshots / f"{seen:012d}.safetensors"

    def choose(self, log: RunLog) -> None:
        """Bring the model to its best snapshot, when the first phase is over.

        A snapshot that is not as it was written is passed over.
        """
        state, group = self.state, self.machine.group
        if not self.count:
            return
        choice = group.broadcast(lambda: self.best(log.path))
        if choice is None:
            return
        images, value, last = choice
        device = next(state.model.parameters()).device
        state.model.load_state_dict(load_file(self.path(images), device=str(device)))
        log.write(Chosen(images=images, value=value))
        if images != last:
            best = Note("best_snapshot", {"images": images})
            self.console.say(f"  {english(best)}")

    def best(self, path: Path) -> tuple[int, float, int] | None:
        """Images seen and score of the best snapshot, and images at the last one.

        Of those within the scores' noise the latest, which has learned most.
        """
        scores: dict[int, tuple[float, str]] = {}
        for scored in events(path, Scored):
            if scored.value is not None:
                scores[scored.images] = scored.value, scored.sha256
        whole = {
            images: value
            for images, (value, digest) in scores.items()
            if self.path(images).is_file() and files.sha256(self.path(images)) == digest
        }
        if not whole:
            return None
        least = min(whole.values())
        images = max(seen for seen, value in whole.items() if value <= least + NOISE * abs(least))
        return images, whole[images], max(scores)
