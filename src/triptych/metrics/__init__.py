"""Metrics: pure formulas on tensors; a file is called as its metric and says all of it.

Each file ends in a `METRIC`, or in `METRICS` where it has several. `evaluation/evaluate.py` goes
through them in one loop, so that another metric is one file; a package of somebody else announces
its own as entry points of the group `triptych.metrics`.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from triptych import plugins
from triptych.metrics.intervals import Estimate
from triptych.records import MetricRecord, Note

PLUGINS = "triptych.metrics"  # the entry points by which other packages add some
WORTH_SHARING = 2e9  # multiplications: a tenth of a second of one thread, in float64
GROUPS = ("distance", "samples", "abilities")

# What `Metric.needs` may name, on the CPU unless a metric asks for the GPU: N samples are measured,
# against M real images that are the same for all models. First what a model gives, then what real
# images do.
OUTPUTS = {
    "images": "samples, uint8 [N,C,H,W]",
    "features": "of the samples, by the extractor, [N,d]",
    "probabilities": "of each class, which the data's classifier reads in the samples, [N,K]",
    "nearest_distances": "from each sample's features to those of its nearest training image, [N]",
    "nearest_ratios": "of those distances to those of the second nearest training image, [N]",
    "control_ratios": "the same of reconstructions of training images, [n]",
    "own_exemplars": "whether its nearest training image is the one a sample was drawn around, [N]",
    "nats": "at least -log P of each of the likelihood images, [n]",
    "reconstructions": "of the originals, uint8 [n,C,H,W]",
    "path_features": "of the images on paths between test images, ends included, [n,points,d]",
    "drawn_path_features": "of the images on paths between draws, ends included, [n,points,d]",
    "train_representations": "the model's own features of labelled images, [n,F]",
    "validation_representations": "of others, to choose on, [n,F]",
    "test_representations": "of others, to test on, [n,F]",
}
REAL = {
    "test_images": "the test reference, uint8 [M,C,H,W]",
    "test_detail": "root-mean-square of the Laplacian of each of the test reference, [M]",
    "test_features": "of the test reference, by the extractor, [M,d]",
    "matched_test_features": "the first of these, as many as there are samples, [N,d]",
    "test_probabilities": "which the classifier reads in the test reference, [M,K]",
    "test_nearest_distances": "from each of the test reference to its nearest training image, [M]",
    "train_features": "of the training reference, by the extractor, [M,d]",
    "likelihood_images": "test images, uint8 [n,C,H,W]",
    "originals": "test images to be reconstructed, uint8 [n,C,H,W]",
    "train_labels": "classes of the images behind `train_representations`, [n]",
    "validation_labels": "of those behind `validation_representations`, [n]",
    "test_labels": "of those behind `test_representations`, [n]",
}

Better = Literal["lower", "higher", "floor", ""]
Tensors = Mapping[str, Tensor]
T = TypeVar("T")


class NotDefinedError(Exception):
    """Why there is no number; a sentence, of another package, is shown as it is."""

    def __init__(self, reason: Note | str) -> None:
        super().__init__(reason)
        self.note = reason if isinstance(reason, Note) else Note("text", {"text": reason})


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a number is, and how it comes about.

    better:       which values are: lower, higher, or those near the floor; nothing where none are
    group:        of the page's tables: distance, samples or abilities; any other comes last
    images_only:  whether it says nothing of points of the plane, which have no neighbouring pixels
                  and often coincide
    order:        place in the group; those of other packages come after ours
    moves_with_n: whether its expected value moves with the number of images; then only values at
                  the same number are compared
    needs:        which of OUTPUTS and REAL it is computed from; the first is the output that is
                  measured: it says on how many images, and on which features
    reference:    the real images that it is measured against: test, train or none
    method:       how its interval is found
    on_gpu:       whether it computes where its tensors are; then they are on the GPU, where there
                  is one with float64
    compute:      (the model's tensors, real ones) -> the number; NotDefinedError with the reason
    floor:        what real images score: known, or computed from those of other real images in the
                  place of samples and from the real ones, with its interval where it can be had
                  cheaply; None where they score nothing
    """

    name: str
    better: Better
    group: str
    needs: tuple[str, ...]
    compute: Callable[[Tensors, Tensors], Estimate]
    floor: float | Callable[[Tensors, Tensors], float | Estimate] | None = None
    reference: str = "test"
    method: str | None = None
    unit: str = ""
    moves_with_n: bool = False
    order: int = 100
    images_only: bool = False
    on_gpu: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError where a name in `needs` is neither an output nor a reference."""
        wrong = [name for name in self.needs if name not in OUTPUTS and name not in REAL]
        if wrong or not self.needs or self.needs[0] not in OUTPUTS:
            raise ValueError(f"metric '{self.name}' needs {', '.join(wrong) or 'no output first'}")

    @property
    def rank(self) -> tuple[int, int]:
        """Sorts metrics: by group, then by order in the group."""
        group = GROUPS.index(self.group) if self.group in GROUPS else len(GROUPS)
        return group, self.order


@contextlib.contextmanager
def threads_for(products: float) -> Iterator[None]:
    """Inside, torch computes on one thread where the work is too small to be worth sharing.

    products: multiplications of the largest piece that threads would share

    Threads that wait for each other after every small step cost more than they bring: beside other
    programs all numbers of 2,000 samples but `real_or_fake` take 6 s so, and 20 s where two threads
    share everything (benchmarks/results/samples.json).
    """
    before = torch.get_num_threads()
    if products < WORTH_SHARING:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def own_metrics() -> tuple[Metric, ...]:
    """Those of the files in this folder, in the order in which results hold them."""
    metrics: list[Metric] = []
    for file in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{file.name}")
        metrics += [module.METRIC] if hasattr(module, "METRIC") else getattr(module, "METRICS", [])
    return tuple(sorted(metrics, key=lambda metric: metric.rank))


def all_metrics(say: Callable[[str], None]) -> tuple[Metric, ...]:
    """Ours and those of other packages.

    say: takes one line for each announced thing that cannot be imported, is no metric, or has the
         name of one of ours
    """
    metrics, names = list(own_metrics()), {metric.name for metric in own_metrics()}
    for name, announced in plugins.load_all(PLUGINS, say).items():
        for metric in announced if isinstance(announced, list | tuple) else [announced]:
            if isinstance(metric, Metric) and metric.name not in names:
                metrics.append(guarded(metric))
            else:
                say(f"note: '{name}' is left out: it is no metric, or has the name of one of ours")
    return tuple(sorted(metrics, key=lambda metric: metric.rank))


def guarded(metric: Metric) -> Metric:
    """Another package's, whose failure leaves that one number, or its floor, not defined."""

    def guard(code: str, function: Callable[[Tensors, Tensors], T], kind: Any) -> Any:
        def call(samples: Tensors, real: Tensors) -> T:
            try:
                value = function(samples, real)
                if not isinstance(value, kind):
                    raise TypeError(f"{value!r} is no {getattr(kind, '__name__', 'number')}")
            except NotDefinedError:
                raise
            except Exception as error:  # another's code: it may raise anything
                raise NotDefinedError(Note(code, {"reason": str(error)})) from error
            return value

        return call

    floor = metric.floor
    if callable(floor):
        floor = guard("floor_failed", floor, float | Estimate)
    return replace(metric, compute=guard("metric_failed", metric.compute, Estimate), floor=floor)


def entry(
    metric: Metric,
    estimate: Estimate | None,
    n: int | None,
    *,
    floor: float | Estimate | None = None,
    features: str | None = None,
    note: Note | None = None,
) -> MetricRecord:
    """A number as results.json holds it; no estimate means not defined, for the noted reason.

    `left_out`, where there is one, holds the values without each group of samples and of real
    images, from which differences between models get their intervals.
    """
    left_out = None if estimate is None else estimate.left_out
    interval = floor if isinstance(floor, Estimate) else None
    return MetricRecord(
        name=metric.name,
        better=metric.better,
        group=metric.group,
        unit=metric.unit,
        moves_with_n=metric.moves_with_n,
        value=None if estimate is None else estimate.value,
        low=None if estimate is None else estimate.low,
        high=None if estimate is None else estimate.high,
        n=n,
        floor=floor.value if isinstance(floor, Estimate) else floor,
        floor_low=None if interval is None else interval.low,
        floor_high=None if interval is None else interval.high,
        features=features,
        reference=metric.reference,
        kind="not defined" if estimate is None else "estimate",
        method=metric.method,
        note=note,
        left_out={side: tuple(values) for side, values in left_out.items()} if left_out else None,
    )
