"""Several trainings of one model as one row: their means, and how far they spread."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import combinations

from triptych.comparison.significance import (
    DISTANCES,
    Difference,
    difference,
    held,
    higher,
    number_key,
    quantile,
    variance_of,
)
from triptych.records import (
    EXTRAPOLATED,
    CostRecord,
    DifferenceRecord,
    MetricRecord,
    Note,
    ResultsRecord,
    RunRecord,
)
from triptych.words import without_repeats


def by_model(
    results: Sequence[ResultsRecord], records: Sequence[RunRecord | None]
) -> list[list[ResultsRecord]]:
    """Results that differ in nothing but the seed together, in the order of their first.

    Settings count beside the identity of the training: `triptych average` changes them alone.

    records: run.json of each, None for samples from elsewhere, which stand alone. The same seed
             twice is no second training: its results stand alone too. So do those of runs that
             went on from another, for two from one origin are not independent.
    """
    groups: dict[str, list[ResultsRecord]] = {}
    identities = [
        None if record is None else (record.identity, record.settings) for record in records
    ]
    for index, (result, record) in enumerate(zip(results, records, strict=True)):
        if record is None or record.origins:
            groups[str(index)] = [result]
            continue
        same = {name: value for name, value in record.identity.items() if name != "seed"}
        key = json.dumps([result.model, record.size, record.settings, same], sort_keys=True)
        again = identities[index] in identities[:index]
        groups.setdefault(f"{key} {index}" if again else key, []).append(result)
    return list(groups.values())


def average(results: Sequence[ResultsRecord]) -> ResultsRecord:
    """One result for several trainings of a model; that of a single one stays as it is.

    Costs are means. A metric's interval is Student's, of the mean over trainings: it holds the
    luck of training and of the samples, with the real images as they are. A number that one of
    the trainings has not is not defined.
    """
    first, *others = results
    if not others:
        return first
    every = [{which(metric): metric for metric in result.metrics} for result in results]
    some = {key: metric for numbers in every for key, metric in numbers.items()}
    metrics = [
        mean_metric([numbers.get(key) or lacking(metric) for numbers in every])
        for key, metric in some.items()
    ]
    return replace(
        first,
        metrics=tuple(metrics),
        cost=mean_cost([result.cost for result in results]),
        warnings=without_repeats(w for result in results for w in result.warnings),
        runs=tuple(result.run for result in results),
    )


def mean_cost(costs: Sequence[CostRecord]) -> CostRecord:
    """The mean of each cost that all trainings have."""
    means = {}
    for each in fields(CostRecord):
        values = [getattr(cost, each.name) for cost in costs]
        means[each.name] = None if None in values else sum(values) / len(values)
    return CostRecord(**means)


def which(metric: MetricRecord) -> tuple[object, ...]:
    """What tells one number of a run from another; one that is not defined has no method yet."""
    return metric.name, metric.features, metric.reference, metric.method == EXTRAPOLATED


def lacking(metric: MetricRecord) -> MetricRecord:
    """The entry of a training without this number, which another training of its model has."""
    return MetricRecord(
        name=metric.name,
        better=metric.better,
        group=metric.group,
        unit=metric.unit,
        moves_with_n=metric.moves_with_n,
        n=metric.n,
        features=metric.features,
        reference=metric.reference,
        kind="not defined",
        method=metric.method,
        note=Note("number_of_a_training_missing"),
    )


def mean_metric(metrics: Sequence[MetricRecord]) -> MetricRecord:
    """One metric over several trainings; not defined where it is not defined for one of them."""
    undefined = [metric for metric in metrics if metric.value is None]
    values = [metric.value for metric in metrics if metric.value is not None]
    if len(metrics) == 1 or undefined:
        return [*undefined, *metrics][0]
    mean, (low, high) = sum(values) / len(values), interval_over_trainings(metrics)
    return replace(
        metrics[0],
        value=mean,
        low=low,
        high=high,
        left_out=None,
        terms=None,  # those of one training do not add up to the mean
        values=tuple(values),
        interval="Student",
    )


def interval_over_trainings(metrics: Sequence[MetricRecord]) -> tuple[float, float]:
    """The 95 % interval of a metric's mean over trainings: never empty, of a share within 0 to 1.

    Where all trainings agree to the last digit, that is luck and no proof: then the mean of their
    own intervals' widths over the root of their number counts.
    """
    values = [metric.value or 0.0 for metric in metrics]
    if metrics[0].unit == "share" and all(0 <= value <= 1 for value in values):
        return share_over_trainings(values, metrics[0].n or 1)
    mean, margin = sum(values) / len(values), student(values)
    if margin == 0:
        widths = [(metric.high or 0.0) - (metric.low or 0.0) for metric in metrics]
        margin = sum(widths) / len(widths) / 2 / math.sqrt(len(widths))
    return mean - margin, mean + margin


def share_over_trainings(shares: Sequence[float], n: int) -> tuple[float, float]:
    """The 95 % interval of the mean of shares over trainings, each of n images.

    Student's around the logit of the mean, where a share has no ends to pass, with two successes
    and two failures added to it (Agresti and Coull 1998, The American Statistician 52), so that it
    is there at 0 and 1 too. It is no narrower than if all images were of one training: shares that
    agree by luck prove no more than their images do. In `tests/test_significance.py` it covers.
    """
    count = len(shares)
    images, successes = count * n, n * sum(shares)
    mean = (successes + 2) / (images + 4)
    binomial = mean * (1 - mean) / (images + 4)
    margin = max(student(shares), quantile(math.inf) * math.sqrt(binomial))
    centre, scale = math.log(mean / (1 - mean)), mean * (1 - mean)  # of the logit, and its slope
    low, high = (1 / (1 + math.exp(-(centre + sign * margin / scale))) for sign in (-1, 1))
    plain = successes / images
    return min(low, plain), max(high, plain)


def student(values: Sequence[float]) -> float:
    """Half the width of the interval of a mean (Student 1908, Biometrika 6)."""
    return quantile(len(values) - 1) * math.sqrt(variance_of(values) / len(values))


def all_differences(models: Sequence[ResultsRecord]) -> list[DifferenceRecord]:
    """Every pair of models in every number that both have, decided among all that a page compares.

    Of numbers that are best at their floor a page asks also which is higher, so those questions
    count among the comparisons, though they are not listed.
    value: how much worse the first is than the second, on a scale where lower is better
    """
    numbers = {model.run: numbers_of(model) for model in models}
    pairs = [
        (one.run, other.run, numbers[one.run][key], metric)
        for one, other in combinations(models, 2)
        for key, metric in numbers[other.run].items()
        if key in numbers[one.run]
    ]
    apart = [difference(mine, metric) for _, _, mine, metric in pairs]
    also = [higher(mine, metric) for _, _, mine, metric in pairs if metric.better == "floor"]
    together = held([*apart, *also])[: len(apart)]
    decided = disputed([(one, other, metric) for one, other, _, metric in pairs], together)
    return [
        DifferenceRecord(
            name=metric.name,
            features=metric.features,
            reference=metric.reference,
            method=metric.method,
            first=one,
            second=other,
            value=alone.value,
            low=alone.low,
            high=alone.high,
            p=alone.p,
            p_together=together.p,
            comparisons=together.together,
            better=together.better,
            disputed=together.disputed,
        )
        for (one, other, _, metric), alone, together in zip(pairs, apart, decided, strict=True)
        if alone is not None and together is not None
    ]


def disputed(
    pairs: Sequence[tuple[str, str, MetricRecord]], apart: Sequence[Difference | None]
) -> list[Difference | None]:
    """The same differences, those of distances beside what the other feature set says.

    pairs: two models and the number of the second
    """
    by_pair: dict[tuple[str, ...], list[tuple[str | None, Difference | None]]] = {}
    for (one, other, metric), each in zip(pairs, apart, strict=True):
        if metric.name in DISTANCES and metric.method != EXTRAPOLATED:
            by_pair.setdefault((one, other, metric.name), []).append((metric.features, each))
    return [
        each
        and each.beside(
            contrary
            for features, contrary in by_pair.get((one, other, metric.name), [])
            if features != metric.features
        )
        for (one, other, metric), each in zip(pairs, apart, strict=True)
    ]


def numbers_of(model: ResultsRecord) -> dict[tuple[object, ...], MetricRecord]:
    """A model's defined numbers by what must agree to compare them; of several the first."""
    numbers: dict[tuple[object, ...], MetricRecord] = {}
    for metric in model.metrics:
        if metric.defined:
            numbers.setdefault(number_key(metric), metric)
    return numbers
