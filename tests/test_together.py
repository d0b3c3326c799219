"""All comparisons of a page hold one error together, and as good as real is a test of its own."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from tests.test_verdict import APART, column_with, comparison_of, runs_with
from tests.truths import normal
from triptych.comparison.seeds import all_differences, share_over_trainings
from triptych.comparison.significance import (
    ERROR,
    Difference,
    difference,
    equivalent,
    held,
    holm,
    smallest_seen,
)
from triptych.metrics.prdc import neighbours
from triptych.pages import verdict
from triptych.pages.claims import CLAIMS, Evidence
from triptych.pages.columns import best, comparisons, make_columns, marked, worst
from triptych.pages.language import Language, Name, Sentence
from triptych.pages.load import Losses, Run
from triptych.pages.page import measure_all
from triptych.records import (
    CostRecord,
    MeasuredOn,
    MetricRecord,
    Note,
    ResultsRecord,
    SamplesRecord,
)

PAGES = 200
NUMBERS = 14
MODELS = ("vae:a", "gan:b", "diffusion:c")


def spans(values: Any, **more: Any) -> tuple[MetricRecord, ...]:
    """Independent numbers with intervals of deviation 1."""
    half = stats.norm.ppf(0.975)
    given: dict[str, Any] = {"better": "lower", "n": 2000, "floor": 0.0, **more}
    return tuple(
        MetricRecord(name=f"number {i}", value=v, low=v - half, high=v + half, **given)
        for i, v in enumerate(values)
    )


def page_of(values: Any) -> list[Run]:
    """A page of models [models, numbers]."""
    return [
        Run(name=model, model=model, metrics=spans(own))
        for model, own in zip(MODELS, values, strict=True)
    ]


# Holm (1979)


def test_holm_is_his_procedure() -> None:
    """Against the definition: reject in order of p while p <= alpha / (m - rank)."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.uniform(size=7) ** 3
        rejected, order = set(), np.argsort(p)
        for rank, index in enumerate(order):
            if p[index] > ERROR / (7 - rank):
                break
            rejected.add(int(index))
        adjusted = holm(p.tolist())
        assert {i for i, each in enumerate(adjusted) if each is not None and each <= ERROR}\
            == rejected  # fmt: skip
        plain = [adjusted[i] or 0.0 for i in order]
        assert plain == sorted(plain) and max(plain) <= 1


def test_one_comparison_alone_is_decided_by_its_interval() -> None:
    """And the same one among a hundred others that find nothing is not."""
    clear = Difference(1.0, 0.1, 1.9, p=0.03)
    assert held([clear])[0] == clear and clear.better == "second"
    among = held([clear, None, *[Difference(0.0, -1.0, 1.0, p=0.9)] * 100])[0]
    assert among is not None and (among.better, among.together) == ("undecided", 101)
    assert replace(clear, value=-1.0).better == "first"


@pytest.mark.parametrize("low", [-0.02, 0.02])
def test_p_and_interval_say_the_same_of_one_comparison(low: float) -> None:
    """By each of the three ways: groups left out, independent intervals, several trainings."""
    half = stats.t.ppf(0.975, 3 * 19) * math.sqrt(3 * 19**2 / 20 * np.var(range(20), ddof=1)) / 1e3
    groups = tuple(i / 1e3 for i in range(20))
    ours = MetricRecord(name="a", better="lower", value=half + low, low=-9, high=9,
                        left_out={"samples": groups, "reference": groups})  # fmt: skip
    theirs = replace(ours, value=0.0, left_out={"samples": groups, "reference": groups[::-1]})
    paired = difference(ours, replace(theirs, left_out={"samples": groups, "reference": groups}))
    alone = MetricRecord(name="a", better="lower", value=math.sqrt(2) + low, low=0.414 + low,
                         high=2.414 + low)  # fmt: skip
    strangers = difference(alone, replace(alone, value=0.0, low=-1.0, high=1.0))
    trained = difference(
        replace(ours, values=(4.0, 5.0, 6.0), value=5.0),
        replace(ours, values=(1.0, 2.0, 3.0 + 10 * low), value=2.0 + 10 * low / 3),
    )
    for each in (paired, strangers, trained):
        assert each is not None
        assert (each.better == "undecided") == (each.low <= 0 <= each.high)


