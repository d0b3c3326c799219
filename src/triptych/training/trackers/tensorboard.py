"""TensorBoard: event files in RUN/tensorboard, for `tensorboard --logdir`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from triptych.images import Grid
from triptych.training.callbacks import (
    ADVICE,
    CONFIG,
    SAMPLES,
    Moment,
    RunInfo,
    Status,
    hyperparameters,
)
from triptych.training.trackers import Tracker

FOLDER = "tensorboard"


class TensorBoard(Tracker):
    """PyTorch's own writer. The step is images seen."""

    imports: ClassVar[tuple[str, ...]] = ("torch.utils.tensorboard",)

    def __init__(self) -> None:
        self.writer: Any = None

    def start(self, run: RunInfo, at: Moment) -> None:
        """A writer; where it goes on, TensorBoard forgets what came after this moment."""
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        purge = at.images + 1 if at.images else 0
        self.writer = SummaryWriter(str(run.folder / FOLDER), purge_step=purge)
        if at.images == 0:
            values = hyperparameters(run.record)
            for summary in hparams(values, {})[:2]:  # type: ignore[no-untyped-call]
                self.writer.file_writer.add_summary(summary)
            code = json.dumps(values, indent=1).replace("\n", "\n    ")
            self.writer.add_text(CONFIG, f"    {code}", 0)
        self.writer.flush()

    def log(self, run: RunInfo, at: Moment, numbers: Mapping[str, float]) -> None:
        """A scalar for each number."""
        for key, value in numbers.items():
            self.writer.add_scalar(key, value, at.images)
        self.writer.flush()

    def samples(self, run: RunInfo, at: Moment, grid: Grid) -> None:
        """A picture."""
        self.writer.add_image(SAMPLES, grid.pixels.cpu().numpy(), at.images)
        self.writer.flush()

    def diagnosis(
        self, run: RunInfo, at: Moment, numbers: Mapping[str, float], advice: Sequence[str]
    ) -> None:
        """Scalars, and a text where there is advice."""
        if advice:
            self.writer.add_text(ADVICE, "  \n".join(advice), at.images)
        self.log(run, at, numbers)

    def end(self, run: RunInfo, at: Moment, numbers: Mapping[str, float], status: Status) -> None:
        """What it took; the file is closed."""
        self.log(run, at, numbers)
        self.writer.close()


TRACKER = TensorBoard
