"""Traversals: which units are walked and how far, on a model whose latents are its pixels."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import triptych
from tests.making import make_images, one_thread, write_npz
from tests.test_cli import SLOW, Call, call, refuses
from tests.truths import MACHINE, random_pixels
from triptych import images
from triptych.config import ImageShape
from triptych.console import QUIET
from triptych.errors import InputError
from triptych.families.capabilities import Encodes
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel, Objective
from triptych.run import Run, run_data
from triptych.seeding import ImageStreams
from triptych.tasks import traverse

__all__ = ["call", "refuses"]  # fixtures

SIDE = 4
UNITS = SIDE**2


class Pixels(GenerativeModel, Encodes):
    """Four times the pixels are the latent: the first row one tensor, the others another."""

    shape = ImageShape(channels=1, resolution=SIDE)

    def objectives(self) -> Sequence[Objective]:
        return []

    def networks(self) -> Sequence[nn.Module]:
        return []

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        raise NotImplementedError

    def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
        """Brighter by a tenth where it is told labels."""
        both = [latent.tensors["top"], latent.tensors["rest"].flatten(2)]
        pixels = torch.cat(both, dim=2).view(-1, 1, SIDE, SIDE) / 4
        return pixels if latent.labels is None else pixels + latent.labels[:, :1, None, None] / 10

    @property
    def network_calls(self) -> int:
        return 1

    def encode(self, images: Tensor) -> Latent:
        rows = {"top": 4 * images[:, 0, :1], "rest": 4 * images[:, :, 1:]}
        return Latent(rows, path="straight")


class Told(Pixels):
    """The same, told a label."""

    def encode(self, images: Tensor) -> Latent:
        latent = super().encode(images)
        return Latent(latent.tensors, latent.path, torch.ones(len(images), 2))


def uneven_images(count: int = 40) -> Tensor:
    """Pixel 6 varies most, then pixel 2, then pixel 13; the others are all 128."""
    pixels = torch.full((count, UNITS), 128, dtype=torch.uint8)
    drawn = random_pixels(count, UNITS)
    for place, share in ((6, 1.0), (2, 0.5), (13, 0.25)):
        pixels[:, place] = (drawn[:, place] * share + 64).clamp(max=255).to(torch.uint8)
    return pixels.view(count, 1, SIDE, SIDE)


def test_the_most_varied_units_come_first() -> None:
    """With the deviation of their means over the images, as NumPy has it."""
    pixels = uneven_images()
    told: list[tuple[int, int]] = []
    found = traverse.traverse(Pixels(), pixels, 3, 5, 0, MACHINE, lambda *far: told.append(far))
    assert told[-1] == (len(pixels) + 15, len(pixels) + 15) and told == sorted(told)
    assert [(unit.latent, unit.index) for unit in found.units] == [
        ("rest", (0, 0, 2)),
        ("top", (0, 2)),
        ("rest", (0, 2, 1)),
    ]
    for unit, place in zip(found.units, (6, 2, 13), strict=True):
        values = 4 * images.to_float(pixels.flatten(1)[:, place]).numpy()
        assert unit.deviation == pytest.approx(np.std(values), rel=1e-5)


def test_each_row_moves_its_unit_alone_from_minus_3_to_3() -> None:
    """Around the latent of one image: every other pixel is that image's."""
    pixels = uneven_images()
    found = traverse.traverse(Pixels(), pixels, 3, 5, 1, MACHINE)
    assert found.pictures.shape == (3, 5, 1, SIDE, SIDE) and found.pictures.dtype == torch.uint8
    walked = images.to_uint8(torch.tensor([-3.0, -1.5, 0.0, 1.5, 3.0]) / 4)
    for row, place in zip(found.pictures, (6, 2, 13), strict=True):
        expected = pixels[found.start].flatten().repeat(5, 1)
        expected[:, place] = walked
        assert torch.equal(row.flatten(1), expected)


def test_labels_stay_on_the_way() -> None:
    plain = traverse.traverse(Pixels(), uneven_images(), 1, 3, 0, MACHINE).pictures.int()
    told = traverse.traverse(Told(), uneven_images(), 1, 3, 0, MACHINE).pictures.int()
    assert ((told - plain - 12.75).abs() <= 1).all()


def test_the_seed_picks_the_image() -> None:
    starts = {
        traverse.traverse(Pixels(), uneven_images(), 1, 2, s, MACHINE).start for s in range(9)
    }
    again = [traverse.traverse(Pixels(), uneven_images(), 1, 2, 5, MACHINE) for _ in range(2)]
    assert len(starts) > 1
    assert torch.equal(again[0].pictures, again[1].pictures)


