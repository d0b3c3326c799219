"""All numbers of a run: complete, against the right references, or not defined with a reason."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor, nn

import triptych
from tests.ladders import tiny_ladder
from tests.making import CLASSES, evaluated, labels_in, make_images, one_thread, open_tiny
from tests.truths import random_pixels
from triptych import images, metrics
from triptych.config import ImageShape
from triptych.console import QUIET, Bar, Console
from triptych.data.dataset import ImageData, Part
from triptych.errors import InputError
from triptych.evaluation import classifier, extractors
from triptych.evaluation import reference as module
from triptych.evaluation.evaluate import (
    evaluate,
    flops_per_image,
    measure,
    measure_all,
    parameters,
)
from triptych.evaluation.outputs import Outputs, OutputsWithoutModel, worst_offenders
from triptych.evaluation.reference import CONTROLS, PAIRS, Reference, count_samples, read_real
from triptych.families.capabilities import MEAN_PIXELS, exemplar_numbers
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel, Objective
from triptych.families.vae.ladder import VectorLatent
from triptych.metrics import frechet_distance, kernel_distance, prdc
from triptych.metrics.frechet_distance import frechet_value
from triptych.metrics.intervals import Estimate
from triptych.metrics.kernel_distance import kernel_value, within_reference
from triptych.metrics.probe_accuracy import Represented, probe_accuracy
from triptych.metrics.sliced_distance import sliced_value
from triptych.nn.blocks import DoublingConvolution
from triptych.nn.patch_features import Patches
from triptych.records import Note, as_json
from triptych.run import Run
from triptych.seeding import ImageStreams
from triptych.tasks import interpolate, likelihood, reconstruct

KEYS = {
    "name", "value", "low", "high", "n", "floor", "unit", "better", "features", "reference",
    "kind", "method", "note", "group", "moves_with_n",
}  # fmt: skip
NAMES = [
    ("frechet_distance", "test"),
    ("extrapolated", "test"),
    ("kernel_distance", "test"),
    ("sliced_distance", "test"),
    ("frechet_distance", "train"),
    ("kernel_distance", "train"),
    ("sliced_distance", "train"),
    ("precision", "test"),
    ("recall", "test"),
    ("density", "test"),
    ("coverage", "test"),
    ("clipped_density", "test"),
    ("clipped_coverage", "test"),
    ("recognisable", "none"),
    ("label_balance", "test"),
    ("sharpness", "test"),
    ("real_or_fake", "test"),
    ("memorised", "train"),
    ("copied", "train"),
    ("copied_control", "train"),
    ("own_exemplar", "train"),
    ("bits_per_dim", "test"),
    ("reconstruction_psnr", "test"),
    ("reconstruction_ssim", "test"),
    ("path_length", "test"),
    ("path_uniformity", "test"),
    ("drawn_path_length", "none"),
    ("drawn_path_uniformity", "none"),
    ("probe_accuracy", "test"),
]
COSTS = {
    "parameters", "train_seconds", "images_seen", "train_images_per_second", "flops_per_image",
    "sample_seconds_per_image", "network_calls", "peak_memory_bytes",
    "peak_memory_of", "exemplar_numbers", "code_size", "reconstruct_seconds_per_image",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return open_tiny(tmp_path_factory.mktemp("data"))


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 8000)
    monkeypatch.setattr(classifier, "EPOCHS", 1)


@pytest.fixture(scope="module")
def run(data: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "vae"
    return triptych.train("vae:course", data, budget="1.28kimg", out=folder, machine=one_thread())


def name_of(metric: dict[str, Any]) -> tuple[str, str]:
    method = metric["method"]
    return ("extrapolated" if method == "extrapolated" else metric["name"]), metric["reference"]


def labels_of(part: Part) -> Tensor:
    assert part.labels is not None
    return part.labels


ON_BOTH = [
    (f"{kind}_distance", "test") for kind in ("frechet", "kernel", "sliced")
]  # the second feature set


def metrics_of(found: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Those on the first feature set."""
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for metric in found["metrics"]:
        first.setdefault(name_of(metric), metric)
    return first


def read(data: ImageData, count: int, features: str = "labels") -> Reference:
    labels = extractors.labels_of_data(data, one_thread(), QUIET)
    return read_real(data, count, features, labels, one_thread(), QUIET)