# Pages of models among which there is nothing to find


def equal_pages() -> list[list[Run]]:
    rng = np.random.default_rng(1)
    return [page_of(rng.normal(size=(3, NUMBERS))) for _ in range(PAGES)]


def test_equal_models_have_no_best_and_none_refutes_on_95_of_100_pages() -> None:
    """Three models, fourteen independent numbers: it was 16 % with a best and 71 % that refuted.

    5 % of 200 pages are at most 16 by chance, 99 times of a hundred.
    """
    false_best = refuted = alone = 0
    for runs in equal_pages():
        columns = make_columns(runs)
        assert comparisons(columns) == 3 * NUMBERS
        false_best += any(best(c) is not None or worst(c) is not None for c in columns)
        refuted += CLAIMS["gan.evaluation"][1](Evidence(runs), "gan").verdict == "refuted"
        pairs = [difference(c.scores[1][1], c.scores[i][1]) for c in columns for i in (0, 2)]
        alone += any(each and each.better != "undecided" for each in pairs)
    most = stats.binom.ppf(0.99, PAGES, ERROR)
    assert false_best <= most and refuted <= most
    assert alone > 0.6 * PAGES  # what each interval alone would say


def test_a_difference_that_is_there_is_still_found() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(3, NUMBERS))
    values[1, 0] -= 12
    runs = page_of(values)
    assert best(make_columns(runs)[0]) == 1
    assert CLAIMS["gan.evaluation"][1](Evidence(runs), "gan").verdict == "refuted"


def test_results_hold_what_the_page_decides() -> None:
    """Each pair has its own p and that of all together, and `better` follows from the latter."""
    rng = np.random.default_rng(3)
    measured_on = MeasuredOn(name="a", fingerprint="f", train=1, validation=1, test=1)
    models = [
        ResultsRecord(model=m, run=m, data=measured_on, metrics=r.metrics, cost=CostRecord())
        for m, r in zip(MODELS, page_of(rng.normal(size=(3, NUMBERS))), strict=True)
    ]
    found = all_differences(models)
    assert len(found) == 3 * NUMBERS
    exclude = [each for each in found if not each.low <= 0 <= each.high]
    assert exclude and all((each.p or 1) < ERROR for each in exclude)
    assert all(each.comparisons == 3 * NUMBERS and each.better == "undecided" for each in found)
    assert all((each.p_together or 0) >= (each.p or 0) for each in found)


def test_results_leave_undecided_what_the_feature_sets_dispute() -> None:
    """As the page does: of the GAN and the diffusion model both sets say the opposite."""
    measured_on = MeasuredOn(name="a", fingerprint="f", train=1, validation=1, test=1)
    runs = on_both_sets(APART, [APART[0], APART[2], APART[1]])
    models = [
        ResultsRecord(model=m, run=m, data=measured_on, metrics=r.metrics, cost=CostRecord())
        for m, r in zip(MODELS, runs, strict=True)
    ]
    found = all_differences(models)
    disputed = {(each.first, each.second, each.features) for each in found if each.disputed}
    assert disputed == {("gan:b", "diffusion:c", "labels"), ("gan:b", "diffusion:c", "patches")}
    assert {each.better for each in found if each.disputed} == {"undecided"}
    assert {each.better for each in found if not each.disputed} == {"second"}  # than the VAE


def test_the_page_says_how_many_comparisons_it_makes_and_what_alone_would_count() -> None:
    values = np.zeros((3, NUMBERS))
    values[1, 0] = -3.2  # alone p = 0.024, more than 0.05 / 42
    runs = page_of(values)
    for run in runs:
        first = replace(run.metrics[0], name="frechet_distance", features="labels")
        object.__setattr__(run, "metrics", (first, *run.metrics[1:]))
    sentences = verdict.read_comparison(comparison_of(runs))
    words = [Language().tell(sentence) for sentence in sentences]
    assert any(w.startswith("This page makes 42 comparisons") for w in words)
    (tied,) = [s for s in sentences if s.key == "distance.undecided"]
    told = Language().tell(tied)
    assert "the lead of the GAN would be significant; among the 42 comparisons" in told
    french = Language("fr").tell(tied)
    assert "l\N{RIGHT SINGLE QUOTATION MARK}avance du GAN serait significative" in french


