"""What goes wrong while a VAE is trained, measured on a few images.

rate         KL of all levels together
distortion   -log P(image | latents); rate + distortion is the bound
unit         one number of a latent; it is active where its posterior mean varies over images
gain         log p(image | its own latents) - log p(image | another image's latents)
gap          bound on validation images - bound on training images
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from triptych.families.capabilities import Diagnosis
from triptych.families.vae.losses import Autoencoder
from triptych.images import to_float64
from triptych.records import Note
from triptych.seeding import ImageStreams

EARLY = 0.25  # share of the planned images before which latents may still wake up: no advice
ACTIVE = 0.01  # least variance of an active unit's posterior mean (arXiv:1509.00519, section 5)
FEW = 0.1  # share of a latent's units: with fewer active, a fifth of its size would suffice
FEW_OF_PICTURE = 0.01  # the same for pictures of units, where many pixels may need no information
# Nats of a level: a unit that is only just active costs 0.005 (half the variance of its mean).
LEAST_KL = 0.01
LEAST_GAIN = 1.0  # nats: with less, a few images cannot be told apart by their latents
SURE = 3.0  # standard errors; two would raise a false alarm in one of five runs of ten diagnoses
OVERFIT = 0.05  # of what training images cost, as far as the model could save it


@dataclass(frozen=True)
class LevelUse:
    """How much one level's latents are used.

    suffix:  of its numbers' names: "" where there is one level, else "_LEVEL"
    kl:      nats per image
    picture: whether its units form a picture
    """

    suffix: str
    kl: float
    units: int
    active: int
    picture: bool = False

    @property
    def share(self) -> float:
        """The share of units that are active, from 0 to 1."""
        return self.active / self.units

    @property
    def collapsed(self) -> bool:
        """Whether it carries hardly any information."""
        return self.share < self.least_share or self.kl < LEAST_KL

    @property
    def least_share(self) -> float:
        """The share of active units that a level in use has at least."""
        return FEW_OF_PICTURE if self.picture else FEW


@dataclass(frozen=True)
class Gap:
    """Mean bounds on training and on validation images; all numbers have one unit.

    gap:   difference of the means of the avoidable cost: bound - `least_distortion`
    error: standard error of the gap
    """

    seen: float
    unseen: float
    gap: float
    error: float
    avoidable: float  # mean avoidable cost of training images

    @property
    def overfitted(self) -> bool:
        """Whether the gap is neither chance nor small."""
        return self.gap > self.most

    @property
    def most(self) -> float:
        """The largest gap that is chance, or small."""
        return max(SURE * self.error, OVERFIT * self.avoidable)


def diagnose(
    model: Autoencoder, seen: Tensor, unseen: Tensor, rng: ImageStreams, share: float
) -> Diagnosis:
    """As `Diagnoses.diagnose`. No advice before `EARLY`, nor while the KL is warmed up.

    Bits per dimension: rate, distortion, bound_train, bound_validation, gap, gap_error; nats: kl
    of each level and gain; active and active_share of each level. All but the bounds of the parts
    are means over all images. With fewer than two images of a part, its bounds are left out.
    """
    images = torch.cat([seen, unseen])
    features = model.encode_features(images)
    labels = model.condition(images)
    noise = {name: rng.normal(*shape) for name, shape in model.latents.items()}
    drawn = model.posterior(features, noise, labels)
    plain = model.posterior(features, None, labels)
    others = {name: mean.roll(1, dims=0) for name, mean in plain.means.items()}
    gain = model.training_log_pixels(images, plain.output) - model.training_log_pixels(
        images, model.decode_latents(others, labels)
    )
    kl = drawn.kl()
    rate = to_float64(torch.stack(list(kl.values()))).sum(0)
    distortion = -to_float64(model.log_pixels(images, drawn.output))
    levels = find_levels(kl, plain.means)
    to_bits = 1 / (model.shape.dimensions * math.log(2))
    numbers = {
        "rate": rate.mean().item() * to_bits,
        "distortion": distortion.mean().item() * to_bits,
        "gain": gain.mean().item(),
    }
    for level in levels:
        numbers[f"kl{level.suffix}"] = level.kl
        numbers[f"active{level.suffix}"] = level.active
        numbers[f"active_share{level.suffix}"] = level.share
    gap = None
    if min(len(seen), len(unseen)) > 1:
        least = to_float64(model.least_distortion(images))
        gap = find_gap((rate + distortion) * to_bits, least * to_bits, len(seen))
        numbers |= {"bound_train": gap.seen, "bound_validation": gap.unseen}
        numbers |= {"gap": gap.gap, "gap_error": gap.error}
    if share < max(EARLY, model.warm_up):
        return Diagnosis(numbers)
    return Diagnosis(numbers, advise(model, levels, numbers["gain"], rate.mean().item(), gap))


def find_levels(kl: dict[str, Tensor], means: dict[str, Tensor]) -> list[LevelUse]:
    """The levels in the order of `kl`, whose terms are called kl or kl_LEVEL.

    kl: nats, each [N]; means: of the posteriors, [N, ...], under the latents' names
    """
    levels = []
    for term, nats in kl.items():
        suffix = term.removeprefix("kl")
        own = [
            to_float64(mean).var(0)  # A_u of each unit
            for name, mean in means.items()
            if suffix in ("", "_" + name.partition(".")[0])
        ]
        variances = torch.cat([each.flatten() for each in own])
        active = int((variances > ACTIVE).sum().item())
        picture = own[0].numel() > len(own[0])
        levels.append(LevelUse(suffix, nats.mean().item(), len(variances), active, picture))
    return levels


def find_gap(cost: Tensor, least: Tensor, count: int) -> Gap:
    """The gap from each image's bound and its least value, [N]; the first `count` are training."""
    avoidable = cost - least
    train, validation = avoidable[:count], avoidable[count:]
    variance = train.var() / len(train) + validation.var() / len(validation)
    return Gap(
        seen=cost[:count].mean().item(),
        unseen=cost[count:].mean().item(),
        gap=(validation.mean() - train.mean()).item(),
        error=variance.sqrt().item(),
        avoidable=train.mean().item(),
    )