class DrawsAlone(GenerativeModel):
    """A model that can do nothing but draw: noise."""

    samples_note = MEAN_PIXELS
    lacks: ClassVar = {"encode": Note("text", {"text": "it only takes in"})}
    network_calls = 1

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.shape = shape

    def objectives(self) -> Sequence[Objective]:
        return ()

    def networks(self) -> Sequence[nn.Module]:
        return ()

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        return Latent({"z": rng.normal(*self.shape.size)}, "straight")

    def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
        return latent.tensors["z"]


def outputs_of(samples: Tensor, real: Reference) -> Outputs:
    return Outputs(DrawsAlone(real.data.shape), samples, real)


def measured(samples: Tensor, real: Reference) -> dict[tuple[str, str], dict[str, Any]]:
    """All metrics of samples."""
    outputs = outputs_of(samples, real)
    return metrics_of({"metrics": [measure(metric, outputs).to_json() for metric in real.metrics]})


def test_results_are_complete(data: ImageData, run: Run, brief: None) -> None:
    [found] = evaluated([run.folder.path], data, machine=one_thread())
    written = json.loads(run.folder.results.read_text())
    assert written == json.loads(json.dumps(found))
    assert set(written) == {
        "schema", "model", "run", "data", "metrics", "extractor", "cost", "warnings",
    }  # fmt: skip
    assert written["extractor"]["name"] == "labels"
    assert written["extractor"]["accuracy"] > 0.8
    legibility = written["extractor"]["legibility"]
    assert legibility["usable"] and legibility["accuracy"] > 0.8 and legibility["chance"] < 0.5
    assert legibility["n"] == len(data.validation)
    assert written["schema"] == 1 and written["model"] == "vae:course"
    assert written["data"]["fingerprint"] == data.fingerprint
    assert set(written["data"]) == {"name", "fingerprint", "train", "validation", "test"}
    assert [name_of(m) for m in written["metrics"]] == [*NAMES, *ON_BOTH]
    assert {m["features"] for m in written["metrics"][-len(ON_BOTH) :]} == {"patches"}
    for metric in written["metrics"]:
        assert set(metric) >= KEYS
        if metric["method"] == "extrapolated":  # 40 images of 128 features
            assert metric["value"] is None and metric["kind"] == "not defined"
            continue
        if metric["name"] == "own_exemplar":  # of a prior that is N(0, I)
            assert metric["value"] is None and metric["note"]["code"] == "no_exemplars"
            continue
        assert metric["low"] <= metric["value"] <= metric["high"], metric["name"]
        checks = metric["name"] == "copied_control"  # another number, and ranks nobody
        assert metric["better"] in (("",) if checks else ("lower", "higher", "floor"))
        assert metric["kind"] == ("upper bound" if metric["name"] == "bits_per_dim" else "estimate")
        counts = {"path": len(data.test) // 2, "drawn": PAIRS, "copied_control": CONTROLS}
        kinds = (n for n in counts if metric["name"].startswith(n))
        assert metric["n"] == counts.get(next(kinds, ""), len(data.test))
    parts = (data.train, data.validation, data.test)  # few: all of them are probed
    pixels = [Represented(part.images.flatten(1) / 127.5 - 1, labels_of(part)) for part in parts]
    assert metrics_of(written)["probe_accuracy", "test"]["floor"] == pytest.approx(
        probe_accuracy(*pixels).value,
        abs=0.03,  # its images in another order
    )
    assert set(written["cost"]) == COSTS
    assert written["cost"]["images_seen"] == 1280
    assert written["cost"].pop("exemplar_numbers") == 0
    assert all(value > 0 for value in written["cost"].values())
    assert {"code": "few_samples", "values": {"n": len(data.test), "enough": 2000}} in written[
        "warnings"
    ]
    for name in ("samples", "interpolation", "reconstruction", "nearest"):
        assert (run.folder.figures / f"{name}.png").is_file()


@pytest.mark.parametrize("features", ["labels", "patches"])
@pytest.mark.parametrize("most", [20, 50_000], ids=["some are searched", "all are searched"])
def test_what_is_described_once_is_described_as_if_alone(
    data: ImageData, brief: None, features: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """References that are rows of all training images, and features that came with a reading."""
    monkeypatch.setattr(module, "MOST_REFERENCES", 25)
    monkeypatch.setattr(module, "MOST_TRAINING", most)
    real = read(data, 30, features)
    assert len(real.train) == 25 and len(real.training_features) == min(most, len(data.train))
    chosen = {"test": real.test, "train": real.train, "other": real.other}
    alone = {name: real.extractor(pixels, real.machine) for name, pixels in chosen.items()}
    assert set(real.features) == set(alone)
    for name, exact in alone.items():
        torch.testing.assert_close(real.features[name], exact, rtol=1e-6, atol=1e-5)
    generated = outputs_of(real.other, real)
    torch.testing.assert_close(generated.features, alone["other"], rtol=1e-6, atol=1e-5)
    assert real.labels is not None
    exact = real.labels.read(real.other, real.machine).probabilities
    torch.testing.assert_close(generated.probabilities, exact, rtol=1e-6, atol=1e-6)


def test_distances_are_found_on_a_second_feature_set(data: ImageData, brief: None) -> None:
    """On patches beside labels, and the other way round: as measured on each alone."""
    samples, labels = data.train.images[:30], extractors.labels_of_data(data, one_thread(), QUIET)
    assert labels is not None
    for first in ("labels", "patches"):
        real = read(data, 30, first)
        second = extractors.LeadingPatches(real.train) if first == "labels" else labels
        entries = measure_all(OutputsWithoutModel(samples, real), "x", QUIET)
        [*_, frechet, kernel, sliced] = entries
        assert [(m.name, m.reference) for m in entries[-3:]] == ON_BOTH
        assert [m.features for m in entries[:1] + entries[-3:]] == [first, *[second.name] * 3]
        ours, theirs, others = (second(x, one_thread()) for x in (samples, real.test, real.other))
        assert frechet.value == pytest.approx(frechet_value(ours, theirs), rel=1e-6)
        assert frechet.floor == pytest.approx(frechet_value(others, theirs), rel=1e-6)
        assert sliced.value == pytest.approx(sliced_value(ours, theirs), rel=1e-6)
        exact = kernel_value(ours, theirs, within_reference(theirs))
        assert kernel.value == pytest.approx(exact, rel=1e-6)


def test_without_labels_that_can_be_told_there_is_one_feature_set(tmp_path: Path) -> None:
    """Patches alone; and where others are asked for, patches beside them."""
    plain = open_tiny(tmp_path, labeled=False)
    real = read_real(plain, 10, "patches", None, one_thread(), QUIET)
    assert real.second is None
    assert extractors.second_name("inception", None) == "patches"
    assert extractors.second_name("patches", None) is None


def test_patches_take_their_scale_from_training_images(data: ImageData, brief: None) -> None:
    """Of the test part they would flatter whoever comes near to that part's own scale."""
    real = read(data, 30, "patches")
    assert isinstance(real.extractor, extractors.LeadingPatches)
    of_train, of_test = Patches(real.train), Patches(real.test)
    torch.testing.assert_close(real.extractor.patches.mean, of_train.mean)
    torch.testing.assert_close(real.extractor.patches.std, of_train.std)
    assert not torch.allclose(of_train.mean, of_test.mean, rtol=1e-3)


def test_samples_and_held_out_images_are_looked_for_among_the_same(
    data: ImageData, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By SciPy's distances to the features of all training images, and of a part of them."""
    for most in (len(data.train), 50):
        monkeypatch.setattr(module, "MOST_TRAINING", most)
        real = read(data, 30)
        chosen = data.train.choose(most, "memorised").images
        training = real.extractor(chosen, real.machine)
        assert len(training) == most
        for features, found in (
            (real.features["test"], real.test_nearest.distance),
            (
                real.extractor(real.other, real.machine),
                outputs_of(real.other, real).nearest.distance,
            ),
        ):
            exact = cdist(features, training).min(1)
            assert found.tolist() == pytest.approx(exact.tolist(), rel=1e-4, abs=1e-4)


def test_bars_say_what_is_done_and_come_to_their_end(
    data: ImageData, run: Run, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[float, float | None, str]] = []

    class Told(Console):
        @contextmanager
        def bar(self, label: str, total: float | None = None) -> Iterator[Bar]:
            bar = Bar()

            def update(done: float, new: float | None = None, note: str | None = None) -> None:
                told.append((done, new or total, f"{label}: {note}"))

            monkeypatch.setattr(bar, "update", update)
            yield bar

    triptych.evaluate([run.folder.path], data, machine=one_thread(), console=Told(quiet=True))
    for verb, last in (("measuring", "probe accuracy"), ("drawing", "reconstructions")):
        seen = [(done, total) for done, total, said in told if f"{verb} vae:course" in said]
        assert [done for done, _ in seen] == list(range(len(seen)))
        assert all(total is not None and len(seen) <= total for _, total in seen)
        assert any(f"{verb} vae:course: {last}" in said for *_, said in told)
    assert all(
        not said.endswith("None")
        for *_, said in told
        if "ing vae:course" in said and "sampling" not in said
    )


def test_floors_are_real_against_real(
    data: ImageData, brief: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise is far above the floor, real images of the other part are at it."""
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))  # no other test's briefer classifier
    real = read(data, 30)
    assert len(real.other) == 30
    held = {image.numpy().tobytes() for image in data.test.images}
    more = read(data, 60)  # more than validation holds
    assert len({image.numpy().tobytes() for image in more.other} - held) == 60
    of_noise, of_real = measured(random_pixels(30, 3, 16, 16), real), measured(real.other, real)
    for name in ("frechet_distance", "kernel_distance", "sliced_distance"):
        for reference in ("test", "train"):
            far = of_noise[name, reference]
            assert far["floor"] < far["value"] / 5
            assert far["low"] > far["floor"]
    for name in ("frechet_distance", "sliced_distance"):
        near = of_real[name, "test"]
        assert near["value"] == pytest.approx(near["floor"])
    told = of_noise["real_or_fake", "test"]
    assert told["floor"] == 0.5 < 0.8 < told["value"]
    level = of_real["real_or_fake", "test"]
    assert level["low"] < 0.5 < level["high"]
    for name in ("label_balance", "precision", "recall", "density", "coverage", "kernel_distance"):
        floor = of_noise[name, "test"]["floor"]
        assert of_real[name, "test"]["value"] == pytest.approx(floor, rel=1e-9), name
    expected = frechet_value(real.features["test"][:30], real.features["train"])
    assert of_real["frechet_distance", "train"]["floor"] == pytest.approx(expected)
    sure = real.readings["test"].probabilities.max(dim=1).values > 0.8
    assert of_real["recognisable", "none"]["floor"] == pytest.approx(sure.double().mean().item())
    assert sure.double().mean() > 0.8
    assert of_real["recognisable", "none"]["value"] > 0.8
    few = {"code": "few_to_extrapolate", "values": {"n": 30}}
    assert of_real["extrapolated", "test"]["note"] == few


def test_sharpness_is_against_the_test_part(data: ImageData, brief: None) -> None:
    found = measured(data.test.images[:30], read(data, 30))["sharpness", "test"]
    assert found["floor"] == 1.0
    assert found["low"] < 1 < found["high"]
    assert found["better"] == "floor" and found["note"] == as_json(MEAN_PIXELS)


def test_training_images_as_samples_are_exposed(data: ImageData, brief: None) -> None:
    """A model that learnt its images by heart: told by number, and shown beside them."""
    real = read(data, 40)
    copies = data.train.images[100:140]
    found = measured(copies, real)["memorised", "train"]
    assert found["value"] == 1.0 and found["floor"] == 1 / (len(data.test) + 1)
    samples, nearest = worst_offenders(outputs_of(copies, real), 5)
    assert torch.equal(samples, nearest) and len(samples) == 5
    assert measured(real.other, real)["memorised", "train"]["value"] < 0.5
    by_ratio = measured(copies, real)["copied", "train"]
    assert by_ratio["value"] == 1.0 and by_ratio["low"] > 0.9 and by_ratio["floor"] < 0.5


def test_data_without_labels_are_measured_on_patches(run: Run, tmp_path: Path) -> None:
    plain = open_tiny(tmp_path, labeled=False)
    [found] = evaluated([run.folder.path], plain, count=20, machine=one_thread())
    metrics = metrics_of(found)
    assert set(metrics) == set(NAMES)
    assert found["extractor"] == {"name": "patches", "accuracy": None}
    assert found["data"]["fingerprint"] == plain.fingerprint  # not that of the training data
    assert found["data"]["test"] == len(plain.test)
    for name in (("recognisable", "none"), ("label_balance", "test"), ("probe_accuracy", "test")):
        metric = metrics[name]
        assert set(metric) >= KEYS
        assert metric["value"] is metric["low"] is metric["high"] is None
        assert metric["kind"] == "not defined"
        assert metric["note"]["code"] in ("no_classifier", "no_labels_to_probe")
    for name in (
        ("frechet_distance", "test"),
        ("kernel_distance", "train"),
        ("path_length", "test"),
    ):
        assert metrics[name]["features"] == "patches"
        assert metrics[name]["value"] > 0


def test_patches_can_be_asked_for_where_there_are_labels(run: Run, data: ImageData) -> None:
    [found] = evaluated([run.folder.path], data, count=20, features="patches", machine=one_thread())
    assert found["extractor"]["name"] == "patches"
    metrics = metrics_of(found)
    assert metrics["frechet_distance", "test"]["features"] == "patches"
    assert metrics["recognisable", "none"]["features"] == "labels"


def test_no_more_samples_are_measured_than_there_are_other_real_images(data: ImageData) -> None:
    """Floors are of as many; of fewer, models would look better than real images."""
    few = replace(
        data,
        train=Part(data.train.images[:9], None),
        validation=Part(data.validation.images[:4], None),
    )
    assert count_samples(None, few, "cpu") == 13 < len(few.test)


def test_few_samples_have_no_neighbours(data: ImageData, run: Run, brief: None) -> None:
    [found] = evaluated([run.folder.path], data, count=3, machine=one_thread())
    neighbours = (
        "precision", "recall", "density", "coverage", "clipped_density", "clipped_coverage",
    )  # fmt: skip
    for metric in found["metrics"]:
        if metric["name"] in neighbours or metric["method"] == "extrapolated":
            assert metric["value"] is None
            assert metric["note"]["code"] in ("few_for_neighbors", "few_to_extrapolate")
            assert metric["note"]["values"] == {"n": 3}
        elif metric["name"] == "real_or_fake":
            assert metric["value"] is None and metric["note"]["code"] == "few_to_learn_from"
        elif metric["name"] != "own_exemplar":
            assert math.isfinite(metric["value"])


def test_a_model_that_encodes_nothing_has_no_reconstruction(data: ImageData) -> None:
    """Nor a likelihood or a representation: each with the reason, the model's own if it has one."""
    found = measured(data.test.images[:10], read(data, 10, "patches"))
    assert list(found) == NAMES
    reasons = {
        "reconstruction_psnr": DrawsAlone.lacks["encode"],
        "reconstruction_ssim": DrawsAlone.lacks["encode"],
        "path_length": DrawsAlone.lacks["encode"],
        "path_uniformity": DrawsAlone.lacks["encode"],
        "copied_control": DrawsAlone.lacks["encode"],
        "own_exemplar": Note("no_exemplars"),
        "bits_per_dim": Note("no_likelihood"),
        "probe_accuracy": Note("no_representation"),
    }
    for name, reason in reasons.items():
        metric = next(each for (named, _), each in found.items() if named == name)
        assert metric["value"] is metric["floor"] is None and metric["kind"] == "not defined"
        assert metric["note"] == as_json(reason)
    assert found["drawn_path_length", "none"]["kind"] == "estimate"


def test_images_of_another_shape_are_not_measured_on(run: Run, data: ImageData) -> None:
    def double(part: Part) -> Part:
        return Part(part.images.repeat(1, 1, 2, 2), part.labels)

    larger = dataclasses.replace(
        data, train=double(data.train), validation=double(data.validation), test=double(data.test)
    )
    with pytest.raises(InputError, match="or give --resolution 16"):
        triptych.evaluate([run.folder.path], larger, machine=one_thread())


def test_the_accuracy_is_of_the_picked_images(
    data: ImageData, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_REFERENCES", 20)
    real = read(data, 10)
    assert len(real.test) == 20
    right = real.readings["test"].probabilities.argmax(1) == labels_in(real.test)
    assert real.accuracy == pytest.approx(right.double().mean().item())


def test_counts() -> None:
    images, labels = make_images(3000)
    part = Part(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels))
    data = ImageData(
        name="a", source="a", fingerprint="a", fit="stretch", classes=None, notes=(),
        train=part, validation=part, test=part,
    )  # fmt: skip
    assert count_samples(None, data, "cpu") == 2000
    assert count_samples(None, data, "cuda") == 3000
    assert count_samples(9000, data, "cpu") == 3000
    assert count_samples(7, data, "cpu") == 7
    chosen = part.choose(200, "x")
    picked = chosen.images
    assert torch.equal(picked, part.choose(200, "x").images)
    for other in (part.choose(200, "y"), part.choose(200, "x", seed=1)):
        assert not torch.equal(chosen.images, other.images)
    assert chosen.labels is not None and torch.equal(chosen.labels, labels_in(picked))
    assert len(labels_in(picked).unique()) == CLASSES
    assert len({image.numpy().tobytes() for image in picked}) == 200
    tiny = dataclasses.replace(data, test=Part(part.images[:2], None))
    with pytest.raises(InputError, match="2 samples against 2 test images are too few"):
        count_samples(None, tiny, "cpu")
    assert len(read(tiny, 3, "patches").other) == 3


def test_cost_counts_every_network(run: Run) -> None:
    model = run.model
    assert parameters(model) == sum(p.numel() for p in model.parameters())
    counted: list[int] = []

    def count(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Two operations for every weight at every place it is used.

        One that doubles a picture of 8x8 or more uses 16 sums of its 9 weights at each pixel of it.
        """
        places, weights = output[0].numel() // layer.weight.shape[0], layer.weight.numel()
        if isinstance(layer, DoublingConvolution) and inputs[0].shape[-1] >= 8:
            places, weights = inputs[0][0, 0].numel(), weights * 16 // 9
        counted.append(2 * weights * places)

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    found = flops_per_image(model, "cpu")
    for hook in hooks:
        hook.remove()
    assert found == sum(counted)


def test_the_extrapolated_distance_is_near_zero_for_real_images(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many images with few features of them: the bias goes, the floor with it."""
    monkeypatch.setattr(extractors, "LEADING", 4)
    real = read(data, 40, "patches")
    metrics = measured(real.other, real)
    plain, limit = metrics["frechet_distance", "test"], metrics["extrapolated", "test"]
    assert limit["floor"] == limit["value"]
    assert limit["low"] < 0 < limit["high"]
    assert abs(limit["value"]) < plain["value"] / 3


def test_what_metrics_share_is_computed_once(
    data: ImageData, run: Run, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reconstructions and paths are drawn once for two metrics each, floors once for all models.

    Reconstructions are of test images, and once more of training images.
    """
    calls: list[str] = []

    def counted(module: Any, name: str) -> None:
        original = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, **more: (calls.append(name), original(*args, **more))[1]
        )

    counted(reconstruct, "reconstruct")
    counted(interpolate, "between_images")
    counted(likelihood, "negative_bounds")
    counted(prdc, "squared_radii")  # twice for samples with intervals, twice for floors
    counted(frechet_distance, "jackknife")  # of the distance to test and to training images
    counted(kernel_distance, "kernel_value")  # of the floors alone
    real = read(data, 30)
    for _ in range(2):
        outputs = Outputs(run.model, data.test.images[:30].clone(), real)
        [measure(metric, outputs).to_json() for metric in real.metrics]
    assert {name: calls.count(name) for name in calls} == {
        "reconstruct": 4, "between_images": 2, "negative_bounds": 2, "squared_radii": 6,
        "jackknife": 4, "kernel_value": 2,
    }  # fmt: skip


def test_every_tensor_that_metrics_may_name_is_given(data: ImageData, brief: None) -> None:
    """As it is described: those of samples and of references have a row for each of them."""
    real = read(data, 30)
    outputs = outputs_of(data.test.images[:30], real)
    assert outputs.by_name.keys() == metrics.OUTPUTS.keys()
    assert real.tensors.keys() == metrics.REAL.keys()
    assert real.others.keys() <= metrics.OUTPUTS.keys()
    for name, maker in real.tensors.items():
        if "[M," in metrics.REAL[name] or "[M]" in metrics.REAL[name]:
            assert len(maker()) == len(real.train if name.startswith("train") else real.test)
        if "[N," in metrics.REAL[name]:
            assert len(maker()) == 30
    for name in ("images", "features", "probabilities", "nearest_distances"):
        assert len(outputs.by_name[name].make()) == outputs.by_name[name].n == 30


def test_floors_of_images_that_the_classifier_has_seen_are_said(
    data: ImageData, run: Run, brief: None
) -> None:
    """More samples than validation images: training images fill the count up."""
    few = data.validation.choose(10, "few")
    data = dataclasses.replace(data, validation=few)
    real = read(data, len(data.test))
    assert real.seen == len(data.test) - 10 > 0
    [found] = evaluated([run.folder.path], data, machine=one_thread())
    values = {"n": real.seen, "images": len(data.test)}
    assert {"code": "floor_of_training_images", "values": values} in found["warnings"]
    assert read(data, len(data.validation)).seen == 0


def test_a_code_has_the_size_of_its_latent_and_a_time(data: ImageData, run: Run) -> None:
    """The practical's VAE has 32 numbers; a diffusion model as many as its image."""
    real = read(data, 10, "patches")
    costs = Outputs(run.model, data.test.images[:10], real).encoding_costs
    assert costs["code_size"] == 32
    assert costs["reconstruct_seconds_per_image"] > 0
    assert outputs_of(data.test.images[:10], real).encoding_costs == {}


@pytest.mark.parametrize("kind", ["fitted", "not fitted", "latent pictures alone"])
def test_only_a_prior_that_keeps_training_images_is_called_one(
    data: ImageData, run: Run, kind: str
) -> None:
    """A fitted vector of 3 keeps 20 encodings, 60 numbers; nothing is said of any other ladder."""
    vector = VectorLatent(size=0 if kind == "latent pictures alone" else 3, exemplars=(20, 2))
    model = tiny_ladder(3, patch=4, vector=vector).float().eval()
    if kind != "not fitted":
        x = images.to_float(data.train.images[:20])
        model.fit_after_training(x, ImageStreams(0, "fit", range(20)))
    real = read_real(data, 20, "patches", None, one_thread(), QUIET)
    own = tuple(metric for metric in real.metrics if metric.name == "own_exemplar")
    found = evaluate(model, run.record, dataclasses.replace(real, metrics=own), QUIET).results
    [share], kept = found.metrics, 60 if kind == "fitted" else 0
    assert exemplar_numbers(model) == found.cost.exemplar_numbers == kept
    assert (Note("prior_of_training_images") in found.warnings) == share.defined == bool(kept)
    assert share.note == (None if kept else Note("no_exemplars"))


def flat_images(count: int, seed: int = 0) -> Tensor:
    """One colour each."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, 1, 1), generator=rng).to(torch.uint8).repeat(1, 1, 16, 16)


@pytest.mark.parametrize("kind", ["flat", "one and the same"])
def test_what_has_no_number_is_not_defined(data: ImageData, kind: str) -> None:
    """Neither infinite, nor not a number, nor 1e10: each has its reason, or is a number indeed."""
    same = flat_images(1).repeat(60, 1, 1, 1)
    pixels = flat_images(300) if kind == "flat" else torch.cat([same] * 5)
    parts = [Part(part, None) for part in (pixels[:200], pixels[200:240], pixels[240:])]
    train, validation, test = parts
    plain = dataclasses.replace(
        data, train=train, validation=validation, test=test, classes=None, fingerprint=kind
    )
    real = read(plain, 30, "patches")
    for samples in (data.test.images[:30], flat_images(30, seed=1), same[:30]):
        for name, metric in measured(samples, real).items():
            for value in (metric["value"], metric["low"], metric["high"], metric["floor"]):
                assert value is None or math.isfinite(value), (name, value)
            assert (metric["value"] is None) == (metric["kind"] == "not defined")
        found = measured(samples, real)
        assert found["sharpness", "test"]["note"]["code"] == "no_edges"
        if kind == "one and the same":
            for name in ("frechet_distance", "kernel_distance"):
                for reference in ("test", "train"):
                    assert found[name, reference]["note"]["code"] == "same_images"
            assert found["memorised", "train"]["note"]["code"] == "held_out_coincide"
            for name in ("precision", "recall", "density", "coverage"):
                assert found[name, "test"]["note"]["code"] == "no_neighborhoods"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_not_defined(data: ImageData, value: float) -> None:
    toy = metrics.Metric(
        name="toy", better="lower", group="samples", needs=("images",),
        compute=lambda ours, real: Estimate(1.0, 0.0, value),
    )  # fmt: skip
    found = measure(toy, outputs_of(data.test.images[:10], read(data, 10, "patches")))
    assert found.value is None and found.note == Note("not_finite_value")


def test_a_note_of_an_estimate_is_kept(data: ImageData) -> None:
    toy = metrics.Metric(
        name="toy", better="lower", group="samples", needs=("images",),
        compute=lambda ours, real: Estimate(1.0, 0.0, 2.0, note=Note("few_pairs")),
    )  # fmt: skip
    found = measure(toy, outputs_of(data.test.images[:10], read(data, 10, "patches")))
    assert found.value == 1 and found.note == Note("few_pairs")
