"""Classifier-free guidance (arXiv:2207.12598): away from the unconditional clean image."""

from __future__ import annotations

import torch
from torch import Tensor

from triptych.families.conditioning import Conditioning, Groups
from triptych.families.diffusion.denoisers import Denoiser
from triptych.families.diffusion.samplers import Sampling
from triptych.records import Note


class CFGDenoiser:
    """(x [B,C,H,W], sigma [B]) -> D(x; null) + w (D(x; labels) - D(x; null)) [B,C,H,W] (eq. 6).

    denoiser:    (x, sigma, labels) -> D(x; labels); called once, on twice the batch
    labels:      shares of the classes, [B,classes+1]
    null_labels: shares of the unknown class, [B,classes+1]
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


def note_on_samples(sampling: Sampling, conditioning: Conditioning | None) -> Note | None:
    """The note on guided samples, which are more typical than the data; None for others."""
    if conditioning is None or sampling.guidance == 1:
        return None
    groups = isinstance(conditioning, Groups)
    return Note(
        "guided_to_groups" if groups else "guided_to_classes", {"weight": sampling.guidance}
    )
