"""What nearest neighbours tell of two sets of features: is each where the other one is?

A ball around each image reaches to its k-th nearest neighbour of its own set.

precision  share of generated images inside any real image's ball (arXiv:1904.06991, eq. 2)
recall     share of real images inside any generated image's ball (the same)
density    balls of real images that a generated one lies in, over k (arXiv:2002.09797, eq. 4)
coverage   share of real images whose ball holds a generated one (arXiv:2002.09797, eq. 5)

Two more say what share of good images would score as much (arXiv:2507.01761, section 3):

clipped_density   density where no ball is larger than the median one and no image counts for more
                  than 1, over what real images score among the others, at most 1
clipped_coverage  mean over real images of how many of k generated ones their ball holds, at most
                  all, as the share of the generated images that would fill so much if they were
                  real and the rest were nowhere

Real images come first everywhere: swapping the two swaps precision and recall.

Intervals come from random halves of either side. Leaving out few images is not enough: the
jackknife of such jumping statistics is right only where many are left out (Shao and Wu 1989).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from triptych.metrics import Metric, NotDefinedError, Tensors, threads_for
from triptych.metrics.intervals import Estimate, wilson
from triptych.records import Note
from triptych.seeding import generator

K = 5
HALVES = 20  # of each side, in pairs that make a whole
NEAREST = 30  # other images among which the k-th nearest of a half is looked for
ROWS, COLUMNS = 512, 8192  # squared distances that are computed at once
ROUNDING = 1e-13  # of squared lengths: squared distances of equal features come out below
GONE = -1.0  # squared radius of a ball that is left out: it holds nothing


@dataclass(frozen=True)
class Neighbours:
    """The six numbers with their intervals; density may pass 1."""

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate
    clipped_density: Estimate
    clipped_coverage: Estimate


@dataclass(frozen=True)
class Balls:
    """Balls around the rows of each of S subsets of one set of N, and how dense these rows are.

    radii:    squared radius of each ball, [S,N]; GONE around what is not in the subset
    clipped:  the same, at most the subset's median
    selfhood: what the rows score among each other by clipped balls, each at most 1: mean, [S]
    """

    radii: Tensor
    clipped: Tensor
    selfhood: Tensor


@dataclass(frozen=True)
class Counts:
    """Sums over the rows of the real set; the first of each is of all images on both sides.

    holding:              balls of a real subset around each generated image, [S,M]
    clipped:              the same, of clipped balls
    filled, filled_real:  generated images in a real image's ball, at most k: of each generated
                          subset in all balls, of all in the balls of each real subset, [S]
    held, held_real:      real images with any of these in their ball, likewise
    near, near_real:      real images in a ball around some generated one, likewise
    """

    holding: Tensor
    clipped: Tensor
    filled: Tensor
    filled_real: Tensor
    held: Tensor
    held_real: Tensor
    near: Tensor
    near_real: Tensor


def neighbours(real: Tensor, generated: Tensor, k: int = K, intervals: bool = True) -> Neighbours:
    """real [N,d], generated [M,d], at least 2 (k + 1) of each; float64, a few rows at a time.

    NotDefinedError where most balls around real images have no size: they are copies.

    intervals: without them it takes half the time
    """
    kept_real, kept_generated = (
        (subsets(len(x), name) if intervals else everything(len(x))).to(x.device)
        for x, name in ((real, "real"), (generated, "generated"))
    )
    balls = balls_around(real, k, kept_real)
    if balls.radii[0].median() <= ROUNDING * real.double().square().sum(1).mean():
        raise NotDefinedError(Note("no_neighborhoods", {"k": k}))
    counts = counted(real, generated, k, balls, kept_real, kept_generated)

    count_real, count_generated = kept_real.sum(1), kept_generated.sum(1)
    by_generated = kept_generated.T.float() / count_generated  # averages over those of a subset
    fidelity = (counts.clipped / k).clamp(max=1)  # of each generated image, by each real subset
    filled_real = counts.filled_real / count_real / k
    filling = [
        share_filling(filled_real, count_real, count_generated[:1], k),
        share_filling(counts.filled / len(real) / k, count_real[:1], count_generated, k),
    ]
    holding = counts.holding
    estimates = Neighbours(
        precision=share((holding > 0).float().mean(1), (holding[0] > 0).float() @ by_generated),
        recall=share(counts.near_real / count_real, counts.near / len(real)),
        density=plain(holding.mean(1) / k, holding[0] @ by_generated / k),
        coverage=share(counts.held_real / count_real, counts.held / len(real)),
        clipped_density=at_most_one(
            fidelity.mean(1) / balls.selfhood, fidelity[0] @ by_generated / balls.selfhood[0]
        ),
        clipped_coverage=at_most_one(*filling),
    )
    return never_empty(estimates, len(real), len(generated)) if intervals else estimates


def counted(
    real: Tensor,
    generated: Tensor,
    k: int,
    balls: Balls,
    kept_real: Tensor,
    kept_generated: Tensor,
) -> Counts:
    """Who lies in whose ball, of all real rows and all generated ones, a few real rows at a time.

    balls: around the real rows; kept_real [S,N] and kept_generated [S,M]: the subsets
    """
    around_real = balls.radii  # [S,N]
    around_generated = squared_radii(generated, k, kept_generated)[0]  # [S,M]
    members = kept_generated.T.float()  # [M,S]
    holding = members.new_zeros(len(kept_real), len(generated))
    clipped = torch.zeros_like(holding)
    filled, held, near = members.new_zeros(3, len(kept_generated)).unbind()
    filled_real, held_real, near_real = members.new_zeros(3, len(kept_real)).unbind()
    for first in range(0, len(real), ROWS):
        rows = slice(first, first + ROWS)
        distances = squared_distances(real[rows], generated)  # [rows,M]
        for index, radii in enumerate(around_real[:, rows]):
            inside = distances <= radii[:, None]
            holding[index] += inside.sum(0)
            clipped[index] += (distances <= balls.clipped[index, rows, None]).sum(0)
            counts = inside.sum(1)
            held_real[index] += (counts > 0).sum()
            filled_real[index] += counts.clamp(max=k).sum()
            if index == 0:
                by_subset = inside.float() @ members  # [rows,S]
                held += (by_subset > 0).sum(0)
                filled += by_subset.clamp(max=k).sum(0)
        for index, radii in enumerate(around_generated):
            reached = (distances <= radii).any(1)
            near[index] += reached.sum()
            if index == 0:
                near_real += (reached & kept_real[:, rows]).sum(1)
    return Counts(holding, clipped, filled, filled_real, held, held_real, near, near_real)


def never_empty(estimates: Neighbours, real: int, generated: int) -> Neighbours:
    """The same intervals, where halves that all agree prove no more than their images do.

    At shares of 0 and 1 all halves have the same one. Then as many images without a failure, or
    without a success, still leave room for some: Wilson's interval of these images (1927).
    """

    def widened(estimate: Estimate, count: int) -> Estimate:
        alone = wilson(round(estimate.value * count), count)
        low, high = min(estimate.low, alone.low), max(estimate.high, alone.high)
        return replace(estimate, low=low, high=high)

    def with_room(estimate: Estimate, count: int, most: float = math.inf) -> Estimate:
        if estimate.low < estimate.high:
            return estimate
        room = wilson(0, count).high
        low, high = max(0.0, estimate.value - room), min(most, estimate.value + room)
        return replace(estimate, low=low, high=high)

    return Neighbours(
        precision=widened(estimates.precision, generated),
        recall=widened(estimates.recall, real),
        density=with_room(estimates.density, generated),
        coverage=widened(estimates.coverage, real),
        clipped_density=with_room(estimates.clipped_density, generated, most=1.0),
        clipped_coverage=with_room(estimates.clipped_coverage, real, most=1.0),
    )


def expected_filling(generated: int, real: int, k: int) -> Tensor:
    """Mean share of k that a real image's ball holds of m images like the real ones, at most all.

    For m from 0 to twice as many as were generated, [2M+1], float64. The ball to the k-th nearest
    of N - 1 others holds a share of the distribution that follows Beta(k, N - k), so the count J
    of m images in it is beta-binomial, and E min(J, k) / k = 1 - sum over j < k of
    (1 - j / k) P(J = j) (arXiv:2507.01761, section 3.2).
    """
    m = torch.arange(2 * generated + 1, dtype=torch.float64)[:, None]
    j = torch.arange(k, dtype=torch.float64)  # [k]
    rest = (m - j).clamp(min=0)

    def log_beta(a: Tensor, b: Tensor) -> Tensor:
        return a.lgamma() + b.lgamma() - (a + b).lgamma()

    balls = torch.tensor([k, real - k], dtype=torch.float64)
    log_choices = (m + 1).lgamma() - (j + 1).lgamma() - (rest + 1).lgamma()
    log_shares = log_choices + log_beta(k + j, real - k + rest) - log_beta(*balls)
    probability = log_shares.exp() * (j <= m)
    return 1 - ((1 - j / k) * probability).sum(1)


def share_filling(filled: Tensor, real: Tensor, generated: Tensor, k: int) -> Tensor:
    """The share of the generated images that fills so much, by `expected_filling`: [S]; up to 2.

    real, generated: counts of the two sides in each subset, [S] or [1] each
    """
    shares: list[float] = []
    curves: dict[tuple[int, int], NDArray[np.float64]] = {}
    counts = (each.expand(len(filled)).tolist() for each in (generated, real))
    for value, *sides in zip(filled.tolist(), *counts, strict=True):
        sizes = (sides[0], sides[1])
        if sizes not in curves:
            curves[sizes] = expected_filling(*sizes, k).numpy()
        curve = curves[sizes]
        shares.append(float(np.interp(value, curve, np.arange(len(curve)) / sizes[0])))
    return torch.tensor(shares, dtype=torch.float64)


def at_most_one(*sides: Tensor) -> Estimate:
    """The interval of what may pass 1 by chance, then value and interval cut at 1."""
    free = plain(*sides)
    return Estimate(min(1.0, free.value), min(1.0, free.low), min(1.0, free.high))


def everything(count: int) -> Tensor:
    """All images, the first of `subsets`: bool [1,N]."""
    return torch.ones(1, count, dtype=torch.bool)


def subsets(count: int, name: str) -> Tensor:
    """All images, then random halves of them, each followed by the other one: bool [1+HALVES,N]."""
    kept = torch.ones(1 + HALVES, count, dtype=torch.bool)
    for pair in range(1, 1 + HALVES, 2):
        order = torch.randperm(count, generator=generator(0, f"halves of {name} images", pair))
        kept[pair, order[count // 2 :]] = False
        kept[pair + 1] = ~kept[pair]
    return kept


def share(*sides: Tensor) -> Estimate:
    """A share of all images (first) from its values on halves of each side.

    On the scale of arcsin(sqrt(p)) a share's variance does not depend on the share, which is
    another one in halves: intervals are found there (Anscombe 1948, Biometrika 35).
    """
    angle = plain(*(side.clamp(0, 1).sqrt().asin() for side in sides))
    low, high = max(0.0, angle.low), min(math.pi / 2, angle.high)
    return Estimate(sides[0][0].item(), math.sin(low) ** 2, math.sin(high) ** 2)


def plain(*sides: Tensor) -> Estimate:
    """A statistic of all images (first) from its values on halves of each side.

    Half of the images vary by twice the variance, of which half is the choice among those at hand.
    """
    value = sides[0][0].item()
    if len(sides[0]) == 1:
        return Estimate(value, value, value)
    variance = sum(side[1:].double().var().item() for side in sides)
    degrees = len(sides) * (HALVES // 2)  # a half and the other one are hardly independent
    margin = float(stats.t.ppf(0.975, degrees)) * math.sqrt(variance)
    return Estimate(value, max(0.0, value - margin), value + margin)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Of all pairs, float64: [N,d], [M,d] -> [N,M]."""
    x = x.double()
    blocks = []
    for columns in torch.split(y, COLUMNS):
        columns = columns.double()
        squares = (x * x).sum(1)[:, None] + (columns * columns).sum(1)
        blocks.append((squares - 2 * (x @ columns.T)).clamp_(min=0))
    return torch.cat(blocks, dim=1)


