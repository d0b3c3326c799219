"""Sentences appear and disappear with the numbers; words and charts hold in both languages."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from tests.test_page import EARLIER, write_comparison
from triptych.pages import course, verdict
from triptych.pages.charts import (
    LEFT,
    RIGHT,
    WIDTH,
    Series,
    diagnosis_series,
    draw_chart,
    linear_axis,
    log_axis,
    speed_series,
)
from triptych.pages.columns import Column, best, make_columns, name_runs, worst
from triptych.pages.gathering import for_all
from triptych.pages.language import Interval, Language, Name, Quantity, Sentence
from triptych.pages.load import Comparison, Run, find_folder, load_comparison, load_log
from triptych.pages.panels import Grid, find_grid
from triptych.records import ContractRecord, MetricRecord, Note

Sayer = Callable[[Column], Sentence | None]


def runs_with(name: str, spans: list[tuple[float, float]], **more: Any) -> list[Run]:
    """A VAE, a GAN and a diffusion model with these intervals of one metric."""
    values = {"floor": 1.0, "better": "lower", "n": 2000, "features": "labels", **more}
    families = ("vae:a", "gan:b", "diffusion:c")
    return [
        Run(
            name=model,
            model=model,
            metrics=(MetricRecord(name=name, value=(a + b) / 2, low=a, high=b, **values),),
        )
        for model, (a, b) in zip(families, spans, strict=False)
    ]


def column_with(name: str, spans: list[tuple[float, float]], **more: Any) -> Column:
    (column,) = make_columns(runs_with(name, spans, **more))
    return column


def comparison_of(runs: list[Run]) -> Comparison:
    contract = ContractRecord.read(json.loads((EARLIER / "contract.json").read_text()))
    return Comparison(folder=EARLIER, contract=contract, runs=tuple(runs))


PSNR = "reconstruction_psnr"
APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"
APART = [(30.0, 32.0), (5.0, 6.0), (12.0, 14.0)]
OVERLAP = [(30.0, 32.0), (11.0, 13.0), (12.0, 14.0)]
TIED = [(1.0, 3.0), (2.0, 4.0)]


@pytest.mark.parametrize(
    ("reader", "metric_name", "better", "spans", "key"),
    [
        (verdict.distance_best, "frechet_distance", "lower", APART, "distance.best"),
        (verdict.distance_best, "frechet_distance", "lower", OVERLAP, None),
        (verdict.distance_best, "frechet_distance", "lower", APART[:1], None),
        (verdict.distance_undecided, "frechet_distance", "lower", OVERLAP, "distance.undecided"),
        (verdict.distance_undecided, "frechet_distance", "lower", APART, None),
        (verdict.leading, "recognisable", "higher", APART, "recognisable.best"),
        (verdict.leading, "recognisable", "higher", TIED, None),
        (verdict.undecided, "recognisable", "higher", TIED, "recognisable.undecided"),
        (verdict.sharpness_order, "sharpness", "floor", APART, "sharpness.order"),
        (verdict.sharpness_order, "sharpness", "floor", OVERLAP, None),
        (verdict.leading, "label_balance", "lower", APART, "balance.best"),
        (verdict.leading, "label_balance", "lower", OVERLAP, None),
        (verdict.undecided, "label_balance", "lower", OVERLAP, "balance.undecided"),
        (verdict.leading, "bits_per_dim", "lower", APART, "likelihood.best"),
        (verdict.leading, "bits_per_dim", "lower", OVERLAP, None),
        (verdict.leading, "coverage", "higher", APART, "coverage.best"),
        (verdict.undecided, "coverage", "higher", TIED, "coverage.undecided"),
        (verdict.reconstruction_best, PSNR, "higher", APART, "reconstruction.best"),
        (verdict.leading, "path_length", "lower", APART, "path.best"),
        (verdict.undecided, "path_length", "lower", OVERLAP, "path.undecided"),
        (verdict.leading, "probe_accuracy", "higher", APART, "probe.best"),
        (verdict.undecided, "probe_accuracy", "higher", TIED, "probe.undecided"),
    ],
)  # fmt: skip
def test_sentences_follow_the_intervals(
    reader: Sayer, metric_name: str, better: str, spans: list[tuple[float, float]], key: str | None
) -> None:
    sentence = reader(column_with(metric_name, spans, better=better))
    assert (sentence.key if sentence else None) == key
    assert key is None or key in Language()


def test_the_best_is_the_right_one() -> None:
    lowest = verdict.distance_best(column_with("frechet_distance", APART))
    assert lowest is not None and lowest.values["who"] == Name("gan")
    highest = verdict.leading(column_with("recognisable", APART, better="higher"))
    assert highest is not None and highest.values["who"] == Name("vae")
    order = verdict.sharpness_order(column_with("sharpness", APART, better="floor"))
    assert order is not None
    assert order.values["order"] == (Name("gan"), Name("diffusion"), Name("vae"))
    tied = verdict.distance_undecided(column_with("frechet_distance", OVERLAP))
    assert tied is not None and tied.values["who"] == (Name("gan"), Name("diffusion"))
    near = column_with("sharpness", [(0.4, 0.5), (0.98, 1.03), (1.2, 1.4)], better="floor")
    assert best(near) == 1
    wide = column_with("sharpness", [(0.9, 1.2), (0.97, 0.99)], better="floor")
    assert best(wide) is None  # the first may be at the floor itself


def test_the_others_are_behind_by_their_difference_from_the_best() -> None:
    """31 and 13 against 5.5; shares are told in percentage points, whichever way is better."""
    nearest = verdict.distance_best(column_with("frechet_distance", APART))
    assert nearest is not None
    vae, diffusion = nearest.values["clauses"]  # type: ignore[misc]
    assert (vae.values["who"], vae.values["value"].value) == (Name("vae"), 25.5)
    assert (diffusion.values["who"], diffusion.values["value"].value) == (Name("diffusion"), 7.5)
    assert 24 < vae.values["interval"].low < 25.5 < vae.values["interval"].high < 27
    spans = [(0.2, 0.3), (0.8, 0.9)]
    clearest = verdict.leading(column_with("recognisable", spans, better="higher"))
    assert clearest is not None and clearest.values["who"] == Name("gan")
    assert "the VAE by 60 points" in Language().tell(clearest)


def test_a_bound_is_called_one() -> None:
    bits = MetricRecord(name="bits_per_dim", value=3.0, low=2.9, high=3.1, better="lower")
    for kind, key in (("upper bound", "bound"), ("exact", "value"), ("estimate", "value")):
        sentence = verdict.value_of(Name("vae"), replace(bits, kind=kind))
        assert sentence is not None and sentence.key == f"likelihood.{key}"


@pytest.mark.parametrize(
    ("low", "high", "key"),
    [
        (0.40, 0.43, "blurry"),
        (1.11, 1.2, "over"),
        (0.95, 1.04, "level"),
        (0.91, 0.97, "level"),  # the band is said: within 10 %
        (0.85, 0.96, "softer"),
        (1.04, 1.2, "sharper"),
        (0.1, 1.1, "open"),
    ],
)
def test_sharpness_is_judged_by_its_whole_interval(low: float, high: float, key: str) -> None:
    sharpness = MetricRecord(
        name="sharpness", value=(low + high) / 2, low=low, high=high, floor=1.0, n=100
    )
    sentence = verdict.sharpness_of(Name("vae"), sharpness)
    assert sentence is not None and sentence.key == f"sharpness.{key}"
    unknown = MetricRecord(name="sharpness", value=0.4, floor=1.0, n=100)
    assert verdict.sharpness_of(Name("vae"), unknown) is None


def test_distances_are_told_in_floors() -> None:
    sentence = verdict.distance_floor(column_with("frechet_distance", [(19.0, 21.0), (0.9, 1.2)]))
    assert sentence is not None
    words = Language().tell(sentence)
    assert "the VAE is at 20 times the floor" in words
    assert "the GAN comes as near as other real images do, within a margin of 25" in words
    assert verdict.distance_floor(column_with("frechet_distance", APART, floor=None)) is None


def test_an_interval_that_touches_the_floor_is_no_finding() -> None:
    """11 test images and coloured blobs: half the width times 1 + 0.84 / 1.96 would have shown."""
    column = column_with("frechet_distance", [(0.5, 8.5), (19.0, 21.0)], n=11)
    sentence = verdict.distance_floor(column)
    assert sentence is not None
    (blobs, _) = sentence.values["clauses"]  # type: ignore[misc]
    assert blobs.key == "distance.open" and blobs.values["n"] == 11
    seen = 4 * (1 + stats.norm.ppf(0.8) / stats.norm.ppf(0.975))
    assert blobs.values["ratio"].value == pytest.approx(1 + seen)
    for language in ("en", "fr"):
        words = Language(language).tell(sentence)
        assert "cannot be told" not in words and "ne se distingue pas" not in words
    assert "11 images are too few" in Language().tell(sentence)


def test_numbers_without_intervals_decide_nothing() -> None:
    column = column_with("frechet_distance", APART, better="")
    assert best(column) is None
    run = Run(name="a", model="vae:a", metrics=(MetricRecord(name="frechet_distance", value=3.0),))
    other = Run(
        name="b", model="gan:b", metrics=(MetricRecord(name="frechet_distance", value=9.0),)
    )
    assert best(make_columns([run, other])[0]) is None


def test_columns_never_mix_features_references_or_counts() -> None:
    frechet = MetricRecord(name="frechet_distance", value=1.0, n=9, moves_with_n=True)
    one = Run(name="a", model="vae:a", metrics=(frechet,))
    changes: list[dict[str, Any]] = [{"features": "inception"}, {"reference": "train"}, {"n": 8}]
    for change in changes:
        two = Run(name="b", model="gan:b", metrics=(replace(frechet, **{"value": 2.0, **change}),))
        assert [len(column.scores) for column in make_columns([one, two])] == [1, 1]


def test_bounds_are_not_compared_with_values() -> None:
    runs = runs_with("bits_per_dim", APART, kind="upper bound")
    exact = runs_with("bits_per_dim", APART, kind="exact")
    assert best(make_columns([runs[0], exact[1]])[0]) is None
    sentence = verdict.leading(make_columns(runs)[0])
    assert sentence is not None and sentence.key == "likelihood.bounds.best"


def run_costing(model: str, **cost: float) -> Run:
    return Run(name=model, model=model, cost=cost)


def test_costs_are_ratios_of_the_measured_seconds() -> None:
    quick = run_costing("vae:a", sample_seconds_per_image=0.002, network_calls=1)
    slow = run_costing("diffusion:c", sample_seconds_per_image=0.1, network_calls=19)
    sentence = verdict.sampling_cost([quick, slow])
    assert sentence is not None and sentence.values["ratio"] == Quantity(50.0, "ratio")
    assert "50 times as long" in Language().tell(sentence)
    assert (sentence.values["slow"], sentence.values["fast"]) == (Name("diffusion"), Name("vae"))
    assert sentence.values["slow_time"] == Quantity(0.1, "time")
    calls = verdict.network_calls([quick, slow])
    assert calls is not None and calls.values["calls"] == 19
    level = verdict.sampling_cost([quick, run_costing("gan:b", sample_seconds_per_image=0.0022)])
    assert level is not None and level.key == "cost.level"
    assert verdict.sampling_cost([quick]) is None
    assert verdict.network_calls([quick, quick]) is None


def test_images_seen_are_compared_only_in_like_times() -> None:
    long = run_costing("gan:b", train_seconds=75.0, images_seen=1000)
    many = run_costing("vae:a", train_seconds=74.0, images_seen=3000)
    sentence = verdict.training_cost([long, many])
    assert sentence is not None and sentence.values["ratio"] == Quantity(3.0, "ratio")
    saw = {each: sentence.values[each] for each in ("most", "most_images", "fewest")}
    assert saw == {
        "most": Name("vae"),
        "most_images": Quantity(3000, "count"),
        "fewest": Name("gan"),
    }
    unlike = run_costing("vae:a", train_seconds=20.0, images_seen=3000)
    assert verdict.training_cost([long, unlike]) is None


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_distance_is_no_multiple_of_a_floor_that_is_not_positive(language: str) -> None:
    """Nor of one that is zero but for noise, as the kernel distance's; nor is a negative one."""
    for floor, count in ((1.0, 1), (0.0, 0), (-1.0, 0)):
        models = runs_with("frechet_distance", APART, floor=floor)
        assert len(course.quality(models, "vae")) == count
        told = [s for c in make_columns(models) if (s := verdict.distance_floor(c)) is not None]
        assert len(told) == count
    for spans, more in (
        (APART, {"name": "kernel_distance"}),
        ([(-2700.0, -2600.0), (5.0, 6.0)], {"name": "kernel_distance"}),
        ([(-2700.0, -2600.0), (5.0, 6.0)], {"name": "frechet_distance", "method": "extrapolated"}),
    ):
        models = runs_with(more.pop("name"), spans, **more)
        assert course.quality(models, "vae") == []
        comparison = comparison_of(models)
        told_all = [Language(language).tell(s) for s in verdict.read_comparison(comparison)]
        assert not [words for words in told_all if "times the floor" in words]
        assert not [words for words in told_all if "fois le plancher" in words]


