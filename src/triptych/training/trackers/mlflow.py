"""MLflow: a run in the database RUN/trackers/mlflow.db, or where MLFLOW_TRACKING_URI says.

MLflow no longer takes folders of files as a store unless it is told to; SQLite needs SQLAlchemy and
Alembic, which `mlflow-skinny` leaves out and `mlflow` has.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
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
from triptych.training.trackers import PROJECT, Tracker, kept_name, name_for, own_folder

URI = "MLFLOW_TRACKING_URI"
STATUSES = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
LONGEST = 5_000  # letters of a tag


class MLflow(Tracker):
    """A run of its own. The step is images seen."""

    imports: ClassVar[tuple[str, ...]] = ("mlflow.tracking",)

    def __init__(self) -> None:
        self.client: Any = None
        self.own = ""

    @classmethod
    def needed(cls) -> tuple[str, ...]:
        """A database of our own takes two packages more."""
        return cls.imports if URI in os.environ else (*cls.imports, "sqlalchemy", "alembic")

    def start(self, run: RunInfo, at: Moment) -> None:
        """Begin, or go on under the identifier that the run's folder keeps."""
        from mlflow.tracking import MlflowClient

        here = own_folder(run).absolute()
        uri = os.environ.get(URI, f"sqlite:///{(here / 'mlflow.db').as_posix()}")
        for name in ("mlflow.store.db.utils", "alembic"):  # they tell of every table they make
            logging.getLogger(name).setLevel(logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of SQLAlchemy, about how MLflow uses it
            self.client = MlflowClient(tracking_uri=uri)
            server = os.environ.get(URI, "")  # else the database beside what is kept
            self.own, kept = kept_name(run, "mlflow", lambda: self.begin(run), server)
            if kept:
                self.client.update_run(self.own, status="RUNNING")

    def begin(self, run: RunInfo) -> str:
        """The identifier of a new run, in an experiment that is made where there is none."""
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            pictures = (own_folder(run) / "mlflow").absolute().as_uri()
            own = None if URI in os.environ else pictures
            number = self.client.create_experiment(name, artifact_location=own)
        else:
            number = experiment.experiment_id
        begun = self.client.create_run(number, run_name=name_for(run))
        values = hyperparameters(run.record).items()
        parameters = [Param(key, str(value)) for key, value in values]
        self.client.log_batch(begun.info.run_id, params=parameters)
        return str(begun.info.run_id)

    def log(self, run: RunInfo, at: Moment, numbers: Mapping[str, float]) -> None:
        """All numbers at once."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(key, value, now, at.images) for key, value in numbers.items()]
        self.client.log_batch(self.own, metrics=metrics)

    def samples(self, run: RunInfo, at: Moment, grid: Grid) -> None:
        """A picture among the run's artifacts."""
        path = f"{SAMPLES}/{at.images:09d}.png"
        self.client.log_image(self.own, to_pil(grid.pixels), artifact_file=path)

    def diagnosis(
        self, run: RunInfo, at: Moment, numbers: Mapping[str, float], advice: Sequence[str]
    ) -> None:
        """Numbers, and the latest advice as a tag."""
        if advice:
            self.client.set_tag(self.own, ADVICE, "\n".join(advice)[:LONGEST])
        self.log(run, at, numbers)

    def end(self, run: RunInfo, at: Moment, numbers: Mapping[str, float], status: Status) -> None:
        """What it took, and how it ended."""
        self.log(run, at, numbers)
        self.client.set_terminated(self.own, STATUSES[status])


TRACKER = MLflow
