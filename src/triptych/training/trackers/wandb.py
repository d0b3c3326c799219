"""Weights & Biases: a run in RUN/trackers/wandb, sent where wandb knows an account.

Without WANDB_MODE and without a key (WANDB_API_KEY, or `wandb login` in the past) it stays on this
machine until `wandb sync`, for wandb would ask for one in the terminal.
"""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar
from urllib.parse import urlsplit

from triptych import files
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
    own_folder,
    unlike_others,
)

USUAL_HOST = "https://api.wandb.ai"


class WandB(Tracker):
    """A run of its own. The x axis is images seen: wandb's own steps may not go back, we may."""

    imports: ClassVar[tuple[str, ...]] = ("wandb",)

    def __init__(self) -> None:
        self.run: Any = None

    def start(self, run: RunInfo, at: Moment) -> None:
        """Begin, or go on under the identifier that the run's folder keeps."""
        import wandb

        own, _ = kept_name(run, "wandb", unlike_others)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=os.environ.get("WANDB_NAME", name_for(run)),
            group=os.environ.get("WANDB_RUN_GROUP", group_for(run)),
            id=own,
            resume="allow",
            dir=os.environ.get("WANDB_DIR", own_folder(run)),
            mode=None if "WANDB_MODE" in os.environ or has_key() else "offline",
            config=dict(hyperparameters(run.record)),
            reinit="create_new",  # leave a run of the user's own alone
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, x_disable_stats=True
            ),
        )
        self.run.define_metric("images")
        self.run.define_metric("*", step_metric="images")

    def log(self, run: RunInfo, at: Moment, numbers: Mapping[str, float]) -> None:
        """One row."""
        self.run.log({"images": at.images, **numbers})

    def samples(self, run: RunInfo, at: Moment, grid: Grid) -> None:
        """A picture."""
        import wandb

        self.run.log({"images": at.images, SAMPLES: wandb.Image(to_pil(grid.pixels))})

    def diagnosis(
        self, run: RunInfo, at: Moment, numbers: Mapping[str, float], advice: Sequence[str]
    ) -> None:
        """One row, with a text where there is advice."""
        text = {ADVICE: "\n".join(advice)} if advice else {}
        self.run.log({"images": at.images, **numbers, **text})

    def end(self, run: RunInfo, at: Moment, numbers: Mapping[str, float], status: Status) -> None:
        """What it took; wandb sends what is not sent yet."""
        if numbers:
            self.run.log({"images": at.images, **numbers})
        self.run.finish(exit_code=1 if status == "failed" else 0)


def has_key() -> bool:
    """Whether wandb can log in without asking."""
    if "WANDB_API_KEY" in os.environ:
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", USUAL_HOST)).hostname
    places = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for place in places:  # the second one is what wandb writes on Windows
        with suppress(OSError, netrc.NetrcParseError):
            if netrc.netrc(files.expanded(place)).authenticators(host or "") is not None:
                return True
    return False


TRACKER = WandB