def test_there_are_no_more_rows_than_units() -> None:
    found = traverse.traverse(Pixels(), uneven_images(), 100, 2, 0, MACHINE)
    assert len(found.units) == len(found.pictures) == UNITS
    assert len({(unit.latent, unit.index) for unit in found.units}) == UNITS


def test_the_images_at_once_change_nothing() -> None:
    few = replace(MACHINE, microbatch=7)
    a, b = (traverse.traverse(Pixels(), uneven_images(), 3, 3, 0, m) for m in (MACHINE, few))
    assert a.units == b.units and torch.equal(a.pictures, b.pictures)


# Of runs


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of each family, hardly trained."""
    folder = tmp_path_factory.mktemp("stock")
    pictures, labels = make_images(300)
    write_npz(folder / "bars.npz", pictures, labels)
    small = {
        "vae:ladder": "patch=2 widths=8,8,8 bottom_up_blocks=1,1,1 top_down_blocks=1,1,1 "
        "latents=2,2,4 batch_size=32",
        "gan:course": "",
        "diffusion:x0": "widths=8,16 attention=false,false batch_size=32",
    }
    for model, settings in small.items():
        triptych.train(
            model,
            str(folder / "bars.npz"),
            budget="0.32kimg",
            out=folder / model.partition(":")[0],
            set=settings.split(),
            resolution=16,
            machine=one_thread(),
        )
    return folder


def test_traversals_by_the_command(call: Call, stock: Path) -> None:
    words = ("traverse", stock / "vae", "--rows", "3", "--points", "4", "--seed", "2", *SLOW)
    found = call(*words, "--out", "a.npz", "--json").json()
    assert found["out"] == "a.npz" and len(found["units"]) == 3
    run = Run(stock / "vae", one_thread())
    held_out = run_data(run, None, None, QUIET).validation.images
    expected = run.traverse(held_out, rows=3, points=4, seed=2)
    assert found["units"] == json.loads(json.dumps([asdict(u) for u in expected.units]))
    for unit in found["units"]:
        shape = run.model.encode(torch.zeros(1, 3, 16, 16)).tensors[unit["latent"]].shape[1:]
        assert all(0 <= i < size for i, size in zip(unit["index"], shape, strict=True))
    with np.load("a.npz") as arrays:
        assert arrays["images"].shape == (3, 4, 16, 16, 3)
        assert torch.equal(
            torch.from_numpy(arrays["images"]).permute(0, 1, 4, 2, 3), expected.pictures
        )
    told = call(*words, "--out", "a.png")
    assert told.out.strip() == "a.png"
    lines = [line for line in told.err.splitlines() if line.startswith("row ")]
    assert lines == [f"row {i}: {unit}" for i, unit in enumerate(expected.units)]
    with Image.open("a.png") as grid:
        assert grid.size == (4 * 18 - 2, 3 * 18 - 2)
    assert call(*words, "--out", "many").code == 0
    assert len(list(Path("many").iterdir())) == 3


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("{diffusion}", "traversals are of latents that hold little"),
        ("{vae} --rows 0", "--rows 0 is too few: give 1 or more"),
        ("{vae} --points 1", "--points 1 is too few: give 2 or more"),
        ("{vae} --data nowhere", "no data 'nowhere'"),
        ("{vae} --resolution 32", "bars is (3, 32, 32), the run (3, 16, 16)"),
    ],
)
def test_traversals_that_are_refused(
    refuses: Callable[..., str], stock: Path, words: str, line: str
) -> None:
    places = {name: stock / name for name in ("vae", "gan", "diffusion")}
    assert line in refuses("traverse", *words.format(**places).split(), "--out", "a.png", *SLOW)


def test_a_run_whose_data_are_gone_asks_for_others(
    refuses: Callable[..., str], call: Call, stock: Path
) -> None:
    pictures = stock / "bars.npz"
    moved = pictures.rename(stock / "elsewhere.npz")
    try:
        words = ("traverse", stock / "vae", "--out", "a.png", *SLOW)
        line = refuses(*words)
        assert line.startswith("the run's own data are gone (no data '")
        assert line.endswith(": name data by --data")
        assert call(*words, "--data", moved).code == 0
    finally:
        moved.rename(pictures)


def test_no_image_to_walk_around(stock: Path) -> None:
    with pytest.raises(InputError, match="no held-out image"):
        Run(stock / "vae", one_thread()).traverse(torch.zeros(0, 3, 16, 16, dtype=torch.uint8))
