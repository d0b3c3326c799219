"""Differences between models: closed forms, SciPy, and repetition with a shared side."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.test_comparison import FACTS
from tests.test_page import write_comparison
from tests.truths import coverage, normal
from triptych.comparison.compare import read_comparison
from triptych.comparison.seeds import all_differences, average, by_model, mean_cost, mean_metric
from triptych.comparison.significance import Difference, beside_floor, difference, higher
from triptych.metrics.frechet_distance import frechet_distance
from triptych.metrics.intervals import Estimate, mean_interval, wilson
from triptych.metrics.labels import label_balance
from triptych.pages.columns import make_columns
from triptych.pages.load import load_comparison
from triptych.records import CostRecord, MeasuredOn, MetricRecord, Note, ResultsRecord, RunRecord

REPEATS = 200
RECORD = RunRecord.read(FACTS)


def measured(estimate: Estimate, better: str = "lower", **more: Any) -> MetricRecord:
    return MetricRecord(
        name="a",
        value=estimate.value, low=estimate.low, high=estimate.high, better=better,
        left_out={k: tuple(v) for k, v in estimate.left_out.items()}, **more,
    )  # fmt: skip


def apart(first: MetricRecord, second: MetricRecord) -> Difference:
    found = difference(first, second)
    assert found is not None
    return found


def plain(
    value: float, low: float, high: float, better: str = "lower", **more: Any
) -> MetricRecord:
    return MetricRecord(name="a", value=value, low=low, high=high, better=better, **more)


def test_images_that_both_were_measured_on_are_paired() -> None:
    """Left out one at a time, twenty images: the paired t test."""
    ours, noise = normal(20) * 5 + 30, 0.1 * normal(20, seed=1)
    theirs = ours + 1 + noise
    found = apart(measured(mean_interval(ours)), measured(mean_interval(theirs)))
    exact = stats.ttest_rel(ours.numpy(), theirs.numpy()).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert found.better == "first"
    strangers = plain(ours.mean().item(), 28, 32), plain(theirs.mean().item(), 29, 33)
    assert apart(*strangers).better == "undecided"  # what their intervals alone would say


def test_samples_of_two_models_are_strangers() -> None:
    """Equal values without groups of samples still vary: their variances add, sqrt 2 as wide."""
    left_out = [3.0, 3.1, 2.9, 3.05, 2.95]
    ours = plain(3.0, 2.9, 3.1, left_out={"samples": left_out})
    found = apart(ours, replace(ours, value=2.0))
    error = math.sqrt(2 * 4**2 / 5 * np.var(left_out, ddof=1))
    margin = stats.t.ppf(0.975, 8) * error
    assert (found.low, found.high) == pytest.approx((1 - margin, 1 + margin))


def test_higher_is_better_turns_the_sign() -> None:
    ours, noise = normal(40), 0.1 * normal(40, seed=1)
    a, b = measured(mean_interval(ours), "higher"), measured(mean_interval(ours + 1 + noise))
    assert apart(a, replace(b, better="higher")).better == "second"
    found, turned = apart(plain(3, 2, 4, "higher"), plain(9, 8, 10, "higher")), 6.0
    assert found.value == turned and found.better == "second"


def test_independent_intervals_add_as_squares() -> None:
    """Equal, symmetric intervals: root two times as wide; lopsided ones end by end."""
    found = apart(plain(5, 4, 6), plain(2, 1, 3))
    assert (found.low, found.high) == pytest.approx((3 - math.sqrt(2), 3 + math.sqrt(2)))
    lopsided = apart(plain(0.5, 0.3, 0.6), plain(0.2, 0.15, 0.4))
    assert lopsided.low == pytest.approx(0.3 - math.hypot(0.2, 0.2))
    assert lopsided.high == pytest.approx(0.3 + math.hypot(0.1, 0.05))


def test_newcombe_s_interval_of_two_shares() -> None:
    """56 of 70 and 48 of 80: the published example, method 10 (1998, Statistics in Medicine 17)."""
    from triptych.metrics.intervals import wilson

    found = apart(measured(wilson(56, 70)), measured(wilson(48, 80)))
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_nearness_to_the_floor_is_compared() -> None:
    at = {"better": "floor", "floor": 1.0}
    near, blurry = plain(1.02, 1.0, 1.04, **at), plain(0.5, 0.45, 0.55, **at)
    sharp = plain(1.5, 1.45, 1.55, **at)
    assert apart(near, blurry).better == "first"
    assert apart(near, sharp).better == "first"
    assert apart(blurry, sharp).better == "undecided"


def test_an_interval_that_holds_the_floor_reaches_it() -> None:
    """Badness 0.02 in [0, 0.04] and 0.5 in [0.45, 0.55]: end by end, as squares."""
    for floor in (1.0, 0.0):
        at = {"better": "floor", "floor": floor}
        near = plain(floor + 0.02, floor - 0.02, floor + 0.04, **at)
        found = apart(near, plain(floor + 0.5, floor + 0.45, floor + 0.55, **at))
        assert found.low == pytest.approx(-0.48 - math.hypot(0.02, 0.05))
        assert found.high == pytest.approx(-0.48 + math.hypot(0.02, 0.05))
    unknown = plain(0.5, 0.4, 0.6, better="floor")
    assert difference(unknown, unknown) is None


def beside(ours: Estimate, real: Estimate, varies: bool = True) -> str:
    ends = {"floor_low": real.low, "floor_high": real.high} if varies else {}
    return beside_floor(measured(ours, "higher", floor=real.value, **ends))


def test_a_floor_of_few_images_varies_as_the_number_does() -> None:
    """Two shares of 500 images, of which 95 % are expected: all pairs with their probability.

    Against a floor that is taken as it is they were told apart more than three times as often.
    """
    counts = range(440, 501)
    chance = stats.binom(500, 0.95).pmf(counts)
    shares = [wilson(count, 500) for count in counts]

    def alarms(varies: bool) -> float:
        return sum(
            p * q
            for p, ours in zip(chance, shares, strict=True)
            for q, real in zip(chance, shares, strict=True)
            if beside(ours, real, varies) != "across"
        )

    assert alarms(varies=True) < 0.055
    assert alarms(varies=False) > 0.15


def test_on_which_side_of_the_floor() -> None:
    """Newcombe (1998), example (a): 56 of 70 and 48 of 80 differ by 0.20, 0.0524 to 0.3339."""
    ours, real = wilson(56, 70), wilson(48, 80)
    assert (beside(ours, real), beside(real, ours)) == ("above", "below")
    moved = replace(real, value=real.value + 0.0530, low=real.low + 0.053, high=real.high + 0.053)
    assert beside(ours, moved) == "across" != beside(ours, moved, varies=False)
    assert beside_floor(plain(1, 0.9, 1.1, floor=0.8)) == "above"
    assert beside_floor(plain(1, 0.9, 1.1, floor=1.2)) == "below"
    # The end of the floor's interval that lies towards the number counts.
    assert beside_floor(plain(1, 0.9, 1.1, floor=0.85, floor_low=0.6, floor_high=0.86)) == "above"
    assert beside_floor(plain(1, 0.9, 1.1, floor=1.15, floor_low=1.14, floor_high=1.4)) == "below"
    for lacking in ({"value": None}, {"low": None}, {"high": None}, {"floor": None}):
        assert beside_floor(replace(plain(1, 0.9, 1.1, floor=0.8), **lacking)) == "across"


def test_one_training_or_one_group_shows_no_spread() -> None:
    """Then the intervals themselves count; two are enough."""
    ours = {"values": [3.0], "left_out": {"samples": [3.0]}}
    theirs = {"values": [5.0, 5.2], "left_out": {"samples": [5.0, 5.2]}}
    for a, b in ((ours, theirs), (theirs, ours), (ours, ours)):
        found = apart(plain(3, 2, 4, **a), plain(9, 8, 10, **b))
        assert found.high - found.value == pytest.approx(math.sqrt(2))
    left_out = {"samples": [3.0, 3.2]}
    found = apart(plain(3, 0, 9, left_out=left_out), plain(9, 0, 9, left_out=left_out))
    error = math.sqrt(2 * 0.5 * 0.02)  # (G - 1)^2 / G times the variance 0.02, twice
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 2) * error)


def test_nearness_to_the_floor_keeps_its_spread() -> None:
    """Values on both sides of 1 are equally far from it, and yet not all the same."""
    at = {"better": "floor", "floor": 1.0}
    around = plain(1.0, 0.9, 1.1, values=[0.95, 1.05], left_out={"samples": [0.9, 1.1]}, **at)
    near = plain(1.05, 1.049, 1.051, values=[1.05, 1.05], left_out={"samples": [1.05, 1.05]}, **at)
    assert apart(around, near).better == "undecided"


def test_the_higher_of_two_is_asked_apart_from_the_better() -> None:
    """Of what is best at its floor: by the values, however near to the floor they are."""
    at = {"better": "floor", "floor": 1.0}
    blurry, sharp = plain(0.5, 0.45, 0.55, **at), plain(1.5, 1.45, 1.55, **at)
    costs = plain(2.0, 1.9, 2.1), plain(9.0, 8.9, 9.1)
    near = sharp, plain(1.49, 1.4, 1.6, **at)
    pairs = ((sharp, blurry), (blurry, sharp), near, costs)
    found = [higher(*pair) for pair in pairs]
    assert [each and each.better for each in found] == ["first", "second", "undecided", "second"]
    assert higher(costs[0], MetricRecord(name="a", kind="not defined", better="floor")) is None


def with_moving(model: ResultsRecord) -> ResultsRecord:
    """The same with numbers that move with the count of images."""
    metrics = tuple(replace(metric, moves_with_n=True) for metric in model.metrics)
    return replace(model, metrics=metrics)


def test_values_of_other_counts_are_not_compared() -> None:
    models = [result("a", "a", 1.0, low=0.9, high=1.1), result("b", "b", 5.0, low=4, high=6, n=99)]
    models = [with_moving(model) for model in models]
    assert all_differences(models) == []


def test_empty_groups_do_not_divide_by_zero() -> None:
    found = apart(
        plain(1, 0, 2, left_out={"samples": []}), plain(5, 4, 6, left_out={"samples": ()})
    )
    assert found.low == pytest.approx(-4 - math.sqrt(2))


def test_bounds_are_not_compared_with_values() -> None:
    bound = plain(4, 3.9, 4.1, kind="upper bound")
    assert difference(bound, plain(3, 2.9, 3.1)) is None
    assert apart(bound, plain(3, 2.9, 3.1, kind="upper bound")).better == "second"
    assert difference(MetricRecord(name="a", kind="not defined", better="lower"), bound) is None
    assert difference(plain(1, 0, 2, "unknown"), plain(1, 0, 2, "unknown")) is None


def test_trainings_are_compared_by_welch() -> None:
    ours, theirs = [3.0, 4.5, 4.0, 3.2], [6.0, 5.1, 7.4]
    found = apart(plain(3.675, 0, 9, values=ours), plain(37 / 6, 0, 9, values=theirs))
    exact = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    mean = np.mean(ours) - 37 / 6
    assert found.high - mean == pytest.approx(exact.high - (np.mean(ours) - np.mean(theirs)))
    assert found.better == "first"


def test_trainings_that_all_came_out_alike_have_the_margin_of_their_intervals() -> None:
    """By luck, which proves nothing: they are compared as strangers, +-1 and +-2."""
    found = apart(plain(3, 2, 4, values=[3.0, 3.0]), plain(5, 3, 7, values=[5.0, 5.0]))
    assert (found.low, found.high) == pytest.approx((-2 - math.sqrt(5), -2 + math.sqrt(5)))
    assert found.better == "undecided"


def test_a_model_whose_trainings_came_out_alike_has_the_other_s_margin() -> None:
    """Welch's degrees of freedom are the other's: 1, whose quantile is 12.706 (Cauchy's)."""
    found = apart(plain(1, 0, 9, values=[0.0, 2.0]), plain(5, 0, 9, values=[5.0, 5.0]))
    cauchy = math.tan(math.pi * (0.975 - 0.5))  # of the mean of 0 and 2 the deviation is 1
    assert (found.low, found.high) == pytest.approx((-4 - cauchy, -4 + cauchy))


def frechet(repeat: int, scale: float, seed: int, real: Tensor) -> MetricRecord:
    samples = scale * normal(200, 6, seed=3 * repeat + seed)
    return measured(frechet_distance(samples, real))


def test_intervals_of_differences_hold_the_expected_difference() -> None:
    """Two models against the same real images; their noise is shared, and so is paired."""
    found, paired, strangers = [], 0.0, 0.0
    for repeat in range(REPEATS):
        real = normal(200, 6, seed=3 * repeat)
        models = [frechet(repeat, scale, s, real) for scale, s in ((0.6, 1), (0.7, 2))]
        between = apart(*models)
        found.append(Estimate(between.value, between.low, between.high))
        paired += between.high - between.low
        unpaired = [replace(m, left_out=None) for m in models]
        strangers += apart(*unpaired).high - apart(*unpaired).low
    assert 0.92 <= coverage(found) <= 0.985
    assert paired < 0.85 * strangers


def test_equal_models_are_called_different_one_time_in_twenty() -> None:
    wrong = 0
    for repeat in range(REPEATS):
        real = normal(200, 6, seed=3 * repeat)
        between = apart(*(frechet(repeat, 0.7, s, real) for s in (1, 2)))
        wrong += between.better != "undecided"
    assert wrong / REPEATS <= 0.08


# Several trainings


MEASURED_ON = MeasuredOn(name="a", fingerprint="f", train=1, validation=1, test=1)


def result(model: str, run: str, value: float | None, **more: Any) -> ResultsRecord:
    metric = MetricRecord(
        name="frechet_distance",
        value=value,
        n=10,
        features="labels",
        reference="test",
        method="m",
        better="lower",
        kind="estimate" if value is not None else "not defined",
        left_out={"samples": (1.0,)},
    )
    metrics, cost = (replace(metric, **more),), CostRecord(train_seconds=2.0)
    return ResultsRecord(model=model, run=run, data=MEASURED_ON, metrics=metrics, cost=cost)


def names_in(groups: list[list[ResultsRecord]]) -> list[list[str]]:
    return [[each.run for each in group] for group in groups]


def test_trainings_of_a_model_become_one_row() -> None:
    values = [3.0, 4.0, 8.0]
    runs = [result("gan:r1", f"s{i}", value) for i, value in enumerate(values)]
    runs[2] = replace(runs[2], cost=CostRecord(train_seconds=5.0, parameters=3))
    runs.append(result("gan:r1", "other", 9.0))
    settings = {"average": 0.05}
    records = [replace(RECORD, identity={"settings": settings, "seed": i}) for i in range(3)]
    records.append(replace(RECORD, identity={"settings": {"average": 0.1}, "seed": 0}))
    groups = by_model(runs, records)
    assert names_in(groups) == [["s0", "s1", "s2"], ["other"]]
    records[1] = records[0]  # the same seed twice is no second training
    assert names_in(by_model(runs, records)) == [["s0", "s2"], ["s1"], ["other"]]
    records[2] = replace(records[2], size="small")
    assert len(by_model(runs, records)) == 4
    mean = average(groups[0])
    assert mean.cost == CostRecord(train_seconds=3.0)  # parameters are not known of all
    assert mean.runs == ("s0", "s1", "s2")
    [metric] = mean.metrics
    exact = stats.t.interval(0.95, 2, 5.0, stats.sem(values))
    assert (metric.value, metric.values) == (5.0, tuple(values))
    assert (metric.low, metric.high) == pytest.approx(exact)
    assert metric.left_out is None
    assert average(groups[1]) == runs[3]


def test_what_one_training_has_not_the_mean_has_not() -> None:
    metrics = [result("a", "b", v).metrics[0] for v in (1.0, None)]
    assert mean_metric(metrics).value is None
    assert mean_metric(metrics[::-1]).kind == "not defined"


def test_a_mean_is_of_all_trainings_or_of_none() -> None:
    """A likelihood that is not finite has no method yet; one that nobody measured has no entry."""
    bits: dict[str, Any] = {"name": "bits_per_dim", "method": "elbo", "kind": "upper bound"}
    lost = {**bits, "method": "normal", "kind": "not defined", "note": Note("not_finite_value")}
    runs = [result("vae:sigma", "s0", 3.0, **bits), result("vae:sigma", "s1", 3.5, **bits)]
    broken = result("vae:sigma", "s2", None, **lost)
    for order in ([*runs, broken], [broken, *runs]):
        [metric] = average(order).metrics
        assert (metric.value, metric.kind, metric.values) == (None, "not defined", None)
        assert metric.note == Note("not_finite_value")
    bare = replace(broken, metrics=())
    for order in ([*runs, bare], [bare, *runs]):
        [metric] = average(order).metrics
        assert (metric.name, metric.value, metric.values) == ("bits_per_dim", None, None)
        assert metric.note == Note("number_of_a_training_missing")
    limit = result("vae:sigma", "s0", 2.0, method="extrapolated").metrics
    [metric, beyond] = average([replace(r, metrics=r.metrics + limit) for r in runs]).metrics
    assert (metric.value, beyond.value) == (3.25, 2.0)


def test_all_pairs_are_compared_in_what_both_have() -> None:
    models = [
        result("vae", "a", 3.0, low=2.9, high=3.1, left_out=None),
        result("gan", "b", 5.0, low=4.9, high=5.1, left_out=None),
        result("diffusion", "c", 2.0, low=1.9, high=2.1, left_out=None, features="patches"),
        result("diffusion", "d", 2.0, low=1.9, high=2.1, left_out=None, reference="train"),
    ]
    [apart] = all_differences(models)
    assert (apart.first, apart.second, apart.better) == ("a", "b", "first")
    assert apart.value == pytest.approx(-2.0) and apart.features == "labels"


def test_a_cost_that_one_training_lacks_is_no_mean() -> None:
    both = mean_cost([CostRecord(parameters=2.0, train_seconds=5.0), CostRecord(parameters=4.0)])
    assert (both.parameters, both.train_seconds) == (3.0, None)


def test_degrees_of_freedom_are_those_of_the_side_that_varies() -> None:
    """Satterthwaite: one side of five groups carries nearly all of the variance."""
    ours = plain(3.0, 2.9, 3.1, left_out={"samples": [3.0, 3.1, 2.9, 3.05, 2.95]})
    still = [2.0 + 1e-6 * i for i in range(20)]
    found = apart(ours, plain(2.0, 1.9, 2.1, left_out={"samples": still}))
    error = math.sqrt(4**2 / 5 * np.var([3.0, 3.1, 2.9, 3.05, 2.95], ddof=1))
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 4) * error, rel=1e-4)
    assert found.p == pytest.approx(2 * stats.t.sf(1 / error, 4), rel=1e-3)


