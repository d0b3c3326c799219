"""Images that Python holds are the data that files of them are, or one line says why not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

import triptych
from tests.making import CLASSES, encode, labels_in, make_images, one_thread, write_npz
from triptych import api
from triptych.data import ingest
from triptych.data.dataset import ImageData
from triptych.data.sources import Item
from triptych.errors import InputError
from triptych.options import DataOptions

IMAGES, LABELS = make_images(150)
NAMES = ["ant", "bee", "cat", "dog", "elk"]
TENSOR = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
PICTURES = [Image.fromarray(image) for image in IMAGES]


def held(data: Any, **options: Any) -> ImageData:
    return triptych.open_images(data, resolution=16, **options)


@pytest.fixture(scope="module")
def filed(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    """The same images, read from a file."""
    return held(write_npz(tmp_path_factory.mktemp("filed") / "bars.npz", IMAGES, LABELS))


class Pairs(Dataset[tuple[Any, Any]]):
    """A data set of (image, label), as torchvision's are."""

    classes = NAMES

    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.images[index], self.labels[index]


ALIKE: dict[str, Any] = {
    "array and labels": lambda: held(IMAGES, labels=LABELS),
    "channels first": lambda: held(np.moveaxis(IMAGES, -1, 1), labels=LABELS),
    "pair": lambda: held((IMAGES, LABELS.tolist())),
    "tensor": lambda: held(TENSOR, labels=torch.from_numpy(LABELS)),
    "one-hot": lambda: held(IMAGES, labels=np.eye(CLASSES)[LABELS]),
    "whole floats": lambda: held(IMAGES, labels=LABELS.astype(float)),
    "pictures": lambda: held(PICTURES, labels=LABELS),
    "list of arrays": lambda: held([(image, None) for image in IMAGES], labels=LABELS),
    "dicts": lambda: held(
        [{"img": i, "target": int(t)} for i, t in zip(PICTURES, LABELS, strict=True)]
    ),
    "named fields": lambda: held(
        [{"img": 0, "scan": i, "kind": t} for i, t in zip(IMAGES, LABELS, strict=True)],
        image_column="scan",
        label_column="kind",
    ),
    "TensorDataset": lambda: held(TensorDataset(TENSOR, torch.from_numpy(LABELS))),
    "Subset": lambda: held(Subset(TensorDataset(TENSOR, torch.from_numpy(LABELS)), range(150))),
    "pairs": lambda: held(Pairs(PICTURES, LABELS)),
}  # fmt: skip


@pytest.mark.parametrize("kind", ALIKE)
def test_every_kind_is_the_data_that_a_file_of_it_is(kind: str, filed: ImageData) -> None:
    data = ALIKE[kind]()
    assert data.fingerprint == filed.fingerprint
    assert [len(data.train), len(data.validation), len(data.test)] == [
        len(filed.train), len(filed.validation), len(filed.test),
    ]  # fmt: skip
    for part in (data.train, data.validation, data.test):
        assert torch.equal(labels_in(part.images), part.labels)
    assert data.classes == (tuple(NAMES) if kind == "pairs" else tuple("01234"))


def test_grey_images_bits_and_lists_of_numbers() -> None:
    """One channel in every order of axes; True is white; nested lists are arrays."""
    grey = IMAGES[..., :1]
    alike = [
        held(each).fingerprint
        for each in (grey, grey[..., 0], TENSOR[:, :1], TENSOR[:, 0], [i[..., 0] for i in grey])
    ]
    assert len(set(alike)) == 1
    bits = held(grey[..., 0] > 45)
    assert bits.shape.channels == 1 and set(bits.train.images.unique().tolist()) == {0, 255}
    nested = held((grey[..., 0]).astype(np.int64).tolist())
    whole = torch.cat([nested.train.images, nested.validation.images, nested.test.images])
    assert sorted(map(tuple, whole.flatten(1).tolist())) == sorted(
        map(tuple, grey.reshape(150, -1).tolist())
    )


