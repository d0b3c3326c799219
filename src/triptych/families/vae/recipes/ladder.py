"""`vae:ladder`: latents at several resolutions, logistic mixtures for pixels: sharp decodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from triptych.config import ImageShape, OptimizerConfig, Settings, Size
from triptych.families.conditioning import make_conditioning, make_mixture
from triptych.families.grouped_exemplars import EXEMPLARS
from triptych.families.protocol import Brief, Recipe
from triptych.families.vae.exemplar_prior import KINDS
from triptych.families.vae.ladder import LadderVAE, Level, VectorLatent

MOST_STEPS = 100  # of pseudo-Gibbs sampling: a draw then takes 201 calls of networks


@dataclass(frozen=True, kw_only=True)
class Ladder(Settings):
    """Defaults for `tiny`. Tuples tell of each level, the finest first, the last a single pixel."""

    batch_size: int = 32
    ema: float | None = 0.05
    patch: int = 2  # pixels of the image to a side of a pixel of the finest level
    widths: tuple[int, ...] = (32, 64, 128, 256)
    bottom_up_blocks: tuple[int, ...] = (0, 0, 0, 0)  # residual blocks on the way up
    top_down_blocks: tuple[int, ...] = (1, 0, 0, 0)  # stochastic blocks on the way down
    latents: tuple[int, ...] = (8, 8, 16, 32)  # channels of a block's latent
    vector: int = 96  # numbers of the first latent, where no mixture says them; 0: there is none
    groups: int = 0  # found among training images, for a model without labels; 0: none
    mppca_rank: int = 0  # of the mixture in closed form that the vector begins at; 0: none
    patch_rank: int = 0  # finest latents that begin at PCA of patches of its residual; 0: none
    exemplars: tuple[int, int] = (2048, 2)  # of its prior, and kinds of their covariances
    components: int = 2  # of the pixels' mixture
    warm_up: float = 0.0  # share of the planned images over which the KL's weight rises
    deviation: float = 0.3  # of pictures of latents in samples, beside that of their prior
    gibbs_steps: int = 0  # of pseudo-Gibbs sampling, that draws take
    join: float = 0.2  # share of the planned images after which pictures of latents take part
    guesses: float = 1.0  # weight of the vector's guesses of the image, beside the bound
    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=2e-3, betas=(0.9, 0.99), warmup=0.02, decay="cosine", clip_norm=500.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        least = {
            "components": (self.components,),
            "exemplars": self.exemplars,
            "widths": self.widths,
            "latents": self.latents,
        }
        for name, values in least.items():
            if min(values, default=1) < 1:
                raise ValueError(f"{name} must be at least 1, got {min(values)}")
        if self.exemplars[1] > KINDS:
            raise ValueError(f"exemplars have at most {KINDS} kinds of covariances")
        if min(*self.bottom_up_blocks, *self.top_down_blocks, self.vector) < 0:
            raise ValueError("bottom_up_blocks, top_down_blocks and vector must not be negative")
        if min(self.groups, self.mppca_rank, self.patch_rank) < 0:
            raise ValueError("groups, mppca_rank and patch_rank must not be negative")
        if not 0 <= self.gibbs_steps <= MOST_STEPS:
            raise ValueError(f"gibbs_steps must be 0 to {MOST_STEPS}, got {self.gibbs_steps}")
        if self.gibbs_steps and not (self.vector or self.mppca_rank):
            raise ValueError("gibbs_steps move the vector, and there is none: vector is 0")
        if not (self.vector or any(self.top_down_blocks)):
            raise ValueError("there is no latent: neither vector nor top_down_blocks asks for one")
        shares = self.warm_up, self.join, self.guesses, self.deviation
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError("warm_up, join, guesses and deviation are shares, from 0 to 1")


def build(settings: Ladder, shape: ImageShape) -> LadderVAE:
    """Levels whose sides halve down to 4, then a single pixel.

    Raises ValueError where the tuples do not tell of as many levels, or the sides do not halve.
    """
    sides = [shape.resolution // settings.patch]
    while sides[-1] > 4:
        sides.append(sides[-1] // 2)
    sides.append(1)
    columns = settings.widths, settings.bottom_up_blocks, settings.top_down_blocks, settings.latents
    if any(len(column) != len(sides) for column in columns):
        raise ValueError(f"there are {len(sides)} levels, of sides {sides}: name as many values")
    halving = [4 << power for power in reversed(range(len(sides) - 1))]
    even = settings.patch == 1 or settings.patch % 2 == 0  # what the stem's padding asks for
    if not even or sides[0] * settings.patch != shape.resolution or sides[:-1] != halving:
        raise ValueError(f"patches of {settings.patch} do not make a power of two of the side")
    levels = [
        Level(side=side, width=width, bottom_up_blocks=up, top_down_blocks=down, latent=latent)
        for side, width, up, down, latent in zip(sides, *columns, strict=True)
    ]
    vector = VectorLatent(
        size=settings.vector,
        exemplars=settings.exemplars,
        join=settings.join,
        guesses=settings.guesses,
        deviation=settings.deviation,
        gibbs_steps=settings.gibbs_steps,
    )
    conditioning = make_conditioning(shape, settings.groups)
    mixture = None
    if settings.mppca_rank:
        mixture = make_mixture(shape, conditioning, settings.mppca_rank)
    return LadderVAE(
        levels,
        patch=settings.patch,
        components=settings.components,
        shape=shape,
        optimizer=settings.optimizer,
        warm_up=settings.warm_up,
        vector=vector,
        conditioning=conditioning,
        mixture=mixture,
        patch_rank=settings.patch_rank,
    )


BRIEF_RANK, LONGER_RANK = 128, 256  # of a mixture, at most: more directions take longer to refine
NUMBERS_PER_DIRECTION = 8  # of an image: of the 1,024 of MNIST 256 directions were worse than 128
IMAGES_PER_DIRECTION = 10  # with fewer, directions are those of single images
SMALL = Ladder(
    batch_size=64,
    widths=(64, 128, 256, 512),
    bottom_up_blocks=(1, 0, 0, 0),
    top_down_blocks=(2, 0, 0, 0),
    vector=128,
    components=4,
    optimizer=replace(Ladder.optimizer, learning_rate=1e-3),
)
BASE = Ladder(
    batch_size=128,
    patch=1,
    widths=(96, 192, 256, 384, 512),
    bottom_up_blocks=(2, 2, 1, 1, 0),
    top_down_blocks=(3, 3, 2, 1, 0),
    latents=(8, 16, 8, 16, 32),
    vector=128,
    components=10,
    optimizer=replace(Ladder.optimizer, learning_rate=1e-3),
)


def defaults(size: Size, shape: ImageShape) -> Ladder:
    """Patches that leave pictures of 16x16, at `base` for images above 32x32 of twice that side."""
    settings, planned = {"tiny": (Ladder(), 16), "small": (SMALL, 16), "base": (BASE, 32)}[size]
    finest = 32 if size == "base" and shape.resolution > 32 else 16
    # Levels that are planned, and finer than these patches or images have.
    missing = (planned // min(finest, shape.resolution)).bit_length() - 1
    return replace(
        settings,
        patch=max(1, shape.resolution // finest),
        widths=settings.widths[missing:],
        bottom_up_blocks=settings.bottom_up_blocks[missing:],
        top_down_blocks=settings.top_down_blocks[missing:],
        latents=settings.latents[missing:],
    )


def brief(
    settings: Ladder,
    size: Size,
    shape: ImageShape,
    images: int | None,
    most_rank: int,
    grey_steps: int,
) -> Ladder:
    """Few images make no vector that is whole and sharp; that of a mixture is at once.

    A long training makes a better one: docs/speedrun.md. At larger sizes nobody measured it.

    most_rank:  directions of the mixture, at most
    grey_steps: of pseudo-Gibbs sampling for grey images: colours gained nothing by them
    """
    if size != "tiny":
        return settings
    rank = min(most_rank, max(BRIEF_RANK, shape.dimensions // NUMBERS_PER_DIRECTION))
    if images is not None:
        rank = min(rank, max(1, images // IMAGES_PER_DIRECTION))
    return replace(
        settings,
        groups=200,
        mppca_rank=rank,
        patch_rank=8,
        exemplars=(EXEMPLARS, 2),
        join=0.0,
        guesses=0.0,
        gibbs_steps=grey_steps if shape.channels == 1 else 0,
    )


RECIPE = Recipe(
    summary="latents at several resolutions, logistic mixtures for pixels: the sharpest",
    settings=Ladder,
    defaults=defaults,
    build=build,
    conditional=True,
    brief=(
        Brief(partial(brief, most_rank=BRIEF_RANK, grey_steps=0), images=50_000, seconds=(150, 40)),
        Brief(
            partial(brief, most_rank=LONGER_RANK, grey_steps=1), images=100_000, seconds=(330, 100)
        ),
    ),
    channels_last=True,
)
