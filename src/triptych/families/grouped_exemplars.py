"""A prior of a mixture's latents: training images of the group, noised and denoised.

In each group of a mixture of probabilistic PCA the latents z are N(0, I). That is right in mean and
covariance, but images are no Gaussian: where two directions depend on each other otherwise, draws
are off. So a draw begins at the latent z_n of a training image of the group. Noise of deviation s
is added to that image and the group's posterior of the image without it is drawn from, which keeps
mean and variance of every direction:

    z = a z_n + sqrt(1 - a^2) e,   e ~ N(0, I),   a = v / (v + s^2),
    p(z | k) = mean over the group's exemplars n of N(z; a z_n, 1 - a^2)

v being the variances of the group's directions: what varies much is kept, what varies little is
drawn anew. (A kernel estimate that shrinks to the mean, so that its variance is that of the data:
Silverman 1986, section 6.4.) With s going to infinity it is N(0, I), at 0 it repeats its exemplars.
s is found from the images: the least at which draws are no nearer to training images than these are
to each other, and at most half of them nearest to the image at which they began.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from triptych.families.capabilities import DrawsAroundExemplars
from triptych.images import to_float, to_float64
from triptych.nn.mppca import MPPCA
from triptych.seeding import ImageStreams, generator

LOG_2PI = math.log(2 * math.pi)
EXEMPLARS = 8192  # of recipes whose draws begin at them
MOST_EXEMPLARS = 2**17
LEAST_NOISE, MOST_NOISE = 0.05, 50.0  # deviations on [-1, 1] between which s is looked for
HALVINGS = 12  # of that range, on its logarithm
SAME = 1e-3  # of an image's length in coordinates: nearer than that is the same image
MOST_OWN = 0.5  # share of draws that may be nearest to the exemplar at which they began
COMPARED = 1_000  # draws, and exemplars, whose nearest exemplar is looked for


def check_exemplars(count: int) -> None:
    """ValueError on a number of exemplars that a recipe cannot have."""
    if not 0 <= count <= MOST_EXEMPLARS:
        raise ValueError(f"exemplars must be 0 to {MOST_EXEMPLARS:,}, got {count}")


class GroupedExemplars(nn.Module):
    """N(0, I) until it is fitted, and for images whose group is unknown.

    mixture: whose latents these are; it belongs to the caller
    most:    exemplars kept
    """

    def __init__(self, mixture: MPPCA, most: int) -> None:
        super().__init__()
        self.register_buffer("exemplars", torch.zeros(most, mixture.basis.shape[1]))
        self.register_buffer("groups", torch.full((most,), -1))
        self.register_buffer("kept", torch.zeros_like(mixture.variances))
        self.exemplars: Tensor  # z_n [N,R]
        self.groups: Tensor  # of each exemplar, [N]; -1 for none
        self.kept: Tensor  # a [K+1,R], 0 for the group "unknown"

    @property
    def kept_numbers(self) -> int:
        """Numbers in the exemplars that take part; 0 before the fit."""
        return int((self.groups >= 0).sum().item()) * self.exemplars.shape[1]

    @torch.no_grad()
    def fit(self, mixture: MPPCA, images: Tensor, groups: Tensor, rng: torch.Generator) -> None:
        """Take images [N,C,H,W] of these groups [N] as exemplars; of more than `most`, random ones.

        With fewer than two it stays N(0, I).
        """
        rows = torch.randperm(len(images), generator=rng)[: len(self.exemplars)]
        count = len(rows)
        if count < 2:
            return
        weights = torch.eye(len(mixture.centres), device=images.device, dtype=images.dtype)
        y, groups = mixture.coordinates(images[rows]), groups[rows]
        for numbers in torch.split(torch.arange(count), COMPARED):
            z = mixture.encode_coordinates(y[numbers], weights[groups[numbers]])
            self.exemplars[numbers] = z
        self.groups.fill_(-1)[:count] = groups
        self.kept.zero_()[:-1] = self.shares_at(mixture, self.noise_found(mixture, y, rng))

    def noise_found(self, mixture: MPPCA, y: Tensor, rng: torch.Generator) -> float:
        """The least noise at which draws are no repetitions of exemplars, whose coordinates are y.

        By the distance to the nearest exemplar in the mixture's coordinates [N,R]: its median over
        draws is that over exemplars at least, which says little where many images are nearly equal;
        so the nearest may be the one at which the draw began for at most `MOST_OWN` of the draws.
        """
        some = torch.randperm(len(y), generator=rng)[:COMPARED].to(y.device)
        apart = torch.cdist(y[some], y)
        apart[torch.arange(len(some)), some] = torch.inf
        wanted = apart.amin(1).median()
        z, k = self.exemplars[some], self.groups[some]
        e = torch.randn(z.shape, generator=rng).to(z)
        low, high = math.log(LEAST_NOISE), math.log(MOST_NOISE)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            a = self.shares_at(mixture, math.exp(middle))[k]
            along = mixture.variances[k].sqrt() * (a * z + (1 - a**2).sqrt() * e)
            drawn = mixture.centres[k] + torch.einsum("nij,nj->ni", mixture.axes[k], along)
            nearest = torch.cdist(drawn, y).min(1)
            own = (nearest.indices == some).float().mean()
            repeats = own > MOST_OWN or nearest.values.median() < wanted
            low, high = (middle, high) if repeats else (low, middle)
        return math.exp(high)

    @staticmethod
    def shares_at(mixture: MPPCA, noise: float) -> Tensor:
        """a of all groups at a noise s, [K,R]."""
        variances = mixture.variances[:-1]
        return variances / (variances + noise**2)

    def of_group(self, k: Tensor) -> Tensor:
        """The weight of each exemplar for images of groups k [B], [B,N]: 1 for those of the group.

        An image of a group without exemplars has none, nor has one whose group is unknown.
        """
        return (self.groups == k[:, None]).to(self.exemplars.dtype)

    def numbers(self, weights: Tensor | None, like: Tensor) -> Tensor:
        """The groups of latents [B,R], [B], of weights [B,K+1]; None: all unknown."""
        if weights is None:
            return torch.full(like.shape[:1], len(self.kept) - 1, device=like.device)
        return weights.argmax(1)

    def log_density(self, z: Tensor, weights: Tensor | None) -> Tensor:
        """log p(z | group), nats: z [B,R], weights of the groups [B,K+1] -> [B]."""
        k = self.numbers(weights, z)
        own = self.of_group(k)
        has_exemplars = own.any(1)
        # Who has no exemplars is shown all: a sum over none has no gradient.
        shown = own.where(has_exemplars[:, None], 1.0)
        each = log_around(z, self.kept[k], self.exemplars) + shown.log()
        return (each.logsumexp(1) - shown.sum(1).log()).where(has_exemplars, log_standard(z))

    def log_density_in(self, z: Tensor, group: int) -> Tensor:
        """The same of latents [B,R] that all are of one group: nats, [B]."""
        exemplars = self.exemplars[self.groups == group]
        if len(exemplars) == 0:
            return log_standard(z)
        each = log_around(z, self.kept[group].expand_as(z), exemplars)
        return each.logsumexp(1) - math.log(len(exemplars))

    def draw(self, choices: Tensor, noise: Tensor, weights: Tensor | None) -> Tensor:
        """Latents [B,R] from uniform numbers [B,1 or more] and Gaussian noise [B,R]."""
        k = self.numbers(weights, noise)
        own = self.of_group(k)
        a = self.kept[k].where(own.any(1, keepdim=True), 0.0)
        exemplars = self.exemplars[self.exemplars_drawn(choices, weights).clamp(min=0)]
        return a * exemplars + (1 - a**2).sqrt() * noise

    def exemplars_drawn(self, choices: Tensor, weights: Tensor | None) -> Tensor:
        """The exemplar that the first of uniform numbers [B,...] chooses: [B]; -1 for none."""
        own = self.of_group(self.numbers(weights, choices))
        return pick(own, choices[:, 0]).where(own.any(1), -1)

    def exemplars_at(self, mixture: MPPCA, y: Tensor) -> Tensor:
        """The exemplar whose coordinates [B,R] these are, give or take rounding: [B]; -1 for none.

        The group of the images need not be known.
        """
        theirs = torch.zeros_like(self.exemplars)
        for k in range(len(self.kept) - 1):
            own = self.groups == k
            theirs[own] = mixture.decode_in(self.exemplars[own], k)
        # In float32 the distance of a vector to itself is rounded to more than SAME.
        given = to_float64(y)
        apart = torch.cdist(given, to_float64(theirs))
        nearest = apart.masked_fill(self.groups.to(apart.device) < 0, torch.inf).min(1)
        same = nearest.values < SAME * given.norm(dim=1).clamp(min=1)
        return nearest.indices.where(same, -1).to(y.device)


class DrawsAroundGroups(DrawsAroundExemplars):
    """A model whose draws begin at exemplars of the groups of a mixture, where it has a prior.

    prior: None for draws from N(0, I)
    """

    prior: GroupedExemplars | None

    @property
    @abstractmethod
    def exemplar_mixture(self) -> MPPCA | None:
        """Whose latents the exemplars are."""

    @abstractmethod
    def draw_noise(
        self, count: int, rng: ImageStreams, labels: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Gaussian numbers [count,...] and shares of groups: what a draw takes before the prior."""

    def fit_prior(self, images: Tensor, groups: Tensor | None, seed: int) -> None:
        """Find the exemplars among uint8 images [N,C,H,W] of these groups [N], once these are."""
        if self.prior is not None and self.exemplar_mixture is not None and groups is not None:
            rng = generator(seed, "exemplars")
            self.prior.fit(self.exemplar_mixture, to_float(images), groups, rng)

    @property
    def exemplar_numbers(self) -> int:
        """Of the prior of draws."""
        return 0 if self.prior is None else self.prior.kept_numbers

    @torch.no_grad()
    def exemplars_of_draws(
        self, count: int, rng: ImageStreams, labels: Tensor | None = None
    ) -> Tensor:
        """As `draw_latent` picks them, [count]."""
        assert self.prior is not None  # it keeps exemplars
        _, shares = self.draw_noise(count, rng, labels)
        return self.prior.exemplars_drawn(rng.uniform(1), shares)

    @torch.no_grad()
    def exemplars_of_images(self, images: Tensor) -> Tensor:
        """Those that are these images, [N]; -1 for none."""
        mixture = self.exemplar_mixture
        assert self.prior is not None and mixture is not None  # it keeps exemplars
        return self.prior.exemplars_at(mixture, mixture.coordinates(images))


