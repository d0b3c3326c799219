"""log.csv in the run: one number a line, so that its header is the same for every model."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from triptych import files
from triptych.training.callbacks import Moment, RunInfo, Status
from triptych.training.log import MOST_LOG
from triptych.training.trackers import Tracker

FILE = "log.csv"
HEADER = ("images", "seconds", "key", "value")
Row = tuple[str, str, str, str]


class CSV(Tracker):
    """Numbers alone: pictures lie in samples/, sentences in log.jsonl."""

    def start(self, run: RunInfo, at: Moment) -> None:
        """A new file, or the lines up to this moment."""
        path = run.folder / FILE
        kept = [row for row in rows_of(path) if int(row[0]) <= at.images] if at.images else []
        files.write_bytes(path, as_lines([HEADER, *kept]))

    def log(self, run: RunInfo, at: Moment, numbers: Mapping[str, float]) -> None:
        """One line for each number."""
        seconds = f"{at.seconds:.3f}"
        rows = [(str(at.images), seconds, key, f"{value:.9g}") for key, value in numbers.items()]
        files.append_bytes(run.folder / FILE, as_lines(rows))

    def diagnosis(
        self, run: RunInfo, at: Moment, numbers: Mapping[str, float], advice: Sequence[str]
    ) -> None:
        """The same."""
        self.log(run, at, numbers)

    def end(self, run: RunInfo, at: Moment, numbers: Mapping[str, float], status: Status) -> None:
        """The same."""
        self.log(run, at, numbers)


def rows_of(path: Path) -> list[Row]:
    """The lines of such a file; torn ones and none of ours are passed over."""
    try:
        text = files.read_bytes(path, MOST_LOG).decode()
    except (OSError, ValueError):
        return []
    return [
        (row[0], row[1], row[2], row[3])
        for row in csv.reader(io.StringIO(text))
        if len(row) == len(HEADER) and row[0].isdecimal() and len(row[0]) < 19
    ]


def as_lines(rows: Iterable[Sequence[str]]) -> bytes:
    """Rows as they stand in the file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


TRACKER = CSV
