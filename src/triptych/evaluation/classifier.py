"""The `labels` extractor: a small classifier trained on the training part, once per data set.

Its penultimate layer gives features that know what the classes are; its probabilities say what
can be read in an image. It is kept in the user's cache under the data's fingerprint.

A classifier that has only seen its classes is sure of anything: of smooth noise, of an image
cut into tiles and shuffled. So this one is also shown such non-images, with every class equally
likely as the target (outlier exposure, arXiv:1812.04606).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from triptych import files, images
from triptych.config import ImageShape
from triptych.console import Console
from triptych.data.batches import Batches
from triptych.data.dataset import ImageData
from triptych.data.store import cache_folder
from triptych.hardware import Machine, without_tf32
from triptych.metrics.real_or_fake import one_thread_each
from triptych.seeding import generator, initializing

VERSION = 3  # raised whenever the same data would give another classifier
BATCH_SIZE = 64
PARTS = 2  # of a batch, each with batch statistics of its own: they are computed side by side
NON_IMAGES = 12  # of each of the two kinds, beside every batch
EPOCHS = 3
LEAST_IMAGES, MOST_IMAGES = 40_000, 120_000  # seen in training
TILES = 4  # a shuffled image is cut into 4 x 4
COARSEST, FINEST = 3, 9  # side of the grid that smooth noise is drawn on
LARGEST_SHIFT = 2  # pixels: the one augmentation that changes no class
CHUNK = 500

Gradients = tuple[Tensor, ...]


class Largest(torch.autograd.Function):
    """The largest of 2 x 2 pixels, as `F.max_pool2d` picks it, to the bit; sides are even.

    On a CPU that goes through them pixel by pixel, this through whole rows. Of equal pixels the
    first one gets the gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C,H/2,W/2]."""
        ctx.save_for_backward(x)
        rows = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """[B,C,H/2,W/2] -> [B,C,H,W]."""
        (x,) = ctx.saved_tensors
        left, right = x[..., ::2].contiguous(), x[..., 1::2].contiguous()
        best = torch.maximum(left, right)  # [B,C,H,W/2]
        halves = torch.empty_like(best)
        top, bottom = halves[:, :, ::2], halves[:, :, 1::2]
        torch.mul(grad, best[:, :, ::2].contiguous().ge_(best[:, :, 1::2]), out=top)
        torch.sub(grad, top, out=bottom)
        to_left, gradient = left.ge_(right).mul_(halves), torch.empty_like(x)
        gradient[..., ::2] = to_left
        gradient[..., 1::2] = halves.sub_(to_left)
        return gradient


class Halve(nn.Module):
    """`MaxPool2d(2)`."""

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C,H/2,W/2], rounded down."""
        if x.device.type != "cpu" or x.shape[2] % 2 or x.shape[3] % 2:
            return F.max_pool2d(x, 2)
        largest: Tensor = Largest.apply(x)  # type: ignore[no-untyped-call]
        return largest


class Classifier(nn.Module):
    """Four convolutions with BatchNorm, halving in between: images -> features -> class logits."""

    def __init__(self, shape: ImageShape, classes: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for inputs, outputs in pairwise((shape.channels, 32, 64, 128, 128)):
            stages += [
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                Halve(),
                nn.ReLU(),  # after it: the same, on a quarter of the pixels
            ]
        self.features = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.project = nn.Linear(512, 128)
        self.head = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B,C,H,W] on [-1, 1] -> features [B,128], logits [B,K], float32."""
        features = self.project(self.features(x)).float()
        return features, self.head(F.relu(features)).float()


@dataclass(frozen=True)
class Reading:
    """What the classifier makes of images: features [N,128] and probabilities [N,K]."""

    features: Tensor
    probabilities: Tensor


def read(classifier: Classifier, pixels: Tensor, machine: Machine) -> Reading:
    """Features and probabilities of uint8 images [N,C,H,W], in float32 whatever the machine."""
    features, probabilities = [], []
    with torch.inference_mode(), without_tf32():
        for chunk in torch.split(pixels, CHUNK):
            hidden, logits = classifier(images.to_float(chunk.to(machine.device)))
            features.append(hidden.cpu())
            probabilities.append(logits.softmax(1).cpu())
    return Reading(torch.cat(features), torch.cat(probabilities))


def cache_file(data: ImageData, suffix: str) -> Path:
    """Where something that is known of a labelled data set's classifier is kept."""
    return cache_folder() / "classifiers" / f"{data.fingerprint}-v{VERSION}{suffix}"


def classifier_for(data: ImageData, machine: Machine, console: Console) -> Classifier:
    """The classifier of a labelled data set, from the cache or trained now.

    Of several processes the first one trains and the others find it in the cache, if they share it.
    """
    assert data.classes is not None
    if not machine.group.is_main:
        machine.group.barrier()
    path = cache_file(data, ".safetensors")
    classifier = fresh(data).to(machine.device)
    if not found_in(path, classifier):
        fit(classifier, data, machine, console)
        keep(classifier, path)
    if machine.group.is_main:
        machine.group.barrier()
    return classifier.eval()


def found_in(path: Path, classifier: Classifier) -> bool:
    """Whether the file had the classifier's weights; else these stay, and the file is removed."""
    if not path.is_file():
        return False
    own = classifier.state_dict()
    try:
        weights = load_file(path)
        if any(name in own and each.shape != own[name].shape for name, each in weights.items()):
            raise RuntimeError("of another classifier")  # before the weights that fit are taken in
        classifier.load_state_dict(weights)
    except (OSError, RuntimeError, SafetensorError):
        files.remove(path)
        return False
    return True