def log_around(z: Tensor, a: Tensor, exemplars: Tensor) -> Tensor:
    """log N(z; a z_n, 1 - a^2) for every exemplar z_n [N,R]: z and a [B,R] -> [B,N]."""
    variance = 1 - a**2
    squares = (
        (z**2 / variance).sum(1, keepdim=True)
        - 2 * (z * a / variance) @ exemplars.T
        + (a**2 / variance) @ exemplars.square().T
    )
    return -0.5 * (squares + variance.log().sum(1, keepdim=True) + z.shape[1] * LOG_2PI)


def log_standard(z: Tensor) -> Tensor:
    """log N(z; 0, I) of latents [B,R]: [B]."""
    return -0.5 * (z**2 + LOG_2PI).sum(1)


def pick(weights: Tensor, uniform: Tensor) -> Tensor:
    """Indices drawn by their weights, from uniform numbers on [0, 1): [B,N], [B] -> [B].

    Sums are as precise as the weights: those of 0 and 1 need no float64.
    """
    ends = weights.cumsum(1)
    targets = (ends[:, -1] * uniform.to(ends))[:, None].contiguous()
    index = torch.searchsorted(ends.contiguous(), targets, right=True)[:, 0]
    numbers = torch.arange(weights.shape[1], device=weights.device)
    return torch.minimum(index, numbers.where(weights > 0, -1).amax(1))
