"""The practical's claims: each is supported, refuted or left open by the numbers that decide it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from tests.test_page import EARLIER, write_comparison, write_run_json
from triptych.pages.balance import ASPECTS
from triptych.pages.claims import CLAIMS, Evidence, Finding, judge_all, more_varied, troubles_of
from triptych.pages.course import sharper
from triptych.pages.language import Language
from triptych.pages.load import Comparison, Run, load_comparison, load_record, load_run
from triptych.records import MetricRecord, Note, ResultsRecord

MODELS = {"vae": "vae:ladder", "gan": "gan:r1", "diffusion": "diffusion:x0"}


def metric(name: str, value: float | None, half: float = 0.1, **more: Any) -> MetricRecord:
    better = {"sharpness": "floor", "reconstruction_psnr": "higher", "recognisable": "higher"}
    given: dict[str, Any] = {"better": better.get(name, "lower")} | more
    if value is None:
        return MetricRecord(name=name, kind="not defined", note=Note("no_likelihood"), **given)
    return MetricRecord(name=name, value=value, low=value - half, high=value + half, **given)


def runs(name: str, **values: Any) -> list[Run]:
    """A run of each family with one metric; a value is a number, or a whole metric."""
    floor = {"sharpness": 1.0, "recognisable": 0.97}.get(name)
    models = []
    for family, value in values.items():
        entry = value if isinstance(value, MetricRecord) else metric(name, value, floor=floor)
        models.append(Run(name=family, model=MODELS[family], metrics=(entry,)))
    return models


def verdict(claim: str, models: list[Run]) -> str:
    family, judge = CLAIMS[claim]
    return judge(Evidence(models), family).verdict


@pytest.mark.parametrize(
    ("claim", "name", "supported", "refuted", "undecided"),
    [
        ("vae.blurry", "sharpness", {"vae": 0.5}, {"vae": 1.05}, {"vae": 0.95}),
        (
            "gan.sharp",
            "sharpness",
            {"vae": 0.5, "gan": 1.0},
            {"vae": 0.9, "gan": 0.5},
            {"vae": 0.9, "gan": 1.0},
        ),
        (
            "diffusion.clear",
            "sharpness",
            {"diffusion": 1.0},
            {"diffusion": 0.5},
            {"diffusion": 0.92},
        ),
        (
            "vae.reconstruction",
            "reconstruction_psnr",
            {"vae": 20, "diffusion": 30},
            {"vae": 30, "diffusion": 20},
            {"vae": 20, "diffusion": 20.05},
        ),
        ("gan.odd", "recognisable", {"gan": 0.5}, {"gan": 1.2}, {"gan": 0.95}),
        (
            "diffusion.best",
            "frechet_distance",
            {"vae": 30, "gan": 20, "diffusion": 10},
            {"vae": 30, "gan": 5, "diffusion": 10},
            {"vae": 30, "gan": 10.05, "diffusion": 10},
        ),
        ("gan.likelihood", "bits_per_dim", {"gan": None}, {"gan": 3.5}, None),
    ],
)
def test_a_claim_follows_its_numbers(
    claim: str, name: str, supported: Any, refuted: Any, undecided: Any
) -> None:
    assert verdict(claim, runs(name, **supported)) == "supported"
    assert verdict(claim, runs(name, **refuted)) == "refuted"
    if undecided is not None:
        assert verdict(claim, runs(name, **undecided)) == "undecided"
    assert verdict(claim, runs("label_balance", vae=0.1, gan=0.1, diffusion=0.1)) == "unmeasured"


def test_one_better_family_is_enough_to_be_beaten() -> None:
    between = runs("reconstruction_psnr", vae=20, gan=15, diffusion=30)
    assert verdict("vae.reconstruction", between) == "supported"
    level = runs("reconstruction_psnr", vae=20, gan=15, diffusion=20.05)
    assert verdict("vae.reconstruction", level) == "undecided"


def costing(**seconds: float) -> list[Run]:
    names = {"sample_seconds_per_image", "train_images_per_second"}
    return [
        Run(name=family, model=MODELS[family], cost=dict.fromkeys(names, value))
        for family, value in seconds.items()
    ]


def test_costs_decide_by_a_ratio() -> None:
    slow = costing(vae=1.0, gan=1.0, diffusion=5.0)
    assert verdict("diffusion.slow", slow) == "supported"
    assert verdict("vae.cheap", slow) == verdict("gan.cheap", slow) == "supported"
    assert verdict("diffusion.training", slow) == "refuted"  # it sees more images a second
    assert verdict("diffusion.slow", costing(vae=1.0, diffusion=1.1)) == "undecided"
    assert verdict("diffusion.slow", costing(vae=5.0, diffusion=1.0)) == "refuted"
    between = costing(vae=1.0, gan=9.0, diffusion=3.0)  # slower than one, faster than the other
    assert verdict("diffusion.slow", between) == "undecided"
    assert verdict("gan.cheap", between) == "refuted"
    assert verdict("diffusion.slow", costing(diffusion=1.0)) == "unmeasured"


def trained(family: str, *values: float) -> MetricRecord:
    mean = sum(values) / len(values)
    return metric("frechet_distance", mean, 9.0, values=values)


def test_stability_takes_several_trainings() -> None:
    wild, calm = trained("gan", 10, 30, 20), trained("vae", 20, 21, 22)
    models = runs("frechet_distance", vae=calm, gan=wild)
    assert verdict("gan.unstable", models) == "supported"
    assert verdict("vae.robust", models) == "supported"
    turned = runs("frechet_distance", vae=wild, gan=calm)
    assert verdict("gan.unstable", turned) == "refuted"
    assert verdict("vae.robust", turned) == "refuted"
    once = runs("frechet_distance", vae=20.0, gan=30.0)
    assert verdict("gan.unstable", once) == "unmeasured"
    alike = runs("frechet_distance", vae=trained("vae", 20, 21, 22), gan=calm)
    assert verdict("gan.unstable", alike) == "undecided"


def test_control_depends_on_the_labels_that_it_was_trained_on(tmp_path: Path) -> None:
    write_run_json(tmp_path, labels=None)
    unlabelled = Run(name="a", model="gan:r1", record=load_record(tmp_path / "run.json"))
    write_run_json(tmp_path, labels={"names": ["0"], "counts": [9]})
    labelled = Run(name="b", model="gan:hinge", record=load_record(tmp_path / "run.json"))
    assert verdict("gan.control", [unlabelled]) == "supported"
    assert verdict("gan.control", [labelled]) == "refuted"
    assert verdict("gan.control", [labelled, unlabelled]) == "undecided"
    assert verdict("gan.control", [Run(name="c", model="gan:r1")]) == "unmeasured"


def test_a_training_that_went_back_was_not_easy(tmp_path: Path) -> None:
    """Its log tells why; where only run.json is left, that tells that it went back."""
    judge = ASPECTS["easy"]
    result = ResultsRecord.read(json.loads((EARLIER / "vae-sigma-s0" / "results.json").read_text()))
    result = replace(result, warnings=())
    write_run_json(tmp_path, rewinds=0)
    assert judge(Evidence([load_run(result, tmp_path)]), "vae").verdict == "supported"
    collapsed = {"code": "generator_collapsed", "values": {"spread": 0.1, "reach": 0, "least": 1}}
    advice = {"code": "few_kinds_of_images", "values": {"spread": 0.1, "reach": 0, "least": 1}}
    diagnosis = {"event": "diagnosis", "numbers": {"spread": 0.1}, "advice": [advice]}
    rewind = {"event": "rewind", "images": 300, "to": 150}
    lines = [{**diagnosis, "images": 300}, {**rewind, "note": collapsed}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_run_json(tmp_path, rewinds=1)
    run = load_run(result, tmp_path)
    assert [note.code for note in run.warnings] == ["generator_collapsed", "rewinds"]
    assert judge(Evidence([run]), "vae").verdict == "refuted"
    codes = [note.code for note in troubles_of(run)]
    assert codes == ["few_kinds_of_images", "generator_collapsed", "rewinds"]
    (tmp_path / "log.jsonl").unlink()
    assert judge(Evidence([load_run(result, tmp_path)]), "vae").verdict == "refuted"


def test_spreads_that_chance_would_make_decide_nothing() -> None:
    """Three trainings each: the ratio of variances must pass Fisher's 39."""
    wider = runs("frechet_distance", vae=trained("vae", 18, 20, 22), gan=trained("gan", 12, 20, 28))
    assert verdict("gan.unstable", wider) == "undecided"
    assert stats.f.ppf(0.975, 2, 2) == pytest.approx(39, abs=0.01)
    assert more_varied([0.0, 1.0, 2.0], [0.0, 0.159, 0.318]) is True  # 39.5 times
    assert more_varied([0.0, 1.0, 2.0], [0.0, 0.161, 0.322]) is None  # 38.6 times
    assert more_varied([0.0, 0.1, 0.2], [0.0, 1.0, 2.0]) is False
    # Three against five: F(2, 4) = 10.65 if the first varies more, F(4, 2) = 39.25 if the second.
    few, many = [0.0, 1.0, 2.0], [0.0, 0.5, 1.0, 1.5, 2.0]  # of variances 1 and 0.625
    assert more_varied(few, [0.38 * value for value in many]) is True  # 11.08 times
    assert more_varied(few, [0.4 * value for value in many]) is None  # 10 times
    assert more_varied([0.13 * value for value in few], many) is None  # 37 times
    assert more_varied([0.12 * value for value in few], many) is False  # 43.4 times