def test_samples_are_copies_only_where_the_whole_interval_says_so() -> None:
    """1 % of images that nobody copied are as near: above it, a value alone proves nothing."""
    spans = [(0.02, 0.04), (0.005, 0.03), (0.0, 0.01)]
    near, unclear, none = verdict.copies_of_each([column_with("memorised", spans, floor=0.01)])
    assert near is not None and (near.key, near.values["who"]) == ("memorised.near", Name("vae"))
    assert unclear is not None and unclear.key == "memorised.open"
    assert none is not None and none.key == "memorised.none"
    assert none.values["who"] == Name("diffusion")
    assert "no more than 2\N{NO-BREAK SPACE}%" in Language().tell(none)


SEVERAL = {  # sentences of single models, with all that they may hold
    "real_or_fake": ("told", "level"),
    "sharpness": ("blurry", "over", "level", "softer", "sharper", "open"),
    "memorised": ("near", "none", "open"),
    "copied": ("share", "only"),
    "copied_control": ("only",),
    "own_exemplar": ("only",),
    "likelihood": ("bound", "value", "none"),
    "reconstruction": ("value", "none"),
    "flattered": ("prior", "groups", "snapshots"),
}


def single(key: str, family: str, value: float) -> Sentence:
    """What a reader of one model may give, whatever the key needs of it."""
    values: dict[str, Any] = {"who": Name(family)}
    if key.endswith(".none") and not key.startswith("memorised"):
        return Sentence(key, values | {"note": Note("gan_no_density")})
    if key.startswith("flattered"):
        return Sentence(key, values)
    values |= {"value": Quantity(value), "interval": Interval(value - 1, value + 1), "aside": ""}
    if key.startswith("reconstruction"):
        of = Sentence("reconstruction.code.of", {"n": 3072})
        code = {"n": round(10 * value), "of": of, "time": ""}
        return Sentence(key, values | {"code": Sentence("reconstruction.code", code)})
    values |= {"floor": Quantity(0.01, "percent"), "margin": Quantity(0.1, "percent"), "n": 500}
    return Sentence(key, values | {"most": Quantity(0.02, "percent"), "seen": Quantity(0.3)})


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("key", [f"{name}.{end}" for name in SEVERAL for end in SEVERAL[name]])
def test_what_is_said_of_several_models_is_said_once_with_every_number(
    key: str, language: str
) -> None:
    words = Language(language)
    several = [single(key, "vae", 31.7), single(key, "gan", 57.3), single(key, "diffusion", 31.7)]
    [told] = for_all([*several, None, several[0]])
    text = words.tell(told)
    for sentence in several:
        assert words.value(sentence.values["who"]) in text
        for value in sentence.values.values():
            if isinstance(value, Interval):
                assert text.count(words.value(value)) == 1
    if "value" in several[0].values:
        assert text.count("31" + words.locale.habits.decimal + "7") == 1
        assert text.index(words.name(Name("gan"))) > text.index(words.name(Name("diffusion")))
    assert for_all(several[:1]) == several[:1]  # of one model its own words


