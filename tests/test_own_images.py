"""Image files that are named to `reconstruct` and `likelihood`: all, as the run takes them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import triptych
from tests.making import encode, make_images, one_thread, write_folder, write_npz
from tests.test_cli import SLOW, Call, arrays, call, refuses
from triptych import run as run_module
from triptych.console import Console
from triptych.data.open import open_images
from triptych.errors import InputError
from triptych.options import DataOptions, Fit
from triptych.records import MetricRecord, Note
from triptych.run import Run
from triptych.tasks import likelihood

__all__ = ["call", "refuses"]  # fixtures


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that tests only read, and the files that they are shown."""
    folder = tmp_path_factory.mktemp("stock")
    write_folder(folder / "bars", make_images(120, side=24)[0])
    write_npz(folder / "grey.npz", *make_images(300, channels=1))
    for name, model, data in (
        ("vae", "vae:course", "bars"),
        ("gan", "gan:course", "bars"),
        ("grey", "vae:course", "grey.npz"),
    ):
        triptych.train(
            model, folder / data, budget="0.32kimg", out=folder / name, resolution=16, fit="pad",
            machine=one_thread(),
        )  # fmt: skip
    colored = make_images(3, side=24, seed=3)[0]
    write_folder(folder / "photos", colored)
    write_folder(folder / "photos" / "below", colored[:1])
    (folder / "photos" / "notes.txt").write_text("no image")
    write_folder(folder / "greys", make_images(2, side=20, channels=1, seed=4)[0])
    return folder


@pytest.fixture
def vae(stock: Path) -> Run:
    return Run(stock / "vae", one_thread())


@pytest.fixture
def grey(stock: Path) -> Run:
    return Run(stock / "grey", one_thread())


# How they are read


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_files_are_read_as_data_are(vae: Run, tmp_path: Path, fit: Fit) -> None:
    """The pixels of each file are in the data set that holds it."""
    write_folder(tmp_path / "long", make_images(60, side=24, seed=7)[0][:, :18])
    data = open_images(tmp_path / "long", DataOptions(resolution=16, fit=fit))
    known = torch.cat([part.images for part in (data.train, data.validation, data.test)])
    found = vae.read_images(tmp_path / "long", fit=fit)
    assert len(found) == 60
    assert {bytes(image.numpy()) for image in found} == {bytes(image.numpy()) for image in known}
    usual = vae.read_images(tmp_path / "long")  # as the run's own data were
    assert torch.equal(usual, found) == (fit == "pad")


def test_a_folder_stands_for_all_its_images_by_name(vae: Run, stock: Path) -> None:
    photos = stock / "photos"
    whole = vae.read_images(photos)
    names = ("0000.png", "0001.png", "0002.png", "below/0000.png")
    assert torch.equal(whole, vae.read_images([photos / name for name in names]))
    swapped = vae.read_images([photos / "0002.png", stock / "greys", str(photos / "0000.png")])
    assert swapped.shape == (4, 3, 16, 16)
    assert torch.equal(swapped[[3, 0]], whole[[0, 2]])


def test_grey_pictures_get_three_channels(vae: Run, stock: Path, capsys: Any) -> None:
    found = vae.read_images(stock / "greys", console=Console())
    assert found.shape == (2, 3, 16, 16)
    assert (found == found[:, :1]).all()
    assert capsys.readouterr().err == ""


def test_colored_pictures_turn_grey_and_that_is_said(
    grey: Run, tmp_path: Path, capsys: Any
) -> None:
    colored, _ = make_images(1, seed=9)
    flat = np.repeat(make_images(1, channels=1)[0][0], 3, axis=-1)
    (tmp_path / "a.png").write_bytes(encode(colored[0]))
    (tmp_path / "b.png").write_bytes(encode(flat))
    found = grey.read_images(tmp_path, console=Console())
    exact = (colored[0] @ np.array([0.299, 0.587, 0.114])).round()
    assert found.shape == (2, 1, 16, 16)
    assert np.abs(found[0, 0].numpy() - exact).max() <= 1
    assert (found[1, 0].numpy() == flat[..., 0]).all()
    assert capsys.readouterr().err.startswith("note: 1 of 2 images was in colour and is shown to")
    grey.read_images(tmp_path / "b.png", console=Console())
    assert capsys.readouterr().err == ""


