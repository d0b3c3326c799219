"""Progress: how far a training has come, from 0 to 1, as a function of images seen.

Everything that changes along a training - learning rates, averages, snapshots, diagnoses, pictures
- follows progress. Under a budget in images it is images seen / planned images. Under one in
seconds it is piecewise linear: the plan begins with the speed of a short calibration and is revised
at a few fixed moments, so that training ends when it was asked to. Between two revisions it is a
straight line, and the breakpoints alone tell all of it: who follows the recorded plan sees the same
progress at every image, to the last bit.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from triptych.records import Deadline, Points

# When progress or the share of the asked seconds reaches one of these, the rest is planned anew: so
# neither a training that becomes slower nor one that becomes faster is far off at its end.
MOMENTS = (0.05, 0.2, 0.4, 0.55, 0.68, 0.78, 0.86, 0.92, 0.96)
UNITS = 2**50  # in which progress under a budget in seconds is counted, so that nothing is rounded
ROUNDING = 1e-9  # of a share of progress
MOST_POINTS = 64  # of one plan; ours have fewer


class Plan:
    """Progress of one phase of a training.

    points:  breakpoints, from (0, 0.0) to (images at the end, 1.0)
    planned: images that were planned before anything was revised; numbers of samples and images
             that scores and diagnoses look at follow from it
    timed:   whether it may be revised
    carried: images that stand for an origin where averages count
    """

    def __init__(self, points: Sequence[tuple[int, float]], planned: int, timed: bool) -> None:
        self.points = list(points)
        self.planned, self.timed = planned, timed
        self.carried = 0

    @classmethod
    def straight(cls, images: int, timed: bool = False) -> Plan:
        """A plan of so many images that was not revised yet."""
        return cls([(0, 0.0), (images, 1.0)], images, timed)

    @classmethod
    def read(cls, points: Points, planned: int, timed: bool) -> Plan:
        """From a record; ValueError where that is no plan."""
        if not 2 <= len(points) <= MOST_POINTS:
            raise ValueError("the plan is no list of breakpoints")
        for before, after in pairwise(points):
            if after[0] <= before[0] or after[1] < before[1]:
                raise ValueError("the plan goes back")
        if points[0] != (0, 0.0) or points[-1][1] != 1.0:
            raise ValueError("the plan does not go from 0 to 1")
        return cls(points, planned, timed)

    @property
    def end(self) -> int:
        """Images seen when this phase ends, as it is planned now."""
        return self.points[-1][0]

    def progress(self, images: int) -> float:
        """The share of the plan that is done after so many images, from 0 to 1."""
        if images >= self.end:
            return 1.0
        if not self.timed:
            return images / self.end
        return self._units(images) / UNITS

    def _units(self, images: int) -> int:
        """Progress in UNITS: whole ones for each image, so a cut line keeps its slope exactly."""
        index = bisect_right(self.points, images, key=lambda point: point[0])
        (first, low), (last, high) = self.points[index - 1], self.points[index]
        start, rise, run = round(low * UNITS), round((high - low) * UNITS), last - first
        each = (2 * rise + run) // (2 * run)  # rounded
        return min(UNITS, start + (images - first) * each)

    def position(self, images: int) -> float:
        """Where weight averages count: images, or billionths of progress where that is revised.

        Their profiles have no unit (`average.EMA`).
        """
        if not self.timed:
            return float(self.carried + images)
        return 1e9 * (self.carried / self.planned + self.progress(images))

    def revise(self, images: int, end: int) -> None:
        """From here on go straight to 1 at `end`; what was planned beyond `images` is dropped."""
        here = (images, self.progress(images))
        self.points = [p for p in self.points if p[0] < images] + [here, (end, 1.0)]

    def ended(self, before: int, now: int, times: int) -> bool:
        """Whether one of `times` equal parts of progress ended between two counts of images."""
        return self.part(before, times) != self.part(now, times)

    def part(self, images: int, times: int) -> int:
        """How many of `times` equal parts of progress have ended."""
        return math.floor(self.progress(images) * times + ROUNDING)

    def passed(self, before: int, now: int, places: Sequence[float]) -> bool:
        """Whether one of some shares of progress was reached between two counts of images."""
        start, end = self.progress(before) + ROUNDING, self.progress(now) + ROUNDING
        return any(start < moment <= end for moment in places)


def seconds_after(deadline: Deadline, plans: Sequence[Plan], phase: int) -> float:
    """Calibrated seconds of all that follows a phase."""
    later = zip(plans[phase + 1 :], deadline.per_image[phase + 1 :], strict=True)
    return deadline.finishing + sum(plan.planned * seconds for plan, seconds in later)


def next_moment(share: float) -> float:
    """The first moment after this one; infinity after the last."""
    return next((moment for moment in MOMENTS if moment > share), math.inf)
