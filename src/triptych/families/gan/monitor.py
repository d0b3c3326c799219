"""What goes wrong while a GAN is trained, measured on a few images.

separation   the share of pairs (real, fake) in which the real image has the higher score
slope        the mean gradient length of the generator's loss in a fake image, times the mean
             distance of real images from their mean: the strength of the generator's signal
spread       mean distance of two fake images, divided by that of two real images
reach        Each fake image has a nearest real image; count the different ones. Divide by the same
             count for real images, each with its nearest other real image. It is small where the
             fake images resemble few real ones.
memory       (mean score of training images - of validation images), divided by (of training images
             - of fake images). It is 0 where the discriminator scores both parts alike, and 1 where
             it takes validation images for fake (arXiv:2006.06676, eq. 1). It is left out where
             training images score like fake ones: then the ratio would be of chance alone.

Distances are Euclidean, between images shrunk to 8x8, where noise hardly counts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from triptych.families.capabilities import Diagnosis
from triptych.families.gan.losses import GANLoss, Players
from triptych.families.protocol import frozen, to_float32
from triptych.images import is_points, to_float64
from triptych.records import Note

EARLY = 0.2  # share of the planned images before which nothing is judged
NARROW = 0.4  # of spread or of reach: advice
APART = 0.98  # separation: advice where the slope is small too
FAINT = 0.05  # slope
BY_HEART = 0.75  # memory: advice
SURE = 3.0  # standard errors between training and fake images' scores, for memory to be a number
SIDE = 8  # pixels of the shrunk images
LEAST = 8  # images of each kind, below which nothing is judged


def diagnose(
    players: Players, loss: GANLoss, fake: Tensor, seen: Tensor, unseen: Tensor, share: float
) -> Diagnosis:
    """As `Diagnoses.diagnose`; memory is left out where there are no validation images.

    fake: images of the model, [N,C,H,W], one for each of `seen` and `unseen`, of the same group
    """
    real = torch.cat([seen, unseen])
    condition = players.condition_of(real)
    scores = (to_float64(players.discriminator(x, *condition)) for x in (real, fake))
    real_scores, fake_scores = scores
    small_real, small_fake = shrunk(real), shrunk(fake)
    numbers = {
        "separation": (real_scores[:, None] > fake_scores).double().mean().item(),
        "slope": find_slope(players, loss, fake, real_scores, condition) * radius(real),
        "spread": ratio(mean_distance(small_fake), mean_distance(small_real)),
        "reach": find_reach(small_real, small_fake),
    }
    train_scores = real_scores[: len(seen)]
    if len(unseen) > 0 and tells(train_scores, fake_scores):
        train, validation = train_scores.mean(), real_scores[len(seen) :].mean()
        numbers["memory"] = ratio((train - validation).item(), (train - fake_scores.mean()).item())
    if share < EARLY or len(real) < LEAST:
        return Diagnosis(numbers, health=0.0)  # not judged, so nothing to fall from
    advice = advise(numbers, loss.augmented, is_points(real))
    return Diagnosis(numbers, advice, *find_failure(numbers))


def tells(train: Tensor, fake: Tensor) -> bool:
    """Whether mean scores of training [N] and fake images [M] differ by more than their errors."""
    if len(train) < 2:
        return False
    error = (train.var() / len(train) + fake.var() / len(fake)).sqrt()
    return bool((train.mean() - fake.mean()).abs() > SURE * error)


def shrunk(images: Tensor) -> Tensor:
    """[N,C,H,W] -> [N,F]: images shrunk to 8x8 pixels or fewer by local means, float64."""
    side = min(SIDE, images.shape[-1])
    return F.adaptive_avg_pool2d(to_float64(images).clamp(-1, 1), side).flatten(1)


def mean_distance(points: Tensor) -> float:
    """Mean Euclidean distance of two different rows of [N,F]; 0 for a single row."""
    count = len(points)
    return torch.cdist(points, points).sum().item() / max(1, count * (count - 1))


def ratio(a: float, b: float) -> float:
    """a / b; 0 where b is 0."""
    return a / b if b else 0.0


def radius(images: Tensor) -> float:
    """Mean Euclidean distance of images [N,C,H,W] from their mean image."""
    flat = to_float64(images).flatten(1)
    return (flat - flat.mean(0)).norm(dim=1).mean().item()


def find_reach(real: Tensor, fake: Tensor) -> float:
    """The ratio called reach above, of real and fake images, [N,F] each."""
    to_fake = torch.cdist(fake, real).argmin(1)
    within = torch.cdist(real, real).fill_diagonal_(float("inf")).argmin(1)
    return ratio(len(set(to_fake.tolist())), len(set(within.tolist())))


def find_slope(
    players: Players, loss: GANLoss, fake: Tensor, real_scores: Tensor, condition: list[Tensor]
) -> float:
    """Mean over fake images [N,C,H,W] of the length of their own loss's gradient."""
    with torch.inference_mode(False), torch.enable_grad(), frozen(players.discriminator):
        x = fake.clone().requires_grad_()
        scores = to_float32(players.discriminator(x, *(shares.clone() for shares in condition)))
        if loss.paired:
            scores = scores - real_scores.clone().to(scores)
        total = loss.generator(scores) * len(x)  # a sum: each image's own gradient
        (gradient,) = torch.autograd.grad(total, x)
    return to_float64(gradient).flatten(1).norm(dim=1).mean().item()


def find_failure(numbers: dict[str, float]) -> tuple[float, Note]:
    """The model's health (see `Diagnosis`), and its worst failure with its numbers."""
    # Where the scores are not apart, the slope is small because both networks are done.
    signal = min(1.0, numbers["slope"] / FAINT) if apart(numbers) else 1.0
    variety = min(numbers["spread"], numbers["reach"])
    if signal < variety:
        return signal, Note("gradient_vanished", {"slope": numbers["slope"], "least": FAINT})
    values = {name: numbers[name] for name in ("spread", "reach")}
    return variety, Note("generator_collapsed", {**values, "least": NARROW})


def apart(numbers: dict[str, float]) -> bool:
    """Whether the discriminator tells real from fake, or gives no direction at all."""
    return numbers["separation"] > APART or numbers["slope"] == 0


def advise(numbers: dict[str, float], augmented: bool, points: bool) -> list[Note]:
    """A note for each failure, with its numbers and the range that is normal.

    points: of the plane, for which there is one recipe
    """
    advice = []
    if apart(numbers) and numbers["slope"] < FAINT:
        values = {name: numbers[name] for name in ("separation", "slope")}
        code = "discriminator_wins_points" if points else "discriminator_wins"
        advice.append(Note(code, {**values, "most": APART, "least": FAINT}))
    if min(numbers["spread"], numbers["reach"]) < NARROW:
        values = {name: numbers[name] for name in ("spread", "reach")}
        code = "few_kinds_of_points" if points else "few_kinds_of_images"
        advice.append(Note(code, {**values, "least": NARROW}))
    if numbers.get("memory", 0.0) > BY_HEART and not augmented:
        values = {"memory": numbers["memory"], "most": BY_HEART}
        advice.append(Note("discriminator_memorizes", {**values}))
    return advice
