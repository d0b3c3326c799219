"""Real images of one data set, and what models for it are measured by in these benchmarks.

Distances and shares are on the features of the data's classifier, against the validation part.
`near_training` is the share of samples within a few grey levels of a training image, to be read
beside that of validation images.
"""

from __future__ import annotations

import io
import math
from typing import Any

import torch
from torch import Tensor

from triptych import images
from triptych.console import Console
from triptych.data.dataset import ImageData
from triptych.evaluation import classifier
from triptych.hardware import Machine
from triptych.metrics.frechet_distance import frechet_distance
from triptych.metrics.intervals import Estimate
from triptych.metrics.kernel_distance import kernel_distance
from triptych.metrics.labels import label_balance, recognisable
from triptych.metrics.prdc import neighbours
from triptych.metrics.reconstruction import reconstruction_psnr, reconstruction_ssim
from triptych.metrics.sharpness import sharpness

SAMPLES = 2000
MEASURED = 1024  # validation images at most
NEAR = 5.0  # grey levels


def brief(estimate: Estimate) -> dict[str, float]:
    """A number and its interval."""
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


class Yardstick:
    """The real images of one data set, and all that is measured against them."""

    def __init__(self, data: ImageData, machine: Machine) -> None:
        self.data, self.machine = data, machine
        self.real = data.validation.choose(MEASURED, "validation").images
        self.network = classifier.classifier_for(data, machine, Console())
        self.reading = classifier.read(self.network, data.validation.images, machine)
        self.train = data.train.images.float().flatten(1)

    def samples(self, drawn: Tensor) -> dict[str, Any]:
        """Of uint8 samples."""
        found = classifier.read(self.network, drawn, self.machine)
        real = self.reading
        return {
            "frechet_distance": brief(frechet_distance(found.features, real.features)),
            "kernel_distance": brief(kernel_distance(found.features, real.features)),
            **{
                name: share.value
                for name, share in vars(neighbours(real.features, found.features)).items()
            },
            "recognisable": brief(recognisable(found.probabilities)),
            "label_balance": brief(label_balance(found.probabilities, real.probabilities)),
            "sharpness": brief(sharpness(drawn, self.real)),
            "near_training": self.near_training(drawn),
        }

    def near_training(self, drawn: Tensor) -> float:
        """Share of images within NEAR grey levels, root-mean-square, of a training image."""
        chunks = torch.split(drawn.float().flatten(1), 100)
        nearest = torch.cat([torch.cdist(chunk, self.train).amin(1) for chunk in chunks])
        return (nearest / self.train.shape[1] ** 0.5 < NEAR).float().mean().item()

    def reconstructions(self, found: Tensor) -> dict[str, Any]:
        """Of what became of the validation images."""
        return {
            "reconstruction_psnr": brief(reconstruction_psnr(self.real, found)),
            "reconstruction_ssim": brief(reconstruction_ssim(self.real, found)),
        }

    def webp_bits_per_dim(self) -> float:
        """Lossless WebP of one mosaic, best effort."""
        side = math.isqrt(len(self.real))
        mosaic = images.to_pil(images.grid(self.real[: side**2], side, gap=0).pixels)
        buffer = io.BytesIO()
        mosaic.save(buffer, "WEBP", lossless=True, quality=100, method=6)
        return 8 * buffer.tell() / self.real[: side**2].numel()
