"""The practical: its recipes by one option, and a page that answers yes, no or undecided."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import triptych
from tests.making import one_thread, open_tiny
from tests.test_claims import metric, runs, trained
from tests.test_page import change, read, write_comparison, write_run_json
from tests.truths import MACHINE
from triptych.comparison import compare as comparing
from triptych.comparison import forecast as forecasting
from triptych.config import Budget
from triptych.data.dataset import ImageData
from triptych.errors import InputError
from triptych.evaluation import classifier, outputs
from triptych.evaluation.evaluate import MeasuringSampler, with_measuring_sampler
from triptych.families import registry
from triptych.families.capabilities import Iterative
from triptych.families.diffusion.samplers import SAMPLERS, SamplerState, sample_loop
from triptych.families.diffusion.schedule import linear_beta_sigmas, spaced_sigmas
from triptych.metrics.paths import path_uniformity
from triptych.options import CompareRequest
from triptych.pages.balance import ASPECTS, balance_all, conclude, find_all
from triptych.pages.claims import Evidence, able, best_samples, easy, is_clear, smooth, troubles_of
from triptych.pages.course import AnsweredPart, answer_all, departures
from triptych.pages.language import Language
from triptych.pages.load import (
    Comparison,
    Diagnosed,
    Run,
    load_comparison,
    load_log,
    load_record,
    times_trained,
)
from triptych.pages.page import tell_brackets, write_page
from triptych.pages.verdict import trainings
from triptych.records import MetricRecord, Note, SamplesRecord
from triptych.seeding import ImageStreams
from triptych.training import calibration
from triptych.training.resolve import Variant

APOSTROPHE, SPACE = "\N{RIGHT SINGLE QUOTATION MARK}", "\N{NO-BREAK SPACE}"
COURSE = ("vae:course", "gan:course", "diffusion:course")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return open_tiny(tmp_path_factory.mktemp("data"))


# compare --course


def asking(**options: Any) -> CompareRequest:
    return CompareRequest(course=True, budget="640img", size="tiny", **options)


def samplers_of(asked: CompareRequest, data: ImageData) -> dict[str, MeasuringSampler]:
    variants = [Variant.parse(model) for model in comparing.course_models()]
    named = replace(asked, models=COURSE)
    return comparing.measuring_samplers(
        asked, comparing.make_requests(variants, named, data, MACHINE)
    )


def test_the_practical_s_recipes_are_one_of_each_family() -> None:
    assert comparing.course_models() == COURSE


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (asking(models=("vae",)), "--course trains the practical's own recipes, and vae is named"),
        (CompareRequest(sampler="ddim"), "--sampler is for the models of --course: add --course"),
        (CompareRequest(models=("vae",), steps=9), "--steps is for the models of --course"),
        (asking(sampler="magic"), "no sampler 'magic': choose from ancestral"),
        (asking(sampler="consistency"), "no sampler 'consistency': choose from ancestral"),
        (asking(steps=0), "--steps 0 is too few: give 1 or more"),
        (asking(conditional=True), "vae:course cannot be told the labels"),
        (asking(set=("latent=8",)), "no setting 'latent'"),
    ],
)
def test_what_course_cannot_mean_is_refused_before_anything_is_made(
    asked: CompareRequest, line: str, data: ImageData, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError) as refused:
        comparing.compare(replace(asked, out=out), data, one_thread(), triptych.console.QUIET)
    assert line in str(refused.value) and len(str(refused.value).splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "sampler"),
    [
        ({}, MeasuringSampler("dpm-solver++", 25)),
        ({"steps": 9}, MeasuringSampler("dpm-solver++", 9)),
        ({"sampler": "ancestral"}, MeasuringSampler("ancestral", 1000)),
        ({"sampler": "ddim", "steps": 50}, MeasuringSampler("ddim", 50)),
    ],
)
def test_the_ddpm_is_measured_in_few_steps_unless_others_are_asked_for(
    options: dict[str, Any], sampler: MeasuringSampler, data: ImageData
) -> None:
    assert samplers_of(asking(**options), data) == {"diffusion:course": sampler}


def test_what_is_sampled_otherwise_while_measuring_says_so(data: ImageData) -> None:
    name = registry.ModelName.parse("diffusion:course")
    settings = registry.defaults(name, "tiny", data.shape)
    model = registry.build(name, settings, data.shape, seed=0)
    other, notes = with_measuring_sampler(model, MeasuringSampler("dpm-solver++", 25))
    values = {"sampler": "dpm-solver++", "n": 25, "calls": 25, "usual": 1000}
    assert notes == [Note("measured_by_sampler", values)]
    assert isinstance(other, Iterative) and other.network_calls == 25
    assert model.network_calls == 1000  # of the run itself nothing changes
    assert with_measuring_sampler(model, None) == (model, [])
    one_step = registry.build(registry.ModelName.parse("gan:course"), *gan(data), seed=0)
    assert with_measuring_sampler(one_step, MeasuringSampler("ddim", 5)) == (one_step, [])


def gan(data: ImageData) -> tuple[Any, Any]:
    name = registry.ModelName.parse("gan:course")
    return registry.defaults(name, "tiny", data.shape), data.shape


def test_a_comparison_of_the_practical_is_no_other_one(data: ImageData) -> None:
    asked = CompareRequest(models=COURSE, budget="640img", size="tiny")
    identity = comparing.identity_of(asked, data)
    for options in ({"course": True}, {"sampler": "ddim"}, {"steps": 5}):
        assert comparing.identity_of(replace(asked, **options), data) != identity  # type: ignore[arg-type]


def test_the_whole_of_it(data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small chain stands for the three: forecast, folder, command, sampler and page."""
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 1280)
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    smaller = {"POINTS": 3, "PAIRS": 4, "SAMPLES": 10, "CHAINS": {"ddim": (1, 2)}}
    for name, value in smaller.items():
        monkeypatch.setattr(outputs, name, value)
    model, few = "diffusion:x0", MeasuringSampler("ddim", 2)
    monkeypatch.setattr(comparing, "course_models", lambda: (model,))
    monkeypatch.setattr(comparing, "measuring_samplers", lambda *asked: {model: few})
    said: list[str] = []
    console = SimpleNamespace(say=said.append, bar=triptych.console.QUIET.bar)
    console.bars = triptych.console.QUIET.bars
    request = asking(out=tmp_path / "out", count=30, set=("groups=0",))
    page = triptych.compare(request, data, machine=one_thread(), console=console)  # type: ignore[arg-type]
    [waiting] = [line for line in said if "of training for 1 model" in line]
    assert said.index(waiting) < said.index(f"training {model} for 640img")
    contract = json.loads((tmp_path / "out" / "contract.json").read_text())
    assert contract["request"]["course"] is True
    assert " --course " in contract["command"] and model not in contract["command"]
    [result] = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert result["cost"]["network_calls"] == 2
    note = result["warnings"][0]
    assert (note["code"], note["values"]["sampler"]) == ("measured_by_sampler", "ddim")
    words = read(page).words
    assert "The practical on bars, answered by measurements" in words
    assert f"This page{APOSTROPHE}s budget is not the practical" in words
    assert "was sampled by ddim in 2 steps (2 network calls)" in words