@pytest.mark.parametrize("trainings", [2, 3])
def test_equal_models_are_as_seldom_far_apart_as_their_p_says(trainings: int) -> None:
    """At the levels that Holm asks for, of a number that is best at its floor."""
    rng = np.random.default_rng(trainings)
    level, found = 0.002, []
    for values in rng.normal(3.0, 0.5, (4000, 2, trainings)):
        ours, theirs = (
            mean_metric([plain(v, v - 1e-4, v + 1e-4, "floor", floor=1.0) for v in side])
            for side in values
        )
        found.append(apart(ours, theirs).p)
    assert np.mean(np.array(found) < level) <= level + 4 * math.sqrt(level / len(found))


def test_collapses_to_classes_of_nearly_one_size_are_not_told_apart() -> None:
    """Nothing varies in either: what rounding leaves is no proof."""
    real = torch.zeros(100, 2, dtype=torch.float64)
    real[:52, 0] = real[52:, 1] = 1.0
    ours, theirs = (torch.eye(2, dtype=torch.float64)[[c] * 533] for c in (0, 1))
    found = [measured(label_balance(each, real)) for each in (ours, theirs)]
    assert found[0].value != found[1].value
    assert apart(*found).better == "undecided"
    almost = plain(1.0, 0.9, 1.1, left_out={"samples": [1.0, 1.0 + 1e-15, 1.0]})
    assert apart(almost, replace(almost, value=1.01)).better == "undecided"


