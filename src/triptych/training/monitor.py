"""Diagnoses along training: lines of the log, and advice that is told once.

They are made of the weights as they would be used then, on a few images of the training and the
validation part. Which images, how many and how often follows from the plan alone, so that a run
that was resumed makes the same ones. The first process makes them while the others wait for it.
"""

from __future__ import annotations

from pathlib import Path

import torch

from triptych import images
from triptych.console import Console
from triptych.data.dataset import ImageData
from triptych.families.capabilities import Diagnoses, Diagnosis
from triptych.hardware import Machine
from triptych.records import DiagnosisEvent, Note, as_json, read_note
from triptych.seeding import ImageStreams
from triptych.training.compilation import uncompiled
from triptych.training.ema import as_used
from triptych.training.log import RunLog, events
from triptych.training.plan import Plan
from triptych.training.state import TrainingState
from triptych.words import english

TIMES = 10  # in a run, at most
MOST, LEAST = 64, 16  # images of each part
SHARE = 0.004  # of the planned images are looked at: under 0.5 % of the time
WELL = 0.6  # health of a model that lives
FALLEN = 0.4  # share of its best health so far, below which training goes back


def share_out(planned: int) -> tuple[int, int]:
    """How often a run is diagnosed, and on how many images of each part.

    >>> share_out(10**6), share_out(10**5), share_out(10**4), share_out(1000)
    ((10, 64), (10, 20), (1, 20), (1, 16))
    """
    each = int(SHARE * planned / 2)  # images of one part, all times together
    count = min(MOST, max(LEAST, each // TIMES))
    times = min(TIMES, max(1, each // count))
    return times, min(MOST, max(count, each // times))


class Checkups:
    """All diagnoses of one run, of models that make some; called after each round."""

    def __init__(
        self,
        state: TrainingState,
        data: ImageData,
        plan: Plan,
        seed: int,
        machine: Machine,
        console: Console,
    ) -> None:
        self.state, self.plan, self.seed = state, plan, seed
        self.machine, self.console = machine, console
        self.times, count = share_out(plan.planned)
        if machine.microbatch is not None:  # a batch does not fit; without gradients more does
            count = min(count, 2 * machine.microbatch)
        self.seen = data.train.choose(count, "diagnosed train", seed).images
        self.unseen = data.validation.choose(count, "diagnosed validation", seed).images
        self.shown: set[tuple[str, ...]] = set()  # advice that the console has shown

    def __call__(self, before: int, log: RunLog) -> Note | None:
        """Diagnose where one of the run's equal parts ended since `before` images.

        Returns the trouble that was found, the same in all processes, or nothing.
        """
        state = self.state
        due = self.plan.ended(before, state.seen, self.times)
        if not due or state.phase > 0 or len(self.seen) + len(self.unseen) < 2:
            return None
        model = state.model
        if not isinstance(model, Diagnoses):
            return None
        return read_note(self.machine.group.broadcast(lambda: as_json(self.tell(model, log))))

    def tell(self, model: Diagnoses, log: RunLog) -> Note | None:
        """Diagnose now, into the log; advice goes to the console once.

        Returns the trouble where the model was well before and no longer is.
        """
        diagnosis = self.diagnose(model)
        before = max((e.vital or 0.0 for e in events(log.path, DiagnosisEvent)), default=0.0)
        log.write(
            DiagnosisEvent(
                images=self.state.seen,
                numbers=dict(diagnosis.numbers),
                advice=tuple(diagnosis.advice),
                vital=diagnosis.health,  # as logs have called it ever since
            )
        )
        for note in diagnosis.advice:
            if subject(note) not in self.shown:
                self.shown.add(subject(note))
                self.console.say(f"  warning: {english(note)}")
        return diagnosis.failure if before >= WELL and diagnosis.health < FALLEN * before else None

    def diagnose(self, model: Diagnoses) -> Diagnosis:
        """What the model finds in the weights as they would be used now."""
        state, device = self.state, self.machine.device
        count = len(self.seen) + len(self.unseen)
        rng = ImageStreams(self.seed, "diagnosis", range(count), device)
        seen, unseen = (images.to_float(part.to(device)) for part in (self.seen, self.unseen))
        share = self.plan.progress(state.seen)
        with (
            as_used(state.model, state.ema),
            torch.inference_mode(),
            self.machine.autocast(),
            uncompiled(self.machine),
        ):
            return model.diagnose(seen, unseen, rng, share)


def subject(note: Note) -> tuple[str, ...]:
    """What a piece of advice is about, whatever its numbers: its code and names.

    >>> subject(Note("unused_level", {"level": "16x16", "kl": 0.5}))
    ('unused_level', '16x16')
    """
    return (note.code, *(value for value in note.values.values() if isinstance(value, str)))


def last_advice(path: Path) -> tuple[Note, ...]:
    """The advice of a log's last diagnosis."""
    diagnoses = events(path, DiagnosisEvent)
    return diagnoses[-1].advice if diagnoses else ()