def test_tensors_of_narrow_images_have_their_channels_first() -> None:
    """Three pixels wide: of an array the last axis is the channels, of a tensor the second one."""
    rng = np.random.default_rng(2)
    array = rng.integers(0, 256, (40, 3, 9, 3), dtype=np.uint8)
    of_array, of_tensor = held(array), held(torch.from_numpy(array))
    assert of_array.fingerprint != of_tensor.fingerprint
    assert of_tensor.fingerprint == held(np.moveaxis(array, 1, -1)).fingerprint


def test_floats_are_brought_to_bytes_by_the_range_that_is_given(filed: ImageData) -> None:
    """(x - low) / (high - low) * 255, rounded: of bytes over 255 the bytes themselves."""
    data = held(TENSOR.double() / 127.5 - 1, range=(-1, 1), labels=LABELS)
    rows = {tuple(row.flatten().tolist()) for row in filed.train.images}
    rows |= {tuple(row.flatten().tolist()) for row in filed.test.images}
    rows |= {tuple(row.flatten().tolist()) for row in filed.validation.images}
    assert {tuple(row.flatten().tolist()) for row in data.train.images} <= rows
    assert data.range == "-1,1" and next(note.code for note in data.notes) == "range_given"
    halves = held(torch.full((40, 1, 16, 16), 0.5) + torch.arange(40).view(-1, 1, 1, 1) / 79,
                  range=(0, 2))  # fmt: skip
    everything = torch.cat([halves.train.images, halves.validation.images, halves.test.images])
    expected = ((0.5 + torch.arange(40) / 79) / 2 * 255).round()
    assert torch.equal(everything[:, 0, 0, 0].sort().values, expected.to(torch.uint8))


def test_pillow_images_of_any_mode_are_as_their_files(tmp_path: Path) -> None:
    """Palettes, transparency, 16 bits and the camera's orientation, through the same decoder."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(48):
        pixels = rng.integers(0, 256, (16, 16, 4), dtype=np.uint8)
        image = Image.fromarray(pixels)
        modes = [image, image.convert("RGB").convert("P"), image.convert("L"), image.convert("1")]
        made.append(modes[number % 4])
    turned = Image.Exif()
    turned[0x0112] = 6
    for number, image in enumerate(made):
        image.save(tmp_path / f"{number:02d}.png", **({"exif": turned} if number % 3 == 0 else {}))
    opened = [Image.open(path) for path in sorted(tmp_path.iterdir())]
    assert held(opened).fingerprint == held(tmp_path).fingerprint
    assert opened[0].getexif()[0x0112] == 6  # the user's own images stay as they were
    deep = [Image.fromarray(rng.integers(0, 65536, (16, 16), dtype=np.uint16)) for _ in range(30)]
    folder = tmp_path / "deep"
    folder.mkdir()
    for number, image in enumerate(deep):
        image.save(folder / f"{number:02d}.png")
    assert held(deep).fingerprint == held(folder).fingerprint


def test_pillow_images_that_cannot_be_read_are_bad_ones(tmp_path: Path) -> None:
    """A file that is opened now and read later may be cut; it is named, and the rest goes on."""
    for number in range(30):
        (tmp_path / f"{number:02d}.png").write_bytes(encode(IMAGES[number]))
    paths = sorted(tmp_path.iterdir())
    paths[7].write_bytes(paths[7].read_bytes()[:60])
    with ExitStack() as stack:
        data = held([stack.enter_context(Image.open(path)) for path in paths])
    assert data.ingested is not None
    assert [name for name, _ in data.ingested.bad] == ["images[7]"]
    assert data.fingerprint == held(tmp_path).fingerprint


def test_blocks_hold_few_large_pillow_images() -> None:
    """They are loaded, so they count by their pixels, as arrays do."""
    large = Item("a", Image.new("RGB", (2000, 1000)), None, None)
    assert ingest.size_of(large) == 2000 * 1000 * 3
    assert [len(block) for block in ingest.in_blocks(iter([large] * 7))] == [3, 3, 1]


def test_images_of_several_sizes_are_as_in_a_folder(tmp_path: Path) -> None:
    """Nothing asks that a list's images are alike."""
    rng = np.random.default_rng(1)
    every = [rng.integers(0, 256, (16 + n % 5, 24, 3), dtype=np.uint8) for n in range(40)]
    for number, image in enumerate(every):
        (tmp_path / f"{number:02d}.png").write_bytes(encode(image))
    for fit in ("stretch", "crop", "pad"):
        own = held(every, fit=fit)
        assert own.fingerprint == held(tmp_path, fit=fit).fingerprint
        assert own.fit == fit


