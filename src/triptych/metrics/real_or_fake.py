"""Whether a classifier can learn to tell samples from real images (arXiv:1610.06545, section 3).

Real images and as many samples are cut in two halves; a small network learns from one half which
images are samples, and then judges the other half, which it has not seen. Then the halves change
places, and all of it is done again for other halves. The share of right judgements is 50 % where
nothing can be learned: a network that learns its images by heart is only guessing about the others.

The networks are fresh ones. None is trained on what made the samples, nor on training images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych import images
from triptych.metrics import Metric, NotDefinedError, Tensors
from triptych.metrics.intervals import Estimate, wilson_of_share
from triptych.records import Note
from triptych.seeding import generator, initializing

SPLITS = 3  # ways to cut the images in halves; each image is judged once in each
LEAST = 20  # images of each kind: halves of fewer teach nothing
SIDE = 32  # larger images are looked at with larger steps
WIDTHS = 8, 16, 32  # of the network's layers
BATCH_SIZE = 64
SEEN, PASSES = 8000, 40  # images that a network learns from, and times that it sees each, at most
LARGEST_RATE = 4e-3
CHUNK = 500
METHOD = "halves judge each other"

Judge = Callable[[Tensor], Tensor]  # images [N,...] -> above 0 for samples, [N]
# Images [N,...] with whether each is a sample [N], and the number of the training -> a judge.
Learn = Callable[[Tensor, Tensor, int], Judge]


class Network(nn.Module):
    """Three convolutions with BatchNorm on an image and its Laplacian: above 0 for samples.

    Laplacians hold the finest detail, which is faint in the image itself; all are brought to
    deviation 1. Without them noise of 4 grey levels was told from none in 55 % of the cases, with
    them in all.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        laplacian = torch.tensor([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]])
        self.register_buffer("laplacian", laplacian.repeat(channels, 1, 1, 1), persistent=False)
        self.scale = nn.BatchNorm2d(2 * channels, affine=False)
        step = max(1, side // SIDE)
        strides = step, 2, 2
        layers: list[nn.Module] = []
        widths = pairwise((2 * channels, *WIDTHS))
        for number, (stride, (inputs, outputs)) in enumerate(zip(strides, widths, strict=True)):
            reach = step if number == 0 else 1
            layers += [
                nn.Conv2d(inputs, outputs, 2 * reach + 1, stride, padding=reach, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(4 * WIDTHS[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,H,W] on [-1, 1] -> [B]."""
        around = F.pad(x, [1] * 4, mode="replicate")
        detail = F.conv2d(around, self.get_buffer("laplacian"), groups=x.shape[1])
        judged: Tensor = self.head(self.layers(self.scale(torch.cat([x, detail], dim=1))))[:, 0]
        return judged


def to_input(pixels: Tensor) -> Tensor:
    """uint8 images as the network takes them, in the layout that is quick on a CPU."""
    return images.to_float(pixels).contiguous(memory_format=torch.channels_last)


def learn(pixels: Tensor, fake: Tensor, number: int, network: Network) -> Judge:
    """Teach a network which of uint8 images [N,C,H,W] are samples, [N] bool."""
    batch_size = min(BATCH_SIZE, len(pixels))
    steps = min(SEEN, PASSES * len(pixels)) // batch_size
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=LARGEST_RATE, total_steps=steps
    )
    rng = generator(0, "real or fake", number)
    passes = -(-steps * batch_size // len(pixels))
    order = torch.cat([torch.randperm(len(pixels), generator=rng) for _ in range(passes)])
    network.train()
    for rows in torch.split(order[: steps * batch_size], batch_size):
        judged = network(to_input(pixels[rows]))
        loss = F.binary_cross_entropy_with_logits(judged, fake[rows].float())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return partial(judge, network.eval())


@torch.inference_mode()
def judge(network: Network, pixels: Tensor) -> Tensor:
    """Above 0 for what it takes for samples: [N] from uint8 images [N,C,H,W]."""
    return torch.cat([network(to_input(part)) for part in torch.split(pixels, CHUNK)])


def by_networks(channels: int, side: int) -> list[Learn]:
    """The trainings that `judgements` asks for, each with a network of its own first weights."""
    learners: list[Learn] = []
    for number in range(2 * SPLITS):
        with initializing(seed=number):
            network = Network(channels, side)
        learners.append(partial(learn, network=network))
    return learners


def halves(count: int, split: int) -> list[tuple[Tensor, Tensor]]:
    """What is learned from and what is judged, in turn, of `count` real images and then samples.

    Each half has as many samples as real images, so that guessing is right half of the time.
    """
    orders = [
        torch.randperm(count, generator=generator(0, f"halves of {kind}", split))
        for kind in ("real images", "samples")
    ]
    first, second = (
        torch.cat([orders[0][part], count + orders[1][part]])
        for part in (slice(count // 2), slice(count // 2, None))
    )
    return [(first, second), (second, first)]


def judgements(real: Tensor, samples: Tensor, learners: list[Learn]) -> Tensor:
    """Whether each image was judged rightly in each split, real ones first: [SPLITS,2N], float64.

    real, samples: [N,...] each
    learners:      one for each training, 2 * SPLITS

    Each training is computed by one thread, several of them side by side: sums in another order
    would grow into another network.
    """
    everything = torch.cat([real, samples])
    fake = torch.arange(len(everything)) >= len(real)
    rounds = [each for split in range(SPLITS) for each in halves(len(real), split)]

    def right(learner: Learn, number: int, rows: tuple[Tensor, Tensor]) -> Tensor:
        learned, unseen = rows
        judged = learner(everything[learned], fake[learned], number)(everything[unseen])
        return ((judged > 0) == fake[unseen]).double()

    result = torch.zeros(SPLITS, len(everything), dtype=torch.float64)
    with one_thread_each(min(torch.get_num_threads(), len(rounds))) as pool:
        judged = pool.map(right, learners, range(len(rounds)), rounds)
        for number, ((_, unseen), answers) in enumerate(zip(rounds, judged, strict=True)):
            result[number // 2, unseen] = answers
    return result


@contextmanager
def one_thread_each(workers: int) -> Iterator[ThreadPoolExecutor]:
    """So many workers at once, in each of which torch computes with one thread.

    A worker's number would stay that of all threads that start later, though not of those that are
    there: so it is put back afterwards.
    """
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, "half", torch.set_num_threads, (1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def accuracy(right: Tensor) -> Estimate:
    """Share of right judgements [S,N] with the interval of its expected value at this count.

    It varies with the images that are judged, by the variance over images of how often each was
    judged rightly; and with what was learned, which splits of the same images share in part: a
    half of them is common to two learning halves, so that the mean over S splits varies by
    (1 + 1 / S) times the variance between them (Nadeau and Bengio 2003, Machine Learning 52, with
    as many images judged as learned from). The interval is Wilson's with as many independent
    judgements as have that variance.
    """
    splits, count = right.shape
    share = right.mean().item()
    of_images = right.mean(0).var(correction=0).item() / count
    of_learning = (1 + 1 / splits) * right.mean(1).var().item()
    variance = of_images + of_learning
    alone = share * (1 - share)
    return wilson_of_share(share, alone / variance if variance > 0 else count)


def real_or_fake(real: Tensor, samples: Tensor) -> Estimate:
    """Share of unseen images, uint8 [N,C,H,W] each, that fresh networks judge rightly.

    NotDefinedError where there are too few to learn from.
    """
    if len(samples) < LEAST:
        raise NotDefinedError(Note("few_to_learn_from", {"n": len(samples), "least": LEAST}))
    return accuracy(judgements(real, samples, by_networks(*real.shape[1:3])))


def compute(samples: Tensors, real: Tensors) -> Estimate:
    """Against as many test images as there are samples."""
    ours = samples["images"]
    return real_or_fake(real["test_images"][: len(ours)], ours)


METRIC = Metric(
    name="real_or_fake",
    better="floor",
    group="samples",
    order=25,
    images_only=True,
    needs=("images", "test_images"),
    unit="share",
    moves_with_n=True,
    method=METHOD,
    compute=compute,
    floor=0.5,  # by definition
)