def test_the_wait_counts_every_model_and_every_step(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = [Variant.parse(model) for model in ("gan:course", "vae:course")]
    requests = comparing.make_requests(variants, asking(), data, MACHINE)
    monkeypatch.setattr(forecasting, "forecast_seconds", lambda request, machine: 45.0)
    monkeypatch.setattr(forecasting, "seconds_decoding", lambda *asked: 3.5)
    note = forecasting.forecast(requests, [], {}, 30, one_thread())
    assert note == Note(
        "wait",
        {"n": 2, "training": "90.0\N{NO-BREAK SPACE}s", "measuring": "7.00\N{NO-BREAK SPACE}s"},
    )
    rest = forecasting.forecast(requests, requests[:1], {}, 30, one_thread())
    assert rest.values["n"] == 1 and rest.values["training"] == f"45.0{SPACE}s"
    assert rest.values["measuring"] == note.values["measuring"]  # all are measured anew


def test_a_budget_in_images_is_forecast_by_steps_of_all_phases(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that ticks with every image: the GAN's encoder learns from a twentieth more."""
    [request] = comparing.make_requests([Variant.parse("gan:course")], asking(), data, MACHINE)
    seconds = 0.0

    def step(state: Any, batches: Any, seed: int, plan: Any, machine: Any) -> None:
        nonlocal seconds
        seconds += batches.batch_size * (1.0 if state.phase == 0 else 10.0)

    monkeypatch.setattr(calibration.TrainingState, "step", step)
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: seconds)
    told = calibration.forecast_seconds(request, one_thread())
    assert told == pytest.approx(640 * (1 + 0.05 * 10))
    epochs = replace(request, budget=Budget.parse("3epochs"))
    assert calibration.forecast_seconds(epochs, one_thread()) == pytest.approx(
        3 * len(data.train) * 1.5
    )
    timed = replace(request, budget=Budget.parse("2m"))
    assert calibration.forecast_seconds(timed, one_thread()) == 120


def test_a_chain_is_forecast_by_the_time_of_one_of_its_calls(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that ticks with every network call of every image."""
    variants = [Variant.parse("diffusion:course"), Variant.parse("gan:course")]
    chain, single = comparing.make_requests(variants, asking(), data, MACHINE)
    seconds = 0.0

    def drawn(model: Any, count: int, *rest: Any) -> None:
        nonlocal seconds
        seconds += count * model.network_calls

    monkeypatch.setattr(forecasting.sample, "sample", drawn)
    monkeypatch.setattr(forecasting.time, "perf_counter", lambda: seconds)
    images = forecasting.images_decoded(30)
    assert images == 30 + 2 * 64 * 16 + 512 + 2 * (512 + 128)
    told = forecasting.seconds_decoding(single, None, 30, one_thread())
    assert told == pytest.approx(images)
    few = MeasuringSampler("dpm-solver++", 25)
    curve = 30 * (5 + 9 + 15 + 25) * 2  # two samplers, as many calls each
    told = forecasting.seconds_decoding(chain, few, 30, one_thread())
    assert told == pytest.approx(25 * images + curve)


def left_out(sampler: MeasuringSampler) -> float:
    """Of Gaussian data under the course's noise, what the sampler leaves of the deviations.

    Squared 2-Wasserstein distance between what it draws and the data, over the data's variance;
    along each axis the best denoiser is linear, so that what comes out is Gaussian.
    """
    variances = torch.logspace(1, -4, 60, dtype=torch.float64)
    table = linear_beta_sigmas(1000, 1e-4, 0.02)
    start = torch.full((1, 1, 1, 60), (1 + table[-1].item() ** 2) ** 0.5, dtype=torch.float64)

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x * variances / (variances + sigma[0] ** 2)

    rng = ImageStreams(0, "none", ())
    chain = SamplerState(denoise, rng, steps=sampler.steps)
    levels = spaced_sigmas(table, sampler.steps).tolist()
    drawn = sample_loop(SAMPLERS[sampler.name].step, chain, start, levels)[-1].flatten()
    return (((drawn - variances.sqrt()) ** 2).sum() / variances.sum()).item()


def test_the_few_steps_of_the_ddpm_leave_little_out() -> None:
    """Under half a percent of the variance; ten steps leave out twice as much, and DDIM's more."""
    quick = MeasuringSampler(*registry.recipe(registry.ModelName.parse(COURSE[2])).quick_sampling)
    assert left_out(quick) < 0.005
    assert left_out(replace(quick, steps=10)) > 2 * left_out(quick)
    assert left_out(replace(quick, name="ddim")) > 1.5 * left_out(quick)


# Answers


def parts(name: str, question: str, **values: Any) -> tuple[AnsweredPart, ...]:
    answers = {each.question: each for each in answer_all(runs(name, **values))}
    return answers[question].parts


@pytest.mark.parametrize(
    ("question", "part", "values", "word", "why"),
    [
        ("1.3b", 0, {"vae": 0.5}, "supported", "why.as"),
        ("1.3b", 0, {"vae": 1.05}, "refuted", "why.against"),
        ("1.3b", 0, {"vae": 0.95}, "undecided", "why.open"),
        ("2.2b", 0, {"vae": 0.5, "gan": 1.0}, "supported", "why.as"),
        ("2.2b", 0, {"vae": 1.0, "gan": 0.5}, "refuted", "why.against"),
        ("3.2b", 0, {"diffusion": 1.0}, "supported", "why.as"),
        ("3.2b", 0, {"diffusion": 0.5}, "refuted", "why.against"),
        ("3.2b", 0, {"diffusion": 9.8}, "refuted", "why.over"),  # that is noise
    ],
)
def test_a_word_comes_from_the_claims_and_why_fits_it(
    question: str, part: int, values: dict[str, Any], word: str, why: str
) -> None:
    answered = parts("sharpness", question, **values)[part]
    assert (answered.verdict, answered.why[0].key) == (word, why)


def test_what_was_not_measured_says_why_not() -> None:
    """The GAN's samples beside no VAE's; paths of a comparison in which none were measured."""
    [sharp, _] = parts("sharpness", "2.2b", gan=1.0)
    assert (sharp.verdict, [s.key for s in sharp.why]) == ("unmeasured", ["claim.alone"])
    [path] = parts("sharpness", "1.3c", vae=1.0)
    assert path.verdict == "unmeasured" and path.why[0].key == "claim.absent"


@pytest.mark.parametrize(
    ("value", "word"), [(0.2, "supported"), (0.7, "refuted"), (0.45, "undecided")]
)
def test_paths_are_smooth_whose_steps_vary_by_less_than_half(value: float, word: str) -> None:
    assert parts("drawn_path_uniformity", "1.3c", vae=value)[0].verdict == word
    assert parts("drawn_path_uniformity", "2.2c", gan=value)[0].verdict == word


def test_half_is_a_path_that_is_thrice_as_fast_in_one_half() -> None:
    """Steps 1 and 3 in equal numbers: mean 2, deviation 1."""
    steps = torch.tensor([1.0] * 8 + [3.0] * 8)
    path = torch.cat([torch.zeros(1), steps.cumsum(0)])[None, :, None]
    assert path_uniformity(path.repeat(2, 1, 1)).value == pytest.approx(0.5)
    walked = metric("drawn_path_uniformity", 0.5, 0.0)
    assert smooth(Evidence(runs("drawn_path_uniformity", vae=walked)), "vae").verdict == "undecided"


def test_no_ability_is_denied_for_what_lies_with_the_data() -> None:
    lacking = metric("probe_accuracy", None)
    data_s = replace(lacking, note=Note("no_labels_to_probe"))
    own = replace(lacking, note=Note("no_representation"))
    judge = able("probe_accuracy")
    words = {
        entry.note.code if entry.note else "": judge(
            Evidence(runs("probe_accuracy", gan=entry)), "gan"
        ).verdict
        for entry in (data_s, own, replace(lacking, value=0.8, low=0.7, high=0.9, kind="estimate"))
    }
    assert words == {
        "no_labels_to_probe": "unmeasured",
        "no_representation": "refuted",
        "no_likelihood": "supported",
    }


def with_record(tmp_path: Path, run: Run, **changes: Any) -> Run:
    write_run_json(tmp_path, **changes)
    return replace(run, record=load_record(tmp_path / "run.json"))


def test_what_was_added_to_a_gan_is_what_its_run_has(tmp_path: Path) -> None:
    [run] = runs("reconstruction_psnr", gan=20)
    settings = {"inversion": {"share": 0.05, "steps": 100}}
    has, has_not = with_record(tmp_path, run, settings=settings), with_record(tmp_path, run)
    told = []
    for each in (has, has_not):
        part = next(a for a in answer_all([each]) if a.question == "2.4").parts[0]
        assert part.verdict == "supported"
        told.append(Language().tell(part.why[0]))
    assert f"for 5{SPACE}% as many images" in told[0] and "100 gradient steps" in told[0]
    assert told[1].endswith("cannot encode. Here nothing was added to it.")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("vae:course", "a Gaussian of fixed deviation"),
        ("vae:sigma", "whose deviation is learned"),
        ("vae:ladder", "a mixture for each pixel"),
        ("vae:mine", "with a Gaussian likelihood that mean is the best answer"),
    ],
)
def test_blur_is_explained_by_the_likelihood_that_the_model_has(model: str, words: str) -> None:
    [run] = runs("sharpness", vae=0.5)
    [part] = next(a for a in answer_all([replace(run, model=model)]) if a.question == "1.3b").parts
    told = Language().tell(part.why[0])
    assert words in told and "blurry" in told