# Single trainings


def test_a_mark_waits_for_trainings_or_for_a_gap_beyond_their_spread() -> None:
    """Distances of one GAN vary by 23 %: 12 and 10 may be two trainings of one, 40 and 10 not."""
    near = column_with("frechet_distance", [(11.9, 12.1), (9.9, 10.1)])
    assert best(near) == 1 and marked(near) is None
    far = column_with("frechet_distance", [(59.9, 60.1), (9.9, 10.1)])
    assert best(far) == marked(far) == 1
    unknown = column_with("bits_per_dim", [(8.0, 8.1), (3.0, 3.1)])
    assert best(unknown) == 1 and marked(unknown) is None  # nobody measured how bits vary
    trained = [
        replace(run, metrics=tuple(replace(m, values=v) for m in run.metrics))
        for run, v in zip(
            runs_with("bits_per_dim", [(8.0, 8.1), (3.0, 3.1)]),
            ((8.0, 8.05, 8.1), (3.0, 3.05, 3.1)),
            strict=True,
        )
    ]
    assert marked(make_columns(trained)[0]) == 1


def test_trainings_that_agree_to_the_last_digit_prove_nothing() -> None:
    """Welch's variance is zero there: the intervals decide, as of strangers."""
    a = MetricRecord(name="a", better="lower", unit="share", value=0.0, low=0.0, high=0.02,
                     values=(0.0, 0.0, 0.0))  # fmt: skip
    b = replace(a, value=0.01, low=0.0, high=0.03, values=(0.01, 0.01, 0.01))
    apart = difference(a, b)
    assert apart is not None and apart.better == "undecided"


# As good as real images: two one-sided tests


def test_equivalence_takes_the_whole_interval_within_the_margin() -> None:
    metric = MetricRecord(name="sharpness", value=1.0, low=0.91, high=1.09)
    assert equivalent(metric, 0.9, 1.1)
    assert not equivalent(replace(metric, low=0.89), 0.9, 1.1)
    assert not equivalent(replace(metric, high=1.11), 0.9, 1.1)
    assert not equivalent(replace(metric, low=None), 0.9, 1.1)


def test_equivalence_is_claimed_wrongly_at_most_one_time_in_twenty() -> None:
    """Of models at the margin itself, whatever the width; wide intervals claim nothing."""
    rng = np.random.default_rng(4)
    for error in (0.01, 0.03, 0.1):
        values = 1.1 + error * rng.normal(size=2000)
        half = stats.norm.ppf(0.975) * error
        wrong = np.mean([
            equivalent(MetricRecord(name="a", value=v, low=v - half, high=v + half), 0.9, 1.1)
            for v in values
        ])  # fmt: skip
        assert wrong <= 0.05


def test_the_smallest_difference_seen_is_seen_four_times_in_five() -> None:
    half, rng = stats.norm.ppf(0.975), np.random.default_rng(5)
    reach = smallest_seen(MetricRecord(name="a", value=0.0, low=-half, high=half))
    assert reach is not None
    found = np.mean(reach + rng.normal(size=4000) - half > 0)
    assert found == pytest.approx(0.8, abs=0.02)


def test_over_few_trainings_the_smallest_difference_is_student_s() -> None:
    """Of three: the interval reaches 4.30 errors, four times in five of all are below 1.06."""
    few = MetricRecord(name="a", value=0.0, low=-1, high=1, values=(0, 1, 2), interval="Student")
    t = stats.t(2)
    assert smallest_seen(few) == pytest.approx(1 + t.ppf(0.8) / t.ppf(0.975))