def test_parts_of_ones_own(tmp_path: Path) -> None:
    """A mapping, or a test part beside the images; the rest is divided as that of files is."""
    later, their_labels = make_images(60, start=500)
    both = held({"train": (IMAGES, LABELS), "test": (later, their_labels)})
    beside = held(IMAGES, labels=LABELS, test=Pairs(later, their_labels), classes=None)
    arrays = {"x_train": IMAGES, "y_train": LABELS, "x_test": later, "y_test": their_labels}
    np.savez(tmp_path / "parts.npz", **arrays)
    assert both.fingerprint == held(tmp_path / "parts.npz").fingerprint
    assert len(both.test) == 60 and len(both.train) + len(both.validation) == 150
    assert beside.classes == tuple(NAMES) and len(beside.test) == 60
    alone = held({"train": (IMAGES, LABELS)})
    assert alone.fingerprint == held(IMAGES, labels=LABELS).fingerprint


def test_classes_are_named(filed: ImageData) -> None:
    named = held(IMAGES, labels=LABELS, classes=NAMES, name="bars")
    assert named.classes == tuple(NAMES) and named.name == "bars"
    texts = held(IMAGES, labels=[NAMES[label] for label in LABELS])
    assert texts.classes == tuple(NAMES)
    assert held(Pairs(IMAGES, LABELS), label_column="none").classes is None
    some = held(IMAGES, labels=[None if n < 3 else int(t) for n, t in enumerate(LABELS)])
    assert "unlabeled_left_out" in [note.code for note in some.notes]
    assert held(Pairs(IMAGES, LABELS)).name == "Pairs" and filed.name == "bars"


def test_it_is_found_again_in_the_cache_by_its_name() -> None:
    first = held(IMAGES, labels=LABELS)
    again = held(first.source)
    assert again.fingerprint == first.fingerprint and again.name == first.name
    assert first.source.startswith("memory:") and first.path is None
    assert held(IMAGES[:149], labels=LABELS[:149]).source != first.source
    assert held(IMAGES, labels=LABELS[::-1].copy()).source != first.source
    with pytest.raises(InputError, match=r"no longer in the cache: open them again by"):
        held("memory:0123")


def test_nothing_is_read_again_once_it_is_kept() -> None:
    """A data set is read through for its digest, and once more the first time."""

    class Counting(Pairs):
        reads = 0

        def __getitem__(self, index: int) -> tuple[Any, Any]:
            Counting.reads += 1
            return super().__getitem__(index)

    images, labels = make_images(50, start=900)
    held(Counting(images, labels))
    assert Counting.reads == 100
    held(Counting(images, labels))
    assert Counting.reads == 150