def test_what_is_to_be_shown_opens_with_one_sentence_on_its_picture() -> None:
    models = runs("frechet_distance", vae=30.0, gan=20.0, diffusion=metric("frechet_distance", 9.0))
    floored = [
        replace(run, metrics=(replace(run.metrics[0], floor=2.0, reference="test", n=2000),))
        for run in models
    ]
    answers = {each.question: each for each in answer_all(floored)}
    reading = answers["2.2a"].reading
    assert reading is not None and "is at 10 times the floor" in Language().tell(reading)
    assert answers["2.2a"].parts == () and answers["2.2a"].figures == (("gan", "samples"),)
    assert answers["3.2a"].figures == (("diffusion", "samples"), ("diffusion", "trajectory"))
    assert answers["1.3a"].figures == (("vae", "reconstruction"), ("vae", "samples"))
    bare = {each.question: each for each in answer_all(runs("label_balance", gan=0.1))}
    empty = bare["2.2a"].reading
    assert empty is not None and empty.key == "practical.nothing"


def test_over_sharp_is_not_clear() -> None:
    def judged(low: float, high: float) -> bool | None:
        entry = MetricRecord(name="sharpness", value=low, low=low, high=high, floor=1.0)
        return is_clear(entry)

    assert judged(0.95, 1.05) is True and judged(1.05, 1.2) is True
    assert judged(1.11, 1.3) is False and judged(0.5, 0.8) is False
    assert judged(0.85, 1.05) is None