def fresh(data: ImageData) -> Classifier:
    """First weights, the same for the same classes and shape."""
    assert data.classes is not None
    with initializing(seed=0):
        return Classifier(data.shape, len(data.classes))


def fit(
    classifier: Classifier,
    data: ImageData,
    machine: Machine,
    console: Console,
    least: int | None = None,
) -> None:
    """AdamW with one rise and fall of the rate, on shifted images.

    least: images that are seen, LEAST_IMAGES by default; more where EPOCHS of the data are more

    On a CPU each half of a batch is computed by one thread, whatever the machine is told: sums in
    another order grow into another classifier, and a yardstick must not hang on how many cores
    there are or how busy they are. A GPU computes one half after the other: Apple's ends a process
    that asks from two threads (issue 197805 of PyTorch).
    """
    with replace(machine, threads=1).own_threads():
        _fit(classifier, data, machine, console, LEAST_IMAGES if least is None else least)


def _fit(
    classifier: Classifier, data: ImageData, machine: Machine, console: Console, least: int
) -> None:
    if machine.precision == "fp16":  # whose gradients would have to be scaled
        machine = replace(machine, precision="fp32")
    batch_size = min(BATCH_SIZE, len(data.train))
    batches = Batches(data.train, batch_size, seed=0, device=machine.device)
    wanted = min(max(EPOCHS * len(data.train), least), MOST_IMAGES)
    rounds = wanted // batch_size
    parameters = list(classifier.parameters())
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=rounds)
    replicas = [classifier.train(), *(replica(classifier) for _ in range(PARTS - 1))]
    if batch_size < BATCH_SIZE:
        del replicas[1:]  # too few to be split

    def gradients(network: Classifier, x: Tensor, labels: Tensor, nothing: Tensor) -> Gradients:
        with machine.autocast():
            _, logits = network(torch.cat([x, nothing]))
        unsure = -logits[len(x) :].log_softmax(1).mean()  # cross-entropy to the uniform
        loss = F.cross_entropy(logits[: len(x)], labels) + len(nothing) / len(x) * unsure
        return torch.autograd.grad(loss, parameters)

    with (
        console.bar("  classifier for the measurements", rounds) as bar,
        one_thread_each(len(replicas)) as pool,
    ):
        for_each = pool.map if machine.device == "cpu" else map
        for number in range(rounds):
            x, labels = batches.at(number * batch_size)
            assert labels is not None
            source, _ = batches.at(number * batch_size, stream=1)
            whole = shifted(x, number), labels, non_images(source, number)
            split = [[each[i :: len(replicas)] for i in range(len(replicas))] for each in whole]
            of_parts = for_each(gradients, replicas, *split)
            for p, *gs in zip(parameters, *of_parts, strict=True):
                p.grad = torch.stack(gs).mean(0)
            optimizer.step()
            schedule.step()
            bar.update(number + 1, rounds)
    for own, *others in zip(*(r.buffers() for r in replicas), strict=True):
        if own.is_floating_point():  # not the count of batches
            own.copy_(torch.stack([own, *others]).mean(0))


def replica(classifier: Classifier) -> Classifier:
    """One with the same parameters, which are shared, and batch statistics of its own."""
    return copy.deepcopy(classifier, {id(p): p for p in classifier.parameters()})


def shifted(x: Tensor, number: int) -> Tensor:
    """The batch moved by up to two pixels either way, edges repeated."""
    size = 2 * LARGEST_SHIFT + 1
    top, left = torch.randint(size, (2,), generator=generator(0, "shift", number)).tolist()
    padded = F.pad(x, [LARGEST_SHIFT] * 4, mode="replicate")
    return padded[:, :, top : top + x.shape[2], left : left + x.shape[3]]


def non_images(x: Tensor, number: int) -> Tensor:
    """Shuffled tiles of the first images and smooth noise in the colours of the next: [M,C,H,W]."""
    rng = generator(0, "non-images", number)
    return torch.cat(
        [
            shuffled_tiles(x[:NON_IMAGES], rng),
            smooth_noise(x[NON_IMAGES : 2 * NON_IMAGES], rng),
        ]
    )


def shuffled_tiles(x: Tensor, rng: torch.Generator) -> Tensor:
    """Each image cut into tiles that are put together in a random order: [N,C,H,W]."""
    count, channels, height, width = x.shape
    cut = x.view(count, channels, TILES, height // TILES, TILES, width // TILES)
    tiles = cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # [N,tiles,C,h,w]
    order = torch.rand(count, TILES**2, generator=rng).argsort(1).to(x.device)
    mixed = tiles[torch.arange(count, device=x.device)[:, None], order]
    laid = mixed.view(count, TILES, TILES, channels, height // TILES, width // TILES)
    return laid.permute(0, 3, 1, 4, 2, 5).reshape(x.shape)


def smooth_noise(x: Tensor, rng: torch.Generator) -> Tensor:
    """The mean colour of each image under grey noise of random strength and size: [N,C,H,W]."""
    side = int(torch.randint(COARSEST, FINEST + 1, (), generator=rng))
    strength = 0.1 + 0.4 * torch.rand(len(x), 1, 1, 1, generator=rng)
    noise = strength * torch.randn(len(x), 1, side, side, generator=rng)
    large = F.interpolate(noise, x.shape[2:], mode="bicubic").to(x.device)
    return (x.mean((2, 3), keepdim=True) + large).clamp(-1, 1)


def accuracy(reading: Reading, labels: Tensor) -> float:
    """Share of images whose top class is their label."""
    return (reading.probabilities.argmax(1) == labels).double().mean().item()


def keep(classifier: Classifier, path: Path) -> None:
    """Write the weights to the cache; where that is impossible the next run trains again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, save(classifier.state_dict()))
    except OSError:
        files.remove(path)
