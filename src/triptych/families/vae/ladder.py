"""The VAE with latents at several resolutions, decoded from the coarsest on.

A tower of features climbs from the image to a single pixel. On the way down each block draws a
latent picture, whose posterior looks at what was decoded so far and at the tower's features of
that resolution (arXiv:1602.02282, 2011.10650). A block decides itself what its latent means,

    h <- h + spread(gain(h) * latent),   latent ~ N(0, I),

which is a prior N(mean(h), gain(h)^2) whose mean is left to the layers around, with the posterior
in units of the prior (arXiv:2007.03898, section 3.2). Pixels are mixtures of logistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.config import ImageShape, Optimiser
from triptych.families.base import widened
from triptych.families.vae.mixture import LogisticMixture, mixture_channels, read_mixture
from triptych.families.vae.model import VAE, Inferred
from triptych.nn.ladder import Bottleneck, Grow, Residual, Shrink, Start
from triptych.seeding import ImageStreams


@dataclass(frozen=True, kw_only=True)
class Level:
    """One resolution of a ladder.

    side:    of its pictures
    width:   their channels
    climb:   residual blocks of the tower
    descend: stochastic blocks, each with a latent of `latent` channels
    """

    side: int
    width: int
    climb: int
    descend: int
    latent: int


class StochasticBlock(nn.Module):
    """One latent picture: its posterior, its way into the decoded features, and a residual block.

    scale: of the first weights that end in the sum of all blocks
    """

    def __init__(self, level: Level, scale: float) -> None:
        super().__init__()
        width, latent, side = level.width, level.latent, level.side
        self.features = nn.Conv2d(width, width, 1)
        self.posterior = Bottleneck(width, width, 2 * latent, side, scale=0.1)
        self.gain = nn.Conv2d(width, latent, 1)
        self.spread = nn.Conv2d(latent, width, 1)
        self.residual = Residual(width, width, side, scale)
        assert self.gain.bias is not None
        with torch.no_grad():
            self.gain.bias.fill_(1.0)
            self.gain.weight.mul_(0.1)
            self.spread.weight.mul_(scale)

    def infer(self, h: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, each [B,latent,side,side], float32."""
        both = self.posterior(h + self.features(features))
        mean, log_variance = widened(both).chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 5)

    def forward(self, h: Tensor, latent: Tensor) -> Tensor:
        """What is decoded so far, and one latent more: [B,width,side,side]."""
        return self.residual(h + self.spread(self.gain(h) * latent))


