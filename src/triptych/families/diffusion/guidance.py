"""Classifier-free guidance (arXiv:2207.12598): away from the unconditional clean image.

At high noise it makes all samples of a class alike, and at low noise it changes nothing: so it may
be limited to the levels between, where it costs a second call (arXiv:2404.07724).
"""

from __future__ import annotations

import torch
from torch import Tensor

from triptych.families.conditioning import Conditioning, Groups
from triptych.families.diffusion.denoisers import Denoiser
from triptych.families.diffusion.samplers import ALL_LEVELS, Sampling
from triptych.records import Note


class CFGDenoiser:
    """(x [B,C,H,W], sigma [B]) -> D(x; null) + w (D(x; labels) - D(x; null)) [B,C,H,W] (eq. 6).

    denoiser:    (x, sigma, labels) -> D(x; labels); called once, on the batch and once more on
                 those of its images that are guided, in a CUDA graph on all
    labels:      shares of the classes, [B,classes+1]
    null_labels: shares of the unknown class, [B,classes+1]
    weight:      w; 1 leaves the class as it was trained, 0 leaves it out
    guided:      the noise levels with that weight; at others it is 1
    """

    def __init__(
        self,
        denoiser: Denoiser,
        labels: Tensor,
        null_labels: Tensor,
        weight: float,
        guided: tuple[float, float] = ALL_LEVELS,
    ) -> None:
        self.denoiser = denoiser
        self.labels, self.null_labels = labels, null_labels
        self.weight = weight
        self.guided = guided

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The guided clean image."""
        low, high = self.guided
        if not may_pick_rows(x):
            labels = torch.cat([self.labels, self.null_labels])
            count = x.shape[0]
            both = self.denoiser(x.repeat(2, 1, 1, 1), sigma.repeat(2), labels)
            conditional, unconditional = both[:count], both[count:]
            inside = ((sigma >= low) & (sigma <= high)).view(-1, 1, 1, 1)
            guided = torch.lerp(unconditional, conditional, self.weight)
            return torch.where(inside, guided, conditional)
        [rows] = ((sigma >= low) & (sigma <= high)).nonzero(as_tuple=True)
        again = torch.cat([torch.arange(len(x), device=x.device), rows])
        labels = torch.cat([self.labels, self.null_labels[rows]])
        conditional, unconditional = self.denoiser(x[again], sigma[again], labels).split(
            [len(x), len(rows)]
        )
        guided = torch.lerp(unconditional, conditional[rows], self.weight)
        return conditional.index_copy(0, rows, guided)


def may_pick_rows(x: Tensor) -> bool:
    """Whether the host may ask how many they are: not while a graph is recorded, of any kind.

    Nor in training on NVIDIA's GPUs, of which none of our steps waits for the device.
    """
    training = x.is_cuda and not torch.is_inference_mode_enabled()
    return not (training or torch.compiler.is_exporting())


def note_on_samples(sampling: Sampling, conditioning: Conditioning | None) -> Note | None:
    """The note on guided samples, which are more typical than the data; None for others."""
    if conditioning is None or sampling.guidance == 1:
        return None
    groups = isinstance(conditioning, Groups)
    return Note(
        "guided_to_groups" if groups else "guided_to_classes", {"weight": sampling.guidance}
    )
