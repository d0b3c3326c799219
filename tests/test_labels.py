"""Models that are told the labels: how classes are named and drawn, and that a class is heeded."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import triptych
from tests.making import CLASSES, evaluated, make_images, one_thread, write_npz
from tests.test_cli import SLOW, Call, call, refuses
from triptych import images
from triptych.cli import output
from triptych.data.open import open_images
from triptych.data.sources import Columns
from triptych.data.sources.folder import read_folder
from triptych.data.sources.layout import class_name
from triptych.errors import InputError
from triptych.evaluation import classifier
from triptych.evaluation.outputs import EVALUATION_SEED
from triptych.families.labels import Labels
from triptych.options import DataOptions
from triptych.run import Run
from triptych.seeding import ImageStreams
from triptych.training.run_folder import RunFolder

__all__ = ["call", "refuses"]  # fixtures

SMALL = (
    "patch=2",
    "widths=24,24,24",
    "bottom_up_blocks=1,1,1",
    "top_down_blocks=1,1,1",
    "latents=4,4,8",
    "vector=8",
)
FAST = ("batch_size=32", "ema=none", "optimizer.learning_rate=0.005")
RARE = 4  # a class of which most images are left out


def shown_classes(pictures: Tensor) -> list[int]:
    """Where the bar is: the class that uint8 images [N,C,16,16] show."""
    width = 16 // CLASSES
    bars = [pictures[..., c * width : (c + 1) * width].float().mean((1, 2, 3)) for c in range(5)]
    return torch.stack(bars, dim=1).argmax(1).tolist()


def mostly(found: list[int], expected: list[int]) -> bool:
    """Nine in ten agree, by chance one in five would."""
    pairs = list(zip(found, expected, strict=True))
    return sum(a == b for a, b in pairs) >= 0.9 * len(pairs)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data with names for classes, one of them rare, and a ladder that was told them."""
    folder = tmp_path_factory.mktemp("stock")
    pictures, labels = make_images(700)
    kept = (labels != RARE) | (np.arange(len(labels)) % 3 == 0)
    names = np.array(["one", "two", "three", "four", "five"])
    np.savez(folder / "bars.npz", images=pictures[kept], labels=names[labels[kept]])
    write_npz(folder / "bare.npz", pictures[:200])
    triptych.train(
        "vae:ladder",
        str(folder / "bars.npz"),
        budget="9.6kimg",
        out=folder / "run",
        set=(*SMALL, *FAST),
        conditional=True,
        resolution=16,
        machine=one_thread(),
    )
    return folder


@pytest.fixture
def run(stock: Path) -> Run:
    return Run(stock / "run", one_thread())


@pytest.fixture
def own_run(stock: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(stock / "run", tmp_path / "run"))


def class_number(run: Run, name: str) -> int:
    """The class whose bar an image of that name shows: names are sorted, bars are not."""
    return ["one", "two", "three", "four", "five"].index(name)


# Classes


UNEVEN = Labels(names=("a", "b", "c", "1"), counts=(60, 0, 30, 10))


def test_classes_are_drawn_by_their_shares() -> None:
    """Counts within 4 deviations of the binomial's, and never a class without images."""
    drawn = UNEVEN.draw(0, range(4000))
    assert drawn.dtype == torch.int64
    counts = torch.bincount(drawn, minlength=4).tolist()
    assert counts[1] == 0
    for number, share in enumerate((0.6, 0.0, 0.3, 0.1)):
        assert abs(counts[number] - 4000 * share) <= 4 * (4000 * share * (1 - share)) ** 0.5


def test_an_image_s_class_depends_on_the_seed_and_its_number_alone() -> None:
    whole = UNEVEN.draw(3, range(50))
    assert torch.equal(whole[20:31], UNEVEN.draw(3, range(20, 31)))
    assert not torch.equal(whole, UNEVEN.draw(4, range(50)))


def test_one_class_alone_is_drawn() -> None:
    for number in (0, 2, 3):
        drawn = UNEVEN.only(UNEVEN.names[number]).draw(0, range(20))
        assert drawn.tolist() == [number] * 20


