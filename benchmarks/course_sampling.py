"""What samplers of the practical's DDPM leave out, exactly, where the data are Gaussian.

    python benchmarks/course_sampling.py [--data street-digits] --out JSON

Of Gaussian data the best denoiser is known, and every sampler scales each principal direction by
itself, so what it makes is known as well: the squared 2-Wasserstein distance between that and the
data, over the data's variance. The covariance is that of the pixels of training images.
"""

from __future__ import annotations

import argparse
import json
import math
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from triptych import images
from triptych.data.open import open_images
from triptych.families.diffusion.samplers import SAMPLERS, SamplerState, sample_loop
from triptych.families.diffusion.schedule import linear_beta_sigmas, spaced_sigmas
from triptych.options import DataOptions
from triptych.seeding import ImageStreams

MOST = 5000  # training images
TRIED = [
    ("ancestral", 1000), ("ancestral", 25), ("ddim", 25), ("ddim", 50),
    ("dpm-solver++", 10), ("dpm-solver++", 25), ("dpm-solver++", 50), ("heun", 13),
]  # fmt: skip


def ancestral_variances(variances: Tensor, levels: list[float], start: float) -> Tensor:
    """Of what the ancestral sampler makes of each direction, in closed form: [D]."""
    made = torch.full_like(variances, start**2)
    for sigma, lower in pairwise(levels):
        fresh = lower * math.sqrt(max(0.0, 1 - (lower / sigma) ** 2))
        kept = math.sqrt(lower**2 - fresh**2)
        clean = variances / (variances + sigma**2)
        made = (clean + kept / sigma * (1 - clean)) ** 2 * made + fresh**2
    return made


def left_out(name: str, steps: int, variances: Tensor, table: Tensor) -> float:
    """Share of the data's variance by which a sampler's images differ."""
    levels, start = spaced_sigmas(table, steps).tolist(), (1 + table[-1] ** 2).sqrt().item()
    if name == "ancestral":
        made = ancestral_variances(variances, levels, start).sqrt()
    else:

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return x * (variances / (variances + sigma[0] ** 2)).view(1, 1, 1, -1)

        state = SamplerState(denoise, ImageStreams(0, "none", ()), steps=steps)
        x = torch.full((1, 1, 1, len(variances)), start, dtype=torch.float64)
        made = sample_loop(SAMPLERS[name].step, state, x, levels)[-1].flatten().abs()
    return ((made - variances.sqrt()).square().sum() / variances.sum()).item()


def main() -> None:
    """Write the shares as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="street-digits")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    data = open_images(asked.data, DataOptions())
    x = images.to_float(data.train.choose(MOST, "course sampling").images).double().flatten(1)
    variances = torch.linalg.eigvalsh(torch.cov(x.T)).clamp(min=0)
    table = linear_beta_sigmas(1000, 1e-4, 0.02)
    shares = {
        f"{name}, {steps}": round(left_out(name, steps, variances, table), 7)
        for name, steps in TRIED
    }
    found = {"data": data.name, "images": len(x), "share_of_variance_left_out": shares}
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