def test_models_of_which_another_thing_is_said_keep_their_sentence() -> None:
    told = [single("memorised.none", "vae", 1.0), single("memorised.open", "gan", 2.0)]
    assert for_all(told) == told
    fewer = replace(told[0], values={**told[0].values, "n": 100, "who": Name("diffusion")})
    assert for_all([told[0], fewer]) == [told[0], fewer]  # what stands outside the clauses


def test_what_contradicts_several_distances_is_listed_once() -> None:
    """The GAN is nearest by two distances; by other numbers others are better."""
    runs = runs_with("frechet_distance", APART)
    better = {"better": "higher", "group": "samples"}
    for name, spans, more in (
        ("kernel_distance", APART, {}),
        ("precision", [(0.9, 0.95), (0.1, 0.15), (0.5, 0.55)], better),
        ("density", [(0.9, 0.95), (0.1, 0.15), (0.5, 0.55)], better),
        ("coverage", [(0.1, 0.12), (0.5, 0.55), (0.8, 0.85)], better),
    ):
        added = runs_with(name, spans, **more)
        runs = [
            replace(run, metrics=run.metrics + other.metrics)
            for run, other in zip(runs, added, strict=True)
        ]
    sentences = verdict.read_comparison(comparison_of(runs))
    first, second = (Language().tell(s) for s in sentences if s.key == "distance.best")
    assert first.endswith(
        "the precision and the density favour the VAE and the diffusion model and the coverage "
        "favours the diffusion model."
    )
    assert "Here too the same numbers disagree." in second and "favour" not in second