@pytest.mark.parametrize(("language", "few"), [("en", "training"), ("fr", "entraînements")])
def test_what_few_trainings_leave_open_is_not_blamed_on_the_samples(
    language: str, few: str
) -> None:
    """More seeds would narrow Student's interval; more of the 2,000 samples would not."""
    wide: dict[str, Any] = {"values": (1.0, 2.0, 3.0), "interval": "Student"}
    runs = with_more(
        runs_with("frechet_distance", [(0.5, 6.0)] * 2, **wide),
        runs_with("sharpness", [(0.7, 1.3)] * 2, better="floor", **wide),
        runs_with("memorised", [(0.001, 0.5)] * 2, floor=0.01, **wide),
    )
    one, several = ([*each_of(some, "sharpness.open"), *each_of(some, "memorised.open"),
                     *each_of(some, "distance.undecided"), *each_of(some, "distance.floor")]
                    for some in (runs[:1], runs))  # fmt: skip
    assert len(one) == 3 and len(several) == 4
    for sentence in (*one, *several):
        told = Language(language).tell(sentence)
        assert few in told and "2,000" not in told and "2000" not in told.replace(" ", "")
        assert sentence.values.get("n", 3) == 3
    (single,) = runs_with("frechet_distance", [(0.5, 6.0)])
    (tied,) = each_of([runs[0], replace(single, model="gan:b")], "distance.undecided")
    assert tied.key == "distance.undecided.trainings" and tied.values["n"] == 1


def each_of(runs: list[Run], key: str) -> list[Sentence]:
    """The sentences of a verdict whose key begins so."""
    return [s for s in verdict.read_comparison(comparison_of(runs)) if s.key.startswith(key)]


@pytest.mark.parametrize(
    ("span", "never"),
    [
        ((0.1, 1.1), ("as sharp", "aussi nets")),
        ((1.02, 1.08), ("over-sharp", "trop nets")),  # 1.05: within the band of 10 %
        ((0.94, 0.96), ("blurrier", "plus flous")),
    ],
)
def test_words_of_sharpness_fit_effect_and_interval(
    span: tuple[float, float], never: tuple[str, str]
) -> None:
    """ "As sharp as real: 0.6 times [0.1, 1.1]" and "too sharp: 1.05" cannot be said again."""
    (run,) = runs_with("sharpness", [span], better="floor", n=100)
    sentence = verdict.sharpness_of(Name("vae"), run.metrics[0])
    assert sentence is not None
    for language, words in zip(("en", "fr"), never, strict=True):
        told = Language(language).tell(sentence)
        assert words not in told or "pas dire si" in told or "is not decided" in told


def test_few_images_covered_are_not_most() -> None:
    column = column_with("coverage", [(0.16, 0.2), (0.05, 0.07)], better="higher")
    sentence = verdict.leading(column)
    assert sentence is not None and sentence.values["who"] == Name("vae")
    assert "most of the real images" not in Language().tell(sentence)


# Numbers that say the opposite


def with_more(runs: list[Run], *more: list[Run]) -> list[Run]:
    """The same models with the metrics of others."""
    return [
        replace(run, metrics=(*run.metrics, *(m for each in others for m in each.metrics)))
        for run, *others in zip(runs, *more, strict=True)
    ]


def on_both_sets(
    first: list[tuple[float, float]], second: list[tuple[float, float]], **more: Any
) -> list[Run]:
    """Models with the same distance on two feature sets, and more of the second entry."""
    patches: dict[str, Any] = {"features": "patches", **more}
    name = patches.pop("name", "frechet_distance")
    return with_more(runs_with("frechet_distance", first), runs_with(name, second, **patches))


def test_a_model_is_nearer_only_where_the_other_feature_set_does_not_contradict() -> None:
    """The GAN on the classifier's features, the diffusion model on patches: nobody is nearer."""
    turned = [APART[0], APART[2], APART[1]]
    labels, patches = make_columns(on_both_sets(APART, turned))
    assert best(labels) is best(patches) is None
    assert marked(labels) is marked(patches) is None
    assert worst(labels) == worst(patches) == 0  # of the VAE both say the same
    assert [pair for pair, apart in labels.worse.items() if apart and apart.disputed] == [(1, 2)]
    alone = make_columns(runs_with("frechet_distance", APART))[0]
    assert best(alone) == 1
    for contrary in ({"name": "kernel_distance"}, {"method": "extrapolated"}):
        first, *_ = make_columns(on_both_sets(APART, turned, **contrary))
        assert best(first) == 1  # it is another question


