"""Several trainings of one model as one row: their means, and how far they spread."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, fields, replace

from triptych.comparison.significance import difference, quantile, variance_of
from triptych.records import (
    CostRecord,
    DifferenceRecord,
    MetricRecord,
    ResultsRecord,
    RunRecord,
)
from triptych.words import without_repeats


def by_model(
    results: Sequence[ResultsRecord], records: Sequence[RunRecord | None]
) -> list[list[ResultsRecord]]:
    """Results that differ in nothing but the seed together, in the order of their first.

    records: run.json of each, None for samples from elsewhere, which stand alone. The same seed
             twice is no second training: its results stand alone too.
    """
    groups: dict[str, list[ResultsRecord]] = {}
    identities = [None if record is None else record.identity for record in records]
    for index, (result, record) in enumerate(zip(results, records, strict=True)):
        if record is None:
            groups[str(index)] = [result]
            continue
        same = {name: value for name, value in record.identity.items() if name != "seed"}
        key = json.dumps([result.model, record.size, same], sort_keys=True)
        again = record.identity in identities[:index]
        groups.setdefault(f"{key} {index}" if again else key, []).append(result)
    return list(groups.values())


def average(results: Sequence[ResultsRecord]) -> ResultsRecord:
    """One result for several trainings of a model; that of a single one stays as it is.

    Costs are means. A metric's interval is Student's, of the mean over trainings: it holds the
    luck of training and of the samples, with the real images as they are.
    """
    first, *others = results
    if not others:
        return first
    by_key = [{which(metric): metric for metric in result.metrics} for result in others]
    metrics = [
        mean_metric([metric, *(each[which(metric)] for each in by_key if which(metric) in each)])
        for metric in first.metrics
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


def which(metric: MetricRecord) -> tuple[str | None, ...]:
    """What tells one number of a run from another."""
    return metric.name, metric.features, metric.reference, metric.method


def mean_metric(metrics: Sequence[MetricRecord]) -> MetricRecord:
    """One metric over several trainings; not defined where it is not defined for one of them."""
    undefined = [metric for metric in metrics if metric.value is None]
    values = [metric.value for metric in metrics if metric.value is not None]
    if len(metrics) == 1 or undefined:
        return [*undefined, *metrics][0]
    mean, margin = sum(values) / len(values), student(values)
    return replace(
        metrics[0],
        value=mean,
        low=mean - margin,
        high=mean + margin,
        left_out=None,
        values=tuple(values),
        interval="Student",
    )


def student(values: Sequence[float]) -> float:
    """Half the width of the interval of a mean (Student 1908, Biometrika 6)."""
    return quantile(len(values) - 1) * math.sqrt(variance_of(values) / len(values))


def all_differences(models: Sequence[ResultsRecord]) -> list[DifferenceRecord]:
    """Every pair of models in every number that both have on as many images.

    value: how much worse the first is than the second, on a scale where lower is better
    """
    differences = []
    for index, one in enumerate(models):
        ours = {which(metric): metric for metric in one.metrics}
        for other in models[index + 1 :]:
            for metric in other.metrics:
                mine = ours.get(which(metric))
                apart = None if mine is None or mine.n != metric.n else difference(mine, metric)
                if apart is None:
                    continue
                differences.append(
                    DifferenceRecord(
                        name=metric.name,
                        features=metric.features,
                        reference=metric.reference,
                        method=metric.method,
                        first=one.run,
                        second=other.run,
                        better=apart.better,
                        **asdict(apart),
                    )
                )
    return differences
