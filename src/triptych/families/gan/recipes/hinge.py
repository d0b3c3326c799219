"""`gan:hinge`: a spectrally normalised discriminator under the hinge loss (arXiv:1802.05957)."""

from __future__ import annotations

from triptych.config import ImageShape, Size
from triptych.families.gan.losses import GANLoss, hinge_discriminator, hinge_generator
from triptych.families.gan.model import GAN
from triptych.families.gan.recipes import ConvolutionalSettings, build_convolutional, sized
from triptych.families.protocol import Recipe
from triptych.nn.convgan import SpectralDiscriminator


def build(settings: ConvolutionalSettings, shape: ImageShape) -> GAN:
    """The discriminator's slope is bounded by its layers."""
    loss = GANLoss(
        discriminator=hinge_discriminator, generator=hinge_generator, augmented=settings.augment
    )
    return build_convolutional(settings, shape, loss, SpectralDiscriminator)


def defaults(size: Size, shape: ImageShape) -> ConvolutionalSettings:
    """By size alone."""
    return sized(ConvolutionalSettings(), size)


RECIPE = Recipe(
    summary="spectral normalisation and the hinge loss",
    settings=ConvolutionalSettings,
    defaults=defaults,
    build=build,
    conditional=True,
    augments_few=True,
    channels_last=True,
)