def test_distances_that_leave_the_same_models_undecided_share_a_sentence() -> None:
    both = [
        verdict.distance_undecided(column_with(name, OVERLAP, better="lower"))
        for name in ("frechet_distance", "kernel_distance")
    ]
    other = verdict.distance_undecided(column_with("sliced_distance", TIED, better="lower"))
    told, alone = verdict.undecided_alike([*both, None, other])
    assert alone == other  # of the VAE and the GAN, and not of the GAN and the diffusion model
    words = Language().tell(told)
    assert "tells the GAN and the diffusion model apart: the Fréchet distance" in words
    assert "and the kernel distance to" in words
    assert "la distance à noyau" in Language("fr").tell(told)


def test_below_the_share_of_a_model_that_copies_nothing_none_is_better() -> None:
    """0.95 % is no disadvantage beside 0.1 %, where 1 % copies nothing; 5 % is."""
    few = [(0.0005, 0.0015), (0.0085, 0.0098), (0.0086, 0.0099)]
    column = column_with("memorised", few, floor=0.01)
    assert best(column) is None and worst(column) is None
    some = column_with("memorised", [(0.04, 0.06), *few[:2]], floor=0.01)
    assert worst(some) == 0 and best(some) is None


def test_the_nearest_model_is_told_of_each_reference() -> None:
    """Against test images it is the GAN; against training images the diffusion model, or it too."""
    by_test = runs_with("frechet_distance", APART, reference="test")
    for spans, expected in ((APART[::-1], "distance.other"), (APART, "distance.same")):
        turned = spans if spans is APART else [APART[0], APART[2], APART[1]]
        by_train = runs_with("frechet_distance", turned, reference="train")
        both = [
            replace(one, metrics=one.metrics + other.metrics)
            for one, other in zip(by_test, by_train, strict=True)
        ]
        sentence = verdict.distance_reference(make_columns(both))
        assert sentence is not None and sentence.key == expected
        if expected == "distance.other":
            assert sentence.values == {"test": Name("gan"), "train": Name("diffusion")}


