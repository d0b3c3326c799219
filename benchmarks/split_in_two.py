"""How often real images are called different from real images: the page's false alarms.

    python benchmarks/split_in_two.py --data DATA --out benchmarks/results/split_in_two.json

Real images that no classifier has seen are cut anew in every repeat into samples, the test
reference and other real images for the floors, as many of each. Every number of samples is found
with its interval, on the label classifier's features and on patches; the page writes its verdict
from them. Counted are the sentences by which it calls the samples different from real images, and
the numbers that are on the worse side of their floor beyond chance. Where nothing is different, at
most 5 % of the repeats should count. `real_or_fake` trains six networks a time, so it is left out
unless asked for: alone, by `--only real_or_fake`, or with all others, by `--all`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from held_out import differs, put_aside
from triptych import hardware
from triptych.console import Console
from triptych.data.dataset import ImageData
from triptych.data.open import open_images
from triptych.evaluation.extractors import Extractor, extractor_for, labels_of_data
from triptych.hardware import Machine
from triptych.metrics import Metric, NotDefinedError, entry, own_metrics
from triptych.metrics.intervals import wilson
from triptych.metrics.memorised import Nearest, nearest
from triptych.metrics.sharpness import laplacian_rms
from triptych.pages.columns import make_columns
from triptych.pages.language import Sentence
from triptych.pages.load import Run
from triptych.pages.verdict import (
    copies_of_each,
    distance_floor,
    each,
    first_references,
    sharpness_of_each,
    told_from_real,
)
from triptych.records import MetricRecord, SamplesRecord
from triptych.seeding import generator

ASIDE = 2500  # training images that become held-out ones, at most half of them
REFERENCE = 2000  # training images that distances are measured against
# Sentences by which the page calls samples different from real images.
DIFFERENT = (
    "distance.times",
    "real_or_fake.told",
    "sharpness.blurry",
    "sharpness.over",
    "sharpness.softer",
    "sharpness.sharper",
    "memorised.near",
)
SLOW = "real_or_fake"  # takes longer than all the others together

Asked = Callable[[str], bool]  # whether a number of this name is measured


@dataclass(frozen=True, eq=False)
class Pool:
    """Held-out real images [N,C,H,W] with all that metrics ask of images, a row each.

    nearest:  training images nearest to them, in the features
    training: features of training images, [M,d]
    """

    images: Tensor
    features: Tensor
    probabilities: Tensor
    detail: Tensor
    nearest: Nearest
    training: Tensor

    def samples(self, rows: Tensor) -> dict[str, Tensor]:
        """What models give, of these images."""
        return {
            "images": self.images[rows],
            "features": self.features[rows],
            "probabilities": self.probabilities[rows],
            "nearest_distances": self.nearest.distance[rows],
            "nearest_ratios": self.nearest.ratio[rows],
        }

    def real(self, rows: Tensor) -> dict[str, Tensor]:
        """What real images give, of these images."""
        features = self.features[rows]
        return {
            "test_images": self.images[rows],
            "test_detail": self.detail[rows],
            "test_features": features,
            "matched_test_features": features,
            "test_probabilities": self.probabilities[rows],
            "test_nearest_distances": self.nearest.distance[rows],
            "train_features": self.training,
        }


def describe(name: str, machine: Machine) -> dict[str, Pool]:
    """The held-out images of a data set, on each kind of features."""
    opened = open_images(name)
    data, aside = put_aside(opened, min(ASIDE, len(opened.train) // 2))
    held_out = torch.cat([aside.images, data.validation.images, data.test.images])
    labels = labels_of_data(data, machine, Console())
    assert labels is not None
    probabilities = labels.read(held_out, machine).probabilities
    reference = data.train.choose(REFERENCE, "reference train").images
    pools = {}
    for kind in ("labels", "patches"):
        extractor = extractor_for(kind, data, reference, labels, machine)
        pools[kind] = described(data, held_out, probabilities, extractor, reference, machine)
    return pools


def described(
    data: ImageData,
    held_out: Tensor,
    probabilities: Tensor,
    extractor: Extractor,
    reference: Tensor,
    machine: Machine,
) -> Pool:
    """Held-out images by one extractor."""
    features = extractor(held_out, machine)
    return Pool(
        images=held_out,
        features=features,
        probabilities=probabilities,
        detail=laplacian_rms(held_out),
        nearest=nearest(features, extractor(data.train.images, machine)),
        training=extractor(reference, machine),
    )


def cut(pool: Pool, count: int, repeat: int) -> list[Tensor]:
    """Rows of samples, of the test reference and of other real images, drawn for a repeat."""
    order = torch.randperm(len(pool.images), generator=generator(repeat, "split in two"))
    return list(torch.split(order[: 3 * count], count))


def measured(metric: Metric, pool: Pool, rows: list[Tensor], kind: str) -> MetricRecord:
    """One number of a half, against the other half, with its floor."""
    samples, real = pool.samples(rows[0]), pool.real(rows[1])
    # As the reference has it: copies are looked for among test images, not among the others.
    others = pool.samples(rows[2]) | {"nearest_ratios": pool.nearest.ratio[rows[1]]}
    estimate, floor = None, None
    try:
        estimate = metric.compute(samples, real)
        floor = metric.floor(others, real) if callable(metric.floor) else metric.floor
    except NotDefinedError as reason:
        return entry(metric, None, len(rows[0]), note=reason.note)
    of = kind if "features" in metric.needs[0] or "nearest" in metric.needs[0] else None
    return entry(metric, estimate, len(rows[0]), floor=floor, features=of)


def measure(pools: dict[str, Pool], count: int, repeat: int, asked: Asked) -> list[MetricRecord]:
    """Every number that takes samples alone; what needs no features once."""
    rows = cut(pools["labels"], count, repeat)
    records = []
    for kind, pool in pools.items():
        for metric in own_metrics():
            by_features = "features" in metric.needs[0] or "nearest" in metric.needs[0]
            if metric.needs[0] not in pool.samples(rows[0][:1]) or not asked(metric.name):
                continue
            if kind == "labels" or by_features:
                records.append(measured(metric, pool, rows, kind))
    return records


def sentences(records: list[MetricRecord]) -> list[Sentence]:
    """What the page says of these samples beside real images."""
    samples = SamplesRecord(source="real", kind="array", images=None, fingerprint="")
    run = Run(name="real", model="elsewhere:real", metrics=tuple(records), samples=samples)
    columns = make_columns([run])
    first = first_references(columns)
    floors = each(first, ("frechet_distance",), distance_floor)
    written = [*floors, *told_from_real(columns), *sharpness_of_each(columns)]
    written += copies_of_each(columns)
    return [sentence for sentence in written if sentence is not None]


def clauses(sentence: Sentence) -> list[str]:
    """The keys of a sentence and of the sentences inside it."""
    inside = sentence.values.get("clauses", ())
    return [sentence.key, *(each.key for each in inside if isinstance(each, Sentence))]


def label(metric: MetricRecord) -> str:
    """A number's name in the results."""
    words = [metric.name, metric.features or "", metric.reference]
    return " ".join(word for word in (*words, metric.method or "") if word)