@pytest.mark.parametrize(
    ("value", "half", "word"),
    [(0.97, 0.01, "supported"), (0.94, 0.01, "supported"), (0.93, 0.03, "undecided"),
     (0.90, 0.01, "refuted"), (0.99, 0.005, "supported")],
)  # fmt: skip
def test_a_model_as_good_as_real_images_is_as_recognisable(
    value: float, half: float, word: str
) -> None:
    """Of real images 97 % are recognised: no model can be asked to be above that."""
    share = metric("recognisable", value, half, floor=0.97)
    recognised = parts("recognisable", "3.2b", diffusion=share)[1]
    assert recognised.verdict == word
    # A floor of few images is not known within the margin.
    few = replace(share, floor_low=0.9, floor_high=1.0)
    assert parts("recognisable", "3.2b", diffusion=few)[1].verdict in ("undecided", word)
    assert parts("recognisable", "3.2b", diffusion=replace(few, value=0.97))[1].verdict != "refuted"


def test_over_sharp_is_not_told_as_blur(tmp_path: Path) -> None:
    """Noise is no lack of sharpness, and theory, which speaks of blur, is not against it."""
    blurred, over = Language().text("merit.clear.refuted"), "over-sharp or noisy"
    for vae, diffusion, said in ((0.5, 0.5, ""), (1.5, 1.5, ".over"), (0.5, 1.5, ".both")):
        comparison = comparison_of(runs("sharpness", vae=vae, diffusion=diffusion), tmp_path)
        for language in (Language(), Language("fr")):
            assert language.text(f"concluded.clear.no{said}") in conclude(comparison, language)
        _, told = balance_all(comparison, Language())
        assert (over in told.disadvantages[0]) is (diffusion > 1)
        assert told.disadvantages[0].startswith(blurred.partition("{")[0]) is (diffusion < 1)
        (clear, _) = next(a for a in answer_all(comparison.runs) if a.question == "3.2b").parts
        assert clear.verdict == "refuted"
        assert clear.why[0].key == ("why.over" if diffusion > 1 else "why.against")
    two = [*runs("sharpness", gan=0.5), *runs("sharpness", gan=1.5)]
    assert ASPECTS["clear"](Evidence(two), "gan").form == ".both"