def test_a_class_is_found_by_its_name_alone() -> None:
    assert [UNEVEN.number(name) for name in ("a", "c", "1")] == [0, 2, 3]
    assert UNEVEN.number(1) == UNEVEN.number(np.int64(1)) == 3  # the class that is called 1
    for wrong in ("d", "0", "2", "01", "1.0", "-1", " 1", "A", "", 0, 2, -1):
        with pytest.raises(InputError, match=f"^no class '{wrong}': choose from a, c, 1$"):
            UNEVEN.number(wrong)
    for kind in (1.0, True, ["a"], np.zeros(3)):
        with pytest.raises(InputError, match=r"^label takes the name of a class, not \w+: choose"):
            UNEVEN.number(kind)


def test_a_class_without_a_training_image_is_refused() -> None:
    for asked in (UNEVEN.number, UNEVEN.only):
        with pytest.raises(InputError, match=r"^no training image was of class 'b': .* a, c, 1$"):
            asked("b")


def test_many_classes_are_not_all_named() -> None:
    many = Labels(names=tuple(map(str, range(30))), counts=(0, *[1] * 29))
    with pytest.raises(InputError, match=r"choose from 1, 2, .*, 20, \.\.\.$"):
        many.number("x")


def test_classes_are_counted() -> None:
    found = Labels.counted(("x", "y", "z"), torch.tensor([1, 1, 0]))
    assert found == Labels(names=("x", "y", "z"), counts=(1, 2, 0))


@pytest.mark.parametrize("counts", [(), (1,), (0, 0), (-1, 2)])
def test_counts_that_fit_no_classes(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="class"):
        Labels(names=("a", "b"), counts=counts)


# Training


def test_the_run_records_its_classes(stock: Path, run: Run) -> None:
    data = open_images(str(stock / "bars.npz"), DataOptions(resolution=16))
    assert data.classes is not None and data.train.labels is not None
    assert run.record.labels.names == data.classes == run.record.data.classes
    assert list(run.record.labels.counts) == torch.bincount(data.train.labels).tolist()
    assert run.model.shape.classes == CLASSES
    assert " --conditional " in run.record.command


def test_the_recorded_command_repeats_a_conditional_run(call: Call, stock: Path) -> None:
    data = ("--data", stock / "bars.npz", "--resolution", "16", "--budget", "0.32kimg", *SLOW)
    small = [word for setting in (*SMALL, *FAST) for word in ("--set", setting)]
    words = ("train", "vae:ladder", "--conditional", *data, *small)
    facts = call(*words, "--out", "first", "--json").json()
    again = call(*shlex.split(facts["command"])[1:], "--out", "second", "--json").json()
    assert again["labels"] == facts["labels"] is not None
    assert again["digests"] == facts["digests"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("vae:ladder {bare}", "bare has no labels: leave out --conditional"),
        ("vae:ladder {bars} --label-column none", "bars has no labels"),
        ("gan:course {bars}", "gan:course cannot be told the labels: choose from vae:ladder"),
        ("vae:course {bars}", "vae:course cannot be told the labels: choose from vae:ladder"),
    ],
)
def test_what_cannot_be_conditional(
    refuses: Callable[..., str], stock: Path, words: str, line: str
) -> None:
    named = {name: f"--data {stock}/{name}.npz --resolution 16" for name in ("bars", "bare")}
    typed = words.format(**named).split()
    assert line in refuses("train", *typed, "--conditional", "--out", "made", *SLOW)


def test_a_run_is_not_gone_on_with_without_its_labels(
    refuses: Callable[..., str], stock: Path, own_run: Path
) -> None:
    data = ("--data", stock / "bars.npz", "--resolution", "16", "--budget", "9.6kimg", *SLOW)
    small = [word for setting in (*SMALL, *FAST) for word in ("--set", setting)]
    words = ("train", "vae:ladder", *data, *small, "--out", own_run)
    line = refuses(*words)
    assert "holds a run of another use of labels (conditional, not none)" in line
    facts = RunFolder(own_run).read().to_json()
    del facts["identity"]["use of labels"]  # as runs were before
    (own_run / "run.json").write_text(json.dumps(facts))
    assert "another use of labels (none, not conditional)" in refuses(*words, "--conditional")


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        ({"names": ["a"], "counts": [1]}, "does not fit model.safetensors"),
        (None, "does not fit model.safetensors"),
        ({"names": ["a"] * 5, "counts": [1] * 4}, "of this version of triptych (labels"),
        ({"names": ["a"] * 5, "counts": [0] * 5}, "of this version of triptych (labels"),
        ({"names": 5, "counts": [0] * 5}, "of this version of triptych (labels"),
        ([1], "of this version of triptych (labels"),
    ],
)
def test_labels_that_are_not_the_model_s(
    refuses: Callable[..., str], own_run: Path, labels: Any, line: str
) -> None:
    facts = RunFolder(own_run).read().to_json()
    (own_run / "run.json").write_text(json.dumps(facts | {"labels": labels}))
    assert line in refuses("sample", own_run, "--out", "a.png", *SLOW)