def rate(hits: int, repeats: int) -> dict[str, float]:
    """A share of repeats with its interval."""
    share = wilson(hits, repeats)
    return {"share": share.value, "low": share.low, "high": share.high, "repeats": repeats}


def keep(path: Path | None, repeat: int, records: list[MetricRecord]) -> None:
    """Add the numbers of one repeat to a file, a line of JSON each."""
    if path is None:
        return
    with path.open("a") as file:
        for record in records:
            values = {"repeat": repeat, **record.to_json(), "left_out": None}
            file.write(json.dumps(values) + "\n")


def read_kept(paths: list[Path]) -> list[list[MetricRecord]]:
    """The numbers of each repeat; of one that is there twice the later one."""
    repeats: dict[int, dict[str, MetricRecord]] = {}
    for path in paths:
        for line in path.read_text().splitlines():
            values = json.loads(line)
            number = values.pop("repeat")
            record = MetricRecord.read(values)
            repeats.setdefault(number, {})[label(record)] = record
    return [list(records.values()) for _, records in sorted(repeats.items())]


def repeat_all(pools: dict[str, Pool], options: argparse.Namespace) -> list[list[MetricRecord]]:
    """The numbers of each repeat."""

    def asked(metric: str) -> bool:
        return metric in options.only if options.only else options.all or metric != SLOW

    repeats = []
    with Console().bar("  splitting", options.repeats) as bar:
        for repeat in range(options.repeats):
            repeats.append(measure(pools, options.count, repeat, asked))
            keep(options.keep, repeat, repeats[-1])
            bar.update(repeat + 1)
    return repeats


def rates(repeats: list[list[MetricRecord]]) -> dict[str, Any]:
    """In which share of the repeats a number, a sentence, or any of them tells a difference."""
    worse: Counter[str] = Counter()
    written: Counter[str] = Counter()
    pages = any_worse = 0
    numbers: dict[str, None] = {}  # a set in order
    for records in repeats:
        compared = [r for r in records if r.defined and r.floor is not None]
        numbers |= dict.fromkeys(label(r) for r in compared)
        alarms = [label(r) for r in compared if differs(r)]
        worse.update(alarms)
        keys = {key for each in sentences(records) for key in clauses(each)}
        written.update(keys)
        pages += any(key in DIFFERENT for key in keys)
        any_worse += bool(alarms)
    of = partial(rate, repeats=len(repeats))
    return {
        "worse_than_floor": {key: of(worse[key]) for key in numbers},
        "sentences": {key: of(count) for key, count in sorted(written.items())},
        "any_sentence_of_difference": of(pages),
        "any_number_worse_than_its_floor": of(any_worse),
    }


def main() -> None:
    """Print and write the rates as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="street-digits")
    parser.add_argument("--count", type=int, default=500, help="images in each of the three parts")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--only", nargs="+", help="these numbers alone")
    parser.add_argument("--all", action="store_true", help="real_or_fake too")
    parser.add_argument("--keep", type=Path, help="a file for every number of every repeat")
    parser.add_argument("--kept", type=Path, nargs="+", help="count in such files instead")
    parser.add_argument("--out", type=Path, help="a list of results, to which these are added")
    options = parser.parse_args()
    about = {"data": Path(options.data).name, "count": options.count}
    if options.kept:
        result = about | rates(read_kept(options.kept))
    else:
        pools = describe(options.data, hardware.pick())
        about["held_out"] = len(pools["labels"].images)
        result = about | rates(repeat_all(pools, options))
    print(json.dumps(result, indent=1))
    if options.out:
        before = json.loads(options.out.read_text()) if options.out.exists() else []
        options.out.write_text(json.dumps([*before, result], indent=1) + "\n")


if __name__ == "__main__":
    main()