# The page


def test_the_page_has_each_picture_beside_its_answer(tmp_path: Path) -> None:
    page = write_page(write_comparison(tmp_path), course=True).read_text()
    begins = {name: page.index(f'id="question-{name}"') for name in ("1.3b", "1.3c", "2.2a")}
    blur = page[begins["1.3b"] : begins["1.3c"]]
    assert blur.index("<strong>Yes</strong>") < blur.index("As theory leads one to expect")
    assert "the deviation is learned" not in blur and "whose deviation is learned" in blur
    assert blur.count("data:image/png") == 1
    assert "data:image/png" in page[begins["1.3c"] : begins["2.2a"]]
    plain = write_page(tmp_path, tmp_path / "plain.html").read_text()
    practical = plain[plain.index('id="practical"') : plain.index('id="method"')]
    assert "data:image/png" not in practical and "See the figure" in practical


def test_what_reports_claim_is_on_the_course_page_alone(tmp_path: Path) -> None:
    course = read(write_page(write_comparison(tmp_path), course=True))
    assert "What two student reports say" in course.words and 'href="#claims"' in course.text
    assert "so in these runs" in course.words
    plain = read(write_page(tmp_path))
    assert "What two student reports say" not in plain.words and 'id="claims"' not in plain.text
    assert 'href="#claims"' not in plain.text


