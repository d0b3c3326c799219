"""Building blocks that know no family. Shapes: images [B,C,H,W], embeddings [B,E]."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

REGIONS = 4  # along each side of a picture, which features tell apart


def by_regions(h: Tensor) -> Tensor:
    """Means over 4x4 regions of a picture, or its pixels where it has fewer: [B,C,H,W] -> [B,F]."""
    return F.adaptive_avg_pool2d(h, min(REGIONS, h.shape[-1])).flatten(1)


class SinusoidalEmbedding(nn.Module):
    """Sines and cosines of a number at geometric frequencies (arXiv:1706.03762, section 3.5).

    width: E, even; frequencies run from 1 to 1/10000.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        exponents = torch.arange(half) / (half - 1)
        self.register_buffer("frequencies", torch.exp(-math.log(10_000) * exponents), False)
        self.frequencies: Tensor

    def forward(self, t: Tensor) -> Tensor:
        """t [B] -> [B,E]."""
        angles = t[:, None].float() * self.frequencies[None]
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class GroupNorm(nn.GroupNorm):
    """GroupNorm in the precision that is fast; statistics are sums in float32 in any.

    On CPUs that of the weights where channels lie next to each other in memory: PyTorch's bfloat16
    kernel is 3 to 10 times slower there. On NVIDIA's GPUs that of the input: autocast would have it
    in float32, and pass three times as many bytes through what follows.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[B,C,H,W] -> the same."""
        if input.is_cuda:
            weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
            with torch.autocast("cuda", enabled=False):
                return F.group_norm(input, self.num_groups, weight, bias, self.eps)
        if input.is_contiguous():
            return super().forward(input)
        return super().forward(input.to(self.weight.dtype)).to(input.dtype)


class NormalizedConvolution(nn.Sequential):
    """3x3 convolution, GroupNorm, SiLU: [B,C,H,W] -> [B,C',H,W]."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1), GroupNorm(groups, outputs), nn.SiLU()
        )


class TimeResidualBlock(nn.Module):
    """Two normalised convolutions with a time embedding added between (arXiv:2006.11239, B)."""

    def __init__(self, inputs: int, outputs: int, embedding: int | None, groups: int = 8) -> None:
        super().__init__()
        self.first = NormalizedConvolution(inputs, outputs, groups)
        self.second = NormalizedConvolution(outputs, outputs, groups)
        self.time = (
            None if embedding is None else nn.Sequential(nn.SiLU(), nn.Linear(embedding, outputs))
        )
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """x [B,C,H,W], embedding [B,E] -> [B,C',H,W]."""
        h = self.first(x)
        if self.time is not None:
            h = h + self.time(embedding)[:, :, None, None]
        return self.second(h) + self.skip(x)


def split_heads(x: Tensor, layer: nn.Conv2d, heads: int) -> list[Tensor]:
    """A 1x1 convolution to queries, keys and values: [B,C,H,W] -> three [B,heads,H*W,width].

    Written as linear layers: one each, so that nothing has to be copied apart.
    """
    pixels = x.flatten(2).mT  # [B,H*W,C]
    split = x.shape[0], pixels.shape[1], heads, -1
    matrices = layer.weight.flatten(1).chunk(3)
    return [F.linear(pixels, m).view(split).transpose(1, 2) for m in matrices]


def join_heads(out: Tensor, like: Tensor) -> Tensor:
    """[B,heads,H*W,width] -> [B,heads*width,H,W], as large as `like`."""
    return out.transpose(1, 2).flatten(2).mT.view(like.shape[0], -1, *like.shape[2:])


def prefers_fused_attention(x: Tensor) -> bool:
    """Whether PyTorch's fused kernel is the faster one: on a GPU, whose memory it spares."""
    return x.is_cuda


class LinearAttention(nn.Module):
    """Attention whose cost grows linearly with the pixels (arXiv:1812.01243), residual."""

    def __init__(self, channels: int, heads: int = 4, head_width: int = 32) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.norm = GroupNorm(1, channels)
        self.to_qkv = nn.Conv2d(channels, 3 * heads * head_width, 1, bias=False)
        self.to_out = nn.Sequential(
            nn.Conv2d(heads * head_width, channels, 1), GroupNorm(1, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C,H,W]."""
        q, k, v = split_heads(self.norm(x), self.to_qkv, self.heads)  # each [B,heads,H*W,width]
        context = k.softmax(dim=2).mT @ v * self.head_width**-0.5  # [B,heads,width,width]
        return x + self.to_out(join_heads(q.softmax(dim=3) @ context, x))


class SelfAttention(nn.Module):
    """Softmax attention over all pixels (arXiv:1706.03762), residual."""

    def __init__(self, channels: int, heads: int = 4, head_width: int = 32) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.norm = GroupNorm(1, channels)
        self.to_qkv = nn.Conv2d(channels, 3 * heads * head_width, 1, bias=False)
        self.to_out = nn.Conv2d(heads * head_width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C,H,W]."""
        q, k, v = split_heads(self.norm(x), self.to_qkv, self.heads)  # each [B,heads,H*W,width]
        if prefers_fused_attention(x):
            return x + self.to_out(join_heads(F.scaled_dot_product_attention(q, k, v), x))
        weights = (q * self.head_width**-0.5 @ k.mT).softmax(dim=3)
        return x + self.to_out(join_heads(weights @ v, x))


class DoublingConvolution(nn.Conv2d):
    """Nearest-neighbour doubling, then a 3x3 convolution: [B,C,H,W] -> [B,C',2H,2W].

    A pixel's two copies in a row meet neighbouring weights, so both steps are one transposed
    convolution of stride 2 whose 4x4 weights are sums of the 3x3 ones: 4/9 of the work, and no
    doubled picture in memory. On pictures below 8x8 the two steps are faster.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C',2H,2W]."""
        if input.shape[-1] < 8:
            return super().forward(F.interpolate(input, scale_factor=2.0, mode="nearest"))
        w = self.weight.flip(2, 3).transpose(0, 1)  # [C,C',3,3]
        pads = [(i, 1 - i, j, 1 - j) for i in (0, 1) for j in (0, 1)]
        summed = torch.stack([F.pad(w, pad) for pad in pads]).sum(0)  # [C,C',4,4]
        return F.conv_transpose2d(input, summed, self.bias, stride=2, padding=1)