def test_hugging_face(tmp_path: Path, filed: ImageData) -> None:
    """A `Dataset` is what its own parquet file is, by encoded images, arrays or a dictionary."""
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    rows = {"image": PICTURES, "label": LABELS.tolist()}
    pictures = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    pictures.to_parquet(tmp_path / "bars.parquet")
    assert "image" in pq.read_schema(tmp_path / "bars.parquet").names
    own = held(pictures)
    assert own.fingerprint == held(tmp_path / "bars.parquet").fingerprint == filed.fingerprint
    assert own.classes == tuple(NAMES)
    assert [n.values["name"] for n in own.notes if n.code == "labels_from_column"] == ["label"]
    assert held(pictures.with_format("torch")).fingerprint == filed.fingerprint
    assert held(pictures, label_column="none").classes is None
    assert held(pictures, labels=LABELS[::-1].tolist()).fingerprint != filed.fingerprint
    split = pictures.train_test_split(30, seed=0)
    assert len(held(split).test) == 30
    flipped = pictures.with_transform(
        lambda batch: {"image": [i.rotate(180) for i in batch["image"]]}
    )
    assert held(flipped).fingerprint == held(IMAGES[:, ::-1, ::-1]).fingerprint
    arrays = datasets.Dataset.from_dict(
        {"pixels": IMAGES[..., 0].tolist(), "digit": LABELS.tolist()}
    )
    assert (
        held(arrays).fingerprint == held(IMAGES[..., 0].astype(np.int64), labels=LABELS).fingerprint
    )
    with pytest.raises(InputError, match=r"^no column 'photo' in images: there are image, label$"):
        held(pictures, image_column="photo")
    two = pictures.add_column("mask", [None] * 150).cast_column("mask", datasets.Image())
    with pytest.raises(InputError, match=r"^which column of images has the images is not clear"):
        held(two.rename_column("image", "scan"))
    gone = pictures.select(range(40)).map(
        lambda row, number: {"image": {"bytes": None, "path": f"/gone/{number}.png"}},
        with_indices=True,
        features=pictures.features,
    )
    with pytest.raises(InputError, match=r"^0 readable images in images \(40 bad, first "):
        held(gone)


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(IMAGES)


class Random(Pairs):
    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8), 0