def told_departures(folder: Path) -> list[str]:
    return [sentence.key for sentence in departures(load_comparison(folder))]


def test_a_page_says_where_it_is_not_the_practical_s(tmp_path: Path) -> None:
    write_comparison(tmp_path)
    every = ["departure.recipes", "departure.data", "departure.budget"]
    assert told_departures(tmp_path) == every
    words = read(write_page(tmp_path, course=True)).words
    assert f"recipes are not the practical{APOSTROPHE}s: vae:sigma" in words

    def as_in_the_practical(contract: Any) -> None:
        contract["budget"] = {"amount": 30, "unit": "epochs", "asked": "30epochs"}
        contract["data"] |= {"name": "svhn", "resolution": 32, "channels": 3}

    def renamed(results: Any) -> None:
        for run in results["runs"]:
            run["model"] = run["model"].partition(":")[0] + ":course"

    change(tmp_path / "contract.json", as_in_the_practical)
    assert told_departures(tmp_path) == ["departure.recipes"]
    change(tmp_path / "results.json", renamed)
    assert told_departures(tmp_path) == []
    command = {"command": "triptych train vae:course --set 'latent=8' --size tiny"}
    change(tmp_path / "vae-sigma-s0" / "run.json", lambda record: record.update(command))
    assert told_departures(tmp_path) == ["departure.settings"]
    [settings] = departures(load_comparison(tmp_path))
    assert settings.values == {"settings": ("latent=8",)}
    values = {"sampler": "ddim", "n": 9, "calls": 9, "usual": 1000}
    note = {"code": "measured_by_sampler", "values": values}
    change(tmp_path / "results.json", lambda r: r["runs"][2].update(warnings=[note]))
    assert told_departures(tmp_path) == ["departure.settings", "departure.sampler"]
    words = read(write_page(tmp_path, course=True)).words
    assert "the diffusion model was sampled by ddim in 9 steps (9 network calls)" in words


