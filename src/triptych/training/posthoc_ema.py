"""Averages of the weights of any width, after training (arXiv:2312.02696, section 3).

Two averages of unlike widths are kept and saved at a few moments. Each is a known weighting of
all past weights; the sum of them that comes nearest to the weighting that is wanted, in least
squares, is nearly the average that would have been kept.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from triptych import files
from triptych.errors import InputError
from triptych.records import AveragedFrom
from triptych.training import tensorfile
from triptych.training.ema import power_exponent
from triptych.training.plan import Plan
from triptych.training.run_folder import WEIGHTS, RunFolder, save_weights
from triptych.training.state import TrainingState

TIMES = 8  # moments, evenly spaced, the last one at the end
WIDEST = 0.289  # of a relative width: an average over all moments alike
MOST_OFF = 0.2  # of a weighting, beyond which it is another one
NAME = re.compile(r"(\d+)-(0\.\d+)\.safetensors")


@dataclass(frozen=True)
class Saved:
    """One average at one moment: its position in training, its relative width, its file."""

    position: int
    width: float
    path: Path


class Keeper:
    """Saves the averages of one run at its moments; called after each round."""

    def __init__(self, state: TrainingState, folder: RunFolder, plan: Plan, writes: bool) -> None:
        self.state, self.folder, self.plan, self.writes = state, folder, plan, writes

    def forget_later(self) -> None:
        """Remove what a training saved beyond the moment that it went back to."""
        if not self.writes or self.state.phase > 0:
            return
        now = round(self.plan.position(self.state.seen))
        for path in self.folder.averages.glob("*.safetensors"):
            match = NAME.fullmatch(path.name)
            if match and int(match[1]) > now:
                path.unlink()

    def __call__(self, before: int) -> None:
        """Save both where a moment was passed since `before` images."""
        state = self.state
        if not self.writes or state.phase > 0 or state.ema_wide is None or state.ema is None:
            return
        if not self.plan.ended(before, state.seen, TIMES):
            return
        files.make_folder(self.folder.averages)
        position = round(self.plan.position(state.seen))
        for average in (state.ema, state.ema_wide):
            path = self.folder.averages / f"{position:09d}-{average.width:g}.safetensors"
            save_weights(path, {k: halved(t) for k, t in average.state.items()}, {})


def halved(tensor: Tensor) -> Tensor:
    """In half precision where that holds it: half the file, and less than its sum's own error."""
    half = tensor.half()
    return half if tensor.is_floating_point() and half.isfinite().all() else tensor


def inner_products(
    times: NDArray[np.float64],
    exponents: NDArray[np.float64],
    other_times: NDArray[np.float64],
    other_exponents: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Of two weightings (g + 1) t^g / T^(g+1) on [0, T], each with each, in closed form."""
    a, b = times[:, None], other_times[None]
    g, h = exponents[:, None], other_exponents[None]
    first = np.minimum(a, b)
    powers = (first / a) ** (g + 1) * (first / b) ** (h + 1) / first
    return (g + 1) * (h + 1) / (g + h + 1) * powers


def coefficients(
    positions: NDArray[np.float64], widths: NDArray[np.float64], wanted: float
) -> tuple[NDArray[np.float64], float]:
    """What to multiply each saved average with, [K]; and how far the sum's weighting is off.

    The factors that come nearest in least squares (arXiv:2312.02696, section 3.2 and appendix C)
    among those that sum to 1, by a Lagrange multiplier: weights that never moved stay as they are.
    The latter is a norm of the difference over that of the weighting that is wanted.
    """
    exponents = np.array([power_exponent(width) for width in widths])
    end, exponent = np.array([positions.max()]), np.array([power_exponent(wanted)])
    among = inner_products(positions, exponents, positions, exponents)
    with_wanted = inner_products(positions, exponents, end, exponent)[:, 0]
    own = inner_products(end, exponent, end, exponent).item()
    ones = np.ones((len(positions), 1))
    bordered = np.block([[among / own, ones], [ones.T, np.zeros((1, 1))]])
    solved = np.linalg.lstsq(bordered, np.append(with_wanted / own, 1.0), rcond=1e-12)[0]
    factors = solved[:-1].astype(np.float64)
    left = float(own - 2 * factors @ with_wanted + factors @ among @ factors)
    return factors, math.sqrt(max(left, 0.0) / own)


def saved_averages(folder: RunFolder) -> list[Saved]:
    """All of a run; InputError where there are too few to make another one of."""
    saved = []
    for path in sorted(folder.averages.glob("*.safetensors")):
        match = NAME.fullmatch(path.name)
        if match:
            saved.append(Saved(int(match[1]), float(match[2]), path))
    if len(saved) < 2:
        raise InputError(
            f"{folder.path} kept no averages to make another one of",
            "train with a ema_wide, as the diffusion recipes do",
        )
    return saved


def averaged(folder: RunFolder, width: float, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights averaged at a relative width, in the types of the run's own.

    What is no floating-point number, and what did not move while averages were saved (statistics of
    the data, and what is trained or fitted once they are), is the run's own.

    InputError where the files are not those of such a model, or cannot make such a width.
    """
    saved = saved_averages(folder)
    positions = np.array([one.position for one in saved], dtype=np.float64)
    factors, off = coefficients(positions, np.array([one.width for one in saved]), width)
    if off > MOST_OFF:
        raise InputError(
            f"the averages kept make none of width {width:g} ({off:.0%} off)",
            "ask for one between those",
        )
    total = {
        name: torch.zeros_like(t, dtype=torch.float64, device="cpu") for name, t in like.items()
    }
    first: dict[str, Tensor] = {}
    moved: set[str] = set()
    for one, factor in zip(saved, factors.tolist(), strict=True):
        try:
            tensors = tensorfile.read(one.path)
        except tensorfile.DAMAGE as error:
            raise InputError(f"{one.path} is damaged", "train the model again") from error
        if {k: t.shape for k, t in tensors.items()} != {k: t.shape for k, t in like.items()}:
            raise InputError(f"{one.path} is of another model", "train the model again")
        first = first or tensors
        moved |= {name for name, t in tensors.items() if not torch.equal(t, first[name])}
        for name, tensor in tensors.items():
            total[name] += factor * tensor.double()
    return {
        name: total[name].to(own.dtype)
        if own.is_floating_point() and name in moved
        else own.clone()
        for name, own in like.items()
    }


def write_run(folder: RunFolder, out: RunFolder, width: float, weights: dict[str, Tensor]) -> None:
    """A finished run of its own with these weights; its averages stay with the first one."""
    record = folder.read()
    settings = record.settings | {"ema": width}
    metadata = {
        "triptych": json.dumps(
            json.loads(tensorfile.look(folder.weights)[1]["triptych"]) | {"settings": settings},
            sort_keys=True,
        )
    }
    files.make_folder(out.path)
    digest = save_weights(out.weights, weights, metadata)
    origin = AveragedFrom(run=folder.path.name, digests=record.digests)
    out.write(replace(record, settings=settings, digests={WEIGHTS: digest}, averaged_from=origin))
