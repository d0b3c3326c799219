"""Diagnoses along training: lines of the log, and advice that is told once.

They are made of the weights as they would be used then, on a few images of the training and the
validation part. Which images, how many and how often follows from the plan alone, so that a run
that was resumed makes the same ones. The first process makes them while the others wait for it.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from triptych import images
from triptych.console import Console
from triptych.data.dataset import ImageData
from triptych.families.capabilities import Diagnoses, Diagnosis
from triptych.hardware import Machine
from triptych.seeding import ImageStreams
from triptych.training.ema import as_used
from triptych.training.log import RunLog, events
from triptych.training.plan import Plan
from triptych.training.state import TrainingState

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
        self.told: set[str] = set()

    def __call__(self, before: int, log: RunLog) -> str:
        """Diagnose where one of the run's equal parts ended since `before` images.

        Returns the trouble that was found, the same in all processes, or nothing.
        """
        state = self.state
        due = self.plan.ended(before, state.seen, self.times)
        if not due or state.phase > 0 or len(self.seen) + len(self.unseen) < 2:
            return ""
        model = state.model
        if not isinstance(model, Diagnoses):
            return ""
        return str(self.machine.group.broadcast(lambda: self.tell(model, log)))

    def tell(self, model: Diagnoses, log: RunLog) -> str:
        """Diagnose now, into the log; advice goes to the console once.

        Returns the trouble where the model was well before and no longer is.
        """
        found = self.diagnose(model)
        before = max(
            (entry.get("vital", 0.0) for entry in events(log.path, "diagnosis")), default=0.0
        )
        log.write(
            "diagnosis",
            images=self.state.seen,
            numbers=found.numbers,
            advice=found.advice,
            vital=found.health,  # as logs have called it ever since
        )
        for sentence in found.advice:
            if wording(sentence) not in self.told:
                self.told.add(wording(sentence))
                self.console.say(f"  warning: {sentence}")
        return found.failure if before >= WELL and found.health < FALLEN * before else ""

    def diagnose(self, model: Diagnoses) -> Diagnosis:
        """What the model finds in the weights as they would be used now."""
        state, device = self.state, self.machine.device
        count = len(self.seen) + len(self.unseen)
        rng = ImageStreams(self.seed, "diagnosis", range(count), device)
        seen, unseen = (images.to_float(part.to(device)) for part in (self.seen, self.unseen))
        share = self.plan.progress(state.seen)
        with (
            as_used(state.model, state.average),
            torch.inference_mode(),
            self.machine.autocast(),
            uncompiled(self.machine),
        ):
            return model.diagnose(seen, unseen, rng, share)


def uncompiled(machine: Machine) -> AbstractContextManager[object]:
    """Inside, networks run as they were written: to compile them for a few images would take
    longer than all diagnoses.
    """
    return torch.compiler.set_stance("force_eager") if machine.compile else nullcontext()


def wording(sentence: str) -> str:
    """A sentence without its numbers, by which it is known again; the 16x16 of a level stays.

    >>> wording("2 of 32 units of the level 16x16 cost 0.5 nats, -1e-05 each")
    '# of # units of the level 16x16 cost # nats, # each'
    """
    return re.sub(r"(?<![\w.])-?\d[\d.]*(e[-+]\d+)?\b(?!x)", "#", sentence)


def last_advice(path: Path) -> list[str]:
    """The advice of a log's last diagnosis."""
    found = events(path, "diagnosis")
    return [str(sentence) for sentence in found[-1].get("advice", [])] if found else []