def test_numbers_that_tell_a_gan_from_others_evaluate_it() -> None:
    apart = runs("frechet_distance", vae=30.0, gan=20.0)
    finding: Finding = CLAIMS["gan.evaluation"][1](Evidence(apart), "gan")
    assert finding.verdict == "refuted"
    assert finding.sentences[0].values == {"n": 1, "decided": 1}
    alike = runs("frechet_distance", vae=20.0, gan=20.0)
    assert verdict("gan.evaluation", alike) == "undecided"


def test_every_claim_is_worded_in_both_languages_and_only_where_its_family_is(
    tmp_path: Path,
) -> None:
    models = runs("frechet_distance", vae=30.0, gan=20.0)
    contract = load_comparison(write_comparison(tmp_path)).contract
    comparison = Comparison(folder=tmp_path, contract=contract, runs=tuple(models))
    for language in ("en", "fr"):
        claims = judge_all(comparison, Language(language))  # type: ignore[arg-type]
        assert {claim.family for claim in claims} == {"vae", "gan"}
        assert len(claims) == sum(family != "diffusion" for family, _ in CLAIMS.values())
    assert all(f"claim.{key}" in Language() for key in CLAIMS)


@pytest.mark.parametrize(
    ("vae", "gan", "judged"),
    [(0.9, 1.07, "supported"), (1.07, 0.9, "refuted"), (0.9, 1.0, "undecided")],
)
def test_the_practical_and_its_claims_decide_sharper_alike(
    vae: float, gan: float, judged: str
) -> None:
    """By the difference's interval, +-0.141 (alone; 2 comparisons together ask for +-0.161)."""
    models = runs("sharpness", vae=vae, gan=gan)
    assert verdict("gan.sharp", models) == judged
    answers = {
        "answer.sharper": "supported",
        "answer.not_sharper": "refuted",
        "answer.sharper.undecided": "undecided",
    }
    assert [answers[sentence.key] for sentence in sharper(models, "gan")] == [judged]