def test_what_is_not_decided_on_the_other_feature_set_contradicts_nothing() -> None:
    labels, patches = make_columns(on_both_sets(APART, [(1.0, 9.0)] * 3))
    assert best(labels) == 1 and best(patches) is None


def test_a_contradiction_takes_an_interval_beyond_zero_and_the_other_sign() -> None:
    """By the interval alone: it need not hold among all comparisons of the page."""
    better = Difference(-2.0, -3.0, -1.0, p=0.001)
    for low, high, contradicts in ((1.0, 3.0, True), (-1.0, 3.0, False), (-3.0, -1.0, False)):
        other = Difference((low + high) / 2, low, high, p=0.9)
        assert better.contradicted_by(other) is contradicts
        turned = Difference(2.0, 1.0, 3.0, p=0.001)
        assert turned.contradicted_by(Difference(-1.0, -high, -low)) is contradicts
    assert better.better == "first" and replace(better, disputed=True).better == "undecided"


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_verdict_says_what_both_feature_sets_say(language: str) -> None:
    """Each distance is told once, with what the other feature set says of it."""
    turned = [APART[0], APART[2], APART[1]]
    cases = (
        (APART, APART, ["distance.best"], "distance.second.same"),
        (APART, [(1.0, 9.0)] * 3, ["distance.best"], "distance.second.open"),
        (APART, turned, ["distance.disputed"], None),
        ([(1.0, 9.0)] * 3, APART, ["distance.best", "distance.undecided"], "distance.second.open"),
    )
    for first, second, keys, said in cases:
        runs = on_both_sets(first, second)
        sentences = verdict.read_comparison(comparison_of(runs))
        about = [
            s for s in sentences if s.key.startswith("distance.") and s.key != "distance.floor"
        ]
        assert [s.key for s in about] == keys
        if said is not None:
            clause = about[0].values["second"]
            assert isinstance(clause, Sentence) and clause.key == said
        for sentence in about:
            assert "{" not in Language(language).tell(sentence)
    disputed = verdict.read_comparison(comparison_of(on_both_sets(APART, turned)))
    words = next(Language().tell(s) for s in disputed if s.key == "distance.disputed")
    assert "the GAN is nearer than the diffusion model; on image patches it is the other" in words


def test_a_contradiction_is_the_headline_and_no_luck_of_the_draw() -> None:
    """Both sets decide, each the other way round: no sample count would settle that."""
    runs = on_both_sets(APART, [APART[0], APART[2], APART[1]])
    content = measure_all(comparison_of(runs), Language())
    assert str(content["lead"]).startswith("The two feature sets contradict each other.")
    # Where only alone would the lead count, the other set's word stands against it all the same.
    one, _ = make_columns(runs)
    weak = {pair: apart and replace(apart, p=0.2) for pair, apart in one.worse.items()}
    tied = verdict.distance_undecided(replace(one, worse=weak))
    assert tied is not None and tied.values["alone"] == ""


def test_best_samples_are_not_claimed_where_the_feature_sets_disagree() -> None:
    turned = [APART[0], APART[2], APART[1]]
    lowest = [APART[0], APART[2], APART[1]]  # of the diffusion model
    agreed = CLAIMS["diffusion.best"][1](Evidence(on_both_sets(lowest, turned)), "diffusion")
    contrary = CLAIMS["diffusion.best"][1](Evidence(on_both_sets(lowest, APART)), "diffusion")
    assert agreed.verdict == "supported" and contrary.verdict == "undecided"
    assert "distance.disputed" in [sentence.key for sentence in contrary.sentences]
    assert "distance.disputed" not in [sentence.key for sentence in agreed.sentences]