@dataclass(frozen=True)
class Near:
    """The nearest other rows of each row of a set of N: squared distances and numbers, [N,n]."""

    distances: Tensor
    indices: Tensor


def squared_radii(x: Tensor, k: int, kept: Tensor) -> tuple[Tensor, Near]:
    """Squared distance of each row to the k-th nearest other row of each subset, [S,N]; and those.

    kept: which rows are in each subset, [S,N], the first one holding all; rows that are not in it
          are GONE
    """
    without = torch.full(kept.shape, GONE, dtype=torch.float64, device=x.device)
    nearest: list[tuple[Tensor, Tensor]] = []
    for first in range(0, len(x), ROWS):
        rows = torch.arange(first, min(first + ROWS, len(x)), device=x.device)
        distances = squared_distances(x[rows], x)
        distances[rows - first, rows] = torch.inf  # a row is no neighbour of itself
        near = distances.topk(min(NEAREST, len(x) - 1), largest=False)
        nearest.append((near.values, near.indices))
        for index, members in enumerate(kept):
            values = near.values.masked_fill(~members[near.indices], torch.inf)
            radii = values.kthvalue(k, dim=1).values
            # Hardly ever fewer than k are among them; then the last one is the best that is known.
            radii = torch.minimum(radii, near.values[:, -1])
            own = members[rows]
            without[index, rows[own]] = radii[own]
    return without, Near(*(torch.cat(parts) for parts in zip(*nearest, strict=True)))