def test_more_numbers_of_an_image_are_neither_best_nor_worst_here() -> None:
    """Whoever keeps 3,072 numbers has it easier than whoever keeps 96."""
    sizes = {"vae:a": 96.0, "gan:b": 96.0, "diffusion:c": 3072.0}
    models = runs_with(PSNR, [(25.0, 26.0), (20.0, 21.0), (40.0, 41.0)], better="higher")
    runs = [replace(run, cost={"code_size": sizes[run.model]}) for run in models]
    for each in course.weigh(runs, Language()):
        assert each.advantages == each.disadvantages == ()
    alike = [replace(run, cost={"code_size": 96.0}) for run in models]
    _, gan, diffusion = course.weigh(alike, Language())
    assert gan.disadvantages == diffusion.advantages == ("Reconstruction PSNR",)


def test_a_distance_that_two_feature_sets_decide_is_listed_as_two() -> None:
    labels = runs_with("frechet_distance", APART, reference="test")
    patches = runs_with("frechet_distance", APART, reference="test", features="patches")
    runs = [replace(a, metrics=a.metrics + b.metrics) for a, b in zip(labels, patches, strict=True)]
    for language in ("en", "fr"):
        gan = course.weigh(runs, Language(language))[1]
        assert len(gan.advantages) == len(set(gan.advantages)) == 2