def test_the_nearest_model_is_told_with_the_numbers_that_say_the_opposite() -> None:
    distance = runs_with("frechet_distance", APART)  # the GAN
    density = runs_with("density", [(0.9, 0.95), (0.2, 0.25), (0.5, 0.55)], better="higher")
    runs = with_more(distance, density)
    (lead,) = [s for s in verdict.read_comparison(comparison_of(runs)) if s.key == "distance.best"]
    told = Language().tell(lead)
    assert "But not all numbers agree: the density favours the VAE and " in told
    assert "la densité favorise le VAE" in Language("fr").tell(lead)
    finding = CLAIMS["diffusion.best"][1](
        Evidence(with_more(runs_with("frechet_distance", [APART[0], APART[2], APART[1]]), density)),
        "diffusion",
    )
    assert finding.verdict == "undecided" and finding.sentences[-1].key == "claim.contrary"
    alike = with_more(distance, runs_with("density", [(0.2, 0.25)] * 3, better="higher"))
    (lead,) = [s for s in verdict.read_comparison(comparison_of(alike)) if s.key == "distance.best"]
    assert lead.values["contrary"] == ""


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("name", [*verdict.NOUNS, "another_package_s"])
def test_every_number_that_says_the_opposite_has_a_name(name: str, language: str) -> None:
    other = runs_with(name, [(0.9, 0.95), (0.2, 0.25), (0.5, 0.55)], better="higher")
    (own, *_) = other[0].metrics
    other = [
        replace(r, metrics=tuple(replace(m, group="samples") for m in r.metrics)) for r in other
    ]
    runs = with_more(runs_with("frechet_distance", APART), other)
    (lead,) = [s for s in verdict.read_comparison(comparison_of(runs)) if s.key == "distance.best"]
    assert lead.values["contrary"] != "" and own.name == name
    assert ("another_package_s" in Language(language).tell(lead)) == (name == "another_package_s")


# Bounds


def test_bounds_of_unlike_tightness_are_not_ranked() -> None:
    """An importance-weighted bound below a variational one says nothing of likelihoods."""
    runs = runs_with("bits_per_dim", [(3.0, 3.1), (5.0, 5.1), (4.0, 4.1)], kind="upper bound")
    methods = ("importance", "importance", "variational")
    unlike = [
        replace(r, metrics=(replace(r.metrics[0], method=m),))
        for r, m in zip(runs, methods, strict=True)
    ]
    column = make_columns(unlike)[0]
    assert best(column) is None and verdict.leading(column) is None
    sentence = verdict.unlike_bounds(column)
    assert sentence is not None and sentence.key == "likelihood.unlike"
    assert column.difference(0, 1) is not None and column.difference(0, 2) is None
    assert verdict.unlike_bounds(make_columns(runs)[0]) is None


def test_a_lower_bound_above_another_s_upper_bound_tells_them_apart() -> None:
    at_most = MetricRecord(name="bits_per_dim", better="lower", value=3.0, low=2.9, high=3.1,
                           kind="upper bound", method="elbo")  # fmt: skip
    at_least = replace(at_most, value=4.0, low=3.9, high=4.1, kind="lower bound", method="ais")
    exact = replace(at_least, kind="exact")
    for other in (at_least, exact):
        apart = difference(at_most, other)
        assert apart is not None and apart.better == "first"
        turned = difference(other, at_most)
        assert turned is not None and turned.better == "second"
    below = replace(at_least, value=2.0, low=1.9, high=2.1)
    assert difference(at_most, below) is None  # it may be anything above 2
    assert difference(at_most, replace(below, kind="exact")) is None


# Intervals that are never empty


@pytest.mark.parametrize("trainings", [2, 3, 5])
@pytest.mark.parametrize(
    ("share", "spread"), [(0.5, 0.05), (0.02, 0.01), (0.95, 0.03), (0.3, 0.1), (0.5, 0.2)]
)
def test_intervals_of_shares_over_trainings_cover(
    trainings: int, share: float, spread: float
) -> None:
    """Shares of 500 images that vary between trainings by a beta distribution."""
    rng = np.random.default_rng(trainings)
    size = share * (1 - share) / spread**2 - 1
    inside = 0
    for _ in range(1000):
        of_each = rng.beta(share * size, (1 - share) * size, trainings)
        low, high = share_over_trainings((rng.binomial(500, of_each) / 500).tolist(), 500)
        assert 0 < low < high < 1
        inside += low <= share <= high
    assert 0.92 <= inside / 1000 <= 0.98