def write_bad(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "empty" / "a.txt").write_text("hello")
    (folder / "text.png").write_text("hello")
    (folder / "new.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    (folder / "two").mkdir()
    (folder / "two" / "a.png").touch()
    (folder / "two" / "b.png").write_text("hello")
    (folder / "two" / "c.png").write_bytes(encode(make_images(1)[0][0]))
    write_npz(folder / "many.npz", *make_images(30))
    os.mkfifo(folder / "pipe.png")


BAD = {
    "none.png": "{}/none.png cannot be read (No such file or directory): check the path",
    "text.png": "{}/text.png is bad: not an image format we read: give another image",
    "new.heic": "{}/new.heic is bad: HEIC is not read: convert it, for example by: magick",
    "pipe.png": "{}/pipe.png is bad: not a regular file: give another image",
    "many.npz": "{}/many.npz is no image but may hold many: name it by --data",
    "two": "2 of 3 images are bad, first {}/two/a.png: empty: mend them or leave them out",
    "empty": "no images in {}/empty (there is 1 .txt): put .png",
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("command", ["reconstruct", "likelihood"])
def test_bad_images_are_refused_by_name(
    refuses: Callable[..., str], stock: Path, tmp_path: Path, name: str, command: str
) -> None:
    write_bad(tmp_path)
    out = ("--out", "made") if command == "reconstruct" else ()
    line = refuses(command, stock / "vae", tmp_path / name, *out, *SLOW)
    assert line.startswith(BAD[name].format(tmp_path))
    good = stock / "photos"
    if name not in ("two", "empty"):  # one bad image among good ones too
        assert tmp_path.name in refuses(command, stock / "vae", good, tmp_path / name, *out, *SLOW)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--data {bars}", "--data is for data, and all images that are named are shown: leave out"),
        ("--count 2", "--count is for data, and all images that are named are shown: leave out"),
        ("--count 0", "--count 0 is too few"),
        ("--resolution 16", "--resolution is for data"),
        ("--image-column x", "--image-column is for data"),
        ("--label-column none", "--label-column is for data"),
        ("--fit squash", "no fit 'squash'"),
    ],
)
def test_options_of_data_contradict_images(
    refuses: Callable[..., str], stock: Path, words: str, line: str
) -> None:
    typed = words.format(bars=stock / "bars").split()
    for command in (("reconstruct", "--out", "made"), ("likelihood",)):
        name, *out = command
        said = refuses(name, stock / "vae", stock / "photos", *out, *typed, *SLOW)
        assert said.startswith(line)


