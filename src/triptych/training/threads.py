"""How many threads training computes with, measured while it trains.

Beside another busy program two threads that wait for each other at every operation can be many
times slower than one, and alone two are faster. So under a budget in seconds the counts that make
sense are tried in turns on steps of the training itself: at first, at the moments at which the
budget is planned anew, and when steps become much slower than they were. Results differ in rounding
between counts, so every change is recorded, and whoever resumes or repeats the run follows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from triptych.records import ThreadChanges

TIMED = 2  # steps of each count in a trial, after one that warms it up
CLEARLY = 3.0  # times slower in the first step: not tried again
SLOWER = 1.8  # times the best step of the last trial, on average: time to try again
WATCHED = 0.7  # seconds over which that is looked at
PATIENCE = 2.0  # seconds from one trial to the next, growing
MORE_PATIENCE = 1.3  # times each trial
WORTH = 20.0  # times what the last trial lost on slower counts: no sooner is it tried again
MOST_CHANGES = 1000  # that are recorded


def fastest(seconds: dict[int, list[float]]) -> int:
    """The count whose quickest step after the first was the quickest.

    Means would mislead: some steps have more to do, as those that pay a GAN's penalties.
    """
    return min(seconds, key=lambda count: quickest(seconds[count]))


def quickest(seconds: Sequence[float]) -> float:
    """Seconds of a step that was warm, and met nothing else."""
    return min(seconds[1:] or seconds)


def try_counts(
    counts: Sequence[int], step: Callable[[int], float], limit: float
) -> dict[int, list[float]]:
    """Seconds of steps with each count, in turns; fewer where `limit` seconds are over.

    counts: the likeliest first
    step:   makes one with so many threads, returns its seconds
    """
    seconds: dict[int, list[float]] = {}
    for _ in range(1 + TIMED):
        for count in counts:
            if sum(map(sum, seconds.values())) > limit and seconds:
                return seconds
            seconds.setdefault(count, []).append(step(count))
    return seconds


class Threads:
    """The counts of one training: recorded ones, and whatever measuring adds to them.

    counts:  what may be tried; fewer than two: nothing is
    changes: recorded so far
    usual:   seconds of a good step in the last trial; infinity where there was none
    """

    def __init__(
        self,
        counts: Sequence[int],
        changes: Sequence[tuple[int, int, int]],
        usual: float = math.inf,
    ) -> None:
        self.counts, self.changes, self.usual = list(counts), list(changes), usual
        self.patience, self.lost = PATIENCE, 0.0
        self.rest()
        if usual == math.inf:
            self.try_again()

    @property
    def trying(self) -> bool:
        """Whether the present steps are a trial, which says little of the pace."""
        return self.trial is not None

    @classmethod
    def read(cls, changes: ThreadChanges, most: int) -> ThreadChanges:
        """The same, of a record; ValueError where they make no training."""
        if not 1 <= len(changes) <= MOST_CHANGES:
            raise ValueError("the threads are no list of changes")
        if any(min(change[:2]) < 0 or not 1 <= change[2] <= most for change in changes):
            raise ValueError("a change of threads is no phase, images and count")
        moments = [change[:2] for change in changes]
        if moments != sorted(set(moments)) or moments[0] != (0, 0):
            raise ValueError("the changes of threads are not in order")
        return changes

    def at(self, phase: int, images: int) -> int:
        """Threads of the step that begins after so many images of a phase."""
        here = (phase, images)
        return next(count for p, seen, count in reversed(self.changes) if (p, seen) <= here)

    def record(self, phase: int, images: int, count: int) -> None:
        """From here on it is so many; what was recorded beyond is dropped."""
        self.changes = [change for change in self.changes if change[:2] < (phase, images)]
        if not self.changes or self.changes[-1][2] != count:
            self.changes.append((phase, images, count))

    def rest(self) -> None:
        """Watch from here on; no trial is under way."""
        self.trial: dict[int, list[float]] | None = None
        self.watched, self.steps, self.since = 0.0, 0, 0.0

    def try_again(self) -> None:
        """The next steps are a trial, unless the last one was too dear for that."""
        if len(self.counts) < 2 or self.trial is not None or self.since < WORTH * self.lost:
            return
        if len(self.changes) < MOST_CHANGES // 2:
            self.trial = {}

    def took(self, seconds: float, phase: int, images: int) -> None:
        """A step that ended at so many images took so long: what follows from that."""
        if len(self.counts) < 2:
            return
        if self.trial is None:
            self.watch(seconds)
        else:
            self.trial.setdefault(self.changes[-1][2], []).append(seconds)
        if self.trial is not None:
            self.record(phase, images, self.next_count())

    def watch(self, seconds: float) -> None:
        """Try again where steps became much slower, but not all the time."""
        self.watched, self.steps = self.watched + seconds, self.steps + 1
        self.since += seconds
        if self.watched < WATCHED or self.steps < 2:
            return
        slow = self.watched / self.steps > SLOWER * self.usual
        self.watched, self.steps = 0.0, 0
        if slow and self.since > self.patience:
            self.patience *= MORE_PATIENCE
            self.try_again()

    def next_count(self) -> int:
        """Of the trial's next step; the fastest one where it is over."""
        assert self.trial is not None
        tried = self.trial
        for times in range(1 + TIMED):
            for count in self.counts:
                seconds = tried.get(count, [])
                best = min(min(s) for s in tried.values()) if tried else 0.0
                hopeless = bool(seconds) and min(seconds) > CLEARLY * best
                if len(seconds) <= times and not hopeless:
                    return count
        chosen = fastest(tried)
        self.usual = quickest(tried[chosen])
        self.lost = sum(max(0.0, s - self.usual) for steps in tried.values() for s in steps)
        self.rest()
        return chosen