def test_runs_of_before_there_were_labels_still_load(
    call: Call, stock: Path, tmp_path: Path
) -> None:
    """Neither their run.json nor their weights say anything of classes."""
    place = tmp_path / "old"
    bare = str(stock / "bare.npz")
    triptych.train(
        "vae:ladder", bare, budget="0.32kimg", out=place, set=(*SMALL, *FAST),
        resolution=16, machine=one_thread(),
    )  # fmt: skip
    assert b"classes" not in (place / "model.safetensors").read_bytes()[:2000]
    facts = RunFolder(place).read().to_json()
    del facts["identity"]["use of labels"], facts["labels"]
    (place / "run.json").write_text(json.dumps(facts))
    assert call("sample", place, "--count", "1", "--out", "a.png", *SLOW).code == 0


# Samples


def test_samples_show_the_class_that_was_asked_for(run: Run) -> None:
    for name in run.record.labels.names:
        expected = class_number(run, name)
        assert mostly(shown_classes(run.sample(20, seed=1, label=name)), [expected] * 20)


def test_samples_without_a_class_are_of_all_by_their_shares(run: Run) -> None:
    """Each shows the class that it is said to be of, whatever batch it is in."""
    labels, drawn = run.sample_labels(40, seed=2), run.sample(40, seed=2)
    assert labels is not None and len(set(labels.tolist())) >= 4
    names = [run.record.labels.names[number] for number in labels.tolist()]
    assert mostly(shown_classes(drawn), [class_number(run, name) for name in names])
    assert torch.equal(drawn[:10], run.sample(10, seed=2))


def test_only_the_latent_is_scaled_and_never_the_label(run: Run) -> None:
    """Near temperature 0 all samples of a class are one image of that class."""
    cold = run.sample(6, label="two", temperature=1e-9)
    assert shown_classes(cold) == [1] * 6
    assert (cold == cold[:1]).all()
    warm = run.sample(6, label="two")
    assert (warm != warm[:1]).any()


def test_samples_of_a_class_by_the_command(call: Call, stock: Path, run: Run) -> None:
    words = ("sample", stock / "run", "--count", "5", *SLOW)
    assert call(*words, "--label", "three", "--out", "a.npz").code == 0
    names = run.record.labels.names
    with np.load("a.npz") as found:
        assert set(found) == {"images", "labels", "classes"}
        assert found["labels"].tolist() == [names.index("three")] * 5
        assert found["labels"].dtype == np.int64
        assert found["classes"].dtype.kind == "U" and tuple(found["classes"]) == names
        assert torch.equal(images.from_array(found["images"]), run.sample(5, label="three"))
    assert call(*words, "--label", names[0], "--seed", "4", "--out", "b.npz").code == 0
    assert call(*words, "--seed", "4", "--out", "c.npz").code == 0
    with np.load("b.npz") as one, np.load("c.npz") as every:
        labels = run.sample_labels(5, 4)
        assert labels is not None and every["labels"].tolist() == labels.tolist()
        assert one["labels"].tolist() == [0] * 5
        same = every["labels"] == 0  # the noise is that of the image's number, whatever its class
        assert (one["images"][same] == every["images"][same]).all()


def test_classes_that_there_are_not(refuses: Callable[..., str], stock: Path) -> None:
    words = ("sample", stock / "run", "--out", "a.png", *SLOW, "--label")
    assert refuses(*words, "seven") == "no class 'seven': choose from five, four, one, three, two"
    assert refuses(*words, "0") == "no class '0': choose from five, four, one, three, two"


def test_a_class_of_which_nothing_was_learned(refuses: Callable[..., str], own_run: Path) -> None:
    facts = RunFolder(own_run).read().to_json()
    facts["labels"]["counts"] = (0, *facts["labels"]["counts"][1:])
    (own_run / "run.json").write_text(json.dumps(facts))
    line = refuses("sample", own_run, "--out", "a.png", *SLOW, "--label", "five")
    assert line == "no training image was of class 'five': choose from four, one, three, two"