def test_intervals_of_shares_are_within_0_and_1_and_never_empty() -> None:
    """2 % [-7 %, 11 %] and 0 % [0, 0] were such."""
    low, high = share_over_trainings([0.0, 0.06, 0.0], 50)
    assert 0 <= low < 0.02 < high < 1
    for share in (0.0, 1.0):
        low, high = share_over_trainings([share] * 3, 2000)
        assert low <= share <= high and 0.0008 < high - low < 0.003
    wider = share_over_trainings([0.3, 0.5, 0.4], 2000)
    assert wider[0] < 0.4 - 0.1 and wider[1] > 0.4 + 0.1  # the luck of training is in it


def test_precision_of_one_and_recall_of_none_have_intervals() -> None:
    """All halves of a side agree there, and as many images still prove only so much.

    Samples amid the real images: precision 1, and 0 where they are far from all.
    """
    real, inside = normal(200, 2), 0.05 * normal(200, 2, seed=1)
    found = neighbours(real, inside)
    assert found.precision.value == 1 and 0.97 < found.precision.low < 0.99
    far = neighbours(real, torch.full((200, 2), 50.0, dtype=torch.float64) + inside)
    for each in (far.precision, far.recall, far.density, far.coverage):
        assert each.value == 0 and each.low == 0 and 0.01 < each.high < 0.03


def reconstructing(**codes: float) -> list[Run]:
    """A VAE at 24 dB and a diffusion model at 38 dB, from codes of so many numbers."""
    vae, _, diffusion = runs_with(
        "reconstruction_psnr", [(23.9, 24.1), (0.0, 0.1), (37.9, 38.1)], better="higher"
    )
    return [
        replace(run, cost={"code_size": codes[run.family], "reconstruct_seconds_per_image": 0.05})
        for run in (vae, diffusion)
    ]


def test_a_reconstruction_from_more_numbers_is_not_simply_better() -> None:
    """3,072 numbers by 3,072 beside that by 96: said with the codes, without a mark or verdict."""
    unequal = reconstructing(vae=96, diffusion=3072)
    column = make_columns(unequal)[0]
    sentence = verdict.reconstruction_best(column)
    assert sentence is not None and sentence.key == "reconstruction.best.larger"
    assert marked(column) is None
    told = [
        Language().tell(s)
        for s in verdict.read_comparison(comparison_of(unequal))
        if s.topic == "reconstruction"
    ]
    assert "from 96 numbers, in 50.0\N{NO-BREAK SPACE}ms per image" in told[0]
    finding = CLAIMS["vae.reconstruction"][1](Evidence(unequal), "vae")
    assert finding.verdict == "undecided" and finding.sentences[-1].key == "claim.larger"
    fair = reconstructing(vae=3072, diffusion=96)
    assert CLAIMS["vae.reconstruction"][1](Evidence(fair), "vae").verdict == "supported"
    assert marked(make_columns(fair)[0]) == 1


# Claims by one test for all


def test_one_band_of_sharpness_serves_all_families() -> None:
    """The VAE was called blurry and the diffusion model clear, both at 0.95."""
    runs = runs_with("sharpness", [(0.94, 0.96)] * 3, better="floor")
    evidence = Evidence(runs)
    assert CLAIMS["vae.blurry"][1](evidence, "vae").verdict == "refuted"
    assert CLAIMS["diffusion.clear"][1](evidence, "diffusion").verdict == "supported"
    soft = Evidence(runs_with("sharpness", [(0.8, 0.85)] * 3, better="floor"))
    assert CLAIMS["vae.blurry"][1](soft, "vae").verdict == "supported"
    assert CLAIMS["diffusion.clear"][1](soft, "diffusion").verdict == "refuted"