def test_each_model_is_weighed_by_what_it_leads_and_closes() -> None:
    """The GAN is nearest, the VAE furthest and quickest, the diffusion model slowest."""
    runs = [
        replace(run, cost={"sample_seconds_per_image": 10.0**power})
        for power, run in enumerate(runs_with("frechet_distance", APART))
    ]
    found = {each.name: each for each in course.weigh(runs, Language())}
    classifier = "the label classifier\N{RIGHT SINGLE QUOTATION MARK}s features"
    distance, time = f"Fréchet distance (features: {classifier})", "Time per sample"
    told = {name: (each.advantages, each.disadvantages) for name, each in found.items()}
    assert told == {
        "The VAE": ((time,), (distance,)),
        "The GAN": ((distance,), ()),
        "The diffusion model": ((), (time,)),
    }


def test_evenly_spaced_steps_exceed_their_mean_by_nothing(tmp_path: Path) -> None:
    """The pictures of `write_comparison` grow brighter by 20 grey levels, column by column."""
    runs = load_comparison(write_comparison(tmp_path)).runs
    [path] = [each for each in course.paths(runs, "gan") if each.key == "answer.path"]
    assert path.values["uneven"] == Quantity(pytest.approx(0.0, abs=1e-6), "percent")


def test_cautions_appear_with_their_causes(tmp_path: Path) -> None:
    few = column_with("frechet_distance", APART, n=500)
    assert verdict.few_samples([few]) == Sentence("caution.few", {"n": 500}, "caution")
    assert verdict.few_samples([column_with("frechet_distance", APART)]) is None
    mixed = [column_with("frechet_distance", APART, n=n) for n in (5000, 500)]
    assert verdict.few_samples(mixed) == Sentence("caution.few", {"n": 500}, "caution")
    runs = runs_with("sharpness", APART)
    assert verdict.trainings(runs) is not None
    assert verdict.trainings([*runs, runs[0]]) is None
    for differences, unequal in ([], False), (["other data"], True):
        comparison = load_comparison(write_comparison(tmp_path, differences=differences))
        assert (verdict.unequal(comparison) is not None) == unequal


