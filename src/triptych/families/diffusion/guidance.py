"""Classifier-free guidance (arXiv:2207.12598): answers pushed away from those of no class."""

from __future__ import annotations

import torch
from torch import Tensor

from triptych.families.diffusion.conditioning import Conditioning, Groups
from triptych.families.diffusion.denoisers import Denoiser
from triptych.families.diffusion.samplers import Sampling


class CFGDenoiser:
    """(x [B,C,H,W], sigma [B]) -> D(x; null) + w (D(x; labels) - D(x; null)) [B,C,H,W] (eq. 6).

    denoiser:    (x, sigma, labels) -> D(x; labels); called once, on twice the batch
    labels:      shares of the classes, [B,classes+1]
    null_labels: those of images whose class nobody knows, [B,classes+1]
    weight:      w; 1 leaves the class as it was trained, 0 leaves it out
    """

    def __init__(
        self, denoiser: Denoiser, labels: Tensor, null_labels: Tensor, weight: float
    ) -> None:
        self.denoiser = denoiser
        self.labels = torch.cat([labels, null_labels])
        self.weight = weight

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The guided clean image."""
        both = self.denoiser(x.repeat(2, 1, 1, 1), sigma.repeat(2), self.labels)
        conditional, unconditional = both.chunk(2)
        return unconditional + self.weight * (conditional - unconditional)


def note_on_samples(sampling: Sampling, kinds: Conditioning | None) -> str:
    """What must be known of samples that are guided: they are more typical than the data."""
    if kinds is None or sampling.guidance == 1:
        return ""
    whither = "groups found among training images" if isinstance(kinds, Groups) else "their classes"
    return f"guided by {sampling.guidance:g} to {whither}"