# Question 4


def comparison_of(models: list[Run], tmp_path: Path) -> Comparison:
    contract = load_comparison(write_comparison(tmp_path)).contract
    return Comparison(folder=tmp_path, contract=contract, runs=tuple(models))


def test_every_aspect_is_weighed_once_and_each_side_is_what_was_found(tmp_path: Path) -> None:
    comparison = comparison_of(runs("sharpness", vae=0.5, gan=1.0), tmp_path)
    found, told = find_all(comparison), balance_all(comparison, Language())
    assert [each.family for each in told] == ["vae", "gan"]
    vae, gan = told
    assert set(found["vae"]) == set(ASPECTS)
    assert vae.disadvantages[0].startswith("Its samples are not as clear as real images (0.5")
    assert gan.advantages[0].startswith("Its samples are clear (1.0")
    apart = comparison_of(runs("frechet_distance", vae=30.0, gan=5.0), tmp_path / "apart")
    nearest = balance_all(apart, Language())[1].advantages[0]
    assert nearest.startswith("Its samples are the nearest to real images here (distance 5")
    assert "30" not in nearest  # each family's own numbers
    assert [line.partition(":")[0] for line in gan.open] == [
        "Undecided by these numbers", "Not measured",
    ]  # fmt: skip


def test_samples_from_elsewhere_are_not_beaten_by_a_conclusion(tmp_path: Path) -> None:
    """The verdict calls the stranger nearest: what is said of families is among those alone."""
    ours = runs("frechet_distance", vae=30.0, gan=10.0)
    record = SamplesRecord(source="x", kind="files", images=9, fingerprint="f")
    nearer = (metric("frechet_distance", 3.0),)
    stranger = Run(name="x", model="elsewhere:x", samples=record, metrics=nearer)
    alone, beside = comparison_of(ours, tmp_path / "a"), comparison_of([*ours, stranger], tmp_path)
    assert best_samples(Evidence(beside.runs), "gan").verdict == "supported"
    for language, words in (("en", "models trained here"), ("fr", "modèles entraînés ici")):
        texts = Language(language)
        assert words not in conclude(alone, texts)[0] and words in conclude(beside, texts)[0]
        merit, limited = (balance_all(each, texts)[1].advantages[0] for each in (alone, beside))
        assert words not in merit and words in limited
    told = best_samples(Evidence(beside.runs), "gan").sentences
    assert told[-1].key == "claim.trained_here"


def test_stability_is_undecided_by_one_training_and_decided_by_seeds(tmp_path: Path) -> None:
    once = runs("frechet_distance", vae=20.0, gan=30.0)
    [*_, gan] = balance_all(comparison_of(once, tmp_path / "a"), Language())
    [undecided] = [line for line in gan.open if line.startswith("Undecided by these numbers")]
    assert "its training is stable (too few trainings of each model: --seeds 3)" in undecided
    wild, calm = trained("gan", 10, 30, 20), trained("vae", 20, 21, 22)
    several = runs("frechet_distance", vae=calm, gan=wild)
    vae, gan = balance_all(comparison_of(several, tmp_path / "b"), Language())
    assert any(line.startswith("It is stable") for line in vae.advantages)
    assert any(line.startswith("It is unstable") for line in gan.disadvantages)


