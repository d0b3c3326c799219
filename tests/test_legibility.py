"""Whether labels can be told: by how much, on which images, and what follows where they cannot."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import triptych
from tests.making import CLASSES, one_thread, open_tiny
from triptych.console import QUIET, Console
from triptych.data.dataset import ImageData, Part
from triptych.errors import InputError
from triptych.evaluation import classifier, extractors, legibility
from triptych.evaluation.legibility import judge, known_legibility, legibility_of, not_told
from triptych.pages.language import Language
from triptych.pages.load import Run
from triptych.pages.page import describe_classifiers
from triptych.records import (
    CostRecord,
    ExtractorRecord,
    LegibilityRecord,
    MeasuredOn,
    Note,
    ResultsRecord,
)
from triptych.training.run_folder import RunFolder

NEED_LABELS = ("recognisable", "label_balance", "probe_accuracy")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return open_tiny(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def mislabeled(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return open_tiny(tmp_path_factory.mktemp("wrong"), mislabeled=True)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 2500)
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    monkeypatch.setattr(legibility, "IMAGES_SEEN", 1500)
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "own"))


class Lines(Console):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def answers(right: int, count: int, frequent: int, classes: int = 2) -> tuple[Tensor, Tensor]:
    """So many named right of `count`, of which `frequent` have label 0, the others any other."""
    labels = torch.zeros(count, dtype=torch.int64)
    labels[frequent:] = 1 + torch.arange(count - frequent) % max(1, classes - 1)
    named = labels.clone()
    named[: count - right] += 1
    return named, labels


@pytest.mark.parametrize(
    ("right", "count", "frequent", "classes", "usable"),
    [
        (500, 1000, 500, 2, False),  # a coin
        (560, 1000, 500, 2, False),  # surely better than a coin, and still hardly
        (599, 1000, 500, 2, False),
        (601, 1000, 500, 2, True),  # a fifth of what a coin gets wrong
        (1900, 2000, 1900, 2, False),  # always the frequent one
        (1990, 2000, 1900, 2, True),
        (14, 20, 10, 2, False),  # by far better, and may be luck
        (19, 20, 10, 2, True),
        (50, 50, 50, 1, False),  # one class: nothing is told
        (60, 200, 20, 10, True),  # of many classes
        (40, 200, 20, 10, False),
    ],
)
def test_labels_can_be_told_where_chance_is_beaten_clearly_and_by_much(
    right: int, count: int, frequent: int, classes: int, usable: bool
) -> None:
    found = judge(*answers(right, count, frequent, classes))
    assert (found.accuracy, found.chance, found.n) == (right / count, frequent / count, count)
    z, p = 1.959963984540054, right / count  # Wilson 1927
    middle, half = p + z**2 / (2 * count), z * math.sqrt(p * (1 - p) / count + (z / count) ** 2 / 4)
    ends = [(middle + side * half) / (1 + z**2 / count) for side in (-1, 1)]
    assert [found.low, found.high] == pytest.approx(ends)
    assert found.usable is usable


def shuffled(part: Part) -> Part:
    """Labels by lot."""
    rng = torch.Generator().manual_seed(1)
    return Part(part.images, torch.randint(CLASSES, (len(part),), generator=rng))


def found_for(data: ImageData) -> LegibilityRecord:
    labels = extractors.labels_of_data(data, one_thread(), QUIET)
    assert labels is not None
    return labels.legibility


@pytest.mark.sweep
@pytest.mark.parametrize("enough", [10, 10_000], ids=["validation alone", "halves too"])
def test_the_choice_sees_no_test_image(
    data: ImageData, enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither wrong labels of the test part nor right ones change it."""
    monkeypatch.setattr(legibility, "ENOUGH", enough)
    seen: list[Tensor] = []
    read = classifier.read

    def reading(network: classifier.Classifier, pixels: Tensor, *rest: object) -> object:
        seen.append(pixels)
        return read(network, pixels, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(classifier, "read", reading)
    right = dataclasses.replace(data, test=shuffled(data.test), fingerprint="right")
    assert found_for(right).usable
    wrong = dataclasses.replace(
        data, train=shuffled(data.train), validation=shuffled(data.validation), fingerprint="wrong"
    )
    found = found_for(wrong)
    assert not found.usable
    assert found.n == len(data.validation) + (enough > 10) * len(data.train)
    test = {image.numpy().tobytes() for image in data.test.images}
    assert not test & {image.numpy().tobytes() for pixels in seen for image in pixels}


@pytest.mark.sweep
@pytest.mark.parametrize("wrong", [False, True], ids=["labels are right", "labels are wrong"])
def test_few_images_are_judged_by_halves_too(tmp_path: Path, wrong: bool) -> None:
    """Of 60 images a few are held out: they decide nothing, and right labels are not lost."""
    data = open_tiny(tmp_path, 60)
    one = Part(data.validation.images[:1], data.validation.labels[:1])  # type: ignore[index]
    data = dataclasses.replace(data, validation=one)
    if wrong:
        data = dataclasses.replace(data, train=shuffled(data.train))
    found = found_for(data)
    assert found.usable is not wrong
    assert found.n == len(data.train) + 1


def test_halves_read_what_they_have_not_learned(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every training image once, by the classifier that did not see it."""
    learned: list[set[bytes]] = []
    read_: list[set[bytes]] = []
    nothing = dataclasses.replace(data, validation=Part(data.validation.images[:0], None))

    def bytes_of(pixels: Tensor) -> set[bytes]:
        return {image.numpy().tobytes() for image in pixels}

    def fit(network: object, part: ImageData, *rest: object, least: int) -> None:
        assert least == legibility.IMAGES_SEEN
        learned.append(bytes_of(part.train.images))

    def read(network: object, pixels: Tensor, machine: object) -> classifier.Reading:
        read_.append(bytes_of(pixels))
        return classifier.Reading(torch.zeros(len(pixels), 1), torch.rand(len(pixels), CLASSES))

    monkeypatch.setattr(classifier, "fit", fit)
    monkeypatch.setattr(classifier, "read", read)
    network = classifier.fresh(data)
    assert legibility.measure(nothing, network, one_thread(), QUIET).n == len(data.train)
    everything = bytes_of(data.train.images)
    for ours, theirs in zip(learned, read_, strict=True):
        assert not ours & theirs and ours | theirs == everything
    assert read_[0] == learned[1] and abs(len(read_[0]) - len(read_[1])) <= 1


def test_it_is_measured_once(data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept beside the classifier; a damaged file is made again."""
    assert known_legibility(data) is None
    found = found_for(data)
    assert known_legibility(data) == found
    path = classifier.cache_file(data, ".json")
    for damaged in ("", "{", "[1]", json.dumps({"accuracy": 2})):
        path.write_text(damaged)
        assert found_for(data) == found and known_legibility(data) == found
    monkeypatch.setattr(legibility, "measure", None)
    network = classifier.classifier_for(data, one_thread(), QUIET)
    assert legibility_of(data, network, one_thread(), QUIET) == found


def test_one_class_needs_no_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataclasses.replace(open_tiny(tmp_path, 60), classes=("all",))
    monkeypatch.setattr(classifier, "fit", None)
    assert extractors.labels_of_data(data, one_thread(), QUIET) is None
    with pytest.raises(InputError, match=r"all images have the same label.*use --features patches"):
        extractors.check_name("labels", data)


# What follows


def test_mislabeled_data_are_measured_without_labels(mislabeled: ImageData, tmp_path: Path) -> None:
    console = Lines()
    run = triptych.train(
        "vae:course", mislabeled, budget="0.64kimg", out=tmp_path / "run", machine=one_thread(),
        set=["widths=8,8"], console=console,
    )  # fmt: skip
    assert not any("cannot be told" in line for line in console.lines)  # it does not use them
    [results] = triptych.evaluate(
        [run.folder.path], mislabeled, machine=one_thread(), console=console
    )
    assert results.extractor is not None and results.extractor.name == "patches"
    legible = results.extractor.legibility
    assert legible is not None and not legible.usable
    assert legible.n == len(mislabeled.train) + len(mislabeled.validation)
    assert results.extractor.accuracy is not None and abs(results.extractor.accuracy - 0.5) < 0.3
    numbers = {"accuracy": legible.accuracy, "n": legible.n, "chance": legible.chance}
    numbers["least"] = pytest.approx(legible.chance + (1 - legible.chance) / 5)
    for metric in results.metrics:
        if metric.name in NEED_LABELS:
            assert metric.kind == "not defined" and metric.value is metric.floor is None
            assert metric.note is not None
            assert (metric.note.code, metric.note.values) == ("labels_not_told", numbers)
        elif metric.name in ("frechet_distance", "memorised"):
            assert metric.features == "patches"
    [warning] = [note for note in results.warnings if note.code == "measured_without_labels"]
    assert warning.values == {**numbers, "features": "patches"}
    [line] = [line for line in console.lines if "labels cannot be told" in line]
    assert "what needs labels is not defined, and distances are on patches" in line
    with pytest.raises(InputError, match=r"labels cannot be told .* %: use --features patches"):
        triptych.evaluate([run.folder.path], mislabeled, features="labels", machine=one_thread())


def test_a_comparison_warns_before_it_trains(mislabeled: ImageData, tmp_path: Path) -> None:
    console, out = Lines(), tmp_path / "compared"
    asked = {
        "budget": "0.64kimg", "out": out, "machine": one_thread(), "console": console,
        "set": ["widths=8,8"],
    }  # fmt: skip
    with pytest.raises(InputError, match="labels cannot be told"):
        triptych.compare(["vae:course"], mislabeled, features="labels", **asked)
    assert not out.exists() and not any("training vae" in line for line in console.lines)
    page = triptych.compare(["vae:course"], mislabeled, **asked)
    places = [
        next(i for i, line in enumerate(console.lines) if words in line)
        for words in ("labels cannot be told", "training vae:course for")
    ]
    assert places == sorted(places)
    contract = json.loads((out / "contract.json").read_text())
    assert contract["evaluation"]["features"] == "patches"
    assert "always naming the most frequent class" in page.read_text()
    written = (out / "results.json").read_bytes()
    triptych.compare(["vae:course"], mislabeled, **asked)  # goes on: nothing is left to do
    assert (
        json.loads((out / "results.json").read_bytes())["runs"][0]["extractor"]
        == (json.loads(written)["runs"][0]["extractor"])
    )


@pytest.mark.sweep
def test_a_comparison_warns_of_models_that_are_told_the_labels(
    mislabeled: ImageData, tmp_path: Path
) -> None:
    """Also where only one of them is; they train all the same."""
    console = Lines()
    triptych.compare(
        ["vae:course", "gan:r1,conditional"],
        mislabeled, budget="0.32kimg", out=tmp_path / "compared", machine=one_thread(),
        console=console,
    )  # fmt: skip
    warned = [line for line in console.lines if "from these images" in line]
    assert len(warned) == 2 and warned[1].endswith("or leave out --conditional")
    places = [console.lines.index(warned[1]), *(
        i for i, line in enumerate(console.lines) if line.startswith("training ")
    )]  # fmt: skip
    assert places == sorted(places) and len(places) == 3


@pytest.mark.parametrize("code", ["en", "fr"])
def test_the_page_says_once_what_the_classifier_is_worth(code: str) -> None:
    """Of results of earlier versions what they know; nothing where there was no classifier."""
    language = Language(code)
    legible = judge(*answers(940, 1000, 110, 10))

    def lines(*extractors: ExtractorRecord | None) -> list[str]:
        runs = [Run(name="a", model="vae:a", extractor=each) for each in extractors]
        return describe_classifiers(runs, language)

    assert lines(None, ExtractorRecord(name="patches")) == []
    earlier = ExtractorRecord(name="labels", accuracy=0.925)
    [line] = lines(earlier, earlier)
    assert {"en": "92.5\N{NO-BREAK SPACE}%", "fr": "92,5\N{NO-BREAK SPACE}%"}[code] in line
    known = ExtractorRecord(name="patches", accuracy=0.925, legibility=legible)
    first, second = lines(known, known)
    assert first == line
    for number in ("94", "11"):
        assert f"{number}\N{NO-BREAK SPACE}%" in second
    assert language.number(1000, "count") in second
    for note in (not_told(judge(*answers(500, 1000, 500))), Note("one_class_only")):
        assert note is not None and note.code not in language.note(note)


def test_older_results_load_and_newer_ones_come_back() -> None:
    plain = ExtractorRecord(name="labels", accuracy=0.5)
    assert plain.to_json() == {"name": "labels", "accuracy": 0.5}
    for record in (
        plain,
        dataclasses.replace(plain, legibility=judge(*answers(940, 1000, 110, 10))),
    ):
        results = ResultsRecord(
            model="vae:a", metrics=(), extractor=record, cost=CostRecord(),
            data=MeasuredOn(name="a", fingerprint="f", train=1, validation=1, test=1),
        )  # fmt: skip
        assert ResultsRecord.read(json.loads(json.dumps(results.to_json()))) == results


def test_a_conditional_training_warns_where_it_is_known(
    mislabeled: ImageData, tmp_path: Path
) -> None:
    asked = {
        "budget": "0.32kimg", "machine": one_thread(), "conditional": True,
        "set": ["widths=8,16", "attention=false,false", "steps=2"],
    }  # fmt: skip
    before, after = Lines(), Lines()
    triptych.train("diffusion:x0", mislabeled, out=tmp_path / "a", console=before, **asked)
    assert not any("leave out --conditional" in line for line in before.lines)
    found_for(mislabeled)
    plain = Lines()
    triptych.train(
        "diffusion:x0", mislabeled, out=tmp_path / "c", console=plain,
        **{**asked, "conditional": False},
    )  # fmt: skip
    assert not any("leave out --conditional" in line for line in plain.lines)
    triptych.train("diffusion:x0", mislabeled, out=tmp_path / "b", console=after, **asked)
    [place] = [
        i for i, line in enumerate(after.lines) if line.endswith("or leave out --conditional")
    ]
    assert place < next(i for i, line in enumerate(after.lines) if "training diffusion" in line)
    assert RunFolder(tmp_path / "b").read().labels is not None  # it trains all the same
