"""What both sides of `peers.py` share: the images, the peers' networks, and what a side is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

BATCH, COUNT, SIDE = 64, 6_400, 32
STEPS_OF_DDPM = 1000
LATENT = 32  # of the VAEs
NETWORK_CALLS = 9  # to sample one batch; odd, because Heun's method takes two per step but one


@dataclass(frozen=True)
class Worker:
    """One side of a case, ready to work.

    turn:    n -> take n training steps, or draw n batches
    network: what is trained or sampled from
    inputs:  a batch of one, to count its operations, where it takes (image, step)
    ran:     in words
    """

    turn: Callable[[int], None]
    network: nn.Module
    ran: str
    inputs: tuple[Tensor, ...] | None = None

    def facts(self) -> dict[str, Any]:
        """Parameters, operations of one forward pass of one image, digest of the weights."""
        found: dict[str, Any] = {
            "ran": self.ran,
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "weights": digest(self.network),
        }
        if self.inputs is not None:
            from torch.utils.flop_counter import FlopCounterMode

            with FlopCounterMode(display=False) as counted, torch.no_grad():
                self.network(*self.inputs)
            found["gflops_of_a_forward_pass"] = round(counted.get_total_flops() / 1e9, 3)
        return found


def digest(network: nn.Module) -> str:
    """SHA-256 of all weights, by order; statistics of batches may have moved by a trial run."""
    found = hashlib.sha256()
    for tensor in network.parameters():
        found.update(tensor.detach().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def noise_images() -> Tensor:
    """The same random images for everyone: uint8 [N,3,32,32]."""
    rng = torch.Generator().manual_seed(0)
    return torch.randint(256, (COUNT, 3, SIDE, SIDE), dtype=torch.uint8, generator=rng)


def one_image() -> tuple[Tensor, Tensor]:
    """An image and a step for a noise predictor."""
    return torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, dtype=torch.long)


def declare_torchvision() -> torch.library.Library:
    """Let torchvision be imported beside a torch without its compiled operators.

    Two peers import it and use of it what is written in Python. Keep the result: the
    declarations live as long.
    """
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    return library


TORCHVISION = declare_torchvision()


def unet2d() -> nn.Module:
    """diffusers' UNet2DModel, its blocks as in the DDPM for CIFAR-10, half as wide."""
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=SIDE,
        block_out_channels=(64, 128, 128, 128),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )


def unet_of_denoising() -> nn.Module:
    """denoising-diffusion-pytorch's Unet of its README, half as wide."""
    from denoising_diffusion_pytorch import Unet

    torch.manual_seed(0)
    return Unet(32, dim_mults=(1, 2, 4, 8))


def vae_of_pythae() -> Any:
    """pythae's VAE with its convolutional networks for CIFAR."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.nn.benchmarks.cifar import Decoder_Conv_AE_CIFAR, Encoder_Conv_VAE_CIFAR

    torch.manual_seed(0)
    config = VAEConfig(input_dim=(3, SIDE, SIDE), latent_dim=LATENT)
    return VAE(
        config, encoder=Encoder_Conv_VAE_CIFAR(config), decoder=Decoder_Conv_AE_CIFAR(config)
    )