def test_what_is_asked_of_one_family_is_answered_of_all() -> None:
    """Odd images were judged for the GAN alone, and cheap against diffusion alone."""
    spans = [(0.4, 0.45), (0.4, 0.45), (0.91, 0.99)]
    finding = CLAIMS["gan.odd"][1](Evidence(runs_with("recognisable", spans, floor=0.97)), "gan")
    assert finding.verdict == "supported"
    answers = {s.key: s.values["who"] for s in finding.sentences if s.key.startswith("claim.same")}
    assert answers == {
        "claim.same.yes": (Name("vae"),),
        "claim.same.undecided": (Name("diffusion"),),
    }
    costs = [{"sample_seconds_per_image": s} for s in (0.001, 1.0, 0.03)]
    runs = [Run(name=m, model=m, cost=c) for m, c in zip(MODELS, costs, strict=True)]
    assert CLAIMS["gan.cheap"][1](Evidence(runs), "gan").verdict == "refuted"
    assert CLAIMS["vae.cheap"][1](Evidence(runs), "vae").verdict == "supported"
    assert CLAIMS["diffusion.slow"][1](Evidence(runs), "diffusion").verdict == "undecided"


def test_a_likelihood_is_followed_by_a_curve_and_not_by_its_last_value() -> None:
    (run,) = runs_with("bits_per_dim", [(3.0, 3.1)])
    judge = CLAIMS["vae.likelihood"][1]
    last = judge(Evidence([run]), "vae")
    assert last.verdict == "unmeasured" and last.sentences[0].key == "claim.no_curve"
    logged = tuple(Losses(images=i, images_per_second=1.0, losses={"bound/total": 1.0})
                   for i in range(5))  # fmt: skip
    assert judge(Evidence([replace(run, log=logged)]), "vae").verdict == "supported"
    other = tuple(replace(line, losses={"denoiser/total": 1.0}) for line in logged)
    assert judge(Evidence([replace(run, log=other)]), "vae").verdict == "unmeasured"


def test_what_was_not_measured_has_its_true_reason() -> None:
    alone = runs_with("frechet_distance", [(1.0, 2.0)])
    reason = MetricRecord(name="sharpness", kind="not defined", note=Note("no_edges"))
    flat = replace(alone[0], metrics=(*alone[0].metrics, reason))
    for claim, runs, key in (
        ("vae.blurry", [flat], "claim.undefined"),
        ("vae.blurry", alone, "claim.absent"),
        ("vae.reconstruction", alone, "claim.alone"),
        ("vae.cheap", alone, "claim.alone"),
        ("vae.cheap", runs_with("frechet_distance", APART), "claim.no_cost"),
    ):
        finding = CLAIMS[claim][1](Evidence(runs), "vae")
        assert (finding.verdict, [s.key for s in finding.sentences]) == ("unmeasured", [key])
        for sentence in finding.sentences:
            assert Language("fr").tell(sentence)


# What may flatter


def test_what_may_flatter_a_number_is_said_beside_it() -> None:
    vae, gan, diffusion = runs_with("frechet_distance", APART)
    floor = Note("floor_of_training_images", {"n": 400, "images": 2000})
    guided = replace(diffusion.metrics[0], note=Note("guided_to_groups", {"weight": 1.7}))
    runs = [
        replace(vae, warnings=(Note("prior_of_training_images"), floor)),
        replace(gan, chosen=320.0),
        replace(diffusion, metrics=(guided,)),
    ]
    found = {s.key: s for s in verdict.flattered(comparison_of(runs)) if s is not None}
    assert {key: s.values.get("who") for key, s in found.items()} == {
        "flattered.prior": Name("vae"),
        "flattered.floor": None,
        "flattered.snapshots": Name("gan"),
        "flattered.groups": Name("diffusion"),
    }
    assert "400 of the 2,000 real images" in Language().tell(found["flattered.floor"])
    assert verdict.flattered(comparison_of([vae, gan, diffusion])) == []


def test_claims_leave_out_strangers_and_keep_what_was_decided_beside_them() -> None:
    """Their comparisons count among those of the page, and no index is lost."""
    runs = runs_with("frechet_distance", [(30.0, 32.0), (5.0, 6.0), (12.0, 14.0)])
    record = SamplesRecord(source="x", kind="files", images=9, fingerprint="f")
    stranger = replace(runs[0], name="x", model="elsewhere:x", samples=record)
    evidence = Evidence([stranger, *runs])
    (column,) = evidence.columns
    assert [who.family for who, _ in column.scores] == ["vae", "gan", "diffusion"]
    assert best(column) == 1
    apart = column.difference(1, 2)
    assert apart is not None and (apart.better, apart.together) == ("first", 6)
