"""Blocks that are written for speed, against the plain layers that they stand for, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.nn import blocks, unet
from triptych.nn.blocks import DoublingConvolution, GroupNorm, LinearAttention, SelfAttention
from triptych.nn.dcgan import FirstPicture, LastPicture
from triptych.seeding import generator

LAYOUTS = {"plain": torch.contiguous_format, "channels_last": torch.channels_last}


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> torch.memory_format:
    return LAYOUTS[request.param]


def draw(*shape: int, name: str = "x") -> Tensor:
    return torch.randn(shape, generator=generator(0, name), dtype=torch.float64)


def differ(module: nn.Module, plain: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """The largest difference of outputs and gradients, all of the order of 1."""
    x = x.detach().requires_grad_()
    found, expected = module(x), plain(x)
    assert found.shape == expected.shape
    sources = [x, *module.parameters()]
    weights = draw(*found.shape, name="weights")
    pairs = zip(
        [found, *torch.autograd.grad((found * weights).sum(), sources)],
        [expected, *torch.autograd.grad((expected * weights).sum(), sources)],
        strict=True,
    )
    return max((a - b).abs().max().item() for a, b in pairs)


@pytest.mark.parametrize("side", [2, 4, 8, 16])
def test_doubling_convolution(side: int, layout: torch.memory_format) -> None:
    module = DoublingConvolution(3, 5).double()

    def plain(x: Tensor) -> Tensor:
        doubled = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return F.conv2d(doubled, module.weight, module.bias, padding=1)

    assert differ(module, plain, draw(2, 3, side, side).to(memory_format=layout)) < 1e-11


def heads_of(x: Tensor, module: LinearAttention | SelfAttention) -> tuple[Tensor, ...]:
    """Queries, keys and values as one convolution gives them: each [B,heads,width,H*W]."""
    normed = F.group_norm(x, 1, module.norm.weight, module.norm.bias)
    qkv = F.conv2d(normed, module.to_qkv.weight)
    return qkv.view(len(x), 3, module.heads, module.head_width, -1).unbind(1)


def test_linear_attention(layout: torch.memory_format) -> None:
    module = LinearAttention(8, heads=2, head_width=4).double()

    def plain(x: Tensor) -> Tensor:
        q, k, v = heads_of(x, module)
        context = torch.einsum("bhdn,bhen->bhde", k.softmax(3), v)
        out = torch.einsum("bhde,bhdn->bhen", context, q.softmax(2) / 4**0.5)
        return x + module.to_out(out.reshape(len(x), -1, *x.shape[2:]).contiguous())

    assert differ(module, plain, draw(3, 8, 4, 6).to(memory_format=layout)) < 1e-11


@pytest.fixture(params=["products", "fused"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention as CPUs compute it, or as GPUs do."""
    for module in (blocks, unet):
        monkeypatch.setattr(module, "prefers_fused_attention", lambda x: request.param == "fused")


def attended(heads: tuple[Tensor, ...], like: Tensor) -> Tensor:
    """arXiv:1706.03762, eq. 1, of each [B,heads,width,H*W] -> [B,heads*width,H,W]."""
    q, k, v = heads
    scores = torch.einsum("bhdn,bhdm->bhnm", q, k) / q.shape[2] ** 0.5
    out = torch.einsum("bhnm,bhdm->bhdn", scores.softmax(3), v)
    return out.reshape(len(like), -1, *like.shape[2:])


@pytest.mark.usefixtures("kernel")
def test_self_attention(layout: torch.memory_format) -> None:
    module = SelfAttention(8, heads=2, head_width=4).double()

    def plain(x: Tensor) -> Tensor:
        return x + module.to_out(attended(heads_of(x, module), x))

    assert differ(module, plain, draw(3, 8, 4, 6).to(memory_format=layout)) < 1e-11


@pytest.mark.usefixtures("kernel")
def test_attention_of_pixels(layout: torch.memory_format) -> None:
    module = unet.PixelAttention(64).double()
    nn.init.normal_(module.to_out.weight, generator=generator(0, "out"))

    def plain(x: Tensor) -> Tensor:
        normed = F.group_norm(x, unet.GROUPS, module.norm.weight, module.norm.bias)
        heads = module.to_qkv(normed).reshape(len(x), 3, 2, 32, -1).unbind(1)
        return x + module.to_out(attended(heads, x))

    assert differ(module, plain, draw(3, 64, 4, 6).to(memory_format=layout)) < 1e-10


def test_the_first_and_the_last_picture(layout: torch.memory_format) -> None:
    first, last = FirstPicture(7, 5).double(), LastPicture(5).double()

    def transposed(z: Tensor) -> Tensor:
        return F.conv_transpose2d(z[:, :, None, None], first.weight)

    def convolved(x: Tensor) -> Tensor:
        return F.conv2d(x, last.weight).flatten()

    assert differ(first, transposed, draw(3, 7)) < 1e-11
    assert differ(last, convolved, draw(3, 5, 4, 4).to(memory_format=layout)) < 1e-11


def test_group_norm_in_bfloat16(layout: torch.memory_format) -> None:
    """As exact as PyTorch's own on plain images: half a step of bfloat16, which is 2^-8."""
    module = GroupNorm(4, 8)
    x = (draw(2, 8, 5, 5) * 3 + 1).bfloat16().to(memory_format=layout)
    found = module(x)
    assert found.dtype == torch.bfloat16
    assert found.is_contiguous(memory_format=layout)
    parts = x.double().contiguous().view(2, 4, -1)  # arXiv:1803.08494, eq. 1 and 7
    off = parts - parts.mean(2, keepdim=True)
    exact = (off / (off.square().mean(2, keepdim=True) + 1e-5).sqrt()).view_as(x)
    assert ((found.double() - exact).abs() <= exact.abs() * 2**-8 + 1e-6).all()
