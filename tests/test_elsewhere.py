"""Samples from elsewhere: measured as our own are, or refused in one line; never written into."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import triptych
from tests.making import make_images, one_thread, open_tiny, write_folder, write_npz, write_parquet
from triptych import api
from triptych.comparison import compare as comparing
from triptych.config import ImageShape
from triptych.console import QUIET
from triptych.data.dataset import ImageData
from triptych.data.samples import SampleFormat, read_samples, source_of_arrays
from triptych.data.sources import Columns, Item, Source
from triptych.data.sources.folder import read_folder
from triptych.errors import InputError
from triptych.evaluation import classifier, generators, saved_reference
from triptych.evaluation.evaluate import Evaluation
from triptych.evaluation.outputs import EVALUATION_SEED
from triptych.evaluation.samples import (
    Samples,
    SampleSource,
    are_samples,
    samples_of,
    split_name,
)
from triptych.images import from_array, to_array
from triptych.metrics import Metric, NotDefinedError
from triptych.options import DataOptions
from triptych.pages import claims, load, verdict
from triptych.pages.columns import make_columns
from triptych.pages.language import Language
from triptych.pages.page import write_page
from triptych.records import MetricRecord, Note, ResultsRecord
from triptych.run import Run
from triptych.seeding import ImageStreams
from triptych.training.run_folder import RunFolder
from triptych.words import english

OF_MODELS = {
    "bits_per_dim", "reconstruction_psnr", "reconstruction_ssim", "path_length", "path_uniformity",
    "probe_accuracy", "copied_control", "own_exemplar", "drawn_path_length",
    "drawn_path_uniformity",
}  # fmt: skip
COUNT = 30


@pytest.fixture(scope="module", autouse=True)
def brief() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "LEAST_IMAGES", 4000)
        patch.setattr(classifier, "EPOCHS", 1)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def data(place: Path) -> ImageData:
    return open_tiny(place)


@pytest.fixture(scope="module")
def run(data: ImageData, place: Path) -> Run:
    return triptych.train(
        "vae:course", data, budget="0.64kimg", out=place / "vae", machine=one_thread()
    )


@pytest.fixture(scope="module")
def own(run: Run, data: ImageData) -> ResultsRecord:
    """What `evaluate` finds of the run."""
    return triptych.evaluate([run.folder.path], data, count=COUNT, machine=one_thread())[0]


@pytest.fixture(scope="module")
def npz(run: Run, place: Path) -> Path:
    """The very samples that `evaluate` draws of the run, in a file."""
    drawn = run.sample(COUNT, EVALUATION_SEED)
    return write_npz(place / "stylegan.npz", to_array(drawn))


@pytest.fixture(scope="module")
def ruler(data: ImageData, place: Path) -> Path:
    """The data as a reference for so many samples."""
    path = place / "ruler.safetensors"
    triptych.save_reference(data, path, count=COUNT, machine=one_thread())
    return path


def by_key(found: ResultsRecord) -> dict[tuple[str | None, ...], MetricRecord]:
    return {(m.name, m.features, m.reference, m.method): m for m in found.metrics if m.defined}


def measure(images: Any, data: Any, **options: Any) -> ResultsRecord:
    return triptych.measure(images, data, machine=one_thread(), **options)


def plain(data: ImageData, place: Path) -> ImageData:
    """The same without labels, so that nothing has to be trained."""
    return replace(data, classes=None, fingerprint="plain")


def real_pixels(count: int = COUNT, seed: int = 5) -> np.ndarray:
    return make_images(count, seed=seed)[0]


# The same numbers


def test_samples_score_what_their_run_scores_to_the_last_bit(
    own: ResultsRecord, npz: Path, data: ImageData
) -> None:
    """Each number, its interval, its floor and its values with images left out."""
    found = measure(npz, data)
    theirs = {key: m for key, m in by_key(own).items() if m.name not in OF_MODELS}
    assert by_key(found).keys() == theirs.keys() and len(theirs) >= 11
    for key, metric in by_key(found).items():
        assert replace(metric, note=None) == replace(theirs[key], note=None), key
    assert found.extractor == own.extractor and found.data == own.data


def test_what_takes_a_model_is_not_defined_for_the_true_reason(npz: Path, data: ImageData) -> None:
    found = measure(npz, data)
    undefined = {m.name for m in found.metrics if m.note == Note("samples_have_no_model")}
    assert undefined == OF_MODELS
    assert all(
        m.kind == "not defined" and m.n is None for m in found.metrics if m.name in OF_MODELS
    )
    assert found.model == "elsewhere:stylegan" and found.samples is not None
    assert found.samples.kind == "files" and found.samples.images == COUNT
    assert set(vars(found.cost).values()) == {None}


def test_every_form_of_the_same_samples_gives_the_same_images(
    data: ImageData, tmp_path: Path
) -> None:
    images = real_pixels()
    data = plain(data, tmp_path)
    forms: dict[str, Any] = {
        "folder": write_folder(tmp_path / "folder", images),
        "npz": write_npz(tmp_path / "a.npz", images),
        "parquet": write_parquet(tmp_path / "a.parquet", images, None),
        "named": f"mine={tmp_path / 'a.npz'}",
        "array": images,
        "tensor": from_array(images),
        "batches": (batch for batch in np.array_split(images, 3)),
        "pairs": [(batch, np.zeros(len(batch), int)) for batch in np.array_split(images, 2)],
    }
    np.save(tmp_path / "a.npy", images)
    forms["npy"] = tmp_path / "a.npy"
    opened = {
        name: samples_of(form, None, "", SampleFormat.of(data), 40, one_thread(), QUIET)
        for name, form in forms.items()
    }
    for name, samples in opened.items():
        assert torch.equal(samples.images, from_array(images)), name
        assert samples.notes == () and samples.labels is None
        assert samples.fingerprint == opened["array"].fingerprint
    assert (opened["named"].name, opened["folder"].name) == ("mine", "folder")


# What is done with them


def wanted(**changes: Any) -> SampleFormat:
    shape = ImageShape(channels=3, resolution=16)
    return replace(SampleFormat(shape=shape, fit="stretch", classes=("0", "1")), **changes)


def test_sizes_are_brought_to_the_datas_by_the_same_resize_and_it_is_said() -> None:
    """As Pillow does it: bicubic with antialiasing, as data are read."""
    images = real_pixels(4)
    large = np.stack([np.asarray(Image.fromarray(each).resize((40, 24))) for each in images])
    read = read_samples(source_of_arrays(large, None, "x"), "x", wanted())
    for image, original in zip(to_array(read.images), large, strict=True):
        exact = Image.fromarray(original).resize((16, 16), Image.Resampling.BICUBIC)
        assert np.array_equal(image, np.asarray(exact))
    values = {"sizes": "40x24", "resolution": "16x16", "fit": "stretch"}
    assert read.notes == (Note("samples_resized", {**values}),)
    cropped = read_samples(source_of_arrays(large, None, "x"), "x", wanted(fit="crop"))
    assert not torch.equal(cropped.images, read.images)


def test_the_order_stays_and_of_more_a_fixed_choice_is_measured() -> None:
    images = real_pixels(60)
    whole = read_samples(source_of_arrays(images, None, "x"), "x", wanted(), 60)
    assert torch.equal(whole.images, from_array(images)) and whole.notes == ()
    some = read_samples(source_of_arrays(images, None, "x"), "x", wanted(), 20)
    rows = [next(i for i in range(60) if torch.equal(one, whole.images[i])) for one in some.images]
    assert rows == sorted(rows) and len(set(rows)) == 20 and rows != list(range(20))
    assert some.held == 60 and some.notes == (Note("samples_chosen", {"n": 20, "held": 60}),)
    again = read_samples(source_of_arrays(images, None, "x"), "x", wanted(), 20)
    assert torch.equal(again.images, some.images)


def test_labels_are_those_of_the_data_by_name_and_go_with_the_choice() -> None:
    images, _ = make_images(30)
    labels = [str(int(image[0, 2, 0]) % 2) for image in images]
    source = source_of_arrays(images, labels, "x")
    read = read_samples(source, "x", wanted(classes=("1", "0")), 10)
    assert read.labels is not None
    assert [("1", "0")[n] for n in read.labels] == [str(int(x[0, 0, 2]) % 2) for x in read.images]
    assert read_samples(source, "x", wanted(), labeled=False).labels is None
    assert read_samples(source, "x", wanted(classes=None)).labels is None
    some = source_of_arrays(images, None, "x")
    assert read_samples(some, "x", wanted()).labels is None


def test_labelled_samples_are_marked_as_conditional_runs_are(
    data: ImageData, tmp_path: Path
) -> None:
    images, labels = make_images(30, seed=4)
    found = measure(write_npz(tmp_path / "a.npz", images, labels), data)
    assert found.samples is not None and found.samples.labels
    assert Note("samples_have_labels") in found.warnings
    plainly = measure(tmp_path / "a.npz", data, ignore_labels=True)
    assert Note("samples_have_labels") not in plainly.warnings
    assert plainly.metrics == found.metrics


def test_bytes_of_samples_are_plain_ones_unless_those_of_the_data_were_all_0_or_1() -> None:
    dark = np.ones((4, 16, 16, 3), np.uint8)
    dark[:, :8] = 0
    dark[:, :8, :8, 0] = 1
    read = read_samples(source_of_arrays(dark, None, "x"), "x", wanted())
    assert read.images.max() == 1
    binary = wanted(ranges={"uint8": (0, 1)})
    assert read_samples(source_of_arrays(dark, None, "x"), "x", binary).images.max() == 255
    loud = dark * 200
    read = read_samples(source_of_arrays(loud, None, "x"), "x", binary)
    assert read.images.max() == 200


# What is refused

REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (real_pixels(4)[..., 0], {}, "x have one channel, and the data are coloured: save samples of"),
    (real_pixels(4) / 255, {}, r"float64 from 0 to [01.]+\d*: save them as uint8: \(x \* 255\)"),
    (real_pixels(4) / 127.5 - 1, {}, r"float64 from -1 to .*: \(\(x \+ 1\) \* 127\.5\)\.round"),
    (real_pixels(4).astype(np.float32), {}, r"float32 from 0 to \d+: save them as uint8: x\.round"),
    (real_pixels(4).astype(np.int64) - 9, {}, "int64 from -9 to .*: save them as uint8, 0 for"),
    (np.full((4, 16, 16, 3), np.nan), {}, "hold no finite number"),
    (np.zeros((0, 16, 16, 3), np.uint8), {}, "no samples in x"),
    (np.zeros((16, 16, 3), np.uint8), {}, r"x are of shape \(16, 16, 3\): give \(N,H,W\)"),
    (np.zeros((2, 16, 16, 5), np.uint8), {}, r"are of shape \(2, 16, 16, 5\)"),
    (["a"], {}, "x are not images but str"),
    (7, {}, "x are not images but int"),
]  # fmt: skip


@pytest.mark.parametrize(("images", "more", "message"), REFUSED)
def test_what_cannot_be_compared_is_refused(
    images: Any, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_samples(source_of_arrays(images, None, "x"), "x", wanted(**more))
    assert "\n" not in str(caught.value)


def test_coloured_samples_are_refused_for_grey_data() -> None:
    grey = wanted(shape=ImageShape(channels=1, resolution=16))
    with pytest.raises(InputError, match="4 of 4 samples in x are coloured, and the"):
        read_samples(source_of_arrays(real_pixels(4), None, "x"), "x", grey)
    equal = np.repeat(real_pixels(4)[..., :1], 3, axis=-1)
    read = read_samples(source_of_arrays(equal, None, "x"), "x", grey)
    assert np.array_equal(to_array(read.images), equal[..., :1])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["0", "owl"], "label 'owl' of the samples in x is no class of the data: label them by 0"),
        ([0, 7], "label '7' of the samples in x is no class"),
        ([0], "2 samples and 1 labels"),
        ([0, 0.5], "a label of x is float"),
        ("01", "the labels of x are str"),
    ],
)
def test_wrong_labels_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_samples(source_of_arrays(real_pixels(2), labels, "x"), "x", wanted())


def test_bad_files_are_left_out_and_told_or_refused_when_strict(
    data: ImageData, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "folder", real_pixels(12))
    (folder / "0003.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing")
    found = measure(folder, plain(data, tmp_path))
    assert found.samples is not None
    [note] = found.samples.notes
    assert note.code == "many_bad_images" and note.values["n"] == 1
    assert next(m.n for m in found.metrics if m.name == "sharpness") == 11
    with pytest.raises(InputError, match=r"1 bad images in .*0003\.png"):
        measure(folder, plain(data, tmp_path), strict=True)


def test_what_is_left_out_of_samples_is_told(data: ImageData, tmp_path: Path) -> None:
    """Masks, files that tell no part, links to nothing, and what a file holds besides."""
    folder = write_folder(tmp_path / "folder", real_pixels(12))
    (folder / "0003_mask.png").write_bytes((folder / "0003.png").read_bytes())
    (folder / "away.png").symlink_to("nowhere.png")
    frames = [Image.fromarray(each) for each in real_pixels(2)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    read = read_samples(read_folder(folder, Columns()), "x", wanted())
    assert len(read.images) == 13
    codes = [note.code for note in read.notes]
    assert codes == ["mask_files_left_out", "links_passed_over", "first_frames"]
    few = write_folder(tmp_path / "few", real_pixels(2))
    for number in range(2):
        (few / f"000{number}_mask.png").write_bytes((few / "0000.png").read_bytes())
    with pytest.raises(InputError, match=r"too few to measure \(2 files are left out, for their"):
        measure(few, plain(data, tmp_path))


@pytest.mark.parametrize("stranger", [2, -2])
def test_numbers_of_no_named_class_are_refused(stranger: int) -> None:
    """A number from below would count from the last name."""
    items = [Item(str(k), real_pixels(1)[0], k % 2, None) for k in range(5)]
    items.append(Item("5", real_pixels(1)[0], stranger, None))
    source = Source(lambda: iter(items), 6, ("0", "1"))
    message = rf"^1 samples in x have labels outside 0 to 1, .* \(the first is {stranger}\): mend"
    with pytest.raises(InputError, match=message):
        read_samples(source, "x", wanted())


def test_too_few_samples_are_refused(data: ImageData) -> None:
    with pytest.raises(InputError, match=r"^one sample in ndarray is too few to measure: give at"):
        measure(real_pixels(1), plain(data, Path()))
    with pytest.raises(InputError, match=r"^2 samples in mine are too few to measure"):
        measure(real_pixels(2), plain(data, Path()), name="mine")


# What the user writes


def test_names_stand_before_paths_and_models_stay_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "a=b.npz", real_pixels(3))
    (tmp_path / "vae").mkdir()
    assert split_name("a=b.npz") == ("", "a=b.npz")
    assert split_name("x=a=b.npz") == ("x", "a=b.npz")
    assert SampleSource.parse("x=a=b.npz") == SampleSource("x", "x=a=b.npz", "files", "a=b.npz")
    assert SampleSource.parse("a=b.npz").name == "a=b"
    assert SampleSource.parse("diffusers:o/ddpm") == SampleSource(
        "ddpm", "diffusers:o/ddpm", "diffusers", "o/ddpm"
    )
    assert SampleSource.parse("g=pt2:a/gen.pt2").name == "g"
    assert SampleSource.parse("pt2:a/gen.pt2").name == "gen"
    samples = ["a=b.npz", "none.npz", "x=any", "onnx:a", "vae=x.npz", "hf:a/b"]
    models = ["vae", "gan:r1", "gan:r1,ema=0.1", "diffusion,size=small", "runs/d", "nonsense"]
    assert [text for text in samples + models if comparing.is_samples(text)] == samples
    (tmp_path / "run").mkdir()
    assert are_samples("run")
    (tmp_path / "run" / "run.json").write_text("{}")
    assert not are_samples("run")


def test_our_own_folders_are_no_samples(run: Run, data: ImageData) -> None:
    with pytest.raises(InputError, match="is a folder of triptych's, its pictures are no samples"):
        measure(run.folder.path, data)


# Generators


class Generator(nn.Module):
    """z -> tanh of a linear map, on [-1, 1]."""

    def __init__(self, latent: int = 5, channels: int = 3) -> None:
        super().__init__()
        self.linear = nn.Linear(latent, channels * 256)
        self.channels = channels

    def forward(self, z: Tensor) -> Tensor:
        return self.linear(z).tanh().view(-1, self.channels, 16, 16)


def made(latent: int = 5, channels: int = 3) -> Generator:
    torch.manual_seed(1)
    return Generator(latent, channels)


def drawn_by_hand(module: nn.Module, count: int, *shape: int) -> Tensor:
    """Images 0..N-1, one at a time: latents keyed by the image's number, then rounded to bytes."""
    images = []
    with torch.no_grad():
        for number in range(count):
            z = ImageStreams(EVALUATION_SEED, "sample", [number]).normal(*shape)
            images.append(((module(z) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(images)


def nearly(first: Tensor, second: Tensor) -> bool:
    """Sums in another order may round another way."""
    apart = (first.int() - second.int()).abs()
    return int(apart.max()) <= 1 and (apart > 0).float().mean().item() < 1e-3


def test_a_module_is_sampled_by_latents_of_its_first_layers_length() -> None:
    module = made()
    made_by = generators.of_module(module, None, one_thread())
    drawn = generators.sample(made_by, 70, one_thread(), lambda done: None)
    assert nearly(drawn, drawn_by_hand(module, 70, 5))
    first = nn.Sequential(nn.ConvTranspose2d(7, 3, 16), nn.Tanh())
    drawn = generators.sample(
        generators.of_module(first, None, one_thread()), 3, one_thread(), lambda done: None
    )
    assert nearly(drawn, drawn_by_hand(first, 3, 7, 1, 1))


def test_a_module_is_measured_as_its_samples_are(data: ImageData) -> None:
    module = made()
    module.linear.eval()  # one part alone, as frozen ones are
    found = measure(module, plain(data, Path()), count=30)
    assert module.training and not module.linear.training
    drawn = generators.sample(
        generators.of_module(module, 5, one_thread()), 30, one_thread(), lambda done: None
    )
    assert found.metrics == measure(drawn, plain(data, Path())).metrics
    assert found.samples is not None and found.samples.kind == "module"
    assert found.samples.images is None and found.model == "elsewhere:Generator"


@pytest.mark.parametrize(
    ("module", "latent", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 4)), None, r"cannot be told .*: latent=128"),
        (made(), 6, r"Generator cannot be sampled \(mat1 and mat2"),
        (nn.Linear(4, 4), None, r"Linear gives float32 \(3, 4\) for 3 latents: it must give"),
        (
            nn.Sequential(made(), nn.Threshold(0, 0.5)),
            5,
            r"makes images from .* to .*, not from -1 to 1",
        ),
        (made(channels=1), 5, "have one channel, and the data are coloured"),
    ],
)
def test_a_module_that_makes_no_images_is_refused(
    module: nn.Module, latent: int | None, message: str, data: ImageData
) -> None:
    with pytest.raises(InputError, match=message):
        measure(module, plain(data, Path()), latent=latent, count=3)


