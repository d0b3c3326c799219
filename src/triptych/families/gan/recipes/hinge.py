"""`gan:hinge`: a spectrally normalised critic under the hinge loss (arXiv:1802.05957)."""

from __future__ import annotations

from triptych.config import ImageShape, Size
from triptych.families.gan.losses import GANLoss, hinge_critic, hinge_generator
from triptych.families.gan.model import GAN
from triptych.families.gan.recipes import ConvolutionalSettings, build_convolutional, sized
from triptych.families.protocol import Recipe
from triptych.nn.convgan import SpectralCritic


def build(settings: ConvolutionalSettings, shape: ImageShape) -> GAN:
    """The critic's slope is bounded by its layers."""
    loss = GANLoss(critic=hinge_critic, generator=hinge_generator, augmented=settings.augment)
    return build_convolutional(settings, shape, loss, SpectralCritic)


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
    selects=True,
    channels_last=True,
)