# Words, numbers, pictures, charts


def test_runs_that_no_name_tells_apart_are_called_by_their_folders() -> None:
    twins = [Run(name=name, model="gan:r1", seed=0) for name in ("a", "b")]
    assert [name.model for name in name_runs(twins)] == ["a", "b"]
    seeds = [Run(name="a", model="gan:r1", seed=seed) for seed in (0, 1)]
    assert [(name.model, name.seed) for name in name_runs(seeds)] == [("gan:r1", 0), ("gan:r1", 1)]


def test_a_row_finds_its_own_folder(tmp_path: Path) -> None:
    """Two seeds of two models in folders elsewhere: the second row is not the second folder."""
    paths = ("../a0", "../a1", "../b0", "../b1")
    for path in paths:
        (tmp_path / path[3:]).mkdir()
    (tmp_path / "comparison").mkdir()
    folder = find_folder(tmp_path / "comparison", paths, 1, "../b0")
    assert folder is not None and folder.name == "b0"


def test_numbers_follow_the_language() -> None:
    english, french = Language("en"), Language("fr")
    assert english.number(12345.6, "count") == "12,346"
    assert french.number(12345.6, "count") == "12\N{NARROW NO-BREAK SPACE}346"
    assert french.value(Interval(0.4, 0.43)) == "[0,40\N{NO-BREAK SPACE};\N{NO-BREAK SPACE}0,43]"
    assert english.value(Interval(0.4, 0.43)) == "[0.40,\N{NO-BREAK SPACE}0.43]"
    assert french.value(Quantity(0.967, "percent")) == "96,7\N{NO-BREAK SPACE}%"
    assert english.value(Quantity(0.0059, "time")) == "5.90\N{NO-BREAK SPACE}ms"
    assert english.value(Quantity(-0.0001, spread=0.1)) == "0.00"
    assert english.number(150.0, "time") == "2.50\N{NO-BREAK SPACE}min"
    assert english.number(9000.0, "time") == "2.50\N{NO-BREAK SPACE}h"
    assert english.number(1_500_000, "bytes") == "1.5\N{NO-BREAK SPACE}MB"
    assert french.number(2.5e9, "bytes") == "2,5\N{NO-BREAK SPACE}Go"
    assert french.text("answer.sharper.undecided").startswith("Non tranché\N{NO-BREAK SPACE}: ")
    names = (Name("vae"), Name("gan"), Name("diffusion"))
    assert english.value(names) == "the VAE, the GAN and the diffusion model"
    assert french.value(Name("gan", "gan:hinge", 1)) == "gan:hinge (graine 1)"


@pytest.mark.parametrize(
    ("model", "led", "known"),
    [
        ("edm", "l'avance d'edm serait", "que edm fasse"),
        ("stylegan", "l'avance de stylegan serait", "que stylegan fasse"),
        ("", "l'avance du VAE serait", "que le VAE fasse"),
    ],
)
def test_french_elides_before_the_names_of_models(model: str, led: str, known: str) -> None:
    french, who = Language("fr"), Name("vae", model)
    alone = french.clause(Sentence("undecided.alone", {"who": who, "n": 2}))
    assert led in alone.replace(APOSTROPHE, "'")
    unknown = french.clause(Sentence("baseline.not_known", {"who": who, "clauses": "x"}))
    assert known.replace("que e", f"qu{APOSTROPHE}e") in unknown


def test_layouts_that_do_not_fit_the_picture_are_not_trusted() -> None:
    layout = {"rows": 2, "columns": 3, "cell": [8, 8], "gap": 1}
    assert find_grid(layout, 26, 17) == Grid(
        rows=2, columns=3, height=8, width=8, gap=1, border=0
    )  # fmt: skip
    assert find_grid(layout, 28, 19) == Grid(
        rows=2, columns=3, height=8, width=8, gap=1, border=1
    )  # fmt: skip
    assert find_grid(layout, 27, 17) is None
    assert find_grid({"rows": "2", "cell": 8}, 26, 17) is None


