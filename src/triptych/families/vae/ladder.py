"""The VAE with latents at several resolutions, decoded from the coarsest on.

The encoder computes features bottom up, from the image to a single pixel. The decoder works top
down. Each of its blocks draws a latent picture, whose posterior depends on what was decoded so far
and on the encoder's features of that resolution (arXiv:1602.02282, 2011.10650). A block itself
decides what its latent means,

    h <- h + spread(gain(h) * latent),   latent ~ N(0, I),

which is a prior N(mean(h), gain(h)^2) whose mean the neighboring layers provide, with the posterior
in units of the prior (arXiv:2007.03898, section 3.2). Pixels are mixtures of logistics.

In a training of minutes such a ladder explains each pixel by itself and never learns what a whole
image is. So the first latent may be a vector. It learns to predict the whole image before the
latent pictures take part, and its prior is fitted to it after training. Or it begins as the latent
of a mixture of probabilistic PCA, whose posterior, decoder and prior are known before training. The
networks learn what is to be added to the second.

Beside a mixture, the first latent picture of the finest level begins at a closed form as well: PCA
of the patches of the image minus a guess of it (`nn/patch_pca.py`). Otherwise it would stay unused:
as long as the decoder does not know what its latents say, they cost more than they give.

A prior that is fitted or known says less of images than encoder and decoder do together: decoded
from the posteriors of new images, pictures are nearer to images than draws are. So a draw may take
steps of pseudo-Gibbs sampling: it is decoded and encoded again, several times (arXiv:1401.4082,
Appendix F; the name is from arXiv:1802.04826). With the true posterior in the encoder's place such
steps would leave the distribution of the model's images as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.config import ImageShape, OptimizerConfig
from triptych.families.capabilities import DrawsAroundExemplars
from triptych.families.conditioning import Conditioning, Groups, fit_before_training
from triptych.families.grouped_exemplars import GroupedExemplars
from triptych.families.latent import Latent
from triptych.families.protocol import to_float32
from triptych.families.vae.exemplar_prior import ExemplarPrior
from triptych.families.vae.losses import LOG_2PI, Posterior
from triptych.families.vae.mixture import (
    LogisticMixture,
    mean_channels,
    mixture_channels,
    moved_means,
    read_mixture,
    scale_channels,
    scale_number,
)
from triptych.families.vae.model import VAE
from triptych.images import to_float
from triptych.nn.blocks import GroupNorm
from triptych.nn.ladder import Bottleneck, Grow, Residual, Start, shrink
from triptych.nn.mppca import MPPCA
from triptych.nn.patch_pca import PatchPCA
from triptych.records import Note
from triptych.seeding import ImageStreams, generator

VECTOR = "vector.0"  # the name of the first latent
CHUNK = 64  # images whose features are held at once
ENOUGH = 2_000  # images at most, of which patches are taken
GROUPS = 8  # of channels that are normalised together, four channels at least in each
FIRST_LOG_STD = -2.0  # of a guess's error on [-1, 1], about where it ends


@dataclass(frozen=True)
class Features:
    """What the posteriors of images need of them.

    pictures:    of the encoder, the coarsest first, each [B,width,side,side]
    images:      themselves, [B,C,H,W], float32
    coordinates: of the mixture that the vector begins at, [B,D]; None without one
    """

    pictures: list[Tensor]
    images: Tensor
    coordinates: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Level:
    """One resolution of a ladder.

    side:             of its pictures, in pixels
    width:            their channels
    bottom_up_blocks: residual blocks of the encoder
    top_down_blocks:  stochastic blocks, each with a latent of `latent` channels
    """

    side: int
    width: int
    bottom_up_blocks: int
    top_down_blocks: int
    latent: int


class StochasticBlock(nn.Module):
    """One latent picture: its posterior, its projection to features, and a residual block.

    scale:   of the first weights whose outputs are summed over all blocks
    patches: the closed form that its first latents begin at; None without one
    """

    def __init__(self, level: Level, scale: float, patches: PatchPCA | None = None) -> None:
        super().__init__()
        width, latent, side = level.width, level.latent, level.side
        self.posterior = Bottleneck(2 * width, width, 2 * latent, side, scale=0.1)
        self.gain = nn.Conv2d(width, latent, 1)
        self.spread = nn.Conv2d(latent, width, 1)
        self.residual = Residual(width, width, side, scale)
        assert self.gain.bias is not None
        with torch.no_grad():
            self.gain.bias.fill_(1.0)
            self.gain.weight.mul_(0.1)
            self.spread.weight.mul_(scale)
        self.patches = patches
        if patches is not None:
            to_zero(self.posterior.last)

    def posterior_moments(
        self, h: Tensor, features: Tensor, residual: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, each [B,latent,side,side], float32.

        residual: the image minus its guess, [B,C,H,W], where latents begin at its patches
        """
        moments = self.posterior(torch.cat([h, features], dim=1))
        mean, log_variance = to_float32(moments).chunk(2, dim=1)
        if self.patches is not None and residual is not None:
            others = (0, 0, 0, 0, 0, mean.shape[1] - self.patches.rank)
            closed_mean, closed_log_variance = self.patches.posterior_moments(h, residual)
            mean = mean + F.pad(closed_mean, others)
            log_variance = log_variance + F.pad(closed_log_variance, others)
        return mean, log_variance.clamp(-20, 5)

    def forward(
        self, h: Tensor, latent: Tensor, image: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Add one latent to the decoded features [B,width,side,side] and to the guessed image."""
        if self.patches is not None and image is not None:
            image = image + self.patches(h, latent[:, : self.patches.rank])
        return self.residual(h + self.spread(self.gain(h) * latent)), image


class Vector(nn.Module):
    """The first latent, a vector: its posterior, its prior and its projection to features.

    In training its KL is to N(0, I); the prior is fitted to it after training.
    """

    def __init__(self, width: int, size: int, exemplars: int, kinds: int, classes: int) -> None:
        super().__init__()
        self.posterior = nn.Linear(width, 2 * size)
        self.prior = ExemplarPrior(size, exemplars, kinds, classes)
        self.spread = nn.Linear(size, width)

    def posterior_moments(self, features: Features, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, each [B,D], float32."""
        numbers = to_float32(self.posterior(F.silu(features.pictures[0].flatten(1))))
        mean, log_variance = numbers.chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 5)

    def exemplars_of(self, features: Features, labels: Tensor | None) -> Tensor:
        """The exemplar that each image's posterior mean is, [B]; -1 for none."""
        return self.prior.exemplars_at(self.posterior_moments(features, labels)[0])

    def decode(self, z: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What decoding begins at: features [B,width,1,1], and no image."""
        return self.spread(z)[:, :, None, None], None


class MixtureVector(nn.Module):
    """A vector that is the latent of a mixture of probabilistic PCA, in each group about N(0, I).

    Of a group with variances v, of which r is the noise of what the basis leaves out, the posterior
    is N(v / (v + r) z, r / (v + r)) with z the image's numbers in its group (Tipping and Bishop
    1999, section 3, with W = U A diag(v)^(1/2)). Its mean stays; the network learns a factor of
    each variance, which begins at 1.

    exemplars: how many its prior keeps
    """

    def __init__(self, width: int, mixture: MPPCA, exemplars: int) -> None:
        super().__init__()
        size = mixture.basis.shape[1]
        self.mixture = mixture
        self.posterior = nn.Linear(width, size)
        self.prior = GroupedExemplars(mixture, exemplars)
        self.project = nn.Linear(size, width)
        to_zero(self.posterior)

    def encode(self, coordinates: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """The images' numbers z in their groups [B,D], and the groups' weights [B,K+1]."""
        weights = self.mixture.unknown(coordinates) if labels is None else labels
        return self.mixture.encode_coordinates(coordinates, weights), weights

    def closed_form_posterior(
        self, coordinates: Tensor, labels: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of the posterior before training, each [B,D]."""
        z, weights = self.encode(coordinates, labels)
        variances = self.mixture.variances[weights.argmax(1)]
        kept = variances / (variances + self.mixture.rest)
        return kept * z, 1 - kept

    def posterior_moments(self, features: Features, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, each [B,D], float32."""
        assert features.coordinates is not None
        mean, variance = self.closed_form_posterior(features.coordinates, labels)
        log_factor = to_float32(self.posterior(F.silu(features.pictures[0].flatten(1))))
        return mean, (variance.log() + log_factor).clamp(-20, 5)

    def reconstruct_draw(self, x: Tensor, labels: Tensor | None, rng: torch.Generator) -> Tensor:
        """Images as the mixture decodes a draw of their closed-form posterior: [B,C,H,W]."""
        mean, variance = self.closed_form_posterior(self.mixture.coordinates(x), labels)
        z = mean + variance.sqrt() * torch.randn(mean.shape, generator=rng).to(mean)
        return self.mixture(z, self.mixture.unknown(z) if labels is None else labels)

    def exemplars_of(self, features: Features, labels: Tensor | None) -> Tensor:
        """The exemplar that each image is encoded into, [B]; -1 for none."""
        assert features.coordinates is not None
        return self.prior.exemplars_at(self.mixture, features.coordinates)

    def decode(self, z: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What decoding begins at: features [B,width,1,1], and the mixture's image [B,C,H,W].

        The features are of coordinates that are white over all images, not over those of a group:
        in directions in which the few images of a group hardly vary, new ones lie enormously far.
        """
        y = self.coordinates(z, labels)
        return self.project(self.whiten(y))[:, :, None, None], self.mixture.image(y)

    def coordinates(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """The coordinates y of the image that z decodes to, [B,D]."""
        weights = self.mixture.unknown(z) if labels is None else labels
        return self.mixture.decode_coordinates(to_float32(z), weights.to(z.dtype))

    def whiten(self, y: Tensor) -> Tensor:
        """Coordinates in units in which all images together have the covariance I: [B,D]."""
        return self.mixture.encode_coordinates(y, self.mixture.unknown(y))


class Guess(nn.Module):
    """Predicts the image from features: [B,C,side,side] -> [B,channels,resolution,resolution].

    begun: whether it begins at the image of a mixture
    """

    def __init__(self, level: Level, shape: ImageShape, begun: bool) -> None:
        super().__init__()
        self.name = f"guess_{level.side}x{level.side}"
        self.factor = shape.resolution // level.side
        outputs = shape.channels * self.factor**2
        self.change = nn.Conv2d(level.width, outputs, 3, padding=1)
        if begun:
            to_zero(self.change)
        self.log_std = nn.Parameter(torch.tensor(FIRST_LOG_STD))

    def forward(self, h: Tensor, linear: Tensor | None) -> Tensor:
        """[B,C,side,side] -> [B,channels,resolution,resolution], float32.

        linear: the mixture's image, to which the prediction is added; None without a mixture
        """
        change = F.pixel_shuffle(to_float32(self.change(F.silu(h))), self.factor)
        return change if linear is None else linear + change


class BottomUpLevel(nn.Module):
    """One level of the encoder: it shrinks the finer level's features, then applies its blocks."""

    def __init__(self, level: Level, finer: Level | None, scale: float) -> None:
        super().__init__()
        side, width = level.side, level.width
        self.shrink = (
            nn.Identity() if finer is None else shrink(finer.width, width, finer.side, side)
        )
        blocks = [Residual(width, width, side, scale) for _ in range(level.bottom_up_blocks)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = GroupNorm(math.gcd(GROUPS, max(1, width // 4)), width)

    def forward(self, x: Tensor) -> Tensor:
        """[B,finer width,...] -> [B,width,side,side]."""
        return self.norm(F.silu(self.blocks(self.shrink(x))))


class TopDownLevel(nn.Module):
    """One level of the decoder: it enlarges the coarser level's features and adds its latents.

    names:   of the latents
    guess:   a head that predicts the image before these latents are added
    patches: the closed form of the first of them, which explains the residual of the guess
    """

    def __init__(
        self,
        level: Level,
        coarser: Level | None,
        classes: int | None,
        scale: float,
        names: list[str],
        guess: Guess | None,
        patches: PatchPCA | None,
    ) -> None:
        super().__init__()
        assert patches is None or guess is not None  # whose residual they explain
        self.guess = guess
        self.grow = (
            Start(level.width)
            if coarser is None
            else Grow(coarser.width, level.width, coarser.side, level.side)
        )
        self.label = None if classes is None else nn.Linear(classes + 1, level.width, bias=False)
        self.blocks = nn.ModuleDict(
            {
                name.replace(".", "-"): StochasticBlock(level, scale, None if number else patches)
                for number, name in enumerate(names)
            }
        )

    def arrive(self, h: Tensor, labels: Tensor | None) -> Tensor:
        """Enlarge the coarser features and add the label's: [B,width,side,side]."""
        h = self.grow(h)
        if self.label is None or labels is None:
            return h
        return h + self.label(labels)[:, :, None, None]

    @property
    def patches(self) -> PatchPCA | None:
        """The closed form of the first latent."""
        for _, block in self.named()[:1]:
            return block.patches
        return None

    def named(self) -> list[tuple[str, StochasticBlock]]:
        """The blocks under the names of their latents, in order."""
        return [(n.replace("-", "."), block) for n, block in self.blocks.items()]  # type: ignore[misc]


def to_zero(layer: nn.Linear | nn.Conv2d) -> None:
    """Let a layer that adds to something known begin by adding nothing."""
    assert layer.bias is not None
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def means_to_zero(leaf: nn.ConvTranspose2d, channels: int, components: int) -> None:
    """The same for the means alone among the numbers of a mixture of logistics."""
    assert leaf.bias is not None
    means = mean_channels(channels, components)
    with torch.no_grad():
        leaf.weight[:, means] = 0
        leaf.bias[means] = 0


@dataclass(frozen=True, kw_only=True)
class VectorLatent:
    """A first latent that is a vector with a learned prior.

    size:        numbers in it; 0: there is none
    exemplars:   of the prior, and kinds of their covariances
    join:        share of the planned images after which latent pictures take part; before it the
                 guesses make the vector learn the whole image
    guesses:     weight of the losses of these guesses, beside the bound
    deviation:   of latent pictures in samples, as the vector varies the image already
    gibbs_steps: of pseudo-Gibbs sampling, that draws take
    """

    size: int = 0
    exemplars: tuple[int, int] = (2048, 2)
    join: float = 0.0
    guesses: float = 1.0
    deviation: float = 1.0
    gibbs_steps: int = 0


class LadderVAE(VAE, DrawsAroundExemplars):
    """A VAE with latents at several resolutions.

    levels:     from the finest, whose side is the image's over `patch`, to a single pixel
    components: of the pixels' mixture
    vector:     the first latent
    mixture:    whose latent the vector is; None for a vector that is learned
    patch_rank: latents at each place that begin at PCA of patches of the mixture's residual, at
                most two thirds of a patch's numbers; 0: none
    """

    def __init__(
        self,
        levels: Sequence[Level],
        *,
        patch: int,
        components: int,
        shape: ImageShape,
        optimizer: OptimizerConfig,
        warm_up: float,
        vector: VectorLatent,
        conditioning: Conditioning | None = None,
        mixture: MPPCA | None = None,
        patch_rank: int = 0,
    ) -> None:
        super().__init__()
        self.join = vector.join
        self.guess_weight = vector.guesses
        self.deviation = vector.deviation if vector.size or mixture is not None else 1.0
        self.gibbs_steps = vector.gibbs_steps
        if self.gibbs_steps:
            self.samples_note = Note(
                "mean_pixels_walked", {"share": self.deviation, "n": self.gibbs_steps}
            )
        elif self.deviation != 1.0:
            self.samples_note = Note("mean_pixels_cooled", {"share": self.deviation})
        self.shape = shape
        self.components = components
        self.optimizer = optimizer
        self.warm_up = warm_up
        self.conditioning = conditioning
        classes = None if conditioning is None else conditioning.count
        finest, top = levels[0], levels[-1]
        # A convolution over patches that overlap by half, and its mirror image.
        kernel, padding = (2 * patch, patch // 2) if patch > 1 else (3, 1)
        self.stem = nn.Conv2d(shape.channels, finest.width, kernel, stride=patch, padding=padding)
        outputs = mixture_channels(shape.channels, components)
        self.leaf = nn.ConvTranspose2d(finest.width, outputs, kernel, stride=patch, padding=padding)
        scale = max(1, sum(level.bottom_up_blocks for level in levels)) ** -0.5
        self.tower = nn.ModuleList(
            BottomUpLevel(level, finer, scale)
            for level, finer in zip(levels, [None, *levels[:-1]], strict=True)
        )
        if mixture is None and not vector.size:
            # Nothing looks at pictures coarser than those that the last latent is found from.
            last = max(at for at, level in enumerate(levels) if level.top_down_blocks)
            self.tower[last + 1 :].requires_grad_(False)
        self.top = top.width
        self.latents, self.descent = {}, nn.ModuleList()
        self.vector: Vector | MixtureVector | None = None
        self.see = None
        if mixture is not None:
            self.latents[VECTOR] = (mixture.basis.shape[1],)
            self.vector = MixtureVector(top.width, mixture, vector.exemplars[0])
            self.see = nn.Conv2d(
                shape.channels, finest.width, kernel, stride=patch, padding=padding
            )
            means_to_zero(self.leaf, shape.channels, components)
        elif vector.size:
            self.latents[VECTOR] = (vector.size,)
            self.vector = Vector(top.width, vector.size, *vector.exemplars, classes or 0)
        self.build_descent(levels, classes, patch, patch_rank)

    def build_descent(
        self, levels: Sequence[Level], classes: int | None, patch: int, patch_rank: int
    ) -> None:
        """Make the decoder's levels, the coarsest first, and name their latents."""
        scale = max(1, sum(level.top_down_blocks for level in levels)) ** -0.5
        begun, finest = self.mixture is not None, levels[0]
        for level, coarser in zip(levels[::-1], [None, *levels[:0:-1]], strict=True):
            side = f"{level.side}x{level.side}"
            names = [f"{side}.{number}" for number in range(level.top_down_blocks)]
            self.latents |= dict.fromkeys(names, (level.latent, level.side, level.side))
            guess, patches = None, None
            if self.vector is not None and names:
                guess = Guess(level, self.shape, begun)
            rank = min(patch_rank, level.latent, PatchPCA.max_rank(self.shape.channels, patch))
            if begun and guess is not None and level is finest and rank:
                patches = PatchPCA(level.width, self.shape.channels, patch, rank)
            self.descent.append(TopDownLevel(level, coarser, classes, scale, names, guess, patches))

    def networks(self) -> Sequence[nn.Module]:
        """The encoder's levels, and the decoder's blocks."""
        return [*self.tower, *(block for level in self.levels() for _, block in level.named())]

    def levels(self) -> list[TopDownLevel]:
        """The decoder's levels, the coarsest first."""
        return list(self.descent)  # type: ignore[arg-type] # a ModuleList forgets of what

    @property
    def mixture(self) -> MPPCA | None:
        """The mixture that the vector begins at."""
        return self.vector.mixture if isinstance(self.vector, MixtureVector) else None

    @property
    def patches(self) -> PatchPCA | None:
        """The closed form that the first latent picture of the finest level begins at."""
        return self.levels()[-1].patches

    @torch.no_grad()
    def fit_before_training(self, images: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Find the groups, where the condition is a group, and all that begins in closed form.

        That is the mixture, the vector's prior, and PCA of the patches of its residual images. The
        pixels' scales begin at the noise of those patches, or, as long as pictures of latents take
        no part yet, at the whole residual.
        """
        numbers = fit_before_training(self.conditioning, self.mixture, images, seed, labels)
        if not isinstance(self.vector, MixtureVector):
            return
        if numbers is not None:
            rng = generator(seed, "exemplars")
            self.vector.prior.fit(self.vector.mixture, to_float(images), numbers, rng)
        if self.patches is not None:
            some = slice(None, None, math.ceil(len(images) / ENOUGH))
            x = to_float(images[some])
            condition = self.condition(x, None if numbers is None else numbers[some])
            rng = generator(seed, "patches")
            residual = x - self.vector.reconstruct_draw(x, condition, rng)
            self.patches.fit(residual)
            variance = residual.square().mean() if self.join else self.patches.rest
            assert self.leaf.bias is not None
            scales = scale_channels(self.shape.channels, self.components)
            self.leaf.bias[scales] = scale_number(variance)

    def encode_features(self, images: Tensor) -> Features:
        """The encoder's pictures, and the mixture's coordinates."""
        h, pictures = self.stem(images), []
        for level in self.tower:
            h = level(h)
            pictures.append(h)
        mixture = self.mixture
        x = to_float32(images)
        return Features(pictures[::-1], x, None if mixture is None else mixture.coordinates(x))

    def posterior(
        self,
        features: Features,
        noise: dict[str, Tensor] | None,
        labels: Tensor | None = None,
        share: float = 1.0,
    ) -> Posterior:
        """From the coarsest latent to the finest; each depends on those before it."""
        posterior = Posterior({}, {}, {}, features.pictures[0])
        h, image = self.zeros(features.pictures[0]), None
        if self.vector is not None:
            z = self.vector_posterior(features, noise, labels, posterior)
            start, image = self.vector.decode(z, labels)
            h = h + start
        joined = float(share >= self.join)
        h, image = self.top_down(h, image, features, noise, labels, joined, posterior)
        return replace(posterior, output=self.finish(h, image))

    def posterior_means(self, features: Features, labels: Tensor | None) -> dict[str, Tensor]:
        """As `posterior` without noise, but faster: without the pixels and the vector's KL."""
        posterior = Posterior({}, {}, {}, features.pictures[0])
        h, image = self.zeros(features.pictures[0]), None
        if self.vector is not None:
            z, _ = self.vector.posterior_moments(features, labels)
            posterior.means[VECTOR] = z
            start, image = self.vector.decode(z, labels)
            h = h + start
        self.top_down(h, image, features, None, labels, 1.0, posterior)
        return posterior.means

    def top_down(
        self,
        h: Tensor,
        image: Tensor | None,
        features: Features,
        noise: dict[str, Tensor] | None,
        labels: Tensor | None,
        joined: float,
        posterior: Posterior,
    ) -> tuple[Tensor, Tensor | None]:
        """Run all levels; their latents go into `posterior`.

        Returns features [B,width,side,side], and the image to which the pixels' means are added.

        image:  the mixture's image of the vector, which the finest level sees
        joined: 1 where the levels' latents take part, else 0
        """
        for level, own_features in zip(self.levels(), features.pictures, strict=True):
            h = self.arrive(level, h, image, labels)
            residual = None
            if level.guess is not None and (self.training or level.patches is not None):
                guess = level.guess(h, image)
                if self.training:
                    posterior.guesses[level.guess.name] = guess, level.guess.log_std
                if level.patches is not None:
                    image, residual = guess, features.images - guess
            for name, block in level.named():
                mean, log_variance = (
                    joined * part for part in block.posterior_moments(h, own_features, residual)
                )
                posterior.means[name], posterior.log_variances[name] = mean, log_variance
                posterior.latents[name] = mean
                if noise is not None:
                    posterior.latents[name] = mean + (log_variance / 2).exp() * noise[name]
                changed, added = block(h, posterior.latents[name], image)
                # Even before it joins it has a part, for processes expect gradients of all weights.
                h = changed if joined else h + 0.0 * changed
                if image is not None and added is not None:
                    image = added if joined else image + 0.0 * added
        return h, image

    def arrive(
        self, level: TopDownLevel, h: Tensor, image: Tensor | None, labels: Tensor | None
    ) -> Tensor:
        """What a level begins with: [B,width,side,side]."""
        h = level.arrive(h, labels)
        if self.see is None or image is None or level is not self.descent[-1]:
            return h
        return h + self.see(image)

    def vector_posterior(
        self,
        features: Features,
        noise: dict[str, Tensor] | None,
        labels: Tensor | None,
        posterior: Posterior,
    ) -> Tensor:
        """A draw of the vector, [B,D]. Its mean and variance go into `posterior`.

        Outside training, so does its KL to the fitted prior, estimated at the draw.
        """
        assert self.vector is not None
        mean, log_variance = self.vector.posterior_moments(features, labels)
        own = torch.zeros_like(mean) if noise is None else noise[VECTOR]
        z = mean + (log_variance / 2).exp() * own
        posterior.means[VECTOR], posterior.log_variances[VECTOR] = mean, log_variance
        posterior.latents[VECTOR] = z
        if not self.training:
            log_posterior = -0.5 * (own**2 + log_variance + LOG_2PI).sum(1)
            posterior.estimates[VECTOR] = log_posterior - self.vector.prior.log_density(z, labels)
        return z

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        """The vector from its prior, all else from N(0, deviation^2 I); then pseudo-Gibbs steps.

        The pixels of a latent picture are independent in its prior, but not in images. Drawn at
        deviation 1 they make grain, and after a short training nothing else.
        """
        latent, choices = self.draw_noise(count, rng, labels)
        if self.vector is not None and choices is not None:
            for name in latent.tensors.keys() - {VECTOR}:
                latent.tensors[name] = self.deviation * latent.tensors[name]
            latent.tensors[VECTOR] = self.vector.prior.draw(
                choices, latent.tensors[VECTOR], latent.labels
            )
            for _ in range(self.gibbs_steps):
                latent = self.gibbs_step(latent, rng)
        return latent

    def gibbs_step(self, latent: Latent, rng: ImageStreams) -> Latent:
        """The same with another vector, drawn from the posterior of a draw of the pixels.

        Its group is the image's; a class stays.
        """
        assert self.vector is not None
        image = self.draw_pixels(self.decode_latents(latent.tensors, latent.labels), rng)
        grouped = isinstance(self.conditioning, Groups)
        labels = self.condition(image) if grouped else latent.labels
        mean, log_variance = self.vector.posterior_moments(self.encode_features(image), labels)
        z = mean + (log_variance / 2).exp() * rng.normal(*self.latents[VECTOR])
        return replace(latent, tensors={**latent.tensors, VECTOR: z}, labels=labels)

    def draw_noise(
        self, count: int, rng: ImageStreams, labels: Tensor | None
    ) -> tuple[Latent, Tensor | None]:
        """All random numbers of a draw: Gaussian ones, and [count,2] that choose the exemplar."""
        latent = super().draw_latent(count, rng, labels)
        return latent, None if self.vector is None else rng.uniform(2)

    @property
    def network_calls(self) -> int:
        """One of the decoder; in each pseudo-Gibbs step one more, and one of the encoder."""
        return 1 + 2 * self.gibbs_steps

    @property
    def exemplar_numbers(self) -> int:
        """Of the vector's fitted prior; pictures of latents have priors of networks alone."""
        return 0 if self.vector is None else self.vector.prior.kept_numbers

    @torch.no_grad()
    def exemplars_of_draws(
        self, count: int, rng: ImageStreams, labels: Tensor | None = None
    ) -> Tensor:
        """As `draw_latent` picks them, [count]."""
        latent, choices = self.draw_noise(count, rng, labels)
        assert self.vector is not None and choices is not None  # it keeps exemplars
        return self.vector.prior.exemplars_drawn(choices, latent.labels)

    def represent(self, images: Tensor) -> Tensor:
        """As any VAE's; beside a mixture the vector's whitened coordinates, and the group.

        The same latent means another thing in each group, and the finest latents tell of single
        patches: in them a linear probe reads less than in pixels.
        """
        if not isinstance(self.vector, MixtureVector):
            return super().represent(images)
        labels = self.condition(images)
        mean, _ = self.vector.closed_form_posterior(
            self.vector.mixture.coordinates(to_float32(images)), labels
        )
        white = self.vector.whiten(self.vector.coordinates(mean, labels))
        return white if labels is None else torch.cat([white, labels], dim=1)

    @torch.no_grad()
    def exemplars_of_images(self, images: Tensor) -> Tensor:
        """The one that each posterior mean is, [N]; -1 for no one's."""
        assert self.vector is not None  # it keeps exemplars
        return self.vector.exemplars_of(self.encode_features(images), self.condition(images))

    @torch.no_grad()
    def fit_after_training(
        self, images: Tensor, rng: ImageStreams, labels: Tensor | None = None
    ) -> None:
        """The vector's prior is fitted to the posteriors of these images."""
        if not isinstance(self.vector, Vector):
            return
        posteriors = [
            self.vector.posterior_moments(self.encode_features(x), None)
            for x in torch.split(images, CHUNK)
        ]
        means, log_variances = (torch.cat(part) for part in zip(*posteriors, strict=True))
        self.vector.prior.fit(means, log_variances.exp().mean(0), labels)

    def decode_latents(self, latents: dict[str, Tensor], labels: Tensor | None = None) -> Tensor:
        """The parameters of the pixels' mixtures, [B,P,H,W]."""
        h, image = self.zeros(next(iter(latents.values()))), None
        if self.vector is not None:
            start, image = self.vector.decode(latents[VECTOR], labels)
            h = h + start
        for level in self.levels():
            h = self.arrive(level, h, image, labels)
            if level.guess is not None and level.patches is not None:
                image = level.guess(h, image)
            for name, block in level.named():
                h, image = block(h, latents[name], image)
        return self.finish(h, image)

    def zeros(self, like: Tensor) -> Tensor:
        """The features that the decoder starts from: [B,width,1,1]."""
        return like.new_zeros(like.shape[0], self.top, 1, 1)

    def finish(self, h: Tensor, image: Tensor | None) -> Tensor:
        """Decoded features -> the parameters of the pixels' mixtures, [B,P,H,W].

        image: what is added to all components' means; None for nothing
        """
        output = to_float32(self.leaf(F.silu(h))).contiguous()  # whole pictures: twice as fast
        if image is None:
            return output
        return moved_means(output, image, self.components)

    def pixels(self, output: Tensor) -> LogisticMixture:
        """The pixels' distribution."""
        return read_mixture(output, self.shape.channels, self.components)

    def log_pixels(self, images: Tensor, output: Tensor) -> Tensor:
        """log P(8-bit images | latents), nats: [B]."""
        return self.pixels(output).log_probability(images).flatten(1).sum(1)

    def mean_pixels(self, output: Tensor) -> Tensor:
        """The mixtures' means."""
        return self.pixels(output).mean()

    def draw_pixels(self, output: Tensor, rng: ImageStreams) -> Tensor:
        """8-bit values."""
        return self.pixels(output).sample(rng)
