"""The deep-convolutional generator and discriminator of DCGAN (arXiv:1511.06434)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from triptych.nn.convnets import LEAK


def stage_widths(resolution: int, width: int) -> tuple[int, ...]:
    """Channels at 4x4, 8x8, ... up to half the resolution: 256, 128, 64 at 32x32."""
    stages = (resolution // 4).bit_length() - 1
    return tuple(width * 2**i for i in reversed(range(stages)))


class FirstPicture(nn.ConvTranspose2d):
    """The transposed convolution of one pixel, as the matrix product that it is: [B,D] -> 4x4."""

    def __init__(self, latent: int, outputs: int) -> None:
        super().__init__(latent, outputs, 4, bias=False)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """z [B,D] -> [B,C,4,4]."""
        return (input @ self.weight.flatten(1)).view(-1, *self.weight.shape[1:])


class LastPicture(nn.Conv2d):
    """The 4x4 convolution of a 4x4 picture, as the matrix product that it is: -> logit [B]."""

    def __init__(self, inputs: int) -> None:
        super().__init__(inputs, 1, 4, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """[B,C,4,4] -> [B]."""
        return input.flatten(1) @ self.weight.flatten()


class DCGANGenerator(nn.Module):
    """Transposed convolutions, BatchNorm, ReLU; Tanh at the end: z [B,D] -> [B,C,H,W]."""

    def __init__(self, latent: int, channels: int, resolution: int, width: int) -> None:
        super().__init__()
        widths = stage_widths(resolution, width)
        stages: list[nn.Module] = [
            FirstPicture(latent, widths[0]),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        for inputs, outputs in pairwise(widths):
            stages += [
                nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        stages += [nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1, bias=False), nn.Tanh()]
        self.stages = nn.Sequential(*stages)
        self.apply(initialize)

    def forward(self, z: Tensor) -> Tensor:
        """z [B,D] -> [B,C,H,W] on [-1, 1]."""
        return self.stages(z)


class DCGANDiscriminator(nn.Module):
    """Strided convolutions, LeakyReLU, BatchNorm but on the first: [B,C,H,W] -> logit [B]."""

    def __init__(self, channels: int, resolution: int, width: int) -> None:
        super().__init__()
        widths = stage_widths(resolution, width)[::-1]
        stages: list[nn.Module] = [
            nn.Conv2d(channels, widths[0], 4, 2, 1, bias=False),
            nn.LeakyReLU(LEAK),
        ]
        for inputs, outputs in pairwise(widths):
            stages += [
                nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(LEAK),
            ]
        self.stages = nn.Sequential(*stages, LastPicture(widths[-1]))
        self.apply(initialize)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B]."""
        return self.stages(x)


def initialize(module: nn.Module) -> None:
    """Weights N(0, 0.02), BatchNorm's scale N(1, 0.02) (arXiv:1511.06434, section 4)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
