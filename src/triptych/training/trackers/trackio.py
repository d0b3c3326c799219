"""Trackio: a run in trackio's own folder, where `trackio show` looks for all of them.

It writes to a database on this machine and starts no server. TRACKIO_DIR names another folder,
TRACKIO_SPACE_ID or TRACKIO_SERVER_URL a place to send to.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from triptych.images import Grid, to_pil
from triptych.training.callbacks import (
    ADVICE,
    SAMPLES,
    Moment,
    RunInfo,
    Status,
    hyperparameters,
)
from triptych.training.trackers import (
    PROJECT,
    Tracker,
    group_for,
    kept_name,
    name_for,
    unlike_others,
)

TALKATIVE = ("trackio", "trackio.run", "trackio.utils")


class Trackio(Tracker):
    """A run of its own. The step is images seen."""

    imports: ClassVar[tuple[str, ...]] = ("trackio",)

    def __init__(self) -> None:
        self.run: Any = None

    def start(self, run: RunInfo, at: Moment) -> None:
        """Begin, or go on under the name that the run's folder keeps."""
        import trackio

        for module in TALKATIVE:  # they print to standard output, which is for results
            vars(importlib.import_module(module))["print"] = silent
        own, _ = kept_name(run, "trackio", lambda: f"{name_for(run)}-{unlike_others()}")
        self.run = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=own,
            group=group_for(run),
            config=dict(hyperparameters(run.record)),
            resume="allow",
            embed=False,  # no server, and no dashboard in a notebook
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def log(self, run: RunInfo, at: Moment, numbers: Mapping[str, float]) -> None:
        """One row."""
        if numbers:
            self.run.log(dict(numbers), step=at.images)

    def samples(self, run: RunInfo, at: Moment, grid: Grid) -> None:
        """A picture."""
        import trackio

        self.run.log({SAMPLES: trackio.Image(to_pil(grid.pixels))}, step=at.images)

    def diagnosis(
        self, run: RunInfo, at: Moment, numbers: Mapping[str, float], advice: Sequence[str]
    ) -> None:
        """One row, with a text where there is advice."""
        text: dict[str, Any] = {ADVICE: "\n".join(advice)} if advice else {}
        self.run.log({**numbers, **text}, step=at.images)

    def end(self, run: RunInfo, at: Moment, numbers: Mapping[str, float], status: Status) -> None:
        """What it took; trackio writes what is not written yet."""
        self.log(run, at, numbers)
        self.run.finish()


def silent(*texts: object, **options: object) -> None:
    """Print nothing."""


TRACKER = Trackio