@pytest.mark.parametrize("language", ["en", "fr"])
def test_models_trained_once_and_several_times_are_told_apart(
    tmp_path: Path, language: str
) -> None:
    """What brackets are of which rows, of what the conclusion speaks, and a caution."""
    vae = metric("frechet_distance", 21.0, values=(20.0, 22.0), method="normal")
    gan = metric("frechet_distance", 30.0, method="delete-group jackknife")
    models = runs("frechet_distance", vae=vae, gan=gan)
    models[0] = replace(models[0], trainings=("vae-s0", "vae-s1"))
    mixed, texts = comparison_of(models, tmp_path), Language(language)
    means, single = tell_brackets(mixed, texts)
    assert means == texts.text("method.trainings")
    who = {"en": ("the GAN", "the VAE"), "fr": ("le GAN", "le VAE")}[language]
    assert who[0] in single and who[1] not in single
    assert texts.text("interval.delete-group jackknife") in single
    assert texts.text("interval.normal") not in single
    beside = replace(mixed, baseline=replace(models[1], model="mixture:mppca"))
    assert tell_brackets(beside, texts)[2:] == [texts.text("method.single.baseline")]
    alone = comparison_of(models[1:], tmp_path / "alone")
    assert "{" not in tell_brackets(alone, texts)[0] and len(tell_brackets(alone, texts)) == 1
    assert [times_trained(m) for m in (models, models[:1], models[1:])] == [
        "mixed", "several", "once",
    ]  # fmt: skip
    caution = trainings(models)
    assert caution is not None and caution.values == {"least": 1, "most": 2}
    assert {"en": "from 1 to 2 times", "fr": "de 1 à 2 fois"}[language] in texts.tell(caution)
    record = SamplesRecord(source="x", kind="files", images=9, fingerprint="f")
    stranger = replace(models[1], name="x", model="elsewhere:x", samples=record)
    twice = [replace(run, trainings=(f"{run.name}-s0", f"{run.name}-s1")) for run in models]
    alike = trainings([*twice, stranger])  # of samples from elsewhere nobody knows
    assert alike is not None and alike.key == "caution.trainings"
    one_or_more = {"en": "one training or several", "fr": "un seul ou plusieurs entraînements"}[
        language
    ]
    assert one_or_more in conclude(mixed, texts)[-1]


def test_the_conclusion_says_what_was_found_and_of_what_it_speaks(tmp_path: Path) -> None:
    comparison = comparison_of(runs("sharpness", vae=0.5, gan=1.0), tmp_path)
    lines = conclude(comparison, Language())
    assert "Clear samples are made by the GAN." in lines
    assert "Whose samples are the nearest to real images is not decided here." in lines
    assert "speaks of one training of each model on street-digits" in lines[-1]
    blurred = conclude(comparison_of(runs("sharpness", vae=0.5, gan=0.5), tmp_path), Language())
    assert (
        "No family\N{RIGHT SINGLE QUOTATION MARK}s samples are as clear as real images." in blurred
    )


def test_what_went_wrong_on_the_way_is_not_forgotten_at_the_end(tmp_path: Path) -> None:
    advice = [{"code": "few_kinds_of_images", "values": {"spread": 0.1}}]
    lines = [
        {"event": "diagnosis", "images": 64, "numbers": {"spread": 0.1}, "advice": advice},
        {"event": "diagnosis", "images": 640, "numbers": {"spread": 0.9}, "advice": []},
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    log = load_log(path)
    assert [len(each.advice) for each in log.diagnoses] == [1, 0]
    [run] = runs("sharpness", gan=1.0)
    warned = with_record(tmp_path, replace(run, diagnoses=log.diagnoses))
    calm = replace(warned, diagnoses=(Diagnosed(images=64, numbers={}),))
    few = replace(calm, warnings=(Note("few_samples", {"n": 9, "enough": 2000}),))
    lost = replace(calm, warnings=(Note("rewinds", {"n": 1}),))
    words = {
        len(troubles_of(each)): easy(Evidence([each]), "gan").verdict for each in (warned, few)
    }
    assert words == {1: "refuted", 0: "supported"}
    assert easy(Evidence([lost]), "gan").verdict == "refuted"
    assert easy(Evidence([run]), "gan").verdict == "unmeasured"  # nobody knows


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_verdict_of_every_aspect_has_words(language: str) -> None:
    texts = Language(language)
    for aspect in ASPECTS:
        for side in ("supported", "refuted"):
            assert f"merit.{aspect}.{side}" in texts
        assert f"matter.{aspect}" in texts