HOW = r"give \(H,W\), \(H,W,C\) or \(C,H,W\) with C 1 or 3, or Pillow images$"
RANGE = r"no range says which numbers are black and white: give range=\(0, 1\), or"
REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "floats": (IMAGES / 255, {}, rf"^images\[0\] is float64, and {RANGE}"),
    "floats of a data set": (
        Pairs(TENSOR.half(), LABELS),
        {},
        rf"^Pairs\[0\] is float16, and {RANGE}",
    ),
    "ragged": ([[[1, 2], [3]]] * 30, {}, r"^images\[0\] has rows of different lengths: make them"),
    "labels too few": (
        IMAGES,
        {"labels": LABELS[:7]},
        r"^150 images and 7 labels in images: give one",
    ),
    "labels twice": ((IMAGES, LABELS), {"labels": LABELS}, "^labels are given twice: leave out"),
    "fractions": (IMAGES, {"labels": LABELS + 0.5}, r"^a label of images is float: give names of"),
    "mixed labels": (
        IMAGES,
        {"labels": ["a", *LABELS[1:]]},
        "^some labels of images are numbers and some are text",
    ),
    "label of a detector": (
        Pairs(IMAGES, [{}] * 150),
        {},
        r"^a label of Pairs\[0\] is dict: give names",
    ),
    "text": (["a.png"] * 30, {}, rf"^images\[0\] is no image but str: {HOW}"),
    "one image": (IMAGES[0], {}, r"^images are of shape \(16, 16, 3\): give \(N,H,W\)"),
    "four channels": (IMAGES[..., [0, 1, 2, 2]], {}, r"^images are of shape \(150, 16, 16, 4\)"),
    "complex": (IMAGES.astype(complex), {}, "^images are not images but an array of complex128"),
    "no images": ([], {}, "^there are no images in images: give some$"),
    "few": (IMAGES[:5], {}, "^5 readable images in images are too few: give at least 20$"),
    "missing": ([*PICTURES[:30], None], {}, r"^images\[30\] is no image but None: give"),
    "stream": (
        Endless(),
        {},
        "^Endless cannot be counted and read twice, as Endless is not: give a list",
    ),
    "iterator": (iter(IMAGES), {}, "^images cannot be counted and read twice, as iterator is not"),
    "random": (
        Random(IMAGES, LABELS),
        {},
        "^Random gives other images each time it is read: leave random",
    ),
    "unknown part": (
        {"left": IMAGES},
        {},
        r"^'left' names no part, or one named before: give \{'train'",
    ),
    "no part": ({}, {}, "^there is no part with images: give"),
    "labels of parts": (
        {"train": IMAGES},
        {"labels": LABELS},
        "^labels belong to the images of one part",
    ),
    "two tests": ({"train": IMAGES, "test": IMAGES}, {"test": IMAGES}, "^there are two test parts"),
    "classes": (
        IMAGES,
        {"labels": LABELS, "classes": "ab"},
        "^classes are no list of texts: give the",
    ),
    "few classes": (
        IMAGES,
        {"labels": LABELS, "classes": ["a"]},
        r"images of .* have labels outside 0 to 0, the named classes \(the first is [1-4]\)",
    ),
    "no such field": (
        [{"a": IMAGES[0]}] * 30,
        {},
        r"^images\[0\] holds a: name one of them by image_column=",
    ),
    "no such label": (
        [{"image": IMAGES[0]}] * 30,
        {"label_column": "y"},
        r"^images\[0\] holds image: .* label_column=",
    ),
    "options twice": (
        IMAGES,
        {"options": DataOptions(resolution=16)},
        "^resolution beside the options",
    ),
    "labels of a name": (
        "street-digits",
        {"labels": LABELS},
        "^labels is for images that Python holds",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line(case: str) -> None:
    data, options, line = REFUSED[case]
    with pytest.raises(InputError, match=line) as caught:
        held(data, **options)
    assert "\n" not in str(caught.value)


def test_every_verb_takes_them(tmp_path: Path) -> None:
    """Trained, gone on with, measured later by the cache alone, repeated, measured against."""
    options: dict[str, Any] = {"machine": one_thread(), "resolution": 16}
    out = tmp_path / "run"
    run = triptych.train("vae:course", (IMAGES, LABELS), budget="0.32kimg", out=out, **options)
    assert run.record.data.source == held(IMAGES, labels=LABELS).source
    assert f"--data {run.record.data.source}" in run.record.command
    asked = {"count": 50, "machine": one_thread()}
    (own,) = triptych.evaluate(out, **asked)
    (given,) = triptych.evaluate(out, (IMAGES, LABELS), **asked)  # at the run's own resolution
    assert own.data == given.data and own.metrics == given.metrics
    again = triptych.repeat(out, tmp_path / "again", data=(IMAGES, LABELS), machine=one_thread())
    assert again.record.digests == run.record.digests
    with pytest.raises(InputError, match="is not what"):
        triptych.repeat(out, tmp_path / "other", data=IMAGES[:140], machine=one_thread())
    measured = triptych.measure(IMAGES[:60], (IMAGES, LABELS), count=60, **options)
    assert measured.data.fingerprint == run.record.data.fingerprint


class StoppedError(Exception):
    """A verb came as far as its images."""


def test_the_verbs_that_measure_open_them_as_they_are_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = held(IMAGES, labels=LABELS, fit="crop")
    seen: list[ImageData] = []

    def stop(*given: Any, **options: Any) -> None:
        seen.extend(each for each in given if isinstance(each, ImageData))
        raise StoppedError

    monkeypatch.setattr(api.comparing, "compare", stop)
    monkeypatch.setattr(api, "read_real", stop)
    options: dict[str, Any] = {"resolution": 16, "fit": "crop", "machine": one_thread()}
    for call in (
        lambda: triptych.compare(["vae"], (IMAGES, LABELS), **options),
        lambda: triptych.save_reference((IMAGES, LABELS), tmp_path / "a.safetensors", **options),
    ):
        with pytest.raises(StoppedError):
            call()
    assert [each.fingerprint for each in seen] == [expected.fingerprint] * 2
    assert {each.fit for each in seen} == {"crop"}
