"""A small U-Net on patches: cheap enough to train in a minute on two cores.

Patches of the image become channels, so the widest layers never see the full resolution;
skips are added, not concatenated; every residual block is scaled and shifted by the noise level.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.nn.blocks import GroupNorm, by_regions, prefers_fused_attention

GROUPS = 8
HEAD_WIDTH = 32
FREQUENCIES = 32  # sines and as many cosines of the noise level

M = TypeVar("M", nn.Conv2d, nn.Linear)


class LevelEmbedding(nn.Module):
    """Noise level -> features, through sines of geometric frequencies and an MLP: [B] -> [B,E]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        frequencies = torch.linspace(math.log(0.5), math.log(32.0), FREQUENCIES).exp()
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.frequencies: Tensor
        self.mlp = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )

    def forward(self, level: Tensor) -> Tensor:
        """level [B] -> [B,E]."""
        angles = level[:, None].float() * self.frequencies
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=1))


class ModulatedBlock(nn.Module):
    """Residual block whose second norm is scaled and shifted by the level (arXiv:2105.05233).

    The last convolution and the modulation start at zero, so the block starts as the identity.
    """

    def __init__(self, channels: int, embedding: int, attention: bool) -> None:
        super().__init__()
        self.first_norm = GroupNorm(GROUPS, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second_norm = GroupNorm(GROUPS, channels)
        self.second = zero(nn.Conv2d(channels, channels, 3, padding=1))
        self.modulation = zero(nn.Linear(embedding, 2 * channels))
        self.attention = PixelAttention(channels) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x [B,C,H,W], embedding [B,E] -> [B,C,H,W]."""
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.first(F.silu(self.first_norm(x)))
        h = self.second(F.silu(self.second_norm(h) * (1 + scale) + shift))
        return self.attention(x + h)


class PixelAttention(nn.Module):
    """Softmax attention over all pixels (arXiv:1706.03762), residual, zero at the start.

    On CPUs it is two batched products: for so few pixels PyTorch's fused kernel is 4 to 8 times
    slower there.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        most = max(1, channels // HEAD_WIDTH)
        self.heads = next(heads for heads in range(most, 0, -1) if channels % heads == 0)
        self.norm = GroupNorm(GROUPS, channels)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.to_out = zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C,H,W]."""
        batch, channels, height, width = x.shape
        head_width = channels // self.heads
        qkv = self.to_qkv(self.norm(x)).view(batch, 3, self.heads, head_width, height * width)
        if prefers_fused_attention(x):
            q, k, v = qkv.mT.contiguous().unbind(1)  # [B,heads,H*W,head_width]
            out = F.scaled_dot_product_attention(q, k, v).mT.contiguous()
        else:
            q, k, v = (part.flatten(0, 1) for part in qkv.unbind(1))  # [B*heads,head_width,H*W]
            weights = torch.bmm(q.transpose(1, 2) * head_width**-0.5, k).softmax(dim=-1)
            out = torch.bmm(v, weights.transpose(1, 2))
        return x + self.to_out(out.view(batch, channels, height, width))


class PatchUNet(nn.Module):
    """(x [B,C,H,W], noise level [B], shares of the classes [B,classes+1]) -> [B,C,H,W].

    patch:     side of the squares that become channels
    widths:    channels of each level, from the patches downwards; each level halves the picture
    blocks:    residual blocks of each level, downward and upward alike
    attention: whether each level attends
    classes:   for a conditional network, beside the noise level (arXiv:2105.05233, section 3.1)
    hints:     channels of the input beside the image's own
    """

    def __init__(
        self,
        channels: int,
        *,
        patch: int,
        widths: tuple[int, ...],
        blocks: int,
        attention: tuple[bool, ...],
        embedding: int = 128,
        classes: int | None = None,
        hints: int = 0,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.embed = LevelEmbedding(embedding)
        self.label = None if classes is None else nn.Linear(classes + 1, embedding, bias=False)
        self.stem = nn.Conv2d((channels + hints) * patch**2, widths[0], 3, padding=1)

        def level(width: int, attends: bool) -> nn.ModuleList:
            return nn.ModuleList(ModulatedBlock(width, embedding, attends) for _ in range(blocks))

        plan = list(zip(widths, attention, strict=True))
        self.down = nn.ModuleList(level(*step) for step in plan)
        self.halve = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths))
        self.middle = ModulatedBlock(widths[-1], embedding, attention=True)
        self.up = nn.ModuleList(level(*step) for step in reversed(plan))
        self.enlarge = nn.ModuleList(
            nn.Sequential(nn.Conv2d(b, 4 * a, 1), nn.PixelShuffle(2))
            for b, a in pairwise(reversed(widths))
        )
        self.head_norm = GroupNorm(GROUPS, widths[0])
        self.head = zero(nn.Conv2d(widths[0], channels * patch**2, 3, padding=1))

    def inner_matrices(self) -> list[nn.Parameter]:
        """The weights of every layer but the first and the last, which touch pixels."""
        outer = {id(self.stem.weight), id(self.head.weight)}
        return [p for p in self.parameters() if p.ndim >= 2 and id(p) not in outer]

    def forward(self, x: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        """x [B,C+hints,H,W], level [B], labels [B,classes+1] or none -> [B,C,H,W]."""
        h = self.states(x, level, labels)[-1]
        return F.pixel_shuffle(self.head(F.silu(self.head_norm(h))), self.patch)

    def features(self, x: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        """Of the last level but one on the way up, by regions: [B,F].

        There a linear probe reads most (docs/diffusion.md; as in arXiv:2303.09769).
        """
        return by_regions(self.states(x, level, labels)[-2])

    def states(self, x: Tensor, level: Tensor, labels: Tensor | None = None) -> list[Tensor]:
        """The outputs of the middle and of each upward level, the finest last."""
        embedding = self.embed(level)
        if self.label is not None and labels is not None:
            embedding = embedding + self.label(labels)
        h = self.stem(F.pixel_unshuffle(x, self.patch))
        skips = []
        for index, blocks in enumerate(self.down):
            if index:
                h = self.halve[index - 1](h)
            for block in blocks:  # type: ignore[attr-defined] # a ModuleList
                h = block(h, embedding)
            skips.append(h)
        h = self.middle(h, embedding)
        states = [h]
        for index, blocks in enumerate(self.up):
            if index:
                h = self.enlarge[index - 1](h)
            h = h + skips.pop()
            for block in blocks:  # type: ignore[attr-defined] # a ModuleList
                h = block(h, embedding)
            states.append(h)
        return states


def zero(layer: M) -> M:
    """The layer with weights and bias at zero."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
