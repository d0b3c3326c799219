"""Data that cannot be used are refused in one line that tells why; nothing half-made stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.making import encode, make_images, write_folder, write_npz, write_parquet
from tests.test_training import request
from triptych.config import ImageShape
from triptych.data.dataset import ImageData
from triptych.data.open import open_images
from triptych.errors import InputError
from triptych.families import registry
from triptych.options import DataOptions

SMALL = DataOptions(resolution=16)


def opened(path: Path, **options: Any) -> ImageData:
    return open_images(str(path), DataOptions(resolution=16, **options))


REFUSED = {
    "missing": "no data",
    "empty": "no images in .*empty",
    "note.txt": "cannot read note.txt",
    "bad.parquet": "no readable parquet",
    "torn.parquet": "torn.parquet is damaged",
    "bad.npz": "bad.npz is damaged",
    "void.npy": "no images in",
    "five.npy": "5 channels",
    "few.npz": "30 images and labels of shape",
    "single": "1 readable images in single",
    "only": "all images of only are given as test: add a train folder",
}


def write_refused(folder: Path) -> None:
    images, _ = make_images(30)
    none = np.zeros(30, dtype=int)
    (folder / "empty").mkdir()
    (folder / "note.txt").write_text("hello")
    (folder / "bad.parquet").write_bytes(b"PAR1 but not for long")
    (folder / "bad.npz").write_bytes(b"PK\3\4 no")
    np.save(folder / "void.npy", np.zeros((30, 0, 0), dtype=np.uint8))
    np.save(folder / "five.npy", np.zeros((30, 8, 8, 5), dtype=np.uint8))
    write_npz(folder / "few.npz", images, none[1:])
    write_folder(folder / "single", images[:1])
    write_folder(folder / "only" / "test", images)
    whole = write_parquet(folder / "whole.parquet", images, None).read_bytes()
    (folder / "torn.parquet").write_bytes(whole[:4] + bytes(600) + whole[604:])


@pytest.mark.parametrize("name", REFUSED)
def test_unusable_data_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_refused(tmp_path)
    cache = tmp_path / "cache"
    monkeypatch.setenv("TRIPTYCH_CACHE", str(cache))
    with pytest.raises(InputError, match=REFUSED[name]):
        opened(tmp_path / name)
    assert not list((cache / "data").glob("*"))


def test_no_name_is_no_folder() -> None:
    with pytest.raises(InputError, match="no data ''"):
        open_images("", SMALL)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(InputError, match="no resolution 17: choose from 16, 32, 64, 128"):
        DataOptions(resolution=17)
    with pytest.raises(InputError, match="no fit 'squeeze'"):
        DataOptions(fit="squeeze")  # type: ignore[arg-type]


def test_labels_outside_their_names_are_refused(tmp_path: Path) -> None:
    images, labels = make_images(40)
    path = write_parquet(tmp_path / "a.parquet", images, labels, names=["only", "two"])
    with pytest.raises(
        InputError, match=r"images of a have labels outside 0 to 1, .*first is [2-4]\)"
    ):
        opened(path)


def test_a_part_that_only_holds_copies_is_named(tmp_path: Path) -> None:
    images, labels = make_images(60)
    write_folder(tmp_path / "train", images, labels)
    write_folder(tmp_path / "test", images[:20], labels[:20], prefix="copy")
    with pytest.raises(InputError, match=r"all 20 test images of .* are copies of images nearer"):
        opened(tmp_path)


def test_bad_images_are_not_forgotten_in_other_refusals(tmp_path: Path) -> None:
    images, _ = make_images(30)
    write_folder(tmp_path / "cats", images[:15])
    (tmp_path / "dogs").mkdir()
    for number in range(30):
        heic = b"\0\0\0\x18ftypheic" + encode(images[number])
        (tmp_path / "dogs" / f"{number}.jpg").write_bytes(heic)
    with pytest.raises(InputError, match=r"30 bad, first dogs/0.jpg: HEIC is not read: convert"):
        opened(tmp_path)


def test_batches_larger_than_the_training_part_are_refused() -> None:
    images = len(request("vae:course").data.train)
    for model in ("vae", "gan", "diffusion:course"):
        fitting = request(model, "64kimg", f"batch_size={images}")
        assert fitting.settings.batch_size == images
        with pytest.raises(InputError, match=f"{images} training images do not fill a batch of"):
            request(model, "64kimg", f"batch_size={images + 1}")


def test_usual_batches_shrink_for_few_images() -> None:
    name, shape = registry.ModelName.parse("gan:course"), ImageShape(channels=1, resolution=16)
    sizes = {n: registry.defaults(name, "tiny", shape, n).batch_size for n in (64, 63, 20, 1)}
    assert sizes == {64: 64, 63: 32, 20: 16, 1: 1}