def advise(
    model: Autoencoder, levels: Sequence[LevelUse], gain: float, rate: float, gap: Gap | None
) -> list[Note]:
    """A note for each failure, with its numbers and the range that is normal.

    At an optimum the gain is at least the rate minus the bound's slack: by Jensen's inequality,
    another image's latents predict an image no better than its probability. So the decoder does
    not use latents whose rate is above their gain.
    """
    several = bool(levels[0].suffix)
    # Where it does not learn how wide pixels are, latents need no more than that it does.
    fixed = not model.learns_pixels
    unused, ignored = ("unused_latent", "ignored_latents")
    if fixed and model.shape.is_point:
        unused, ignored = ("unused_latent_points", "ignored_latents_points")
    elif fixed:
        unused, ignored = ("unused_latent_pixels", "ignored_latents_pixels")
    advice = []
    for level in levels:
        if level.collapsed:
            values = mend(model, several, level.suffix) | {
                "active": level.active,
                "units": level.units,
                "kl": level.kl,
                "least_units": max(1, math.ceil(level.least_share * level.units)),
                "least_kl": LEAST_KL,
            }
            if several:
                values["level"] = level.suffix[1:]
                note = Note("unused_level_pixels" if fixed else "unused_level", values)
            else:
                note = Note(unused, values)
            advice.append(note)
    least = max(rate, LEAST_GAIN)
    if gain < least:
        values = mend(model, several) | {"gain": gain, "rate": rate, "least": least}
        advice.append(Note(ignored, values))
    if gap is not None and gap.overfitted:
        values = {"seen": gap.seen, "unseen": gap.unseen, "gap": gap.gap, "most": gap.most}
        advice.append(Note("overfitting", values))
    return advice


def mend(model: Autoencoder, several: bool, suffix: str = "") -> dict[str, str | int | float]:
    """What wakes latents up, by options that the model's recipe has: as they are written there.

    suffix: of the collapsed level, where there are several
    """
    if not model.learns_pixels:
        return {}
    latents = "latent"
    if several:
        latents = "vector" if suffix == "_vector" else "latents"
    return {"warm_up": f"{min(0.5, max(0.2, 2 * model.warm_up)):g}", "setting": latents}
