"""Another average of a trained run's weights: of a width that is asked for, or the best of some."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from triptych import hardware
from triptych.console import QUIET, Console
from triptych.data.dataset import ImageData
from triptych.errors import InputError
from triptych.hardware import Machine
from triptych.reading import run_data
from triptych.run import Run
from triptych.training import posthoc_ema
from triptych.training.run_folder import RunFolder
from triptych.training.snapshots import scorer

WIDTHS = (0.04, 0.05, 0.07, 0.1, 0.13, 0.16, 0.2)
SCORED = 500  # samples of each


@dataclass(frozen=True)
class Averaged:
    """run:    the folder that was written
    width:  of the average that it uses
    scores: kernel distances to validation images by width, where widths were compared
    """

    run: Path
    width: float
    scores: dict[float, float]


def average(
    run: Path | str,
    out: Path | str,
    width: float | None = None,
    *,
    data: str | ImageData | None = None,
    machine: Machine | None = None,
    console: Console = QUIET,
) -> Averaged:
    """Write a run with the weights of `run` averaged at another relative width.

    width: the deviation of the average's moments as a share of the training; None compares some
           of them by their samples' kernel distance to the validation images of `data`, the
           run's own by default
    InputError where the run kept no averages, or they make none of this width.
    """
    machine = machine or hardware.pick()
    source, target = Run(run, machine), RunFolder(Path(out))
    if target.path.exists():
        raise InputError(f"{target.path} is there already", "name a new folder")
    if width is not None and not 0 < width < posthoc_ema.WIDEST:
        raise InputError(f"--width {width:g} is no share of a training", "give 0.02 to 0.25")
    scores: dict[float, float] = {}
    if width is None:
        scores = compare_widths(source, data, machine, console)
        width = min(scores, key=scores.__getitem__)
    weights = posthoc_ema.averaged(source.folder, width, source.model.state_dict())
    posthoc_ema.write_run(source.folder, target, width, weights)
    return Averaged(target.path, width, scores)


def compare_widths(
    source: Run, data: str | ImageData | None, machine: Machine, console: Console
) -> dict[float, float]:
    """The score of each width, with the same noise; the model ends with its own weights."""
    opened = run_data(source, data, None, console)
    score = scorer(opened, source.labels)
    if score is None:
        raise InputError("there are too few validation images to compare by", "give --width")
    own = {name: tensor.clone() for name, tensor in source.model.state_dict().items()}
    found = {}
    with console.bar("  comparing", len(WIDTHS)) as bar:
        for number, width in enumerate(WIDTHS, start=1):
            source.model.load_state_dict(posthoc_ema.averaged(source.folder, width, own))
            found[width] = score(source.model, SCORED, machine)
            bar.update(number)
    source.model.load_state_dict(own)
    return found
