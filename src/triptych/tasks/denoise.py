"""Images at noise levels: what a network makes of them there, and the path to noise and back."""

from __future__ import annotations

import torch
from torch import Tensor

from triptych import images
from triptych.families.capabilities import EncodesByPath, Iterative
from triptych.hardware import Machine
from triptych.seeding import ImageStreams
from triptych.tasks import shared


def denoise(
    model: Iterative, originals: Tensor, sigma: float, seed: int, machine: Machine
) -> Tensor:
    """Each image with noise, and the clean image that the network expects: uint8 [N,2,C,H,W].

    originals: uint8 [N,C,H,W]
    sigma:     deviation of the noise, on [-1, 1]; an image's noise is the same at every level

    The noisy image x + sigma * noise is shown divided by sqrt(1 + sigma^2), as trajectories are:
    without that most pixels of a high level would lie beyond black and white.
    """

    def both(numbers: range) -> Tensor:
        rng = ImageStreams(seed, "denoise", numbers, machine.device)
        x = images.to_float(originals[numbers.start : numbers.stop].to(machine.device))
        noisy = x + sigma * rng.normal(*x.shape[1:])
        shown = [noisy / (1 + sigma**2) ** 0.5, model.denoised(noisy, sigma)]
        return torch.stack([images.to_uint8(each) for each in shown], dim=1)

    return shared(both, len(originals), machine)


def round_trip(
    model: Iterative, originals: Tensor, points: int, seed: int, machine: Machine
) -> Tensor:
    """States from each image up to its noise, and from there down to the image's reconstruction.

    uint8 [N,C,H,W] -> uint8 [N,2*points-1,C,H,W]; the noise is in the middle.
    """
    assert isinstance(model, EncodesByPath)
    decoder = model.deterministic(inverting=True)

    def states(numbers: range) -> Tensor:
        rng = ImageStreams(seed, "reconstruct", numbers, machine.device)
        x = images.to_float(originals[numbers.start : numbers.stop].to(machine.device))
        up, latent = model.path_up(x, points)
        down = decoder.trajectory(latent, rng, points)
        return images.to_uint8(torch.cat([up, down[:, 1:]], dim=1))

    return shared(states, len(originals), machine)