class Shaped(nn.Module):
    """Values drawn by the latent, moved by a function."""

    def __init__(self, move: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.move = move

    def forward(self, z: Tensor) -> Tensor:
        return self.move(z).view(-1, 3, 16, 16)


@pytest.mark.parametrize(
    ("move", "accepted"),
    [
        (lambda z: 0.5 + 0.25 * z.clamp(-2.6, 2.6), False),  # 0 to 1, by 0.15 more on both sides
        (lambda z: (0.5 + 0.2 * z).clamp(-0.02, 1.0), False),
        (lambda z: z.tanh(), True),
        (lambda z: torch.where(z > 2.8, -1.0, 1.0), True),  # thin dark lines on white paper
        (lambda z: (0.4 + 0.3 * z).clamp(-1, 1), True),  # light, and dark in places
        (lambda z: 0.05 * z, True),  # as an untrained network's, near 0
    ],
)
def test_values_from_0_to_1_are_told_by_where_most_of_them_lie(
    move: Callable[[Tensor], Tensor], accepted: bool
) -> None:
    """One value below zero is no proof of -1 to 1: such images would be washed out silently."""
    made_by = generators.of_module(Shaped(move), 768, one_thread())
    if accepted:
        generators.sample(made_by, 60, one_thread(), lambda done: None)
        return
    with pytest.raises(InputError, match=r"makes images from -0\..* to 1.*, not from -1 to 1"):
        generators.sample(made_by, 60, one_thread(), lambda done: None)


@pytest.mark.parametrize("batch", ["any", "fixed"])
def test_a_pt2_file_is_sampled_as_its_module_is(tmp_path: Path, batch: str) -> None:
    """Its signature tells the latent's length, and the batch size where that is fixed."""
    module = made()
    dynamic = {"z": {0: torch.export.Dim("n")}} if batch == "any" else None
    program = torch.export.export(module, (torch.zeros(4, 5),), dynamic_shapes=dynamic)
    torch.export.save(program, tmp_path / "gen.pt2")
    made_by = generators.of_pt2(tmp_path / "gen.pt2", one_thread())
    drawn = generators.sample(made_by, 10, one_thread(), lambda done: None)
    assert nearly(drawn, drawn_by_hand(module, 10, 5))


def test_a_pt2_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gen.pt2").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"pt2:.*gen\.pt2 cannot be read"):
        generators.of_pt2(tmp_path / "gen.pt2", one_thread())
    with pytest.raises(InputError, match="no file for pt2:"):
        generators.of_pt2(tmp_path / "none.pt2", one_thread())


class Session:
    """What onnxruntime's InferenceSession offers of a generator, of any batch or of 4."""

    sizes: ClassVar[list[Any]] = ["n", 5]
    kind = "tensor(float)"

    def __init__(self, path: str, options: Any, providers: Any) -> None:
        if "damaged" in path:
            raise RuntimeError("Protobuf parsing failed.\nmore")

    def get_inputs(self) -> list[Any]:
        return [types.SimpleNamespace(name="z", type=self.kind, shape=self.sizes)]

    def run(self, outputs: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        z = torch.from_numpy(inputs["z"])
        assert not isinstance(self.sizes[0], int) or len(z) == self.sizes[0]
        with torch.no_grad():
            return [made()(z).numpy()]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for onnxruntime, whose wheels are not among what tests need."""
    module: Any = types.ModuleType("onnxruntime")
    module.SessionOptions = types.SimpleNamespace
    module.get_available_providers = list
    module.InferenceSession = Session
    monkeypatch.setitem(sys.modules, "onnxruntime", module)


@pytest.mark.parametrize("sizes", [["n", 5], [4, 5]])
def test_an_onnx_file_is_sampled_by_its_signature(
    runtime: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[Any]
) -> None:
    monkeypatch.setattr(Session, "sizes", sizes)
    (tmp_path / "gen.onnx").write_bytes(b"")
    made_by = generators.of_onnx(tmp_path / "gen.onnx", one_thread())
    drawn = generators.sample(made_by, 10, one_thread(), lambda done: None)
    assert nearly(drawn, drawn_by_hand(made(), 10, 5))


def test_an_onnx_file_of_another_kind_is_refused(
    runtime: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gen.onnx", "damaged.onnx"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot be read \(Protobuf parsing failed\.\)"):
        generators.of_onnx(tmp_path / "damaged.onnx", one_thread())
    monkeypatch.setattr(Session, "sizes", ["n", "m"])
    with pytest.raises(InputError, match=r"takes an input of shape \(n, m\): export it with one"):
        generators.of_onnx(tmp_path / "gen.onnx", one_thread())
    monkeypatch.setattr(Session, "kind", "tensor(int64)")
    with pytest.raises(InputError, match=r"takes z tensor\(int64\)"):
        generators.of_onnx(tmp_path / "gen.onnx", one_thread())


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    (tmp_path / "gen.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=r"gen\.onnx needs onnxruntime .*: pip install 'triptych"):
        generators.of_onnx(tmp_path / "gen.onnx", one_thread())
    with pytest.raises(
        InputError, match=r"needs diffusers .*: pip install 'triptych\[elsewhere\]'"
    ):
        generators.of_diffusers("a/b", one_thread())


def test_a_pipeline_of_diffusers_is_sampled_image_by_image(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    network = diffusers.UNet2DModel(
        sample_size=16, block_out_channels=(8,), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=60)
    pipeline = diffusers.DDIMPipeline(network, scheduler)
    pipeline.save_pretrained(tmp_path / "ddim")
    made_by = generators.of_diffusers(str(tmp_path / "ddim"), one_thread())
    drawn = made_by.draw(range(3), "cpu")
    assert drawn.dtype == torch.uint8 and drawn.shape == (3, 3, 16, 16)
    assert nearly(made_by.draw(range(1, 2), "cpu"), drawn[1:2])
    assert not torch.equal(drawn[0], drawn[1])
    assert "torchvision" not in sys.modules


def test_a_pipeline_that_fails_to_load_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    (tmp_path / "model_index.json").write_text('{"_class_name": "NoSuchPipeline"}')
    with pytest.raises(
        InputError, match=r"cannot be loaded .*: name the folder of a pipeline"
    ) as e:
        generators.of_diffusers(str(tmp_path), one_thread())
    assert "\n" not in str(e.value)


# A saved reference

NEEDS_PIXELS = "real_or_fake"  # a classifier that looks at the real images themselves


def but_for_pixels(results: ResultsRecord) -> ResultsRecord:
    """All numbers that a reference without images can give."""
    kept = tuple(metric for metric in results.metrics if metric.name != NEEDS_PIXELS)
    return replace(results, metrics=kept)


def test_a_saved_reference_measures_to_the_same_bits_without_the_data(
    npz: Path, data: ImageData, ruler: Path
) -> None:
    found, exact = measure(npz, ruler), measure(npz, data)
    assert but_for_pixels(found) == but_for_pixels(exact)
    [told] = [metric for metric in found.metrics if metric.name == NEEDS_PIXELS]
    assert told.value is None and told.note == saved_reference.NO_PIXELS


def test_it_measures_on_patches_to_the_same_bits(
    npz: Path, data: ImageData, tmp_path: Path
) -> None:
    path = tmp_path / "ruler.safetensors"
    triptych.save_reference(data, path, count=COUNT, features="patches", machine=one_thread())
    found, exact = measure(npz, path), measure(npz, data, features="patches")
    assert but_for_pixels(found) == but_for_pixels(exact)


def test_a_saved_reference_holds_no_pixels_and_no_path(ruler: Path, data: ImageData) -> None:
    kept = load_file(ruler)
    assert not any(tensor.dtype == torch.uint8 for tensor in kept.values())
    sizes = {tuple(tensor.shape[1:]) for tensor in kept.values()}
    assert data.shape.size not in sizes and (data.shape.dimensions,) not in sizes
    with safe_open(ruler, framework="pt") as file:
        text = file.metadata()["triptych"]
    assert str(data.path) not in text and data.source not in text
    assert json.loads(text)["data"]["fingerprint"] == data.fingerprint


def test_what_a_reference_lacks_is_not_defined_with_the_reason(ruler: Path) -> None:
    file = saved_reference.read(ruler)
    needs_pixels = Metric(
        name="toy", better="lower", group="samples", needs=("images", "test_images"),
        compute=lambda ours, real: pytest.fail("there are no real images"),
    )  # fmt: skip
    real = saved_reference.open_reference(file, 5, one_thread(), (needs_pixels,))
    assert real.count == 5 and len(real.matched_test_features) == len(real.other_features) == 5
    with pytest.raises(NotDefinedError) as caught:
        real.tensors["test_images"]()
    assert caught.value.note == Note("reference_without_images")


def test_samples_alone_are_compared_on_a_saved_reference(
    run: Run, npz: Path, data: ImageData, ruler: Path, tmp_path: Path
) -> None:
    """The same numbers and decisions as on the images; the page says which images there are not."""
    other = write_npz(tmp_path / "other.npz", real_pixels(20))
    words = [npz, f"real={other}"]
    page = triptych.compare(words, ruler, out=tmp_path / "kept", machine=one_thread())
    exact = triptych.compare(words, data, out=tmp_path / "whole", machine=one_thread())
    found, wanted = (comparing.read_comparison(path.parent) for path in (page, exact))
    assert [but_for_pixels(each) for each in found.runs] == list(map(but_for_pixels, wanted.runs))
    assert {m.n for run in found.runs for m in run.metrics if m.name == "sharpness"} == {20}
    numbers = {(each.name, each.value, each.low, each.better) for each in found.differences}
    others = [each for each in wanted.differences if each.name != NEEDS_PIXELS]
    assert len(found.differences) == len(others) > 5
    assert {each[:3] for each in numbers} == {(d.name, d.value, d.low) for d in others}
    contract = load.load_comparison(page.parent).contract
    assert contract.data == found.runs[0].data and contract.runs == ("stylegan", "real")
    assert contract.request["reference"] == saved_reference.read(ruler).record.digest
    text = page.read_text()
    assert "No picture: a saved reference holds no images" in text and "kept/" not in text
    assert "What it cost" not in text  # there is nothing to cost
    again = triptych.compare(words, ruler, out=tmp_path / "kept", machine=one_thread())
    assert again == page
    with pytest.raises(InputError, match="holds another comparison"):
        triptych.compare([npz], ruler, out=tmp_path / "kept", machine=one_thread())
    with pytest.raises(InputError, match="holds another comparison"):
        triptych.compare(words, data, out=tmp_path / "kept", machine=one_thread())


@pytest.mark.parametrize("also", ["vae:course", "run"])
def test_a_saved_reference_trains_and_measures_no_models(
    also: str, run: Run, npz: Path, ruler: Path, tmp_path: Path
) -> None:
    entry = run.folder.path if also == "run" else also
    for words in ([npz, entry], [entry], []):
        with pytest.raises(InputError, match="holds no images, which models are trained on"):
            triptych.compare(words, ruler, out=tmp_path / "c", machine=one_thread())
    assert not (tmp_path / "c").exists()


def test_measurements_on_a_reference_join_those_on_its_data(
    run: Run, own: ResultsRecord, npz: Path, ruler: Path, tmp_path: Path
) -> None:
    """Of samples alone a report does not claim to know where they were measured."""
    triptych.evaluate(npz, ruler, out=tmp_path / "m", machine=one_thread())
    for name in ("both", "one"):
        (tmp_path / name).mkdir()
    comparing.join(tmp_path / "both", [run.folder, RunFolder(tmp_path / "m")], force=False)
    both = load.load_comparison(tmp_path / "both").contract
    assert not both.forced and both.device == run.record.device
    comparing.join(tmp_path / "one", [RunFolder(tmp_path / "m")], force=False)
    one = load.load_comparison(tmp_path / "one").contract
    assert one.device is one.precision is one.threads is None
    assert one.versions == one.hardware == {}
    page = triptych.report(tmp_path / "m", out=tmp_path / "page.html")
    assert "<dt>Device</dt>" not in page.read_text()
    assert "<dt>Device</dt>" in triptych.report(run.folder.path, out=page).read_text()


def test_floors_of_images_that_the_classifier_has_seen_are_said_of_samples_too(
    data: ImageData, tmp_path: Path
) -> None:
    """Validation images come first: of fewer floor images fewer are training images."""
    data = replace(data, validation=data.validation.choose(10, "few"))
    path = tmp_path / "seen.safetensors"
    triptych.save_reference(data, path, count=COUNT, machine=one_thread())

    def seen(ground: Any, count: int) -> list[dict[str, Any]]:
        warnings = measure(real_pixels(count), ground).warnings
        return [w.values for w in warnings if w.code == "floor_of_training_images"]

    assert seen(data, COUNT) == seen(path, COUNT) == [{"n": COUNT - 10, "images": COUNT}]
    assert seen(data, 12) == seen(path, 12) == [{"n": 2, "images": 12}]
    assert seen(data, 10) == seen(path, 10) == []
    assert seen(rewritten(path, tmp_path, seen=None), COUNT) == []  # made before it was recorded


def rewritten(ruler: Path, tmp_path: Path, **changes: Any) -> Path:
    with safe_open(ruler, framework="pt") as file:
        record = json.loads(file.metadata()["triptych"])
    path = tmp_path / "other.safetensors"
    save_file(load_file(ruler), path, {"triptych": json.dumps(record | changes)})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 99}, "is a reference of version 99, this triptych reads 2: make it again"),
        ({"digest": "0"}, r"is no reference of this version of triptych \(its digest differs\)"),
        ({"colour": 1}, "is no reference of this version of triptych"),
        ({"key": "labels-0"}, "the weights of 'labels' here are not those that"),
        ({"second_key": "patches-0"}, "the weights of 'patches' here are not those that"),
    ],
)
def test_a_reference_of_another_version_is_refused(
    ruler: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        measure(real_pixels(10), rewritten(ruler, tmp_path, **changes))


def test_a_reference_is_not_blamed_for_a_full_memory(
    ruler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*asked: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    monkeypatch.setattr(saved_reference, "labels_in", refuses)
    with pytest.raises(RuntimeError, match="out of memory"):
        measure(real_pixels(10), ruler)


def test_other_references_are_refused(ruler: Path, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is no reference of this version"):
        measure(real_pixels(10), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"no reference .*none"):
        measure(real_pixels(10), tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="holds no features 'patches': leave out --features"):
        measure(real_pixels(10), ruler, features="patches")
    with pytest.raises(InputError, match=r"end --out in \.safetensors"):
        triptych.save_reference("street-digits", tmp_path / "ruler.npz")


# Written and shown


def test_results_go_where_they_are_asked_and_never_to_the_samples(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_folder(tmp_path / "mine", real_pixels(12))
    before = sorted(folder.iterdir())
    bare = plain(data, tmp_path)
    once = measure(real_pixels(12), bare)

    def as_before(samples: Samples) -> Evaluation:
        return Evaluation(replace(once, samples=samples.record()), None)

    monkeypatch.setattr(api, "sample_measurer", lambda *rest: as_before)
    for _ in range(2):  # again into the same folder
        [found] = triptych.evaluate("mine", bare, machine=one_thread())
    assert sorted(folder.iterdir()) == before
    assert sorted(p.name for p in Path("runs").iterdir()) == ["mine-measured"]
    written = json.loads(Path("runs/mine-measured/results.json").read_text())
    assert ResultsRecord.read(written) == found
    write_npz(tmp_path / "other.npz", real_pixels(12))
    triptych.evaluate("mine=other.npz", bare, machine=one_thread())
    assert Path("runs/mine-measured-2/results.json").is_file()  # other samples of that name
    triptych.evaluate("other.npz", bare, out="there", machine=one_thread())
    assert Path("there/figures/samples.png").is_file()
    with pytest.raises(InputError, match="mine is there already and holds no measurement"):
        triptych.evaluate("other.npz", bare, out="mine", machine=one_thread())
    with pytest.raises(InputError, match="nothing to measure samples against: name real images by"):
        triptych.evaluate("other.npz", machine=one_thread())
    with pytest.raises(InputError, match="two sets of samples are called mine"):
        triptych.evaluate(["mine", "mine=other.npz"], bare, machine=one_thread())


@pytest.fixture(scope="module")
def compared(run: Run, own: ResultsRecord, data: ImageData, place: Path) -> Path:
    """A run beside two sets of samples, one with labels and with fewer images."""
    images, labels = make_images(30, seed=6)
    write_npz(place / "good.npz", images, labels)
    words = [run.folder.path, f"noise={write_folder(place / 'n', random_noise())}"]
    page = triptych.compare(
        [*words, place / "good.npz"], data, out=place / "together", machine=one_thread()
    )
    return page.parent


def random_noise() -> np.ndarray:
    return np.random.default_rng(3).integers(256, size=(36, 16, 16, 3), dtype=np.uint8)


def test_samples_are_one_more_set_of_a_comparison(compared: Path) -> None:
    results = comparing.read_comparison(compared)
    assert [result.model for result in results.runs] == [
        "vae:course", "elsewhere:noise", "elsewhere:good",
    ]  # fmt: skip
    counts = {m.n for r in results.runs for m in r.metrics if m.name == "sharpness"}
    assert counts == {30}  # as many of each as of the smallest set
    assert Note("samples_chosen", {"n": 30, "held": 36}) in results.runs[1].warnings
    apart = {
        (each.first, each.second): each.better
        for each in results.differences
        if (each.name, each.reference, each.method)
        == ("frechet_distance", "test", "delete-group jackknife")
    }
    assert apart["noise", "good"] == "second" and len(apart) == 3
    contract = json.loads((compared / "contract.json").read_text())
    assert contract["runs"][1:] == ["noise", "good"] and contract["budget"] is not None
    assert {"code": "labels_given_to_some", "values": {"runs": "good"}} in contract["differences"]


@pytest.mark.parametrize(
    ("code", "words"), [("en", "trained elsewhere"), ("fr", "entraîné ailleurs")]
)
def test_its_rows_are_marked_and_cost_nothing(
    compared: Path, tmp_path: Path, code: str, words: str
) -> None:
    loaded = load.load_comparison(compared)
    page = write_page(compared, tmp_path / "page.html", code).read_text()
    assert page.count(f'noise</span> <span class="recipe">{words}</span>') >= 3
    costs = {name: value for run in loaded.runs[1:] for name, value in run.cost.items()}
    assert set(costs.values()) == {None}
    sentences = verdict.read_comparison(loaded)
    alone = verdict.read_comparison(replace(loaded, runs=loaded.runs[:1]))
    of_costs = [s for s in sentences if s.topic == "cost"]
    assert of_costs == [s for s in alone if s.topic == "cost"]
    columns = [column for column in make_columns(loaded.runs) if column.name == "sharpness"]
    assert [cell.name.model for cell in columns[0].cells] == ["", "noise", "good"]


def test_claims_of_families_are_not_judged_by_samples_from_elsewhere(compared: Path) -> None:
    """Not even by those that are called like a family."""
    loaded = load.load_comparison(compared)
    named = replace(loaded.runs[1], model="elsewhere:gan")
    judged = claims.judge_all(replace(loaded, runs=(loaded.runs[0], named)), Language("en"))
    assert {claim.family for claim in judged} == {"vae"}
    [claim] = [c for c in judged if "reconstruction" in c.words]
    assert claim.verdict in ("unmeasured", "undecided")


def test_samples_alone_are_compared_and_joined_to_runs(
    run: Run, own: ResultsRecord, npz: Path, data: ImageData, tmp_path: Path
) -> None:
    bare = plain(data, tmp_path)
    other = write_npz(tmp_path / "other.npz", real_pixels(20))
    page = triptych.compare([npz, other], bare, out=tmp_path / "two", machine=one_thread())
    contract = json.loads((page.parent / "contract.json").read_text())
    assert contract["budget"] is contract["size"] is None
    assert "Budget" not in page.read_text()
    with pytest.raises(
        InputError, match="samples are compared on real images, which are not named"
    ):
        triptych.compare([npz, other], out=tmp_path / "three", machine=one_thread())
    with pytest.raises(InputError, match="two sets of samples are called stylegan"):
        triptych.compare([npz, f"stylegan={other}"], bare, out=tmp_path / "3", machine=one_thread())
    assert not (tmp_path / "3").exists()
    triptych.evaluate(npz, data, count=COUNT, out=tmp_path / "m", machine=one_thread())
    joined = triptych.report([run.folder.path, tmp_path / "m"], out=tmp_path / "page.html")
    assert "trained elsewhere" in joined.read_text()


def test_bad_samples_stop_a_comparison_before_anything_is_trained(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "train_all", lambda *rest: pytest.fail("it was trained"))
    np.savez(tmp_path / "floats.npz", images=real_pixels(20) / 255)
    with pytest.raises(InputError, match="are float64 from 0 to"):
        triptych.compare(
            ["vae:course", tmp_path / "floats.npz"], data, out=tmp_path / "c", machine=one_thread()
        )
    assert not (tmp_path / "c").exists()


def test_the_command_line_says_it_in_one_line_and_ends_with_2(
    data: ImageData, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    from triptych.cli.main import attempt

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["triptych", *words, "--quiet"])
        code = attempt(lambda *rest: None)
        out, err = capsys.readouterr()
        return code, out, err

    bars = data.source
    real = ["--data", bars, "--resolution", "16"]
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "floats.npz", images=real_pixels(20) / 255)
    write_npz(tmp_path / "one.npz", real_pixels(1))
    np.savez(tmp_path / "grey.npz", images=real_pixels(20)[..., 0])
    images, labels = make_images(20)
    write_npz(tmp_path / "labels.npz", images, labels + 90)
    (tmp_path / "v.safetensors").write_bytes(b"{}")
    cases = {
        ("floats.npz",): "float64 from 0 to",
        ("one.npz",): "one sample in one is too few",
        ("grey.npz",): "have one channel",
        ("labels.npz",): "is no class of the data",
        ("empty",): "no images in",
        ("none.npz",): "no data",
        ("pt2:none.pt2",): "no file for pt2:none.pt2",
    }
    monkeypatch.chdir(tmp_path)
    for words, message in cases.items():
        code, out, err = call("evaluate", *words, *real)
        assert code == 2 and not out and message in err and err.count("\n") == 1, (words, err)
    code, _, err = call("evaluate", "one.npz", "--data", "v.safetensors")
    assert code == 2 and "is no reference" in err and err.count("\n") == 1
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    for words, message in ((("--out", "x"), "--out is for"), (("--ignore-labels",), "--ignore-l")):
        code, out, err = call("evaluate", "run", *words, *real)
        assert code == 2 and not out and message in err and err.count("\n") == 1
    assert not Path("x").exists()
    code, _, err = call("reference", bars, "--out", "a.npz")
    assert code == 2 and "end --out in .safetensors" in err
    assert not Path("runs").exists()


def test_words_of_its_notes_are_whole_sentences_in_both_languages() -> None:
    values: dict[str, Any] = {"n": 3, "held": 9, "sizes": "4x4", "resolution": "8x8"}
    values |= {"fit": "pad", "name": "a", "folder": "b"}
    for code in ("samples_chosen", "samples_resized", "samples_measured_into"):
        for language in ("en", "fr"):
            assert "{" not in Language(language).note(Note(code, values))
    assert "trained elsewhere" in english(Note("samples_have_no_model"))


def test_data_options_say_how_samples_are_fitted(place: Path) -> None:
    bars = str(place / "bars.npz")
    padded = triptych.open_images(bars, DataOptions(resolution=16, fit="pad"))
    assert SampleFormat.of(padded).fit == "pad"


def test_folders_of_others_may_hold_names_like_ours(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "results.json").write_text('{"fid": 3.1}')
    assert are_samples(str(tmp_path))
    (tmp_path / "results.json").write_text('{"schema": 1, "metrics": []}')
    assert not are_samples(str(tmp_path))
    (tmp_path / "results.json").unlink()
    (tmp_path / "log.jsonl").touch()  # a run whose run.json is lost
    assert not are_samples(str(tmp_path))
