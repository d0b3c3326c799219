"""Which number exposes which fault: real images, damaged on purpose, measured as samples are.

    python benchmarks/exposed.py --data DATA ... --out benchmarks/results/exposed.json

Training images are put aside before anything is measured. Damaged in one way each they become the
samples; undamaged they are the control. Every number has its interval and its floor, on the label
classifier's features and on patches. A number sees a damage where it is on the worse side of its
floor beyond chance. `--table` prints the results of a file as Markdown, `--pictures docs/images`
draws strips of damaged street digits.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from held_out import differs, put_aside
from triptych import hardware
from triptych.console import Console
from triptych.data import street_digits
from triptych.data.dataset import ImageData, Part
from triptych.data.open import open_images
from triptych.evaluation.evaluate import MeasureSamples, format_for, sample_measurer
from triptych.evaluation.samples import samples_of
from triptych.hardware import Machine
from triptych.images import grid, to_pil, to_uint8
from triptych.records import MetricRecord
from triptych.seeding import generator

ASIDE = 2000  # training images that become samples, at most half of them
TILES = 4  # a shuffled image is cut into 4 x 4
REPEATED = 20  # images that a set of repeated ones is made of
CONTROL = "real images"


@dataclass(frozen=True, eq=False)
class Supply:
    """What samples are made from.

    aside:    real images that nothing else holds
    training: the training images
    count:    samples to make
    """

    aside: Part
    training: Part
    count: int

    @property
    def real(self) -> Tensor:
        """So many real images, uint8 [N,C,H,W]."""
        return self.aside.images[: self.count]

    @property
    def copies(self) -> Tensor:
        """So many training images."""
        return self.training.choose(self.count, "memorised").images


@dataclass(frozen=True)
class Damage:
    """One way to make samples that are not like real images.

    name:    as the table calls it
    make:    the samples, uint8 [N,C,H,W]
    exposed: the numbers that should see it
    """

    name: str
    make: Callable[[Supply], Tensor]
    exposed: tuple[str, ...] = ()


def blurred(pixels: Tensor, sigma: float) -> Tensor:
    """Under a Gaussian of so many pixels; borders are mirrored."""
    reach = int(3 * sigma + 0.5)
    place = torch.arange(-reach, reach + 1, dtype=torch.float32)
    row = torch.exp(-place.square() / (2 * sigma**2))
    kernel = torch.outer(row, row) / row.sum() ** 2
    channels = pixels.shape[1]
    around = F.pad(pixels.float(), [reach] * 4, mode="reflect")
    kernels = kernel.expand(channels, 1, -1, -1)
    return F.conv2d(around, kernels, groups=channels).round().to(torch.uint8)


def noisy(pixels: Tensor, levels: float) -> Tensor:
    """With normal noise of so many grey levels."""
    noise = torch.randn(pixels.shape, generator=generator(0, "noise"))
    return (pixels.float() + levels * noise).round().clamp(0, 255).to(torch.uint8)


def pale(pixels: Tensor, contrast: float) -> Tensor:
    """With less contrast about the mean of each image."""
    mean = pixels.float().mean((1, 2, 3), keepdim=True)
    return (mean + contrast * (pixels.float() - mean)).round().to(torch.uint8)


def shuffled(pixels: Tensor) -> Tensor:
    """Each cut into TILES x TILES tiles, which change places; a rest at the edges stays."""
    side = pixels.shape[-1] // TILES
    whole, result = side * TILES, pixels.clone()
    tiles = pixels[..., :whole, :whole].unfold(2, side, side).unfold(3, side, side)
    rng = generator(0, "tiles")
    for image, parts in zip(result, tiles.flatten(2, 3), strict=True):
        order = torch.randperm(TILES**2, generator=rng)
        grid = parts[:, order].unflatten(1, (TILES, TILES)).permute(0, 1, 3, 2, 4)
        image[:, :whole, :whole] = grid.reshape(-1, whole, whole)
    return result


def by_shares(supply: Supply, shares: Sequence[float]) -> Tensor:
    """Real images of classes in given proportions, none of them twice."""
    labels = supply.aside.labels
    assert labels is not None
    weights = torch.tensor(shares) / sum(shares)
    chosen = [
        supply.aside.images[labels == number][: round(float(weight) * supply.count)]
        for number, weight in enumerate(weights)
    ]
    pixels = torch.cat(chosen)
    return pixels[torch.randperm(len(pixels), generator=generator(0, "by shares"))]


def half_of_classes(supply: Supply) -> Tensor:
    """Of the first half of the classes alone."""
    count = classes_of(supply)
    return by_shares(supply, [float(number < count // 2) for number in range(count)])


def other_shares(supply: Supply) -> Tensor:
    """Of the last class three times as many as of the first, and evenly between."""
    return by_shares(supply, torch.linspace(1, 3, classes_of(supply)).tolist())


def classes_of(supply: Supply) -> int:
    """How many there are."""
    assert supply.training.labels is not None
    return int(supply.training.labels.max()) + 1


def repeated(supply: Supply) -> Tensor:
    """REPEATED real images, again and again."""
    return supply.real[torch.arange(len(supply.real)) % REPEATED]


def some(supply: Supply, others: Tensor, one_in: int) -> Tensor:
    """Real images, one in so many of which is another."""
    pixels = supply.real.clone()
    pixels[::one_in] = others[::one_in]
    return pixels


def smooth_noise(pixels: Tensor) -> Tensor:
    """Clouds instead of images."""
    coarse = torch.randn(len(pixels), pixels.shape[1], 4, 4, generator=generator(0, "clouds"))
    return to_uint8(F.interpolate(coarse, pixels.shape[-2:], mode="bicubic") / 2)


DISTANCES = ("frechet_distance", "sliced_distance")
DAMAGES = (
    Damage(CONTROL, lambda supply: supply.real),
    Damage("blurred by 1 pixel", lambda s: blurred(s.real, 1.0), ("sharpness", *DISTANCES)),
    Damage("blurred by half a pixel", lambda s: blurred(s.real, 0.5), ("sharpness",)),
    Damage("noise of 12 grey levels", lambda s: noisy(s.real, 12), ("sharpness", "real_or_fake")),
    Damage("noise of 4 grey levels", lambda s: noisy(s.real, 4), ("real_or_fake",)),
    Damage("contrast of 60 %", lambda s: pale(s.real, 0.6), ("sharpness", "real_or_fake")),
    Damage("mirrored", lambda s: s.real.flip(3)),
    Damage("red and blue exchanged", lambda s: s.real.flip(1)),
    Damage("cut into tiles and shuffled", lambda s: shuffled(s.real), ("recognisable", *DISTANCES)),
    Damage(
        "one in five is a cloud",
        lambda s: some(s, smooth_noise(s.real), 5),
        ("precision", "clipped_density", "recognisable"),
    ),
    Damage(
        "half of the classes",
        half_of_classes,
        ("label_balance", "recall", "coverage", "clipped_coverage", *DISTANCES),
    ),
    Damage("other class shares", other_shares, ("label_balance",)),
    Damage(f"{REPEATED} images repeated", repeated, ("recall", "coverage", "clipped_coverage")),
    Damage("training images", lambda s: s.copies, ("memorised", "copied")),
    Damage("training images, noise of 4", lambda s: noisy(s.copies, 4), ("copied",)),
    Damage("one in ten a training image", lambda s: some(s, s.copies, 10), ("memorised", "copied")),
)


def brief(metric: MetricRecord) -> dict[str, Any]:
    """A number with its interval and floor, and whether it sees the damage."""
    values = {"value": metric.value, "low": metric.low, "high": metric.high, "floor": metric.floor}
    return values | {"sees": metric.defined and differs(metric)}


def label(metric: MetricRecord) -> str:
    """A number's name in the results: against training images and extrapolated it is another."""
    against = "" if metric.reference in ("test", "none") or not metric.floor else "train"
    if metric.name in ("memorised", "copied"):
        against = ""
    extrapolated = "extrapolated" if metric.method == "extrapolated" else ""
    return " ".join(word for word in (metric.name, against, extrapolated) if word)