def test_an_averaged_run_is_no_second_training() -> None:
    """`triptych average` changes settings, and not what the training was asked for."""
    runs = [result("diffusion:x0", name, 1.0) for name in ("a", "b")]
    records = [replace(RECORD, identity={"seed": seed}) for seed in (0, 1)]
    assert names_in(by_model(runs, records)) == [["a", "b"]]
    records[1] = replace(records[1], settings={**records[1].settings, "ema": 0.2})
    assert names_in(by_model(runs, records)) == [["a"], ["b"]]


def test_the_terms_of_one_training_are_not_those_of_the_mean() -> None:
    one = plain(3.0, 2.9, 3.1, terms={"rate": 1.0, "distortion": 2.0})
    assert mean_metric([one, replace(one, value=4.0)]).terms is None
    assert mean_metric([one]).terms == one.terms


def test_the_page_and_the_json_decide_among_the_same_comparisons(tmp_path: Path) -> None:
    """Also where a number is best at its floor, of which the page asks two questions."""
    folder = write_comparison(tmp_path)
    columns = make_columns(load_comparison(folder).runs)
    shown = {
        (column.name, column.features or None, column.reference, column.extrapolated, *pair): each
        for column in columns
        for pair, each in column.worse.items()
        if each is not None
    }
    asked = [e for column in columns for e in (*column.worse.values(), *column.lower.values())]
    runs = read_comparison(folder).runs
    told = all_differences(runs)
    assert any(each for column in columns for each in column.lower.values())
    assert {each.comparisons for each in told} == {sum(each is not None for each in asked)}
    assert sorted(each.p for each in shown.values()) == pytest.approx(
        sorted(each.p_together for each in told)
    )


@pytest.mark.parametrize("trainings", [2, 3])
def test_a_single_result_beside_a_mean_of_few_is_as_seldom_far_apart_as_its_p_says(
    trainings: int,
) -> None:
    """As the baseline is in a comparison with seeds: the mean's interval is Student's."""
    rng = np.random.default_rng(trainings)
    level, found = 0.002, []
    single = plain(3.0, 3 - 1e-4, 3 + 1e-4, "higher")
    for values in rng.normal(3.0, 0.5, (4000, trainings)):
        ours = mean_metric([plain(v, v - 1e-4, v + 1e-4, "higher") for v in values])
        found.append(apart(ours, single).p)
    assert np.mean(np.array(found) < level) <= level + 4 * math.sqrt(level / len(found))