def squared_median(squares: Tensor) -> Tensor:
    """The square of the median of some lengths, from their squares: [n] -> a scalar.

    Never below the lower one of the two in the middle, so that rounding empties no ball.
    """
    lower, upper = (
        squares.kthvalue(k).values for k in ((len(squares) + 1) // 2, len(squares) // 2 + 1)
    )
    return ((lower.sqrt() + upper.sqrt()) / 2).square().clamp(min=lower)


def balls_around(x: Tensor, k: int, kept: Tensor) -> Balls:
    """Of each subset of the rows [N,d]; kept as in `squared_radii`.

    A row in another one's ball is one of its k nearest, so these are all that has to be counted.
    """
    radii, near = squared_radii(x, k, kept)
    clipped, selfhood = radii.clone(), []
    for index, members in enumerate(kept):
        own = radii[index, members]
        clipped[index, members] = own.clamp(max=squared_median(own))
        inside = (near.distances <= clipped[index, :, None]) & members[near.indices]
        counts = near.indices[inside].bincount(minlength=len(x))[members]
        selfhood.append((counts / k).clamp(max=1).mean())
    return Balls(radii, clipped, torch.stack(selfhood))


def enough_for_neighbours(count: int) -> bool:
    """Whether halves of so many images have a K-th neighbour."""
    return count >= 2 * (K + 1)


shared = lru_cache(maxsize=2)(neighbours)  # by the six numbers of samples, and by their floors


def compute(name: str, samples: Tensors, real: Tensors, intervals: bool = True) -> Estimate:
    """One of the six, among as many test images as there are samples."""
    features = samples["features"]
    if not enough_for_neighbours(len(features)):
        raise NotDefinedError(Note("few_for_neighbors", {"n": len(features)}))
    test = real["matched_test_features"]
    with threads_for(test.numel() * len(features)):
        estimate: Estimate = getattr(shared(test, features, intervals=intervals), name)
    return estimate


def floor(name: str, others: Tensors, real: Tensors) -> float:
    """The same of other real images; without intervals it takes half the time."""
    return compute(name, others, real, intervals=False).value


METRICS = [
    Metric(
        name=name,
        better="higher",
        group="samples",
        order=order,
        needs=("features", "matched_test_features"),
        unit=unit,
        moves_with_n=True,
        on_gpu=True,
        method="random halves",
        compute=partial(compute, name),
        floor=partial(floor, name),
    )
    for order, (name, unit) in enumerate(
        [
            ("precision", "share"),
            ("recall", "share"),
            ("density", ""),
            ("coverage", "share"),
            ("clipped_density", "share"),
            ("clipped_coverage", "share"),
        ]
    )
]