def numbers(
    damage: Damage, supply: Supply, data: ImageData, measure: MeasureSamples, machine: Machine
) -> dict[str, Any]:
    """All numbers of one damaged set."""
    pixels = damage.make(supply)
    samples = samples_of(
        pixels, None, damage.name, format_for(data), supply.count, machine, Console()
    )
    results = measure(samples).results
    assert results.extractor is not None
    found = [
        metric
        for metric in results.metrics
        if metric.defined
        and metric.floor is not None
        # Distances are measured on a second kind of features too, which has a table of its own.
        and (metric.group != "distance" or metric.features == results.extractor.name)
    ]
    return {"n": len(pixels), "metrics": {label(metric): brief(metric) for metric in found}}


def measure_all(
    data: ImageData,
    aside: Part,
    count: int,
    features: str,
    damages: Sequence[Damage] = DAMAGES,
) -> dict[str, Any]:
    """Every damage's numbers on one kind of features."""
    machine, console = hardware.pick(), Console()
    supply = Supply(aside, data.train, count)
    measure = sample_measurer(None, features, data, machine, console)
    grey = data.shape.channels == 1
    return {
        damage.name: numbers(damage, supply, data, measure, machine)
        for damage in damages
        if not (grey and damage.name.startswith("red"))
    }


def expose(name: str, count: int) -> dict[str, Any]:
    """All damages of one data set, on both kinds of features."""
    opened = open_images(name)
    data, aside = put_aside(opened, min(ASIDE, len(opened.train) // 2))
    of = partial(measure_all, data, aside, min(count, len(data.test)))
    return {"data": data.name, **{kind: of(kind) for kind in ("labels", "patches")}}


PICTURED = {  # damages with a strip of their own in the documentation, and its file
    CONTROL: "real",
    "blurred by 1 pixel": "blurred",
    "noise of 12 grey levels": "noisy",
    "contrast of 60 %": "pale",
    "cut into tiles and shuffled": "shuffled",
    "one in five is a cloud": "clouds",
    "half of the classes": "half-of-classes",
}
CELLS = 10  # of a strip


def draw_pictures(folder: Path) -> None:
    """A strip of embedded street digits for each of the pictured damages."""
    pixels, labels = (torch.from_numpy(each) for each in street_digits.draw("train", range(120)))
    supply = Supply(Part(pixels, labels), Part(pixels, labels), CELLS)
    for damage in DAMAGES:
        if name := PICTURED.get(damage.name):
            strip = grid(damage.make(supply), CELLS).pixels
            to_pil(strip).save(folder / f"exposed-{name}.png", optimize=True)


COLUMNS = {  # of the table: the number, its heading, and how it is written
    "frechet_distance": ("Fréchet", "times"),
    "sliced_distance": ("sliced", "times"),
    "real_or_fake": ("told from real", "percent"),
    "sharpness": ("sharpness", "plain"),
    "recognisable": ("recognisable", "percent"),
    "label_balance": ("class imbalance", "percent"),
    "precision": ("precision", "percent"),
    "clipped_density": ("clipped density", "percent"),
    "recall": ("recall", "percent"),
    "coverage": ("coverage", "percent"),
    "clipped_coverage": ("clipped coverage", "percent"),
    "memorised": ("memorised", "percent"),
    "copied": ("copied", "percent"),
}


def written(found: dict[str, Any] | None, form: str) -> str:
    """A cell: bold where the number sees the damage."""
    if found is None:
        return ""
    value = found["value"]
    if form == "times":
        text = f"{value / found['floor']:.1f}x"
    else:
        text = f"{100 * value:.0f} %" if form == "percent" else f"{value:.2f}"
    return f"**{text}**" if found["sees"] else text


def table(sets: dict[str, Any]) -> str:
    """Markdown, a row for each damage; below it what was expected to see one and does not."""
    lines = ["| | " + " | ".join(heading for heading, _ in COLUMNS.values()) + " |"]
    lines.append("|---" * (1 + len(COLUMNS)) + "|")
    for name, found in sets.items():
        metrics = found["metrics"]
        cells = [written(metrics.get(key), form) for key, (_, form) in COLUMNS.items()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    missed = {each.name: unseen(each, sets) for each in DAMAGES if each.name in sets}
    return "\n".join([*lines, "", *(f"{k}: {v}" for k, v in missed.items() if v)])


def unseen(damage: Damage, sets: dict[str, Any]) -> str:
    """The numbers that should see a damage and do not."""
    metrics = sets[damage.name]["metrics"]
    return ", ".join(name for name in damage.exposed if not metrics[name]["sees"])


def main() -> None:
    """Print and write the numbers as JSON, or print the tables of a file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", nargs="+", default=["street-digits"])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--pictures", type=Path, help="the folder for strips of damaged images")
    options = parser.parse_args()
    if options.pictures:
        draw_pictures(options.pictures)
        return
    if options.table:
        for found in json.loads(options.table.read_text()):
            for kind in ("labels", "patches"):
                print(f"{found['data']}, {kind}\n\n{table(found[kind])}\n")
        return
    results = [expose(name, options.count) for name in options.data]
    print(json.dumps(results, indent=1))
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