@pytest.mark.parametrize("span", [(0.0, 0.0), (-3.0, 7.0), (1e-9, 2e-9), (0.0, 9e12)])
def test_axes_hold_their_values_on_round_ticks(span: tuple[float, float]) -> None:
    axis = linear_axis(*span)
    assert axis.low <= span[0] and axis.high >= span[1]
    assert 3 <= len(axis.ticks) <= 7
    assert log_axis(0.02, 300.0).ticks[0] == pytest.approx(0.01)
    for low, high in ((1e-14, 3e-14), (0.6931471805599453, 0.6931471805600), (0.0, 5e-324)):
        axis = linear_axis(low, high)
        assert axis.low < axis.high and axis.low <= low and high <= axis.high + 1e-12
    assert log_axis(10.0, 10.0).low < log_axis(10.0, 10.0).high


def test_charts_survive_any_numbers() -> None:
    for points in ([(0.0, 1.0)], [(1.0, -1.0), (2.0, -1.0)], [(1.0, 1e-30), (2.0, 1e30)]):
        svg = str(draw_chart([Series("total", tuple(points))], Language(), 'a "loss"', "images"))
        assert svg.startswith("<svg") and svg.endswith("</svg>")
        assert svg.count("<") == svg.count(">")
        assert "nan" not in svg and "inf" not in svg
    assert draw_chart([Series("total", ())], Language(), "loss", "images") == ""


def test_scores_have_a_chart_with_the_choice_marked(tmp_path: Path) -> None:
    """And speeds are of the first phase alone, whose images the axis counts."""
    path = tmp_path / "log.jsonl"
    lines: list[dict[str, Any]] = [
        {"event": "losses", "images": 32, "phase": 0, "images_per_second": 9.0, "losses": {}},
        {"event": "score", "images": 32, "value": 2.0, "sha256": "0"},
        {"event": "diagnosis", "images": 32, "numbers": {"spread": 0.9, "slope": 3.0}},
        {"event": "score", "images": 64, "value": 3.0, "sha256": "1"},
        {"event": "choice", "images": 32, "value": 2.0},
        {"event": "losses", "images": 8, "phase": 1, "images_per_second": 99.0, "losses": {}},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = load_log(path)
    assert log.chosen == 32
    charts = diagnosis_series(log.diagnoses)
    assert charts == {
        "game": [Series("spread", ((32.0, 0.9),))],
        "score": [Series("score", ((32.0, 2.0), (64.0, 3.0)))],
    }
    assert speed_series(log.losses) == [Series("speed", ((32.0, 9.0),))]
    marked = str(draw_chart(charts["score"], Language(), "score", "images", log.chosen))
    plain = str(draw_chart(charts["score"], Language(), "score", "images"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    assert f'<path class="mark" d="M{middle} ' in marked and "mark" not in plain


def test_what_a_training_gave_up_is_in_no_chart(tmp_path: Path) -> None:
    """After a return a curve would run backwards, and hold losses of weights that are gone."""
    path = tmp_path / "log.jsonl"

    def losses(images: int, phase: int = 0) -> dict[str, Any]:
        return {"event": "losses", "images": images, "phase": phase, "losses": {"a/total": images}}

    events: list[dict[str, Any]] = [losses(100), losses(200), losses(300)]
    events.append({"event": "diagnosis", "images": 300, "numbers": {"rate": 1}, "advice": []})
    events += [{"event": "rewind", "images": 300, "to": 150}, losses(200)]
    events += [losses(50, 1), losses(90, 1)]
    events += [{"event": "rewind", "images": 90, "to": 60, "phase": 1}, losses(80, 1)]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    log = load_log(path)
    told = [(line.phase, line.images) for line in log.losses]
    assert told == [(0, 100), (0, 200), (1, 50), (1, 80)]
    assert not diagnosis_series(log.diagnoses)