def test_python_names_what_it_cannot_take(vae: Run, stock: Path) -> None:
    for wrong in (3, None, [3], np.zeros(2)):
        with pytest.raises(InputError, match=r"^paths takes a path, not"):
            vae.read_images(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^no image named: give image files"):
        vae.read_images([])
    with pytest.raises(InputError, match=r"^no fit 'squash'"):
        vae.read_images(stock / "photos", fit="squash")  # type: ignore[arg-type]
    verbs: list[Callable[[Any], Any]] = [
        vae.reconstruct, vae.represent, vae.log_likelihood, vae.traverse,
    ]  # fmt: skip
    for verb in verbs:
        for path in (str(stock / "photos"), stock / "photos", [stock / "photos"]):
            with pytest.raises(InputError, match=r"images come as uint8 .*: read files by run"):
                verb(path)
    for verb in verbs[:3]:
        with pytest.raises(InputError, match=r"^there are no images: give 1 or more"):
            verb(torch.zeros(0, 3, 16, 16, dtype=torch.uint8))


def test_ends_of_paths_are_as_many(vae: Run, stock: Path) -> None:
    photos = vae.read_images(stock / "photos")
    with pytest.raises(InputError, match=r"^4 images to start from, 1 to arrive at: give as many"):
        vae.interpolate(photos, photos[:1])
    assert vae.interpolate(photos[:2], photos[2:], 3).shape == (2, 3, 3, 16, 16)
    with pytest.raises(InputError, match=r"^between images there is a path for each pair: leave"):
        vae.interpolate(photos[:2], photos[2:], 3, paths=7)


# Reconstructions


def test_all_named_images_are_reconstructed(call: Call, stock: Path, vae: Run) -> None:
    words = ("reconstruct", stock / "vae", stock / "bars", *SLOW)  # more than the usual 64
    assert call(*words, "--out", "a.npz").code == 0
    pixels = vae.read_images(stock / "bars")
    found = arrays("a.npz")
    assert set(found) == {"original", "reconstruction"}
    np.testing.assert_array_equal(found["original"], pixels.permute(0, 2, 3, 1))
    again = vae.reconstruct(pixels)
    np.testing.assert_array_equal(found["reconstruction"], again.permute(0, 2, 3, 1))


def test_each_named_image_has_its_nearness(call: Call, stock: Path) -> None:
    one, two = (stock / "photos" / f"000{i}.png" for i in range(2))
    words = ("reconstruct", stock / "vae", one, two, *SLOW)
    found = call(*words, "--out", "a.npz", "--json").json()
    assert found["count"] == 2 and found["notes"] == []
    assert [row["image"] for row in found["images"]] == [str(one), str(two)]
    pixels = {name: values.astype(float) for name, values in arrays("a.npz").items()}
    errors = ((pixels["original"] - pixels["reconstruction"]) ** 2).mean((1, 2, 3))
    psnr = [row["psnr"]["reconstruction"] for row in found["images"]]
    assert psnr == pytest.approx(10 * np.log10(255**2 / errors))
    assert found["answers"]["reconstruction"]["psnr"] == pytest.approx(np.mean(psnr))
    plain = call(*words, "--out", "b.npz")
    assert f"{one}  {psnr[0]:.2f} dB" in plain.err and plain.out == "b.npz\n"


@pytest.mark.parametrize("named", [True, False])
def test_one_image_alone(call: Call, stock: Path, named: bool) -> None:
    """Without a warning, which is an error here, of an interval that it does not have."""
    what = (stock / "photos" / "0000.png",) if named else ("--count", "1")
    found = call("reconstruct", stock / "vae", *what, "--out", "a.png", "--json", *SLOW).json()
    assert found["count"] == 1 and found["answers"]["reconstruction"]["psnr"] > 0
    assert ("images" in found) == named


def test_a_grey_run_says_what_it_was_shown(call: Call, stock: Path) -> None:
    words = ("reconstruct", stock / "grey", stock / "photos", stock / "greys", *SLOW)
    result = call(*words, "--out", "a.npz", "--json")
    note = {"code": "turned_grey", "values": {"n": 4, "images": 6}}
    assert result.json()["notes"] == [note]
    assert "note: 4 of 6 images were in colour and are shown to the model in grey" in result.err
    assert arrays("a.npz")["original"].shape == (6, 16, 16, 1)


# Likelihoods


def test_each_named_image_has_its_likelihood(call: Call, stock: Path, vae: Run) -> None:
    words = ("likelihood", stock / "vae", stock / "photos", *SLOW)
    found = call(*words, "--json").json()
    record = vae.log_likelihood(vae.read_images(stock / "photos"))
    assert record.by_image is not None and len(record.by_image) == 4
    assert [row["bits_per_dim"] for row in found["images"]] == list(record.by_image)
    assert found["images"][3]["image"] == str(stock / "photos" / "below" / "0000.png")
    assert found["value"] == pytest.approx(np.mean(record.by_image)) == record.value
    assert found["low"] < found["value"] < found["high"] and found["n"] == 4
    assert found["reference"] == "none" and "by_image" not in found
    bits = [term["bits_per_dim"] for term in found["terms"].values()]
    assert sum(bits) == pytest.approx(found["value"])
    plain = call(*words)
    assert "(upper bound, elbo, 4 images)" in plain.out
    assert f"below/0000.png  {record.by_image[3]:.4f} bits per dimension" in plain.out


@pytest.mark.parametrize("named", [True, False])
def test_the_likelihood_of_one_image_has_no_interval(
    call: Call, stock: Path, vae: Run, named: bool
) -> None:
    what = (stock / "photos" / "0002.png",) if named else ("--count", "1")
    words = ("likelihood", stock / "vae", *what, *SLOW)
    found = call(*words, "--json").json()
    assert found["n"] == 1 and found["value"] > 0
    assert found["low"] is None and found["high"] is None and "left_out" not in found
    assert found["no_interval"] == {"code": "one_image", "values": {}}
    assert found["kind"] == "upper bound" and found["note"]["code"] == "draws"
    for term in found["terms"].values():
        assert set(term) == {"bits_per_dim", "nats"}
        assert term["bits_per_dim"] == pytest.approx(term["nats"] / np.log(2) / (3 * 16 * 16))
    bits = [term["bits_per_dim"] for term in found["terms"].values()]
    assert sum(bits) == pytest.approx(found["value"])
    plain = call(*words).out
    assert f"bits per dimension: {found['value']:.4f} (upper bound, elbo, 1 " in plain
    assert "there is no interval: it takes two images or more" in plain
    if named:
        assert found["images"] == [{"image": str(what[0]), "bits_per_dim": found["value"]}]


def test_the_record_of_one_image_is_read_again(vae: Run, stock: Path) -> None:
    record = vae.log_likelihood(vae.read_images(stock / "photos" / "0000.png"))
    assert record.no_interval == Note("one_image") and record.by_image == (record.value,)
    assert MetricRecord.read(record.to_json()) == record


def test_a_gan_has_no_likelihood_of_an_image(call: Call, stock: Path) -> None:
    words = ("likelihood", stock / "gan", stock / "photos" / "0000.png", *SLOW)
    found = call(*words, "--json").json()
    assert found["value"] is None and found["images"] == [{"image": str(words[2])}]
    assert "not defined: a GAN has no explicit density" in call(*words).out


def test_an_estimate_s_noise_is_chosen_on_the_run_s_own_images(
    call: Call, stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(stock / "gan", tmp_path / "gan"))
    words = ("likelihood", run, stock / "photos" / "0000.png", "--json", *SLOW, "--draws", "3")
    chosen: list[Any] = []
    choose = likelihood.choose_noise

    def choosing(model: Any, noise: Any, validation: Any, machine: Any) -> float:
        chosen.append(validation)
        return choose(model, noise, validation, machine)

    monkeypatch.setattr(likelihood, "choose_noise", choosing)
    found = call(*words, "--method", "ais").json()
    own = open_images(stock / "bars", DataOptions(resolution=16, fit="pad")).validation.images
    assert torch.equal(chosen[0], own)
    assert found["note"]["code"] == "noisy_model_chosen" and found["low"] is None
    assert set(found["terms"]["noisy_model"]) == {"bits_per_dim", "nats"}

    def closed(*arguments: Any) -> Any:
        raise InputError("the run's own data are gone", "name data by --data")

    monkeypatch.setattr(run_module, "run_data", closed)
    asked = call(*words, "--method", "ais", "--noise", "0.1").json()
    assert asked["note"]["code"] == "noisy_model_asked"
    assert call(*words).json()["value"] is None  # data are not opened in vain
    refused = call(*words, "--method", "ais")
    assert refused.code == 2 and refused.err == (
        "triptych: the noise is chosen on the run's own validation images, but the run's own data "
        "are gone: give --noise\n"
    )
