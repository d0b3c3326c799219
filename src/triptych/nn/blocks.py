"""Building blocks that know no family. Shapes: images [B,C,H,W], embeddings [B,E]."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


class NormalisedConvolution(nn.Sequential):
    """3x3 convolution, GroupNorm, SiLU: [B,C,H,W] -> [B,C',H,W]."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(groups, outputs), nn.SiLU()
        )


class TimeResidualBlock(nn.Module):
    """Two normalised convolutions with a time embedding added between (arXiv:2006.11239, B)."""

    def __init__(self, inputs: int, outputs: int, embedding: int | None, groups: int = 8) -> None:
        super().__init__()
        self.first = NormalisedConvolution(inputs, outputs, groups)
        self.second = NormalisedConvolution(outputs, outputs, groups)
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


class LinearAttention(nn.Module):
    """Attention whose cost grows linearly with the pixels (arXiv:1812.01243), residual."""

    def __init__(self, channels: int, heads: int = 4, head_width: int = 32) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.norm = nn.GroupNorm(1, channels)
        self.to_qkv = nn.Conv2d(channels, 3 * heads * head_width, 1, bias=False)
        self.to_out = nn.Sequential(
            nn.Conv2d(heads * head_width, channels, 1), nn.GroupNorm(1, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C,H,W]."""
        batch, _, height, width = x.shape
        qkv = self.to_qkv(self.norm(x)).view(batch, 3, self.heads, self.head_width, -1)
        q, k, v = qkv.unbind(1)  # each [B,heads,head_width,H*W]
        q = q.softmax(dim=2) * self.head_width**-0.5
        context = torch.einsum("bhdn,bhen->bhde", k.softmax(dim=3), v)
        out = torch.einsum("bhde,bhdn->bhen", context, q).reshape(batch, -1, height, width)
        return x + self.to_out(out)


class SelfAttention(nn.Module):
    """Softmax attention over all pixels (arXiv:1706.03762), residual."""

    def __init__(self, channels: int, heads: int = 4, head_width: int = 32) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.norm = nn.GroupNorm(1, channels)
        self.to_qkv = nn.Conv2d(channels, 3 * heads * head_width, 1, bias=False)
        self.to_out = nn.Conv2d(heads * head_width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C,H,W]."""
        batch, _, height, width = x.shape
        qkv = self.to_qkv(self.norm(x)).view(batch, 3, self.heads, self.head_width, -1)
        q, k, v = qkv.transpose(3, 4).unbind(1)  # each [B,heads,H*W,head_width]
        out = F.scaled_dot_product_attention(q, k, v)
        return x + self.to_out(out.transpose(2, 3).reshape(batch, -1, height, width))


class Upsample(nn.Module):
    """Nearest-neighbour doubling: [B,C,H,W] -> [B,C,2H,2W]."""

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C,2H,2W]."""
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