class Climb(nn.Module):
    """A level of the tower: the finer level's features, made smaller, and residual blocks."""

    def __init__(self, level: Level, finer: Level | None, scale: float) -> None:
        super().__init__()
        side, width = level.side, level.width
        self.shrink = nn.Identity() if finer is None else Shrink(finer.width, width, side)
        blocks = [Residual(width, width, side, scale) for _ in range(level.climb)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """[B,finer width,...] -> [B,width,side,side]."""
        return self.blocks(self.shrink(x))


class Descent(nn.Module):
    """A level on the way down: the coarser level's features, made larger, the label, the latents.

    names: of the latents
    """

    def __init__(
        self,
        level: Level,
        coarser: Level | None,
        classes: int | None,
        scale: float,
        names: list[str],
    ) -> None:
        super().__init__()
        self.grow = (
            Start(level.width) if coarser is None else Grow(coarser.width, level.width, level.side)
        )
        self.label = None if classes is None else nn.Linear(classes + 1, level.width, bias=False)
        self.blocks = nn.ModuleDict(
            {name.replace(".", "-"): StochasticBlock(level, scale) for name in names}
        )

    def arrive(self, h: Tensor, labels: Tensor | None) -> Tensor:
        """Features of this resolution, before its latents."""
        h = self.grow(h)
        if self.label is None or labels is None:
            return h
        return h + self.label(labels)[:, :, None, None]

    def named(self) -> list[tuple[str, StochasticBlock]]:
        """The blocks under the names of their latents, in order."""
        return [(n.replace("-", "."), block) for n, block in self.blocks.items()]  # type: ignore[misc]


class LadderVAE(VAE):
    """A VAE with latents at several resolutions.

    levels:     from the finest, whose side is the image's over `patch`, to a single pixel
    components: of the pixels' mixture
    """

    def __init__(
        self,
        levels: Sequence[Level],
        *,
        patch: int,
        components: int,
        shape: ImageShape,
        optimiser: Optimiser,
        warm_up: float,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.components = components
        self.optimiser = optimiser
        self.warm_up = warm_up
        self.classes = shape.classes
        finest, top = levels[0], levels[-1]
        # A convolution over patches that overlap by half, and its mirror image.
        kernel, padding = (2 * patch, patch // 2) if patch > 1 else (3, 1)
        self.stem = nn.Conv2d(shape.channels, finest.width, kernel, stride=patch, padding=padding)
        outputs = mixture_channels(shape.channels, components)
        self.leaf = nn.ConvTranspose2d(finest.width, outputs, kernel, stride=patch, padding=padding)
        scale = sum(level.climb for level in levels) ** -0.5
        self.tower = nn.ModuleList(
            Climb(level, finer, scale)
            for level, finer in zip(levels, [None, *levels[:-1]], strict=True)
        )
        self.top = top.width
        self.latents, self.descent = {}, nn.ModuleList()
        scale = sum(level.descend for level in levels) ** -0.5
        for level, coarser in zip(levels[::-1], [None, *levels[:0:-1]], strict=True):
            side = f"{level.side}x{level.side}"
            names = [f"{side}.{number}" for number in range(level.descend)]
            self.latents |= dict.fromkeys(names, (level.latent, level.side, level.side))
            self.descent.append(Descent(level, coarser, self.classes, scale, names))

    def networks(self) -> Sequence[nn.Module]:
        """The levels of the tower, and the blocks on the way down."""
        return [*self.tower, *(block for level in self.levels() for _, block in level.named())]

    def levels(self) -> list[Descent]:
        """Those of the way down, the coarsest first."""
        return list(self.descent)  # type: ignore[arg-type] # a ModuleList forgets of what

    def look(self, images: Tensor) -> list[Tensor]:
        """The tower's features, from the coarsest, each [B,width,side,side]."""
        x, found = self.stem(images), []
        for climb in self.tower:
            x = climb(x)
            found.append(x)
        return found[::-1]

    def infer(
        self,
        seen: list[Tensor],
        noise: dict[str, Tensor] | None,
        labels: Tensor | None = None,
    ) -> Inferred:
        """From the coarsest latent to the finest, each given those before it."""
        means: dict[str, Tensor] = {}
        log_variances: dict[str, Tensor] = {}
        latents: dict[str, Tensor] = {}
        h = self.nothing(seen[0])
        for level, features in zip(self.levels(), seen, strict=True):
            h = level.arrive(h, labels)
            for name, block in level.named():
                mean, log_variance = block.infer(h, features)
                means[name], log_variances[name] = mean, log_variance
                latents[name] = mean
                if noise is not None:
                    latents[name] = mean + (log_variance / 2).exp() * noise[name]
                h = block(h, latents[name])
        return Inferred(means, log_variances, latents, self.finish(h))

    def render(self, latents: dict[str, Tensor], labels: Tensor | None = None) -> Tensor:
        """The mixtures' numbers, [B,P,H,W]."""
        h = self.nothing(next(iter(latents.values())))
        for level in self.levels():
            h = level.arrive(h, labels)
            for name, block in level.named():
                h = block(h, latents[name])
        return self.finish(h)

    def nothing(self, like: Tensor) -> Tensor:
        """Where the way down begins: [B,width,1,1]."""
        return like.new_zeros(len(like), self.top, 1, 1)

    def finish(self, h: Tensor) -> Tensor:
        """The numbers of the pixels' mixtures."""
        return widened(self.leaf(F.silu(h))).contiguous()  # whole pictures: twice as fast from here

    def mixture(self, output: Tensor) -> LogisticMixture:
        """The pixels' distribution."""
        return read_mixture(output, self.shape.channels, self.components)

    def log_pixels(self, images: Tensor, output: Tensor) -> Tensor:
        """log P(8-bit images | latents), nats: [B]."""
        return self.mixture(output).log_probability(images).flatten(1).sum(1)

    def mean_pixels(self, output: Tensor) -> Tensor:
        """The mixtures' means."""
        return self.mixture(output).mean()

    def draw_pixels(self, output: Tensor, rng: ImageStreams) -> Tensor:
        """8-bit values."""
        return self.mixture(output).sample(rng)
