"""A generator and a discriminator of residual blocks without norms (arXiv:2501.05441, section 4).

Each stage is one resolution: a change of resolution and width, then residual blocks. Blocks begin
as the identity, with first weights small enough for their number (arXiv:1901.09321).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.nn.convnets import LEAK
from triptych.nn.dcgan import stage_widths

LAYERS = 3  # of a block
GAIN = (2 / (1 + LEAK**2)) ** 0.5  # of LeakyReLU: keeps the second moment


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """Sizes that the generator and the discriminator share.

    width:  channels of the two finest stages; they double with each halving, up to `most`
    blocks: of each stage
    expand: channels inside a block over those outside
    group:  channels that a block's 3x3 convolution mixes
    """

    width: int = 32
    most: int = 128
    blocks: int = 1
    expand: float = 1.0
    group: int = 16

    def __post_init__(self) -> None:
        if min(self.width, self.most, self.blocks, self.group) < 1 or self.expand <= 0:
            raise ValueError(f"sizes of networks must be positive: {self}")

    def widths(self, resolution: int) -> list[int]:
        """Channels at 4x4, 8x8, ... up to the resolution."""
        return [min(self.most, w) for w in (*stage_widths(resolution, self.width), self.width)]

    def stages(self, widths: list[int]) -> nn.ModuleList:
        """Blocks for each width: [B,width,side,side] -> the same."""
        stages = []
        for width in widths:
            groups = max(1, round(width * self.expand / self.group))
            sizes = width, groups * self.group, groups, self.blocks * len(widths)
            blocks = (ResidualBlock(*sizes) for _ in range(self.blocks))
            stages.append(nn.Sequential(*blocks))
        return nn.ModuleList(stages)


def scaled(layer: nn.Conv2d | nn.Linear, gain: float) -> nn.Conv2d | nn.Linear:
    """The layer with weights N(0, gain^2 / inputs) and biases 0."""
    inputs = layer.weight[0].numel()
    with torch.no_grad():
        layer.weight.normal_(0, gain / inputs**0.5)
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


class ResidualBlock(nn.Module):
    """x + (1x1, 3x3 in groups, 1x1 convolutions, LeakyReLU before the last two).

    inner:  channels between
    groups: of the 3x3 convolution
    blocks: of the network: L in the first weights' factor L^(-1/(2m - 2)), m = 3
    """

    def __init__(self, width: int, inner: int, groups: int, blocks: int) -> None:
        super().__init__()
        gain = GAIN * blocks ** (-1 / (2 * LAYERS - 2))
        self.widen = scaled(nn.Conv2d(width, inner, 1), gain)
        self.mix = scaled(nn.Conv2d(inner, inner, 3, padding=1, groups=groups, bias=False), gain)
        self.narrow = scaled(nn.Conv2d(inner, width, 1, bias=False), 0.0)
        self.bias = nn.Parameter(torch.zeros(inner, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> the same."""
        h = F.leaky_relu(self.widen(x), LEAK)
        h = F.leaky_relu(self.mix(h) + self.bias, LEAK)
        return x + self.narrow(h)


class ResidualGenerator(nn.Module):
    """z [B,D] -> [B,C,H,W]; nothing squashes the output.

    The first picture is a learned one whose channels z scales. Doublings are bilinear.
    classes: for a conditional network, by D further inputs beside z (arXiv:1411.1784)
    """

    def __init__(
        self,
        latent: int,
        channels: int,
        resolution: int,
        backbone: Backbone,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        widths = backbone.widths(resolution)
        self.label = None if classes is None else nn.Linear(classes + 1, latent, bias=False)
        inputs = latent if classes is None else 2 * latent
        self.first = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.scale = scaled(nn.Linear(inputs, widths[0]), 1.0)
        self.stages = backbone.stages(widths)
        self.changes = nn.ModuleList(
            scaled(nn.Conv2d(a, b, 1, bias=False), 1.0) for a, b in pairwise(widths)
        )
        self.last = scaled(nn.Conv2d(widths[-1], channels, 1), 0.3)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z [B,D], shares of the classes [B,classes+1] -> [B,C,H,W]."""
        if self.label is not None and labels is not None:
            z = torch.cat([z, self.label(labels)], dim=1)
        x = self.stages[0](self.first * self.scale(z)[:, :, None, None])
        for change, stage in zip(self.changes, self.stages[1:], strict=True):
            x = F.interpolate(change(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = stage(x)
        return self.last(x)


class ResidualDiscriminator(nn.Module):
    """The generator's mirror image: [B,C,H,W] -> score [B].

    Halvings are means of 2x2 pixels. The last picture is summed channel by channel with learned
    weights; a conditional discriminator projects those sums on the label (arXiv:1802.05637, eq. 3).
    """

    def __init__(
        self,
        channels: int,
        resolution: int,
        backbone: Backbone,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        widths = backbone.widths(resolution)[::-1]
        self.first = scaled(nn.Conv2d(channels, widths[0], 1), 1.0)
        self.stages = backbone.stages(widths)
        self.changes = nn.ModuleList(
            scaled(nn.Conv2d(a, b, 1, bias=False), 1.0) for a, b in pairwise(widths)
        )
        self.sums = scaled(nn.Conv2d(widths[-1], widths[-1], 4, groups=widths[-1], bias=False), 1.0)
        self.head = scaled(nn.Linear(widths[-1], 1, bias=False), 1.0)
        self.label = None
        if classes is not None:
            self.label = scaled(nn.Linear(classes + 1, widths[-1], bias=False), 1.0)

    def features(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,F]."""
        x = self.stages[0](self.first(x))
        for change, stage in zip(self.changes, self.stages[1:], strict=True):
            x = stage(change(F.avg_pool2d(x, 2)))
        return (x * self.sums.weight[:, 0]).sum((2, 3))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """[B,C,H,W], shares of the classes [B,classes+1] -> [B]."""
        features = self.features(x)
        score = self.head(features).flatten()
        if self.label is None or labels is None:
            return score
        return score + (self.label(labels) * features).mean(1)