def test_a_folder_of_samples_gives_their_classes_back(call: Call, stock: Path, run: Run) -> None:
    words = ("sample", stock / "run", "--count", "40", "--seed", "2", *SLOW)
    assert call(*words, "--out", "drawn").code == 0
    labels = run.sample_labels(40, 2)
    assert labels is not None
    names = [run.record.labels.names[number] for number in labels.tolist()]
    rows = list(csv.reader(Path("drawn/metadata.csv").read_text(encoding="utf-8").splitlines()))
    assert rows == [
        ["file_name", "label"],
        *([f"images-{index:05d}.png", name] for index, name in enumerate(names)),
    ]
    found = call("data", "drawn", "--resolution", "16", "--json").json()
    assert found["histogram"] == {name: names.count(name) for name in set(names)}


def test_class_names_of_any_letters_are_read_back(tmp_path: Path) -> None:
    """As a class folder of each of these names would be called."""
    folders = ("a,b", 'say "x"', "a;b", "élan", "a\\b", "line\nend", "日本", "a\u00a0x", "#1")
    names = tuple(class_name(folder) for folder in folders)
    pixels = torch.from_numpy(make_images(len(names) * 5)[0]).permute(0, 3, 1, 2)
    labels = torch.arange(len(pixels)) % len(names)
    output.check(tmp_path / "drawn").write({"images": pixels}, labels, names)
    source = read_folder(tmp_path / "drawn", Columns())
    found = {item.name: item.label for item in source.items()}
    assert found == {f"images-{i:05d}.png": names[i % len(names)] for i in range(len(pixels))}


def test_pictures_without_one_class_carry_none(call: Call, stock: Path) -> None:
    words = ("interpolate", stock / "run", "--points", "3", *SLOW)
    assert call(*words, "--out", "a.npz").code == call(*words, "--out", "ways").code == 0
    with np.load("a.npz") as found:
        assert set(found) == {"images"}
    assert not Path("ways/metadata.csv").exists()


# The other verbs


def test_measured_samples_are_of_the_whole_distribution(
    own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 1280)
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    read, seen = classifier.read, []

    def recording(network: Any, pixels: Tensor, machine: Any) -> Any:
        seen.append(pixels)
        return read(network, pixels, machine)

    monkeypatch.setattr(classifier, "read", recording)
    [found] = evaluated([own_run], count=20, machine=one_thread())
    run = Run(own_run, one_thread())
    assert any(torch.equal(pixels, run.sample(20, EVALUATION_SEED)) for pixels in seen)
    notes = {metric["name"]: metric["note"] for metric in found["metrics"]}
    assert notes["bits_per_dim"] == {"code": "draws_without_labels", "values": {"n": 1}}
    assert {"code": "labels_given", "values": {}} in found["warnings"]
    with Image.open(own_run / "figures" / "samples.png") as grid:
        expected = images.grid(run.sample(64, 0), 8, 2).pixels.permute(1, 2, 0)
        np.testing.assert_array_equal(np.asarray(grid), expected)


def test_pictures_along_training_are_of_all_classes(stock: Path, run: Run) -> None:
    """The last one is of the final weights."""
    last = max((stock / "run" / "samples").iterdir())
    with Image.open(last) as grid:
        expected = images.grid(run.sample(64, 0)).pixels.permute(1, 2, 0)
        np.testing.assert_array_equal(np.asarray(grid), expected)


def test_ways_between_draws_begin_and_end_in_their_classes(run: Run) -> None:
    found = run.interpolate(points=3, paths=4, seed=1)
    assert found.shape == (4, 3, 3, 16, 16)
    assert run.labels is not None
    told = run.labels.draw(1, range(8))
    rng = ImageStreams(1, "interpolate", range(8))
    with torch.inference_mode():
        latent = run.model.draw_latent(8, rng, told)
        ends = images.to_uint8(run.model.decode(latent, rng))
    assert torch.equal(found[:, 0], ends[::2]) and torch.equal(found[:, -1], ends[1::2])


def test_ways_between_images_need_no_labels(run: Run) -> None:
    pictures, _ = make_images(4)
    first, last = (images.from_array(part) for part in (pictures[:2], pictures[2:]))
    found = run.interpolate(first, last, points=4)
    assert torch.equal(found[:, 0], run.reconstruct(first))
    assert torch.equal(found[:, -1], run.reconstruct(last))
    assert not torch.equal(found[:, 1], found[:, 0])
