"""Moving pictures, and pictures that are enlarged: what is read back is what was to be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import triptych
from tests.making import make_images, one_thread, write_npz
from tests.truths import random_pixels
from triptych import images
from triptych.cli import parser
from triptych.cli.output import check
from triptych.errors import InputError
from triptych.options import FilmOptions
from triptych.run import Run

SLOW = "--threads 1 --precision fp32 --device cpu --quiet"


def played(path: Path) -> tuple[np.ndarray, list[int], int]:
    """What a film shows: frames uint8 (F,H,W,3), milliseconds of each, and how often it repeats."""
    frames, durations = [], []
    with Image.open(path) as film:
        for number in range(getattr(film, "n_frames", 1)):
            film.seek(number)
            frames.append(np.asarray(film.convert("RGB")))
            durations.append(int(film.info["duration"]))
        return np.stack(frames), durations, int(film.info["loop"])


def as_shown(pixels: Tensor, scale: int = 1) -> np.ndarray:
    """uint8 [C,H,W] -> (H*scale,W*scale,3), by NumPy alone."""
    array = np.moveaxis(pixels.numpy(), 0, -1)
    return np.repeat(np.repeat(array, scale, 0), scale, 1) * np.ones(3, np.uint8)


def few_colors(*shape: int) -> Tensor:
    """Random uint8 [...,3,H,W] of two values a channel: eight colors."""
    return random_pixels(*shape) // 128 * 200 + 20


@pytest.mark.parametrize("channels", [1, 3])
def test_a_webp_has_the_very_pixels_there_and_back(channels: int, tmp_path: Path) -> None:
    frames = random_pixels(4, channels, 5, 7)
    path = triptych.film(frames).save(tmp_path / "new" / "a.webp", scale=3, fps=8)
    shown, durations, loop = played(path)
    assert len(shown) == 6 and durations == [125] * 6 and loop == 0
    for picture, number in zip(shown, (0, 1, 2, 3, 2, 1), strict=True):
        assert np.array_equal(picture, as_shown(frames[number], 3))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gif_of_few_colors_has_them_all(channels: int, tmp_path: Path) -> None:
    """Any greys, and up to 256 colors in a frame; the next frame may have others."""
    frames = random_pixels(4, 1, 5, 7) if channels == 1 else few_colors(4, 3, 5, 7)
    frames[2] //= 2
    film = triptych.film(frames, back=False)
    shown, durations, loop = played(film.save(tmp_path / "a.GIF", scale=2, fps=30))
    assert durations == [30, 30, 30, 1030] and loop == 0  # hundredths of a second; it rests
    for picture, pixels in zip(shown, frames, strict=True):
        assert np.array_equal(picture, as_shown(pixels, 2))


def test_a_gif_of_many_colors_is_near_and_not_dithered(tmp_path: Path) -> None:
    """Places of one color stay of one color: dithering would spread the error over them."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    smooth = torch.stack([y * 3, x * 3, 2 * (x + y)])[None].to(torch.uint8)
    frames = torch.cat([smooth, 255 - smooth])
    shown, _, _ = played(triptych.film(frames).save(tmp_path / "a.gif", scale=2))
    for picture, pixels in zip(shown, frames, strict=True):
        expected = as_shown(pixels, 2)
        assert len(np.unique(expected.reshape(-1, 3), axis=0)) > 256
        error = np.abs(picture.astype(int) - expected)
        assert error.mean() < 5 and error.max() < 40
        assert np.array_equal(picture, np.repeat(np.repeat(picture[::2, ::2], 2, 0), 2, 1))
        colors = {tuple(color): set() for color in expected.reshape(-1, 3)}
        for wanted, got in zip(expected.reshape(-1, 3), picture.reshape(-1, 3), strict=True):
            colors[tuple(wanted)].add(tuple(got))
        assert max(map(len, colors.values())) == 1


def test_a_frame_shows_all_images_at_one_moment() -> None:
    paths = random_pixels(10, 3, 3, 4, 4)
    film = triptych.film(paths)
    assert len(film.frames) == 3 and len(film) == 4
    for moment, pixels in enumerate(film.frames):
        assert torch.equal(pixels, triptych.grid(paths[:, moment], columns=8).pixels)
    assert film.frames.shape[1:] == (3, *images.grid_size((10, 3, 4, 4), 8))
    assert len(triptych.film(paths[:, :1])) == 1 and len(triptych.film(paths[:, :2])) == 2


def test_points_of_the_plane_move_together() -> None:
    paths = random_pixels(5, 3, 2, 1, 1)
    film = triptych.film(paths)
    assert film.frames.shape == (3, 1, 256, 256)
    for moment, pixels in enumerate(film.frames):
        assert torch.equal(pixels, images.scatter(paths[:, moment]))


def test_a_film_shows_itself_in_a_notebook(tmp_path: Path) -> None:
    """Its picture is the .webp, inside the page."""
    film = triptych.film(few_colors(3, 3, 5, 7))
    html = film._repr_html_()
    assert html.startswith('<img src="data:image/webp;base64,') and 'height="385"' in html
    assert "http" not in html


def test_a_grid_is_enlarged_by_nearest_neighbours(tmp_path: Path) -> None:
    grid = triptych.grid(random_pixels(3, 3, 4, 6))
    with Image.open(grid.save(tmp_path / "a.png", scale=5)) as picture:
        assert np.array_equal(np.asarray(picture), as_shown(grid.pixels, 5))


def test_a_grid_is_a_png(tmp_path: Path) -> None:
    grid = triptych.grid(random_pixels(3, 3, 4, 6))
    with pytest.raises(InputError, match=r"^a grid is no \.jpg file: end the path in \.png$"):
        grid.save(tmp_path / "a.JPG")
    assert list(tmp_path.iterdir()) == []
    assert [grid.save(tmp_path / name).name for name in ("a.PNG", "a")] == ["a.PNG", "a"]


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("a.mp4", {}, r"a film is no \.mp4 file: end the path in \.gif or \.webp, or name a fold"),
        ("a.gif", {"scale": 0}, "no --scale 0: give 1 to 64"),
        ("a.gif", {"scale": 65}, "no --scale 65"),
        ("a.gif", {"scale": 1.5}, "scale takes a whole number, not float"),
        ("a.gif", {"fps": 0}, "no --fps 0: give one above 0 and up to 50"),
        ("a.gif", {"fps": float("nan")}, "no --fps nan"),
        ("a.webp", {"scale": 64}, r"a picture of 19,200 x 64 pixels is too large"),
    ],
)
def test_films_that_cannot_be_written(
    name: str, options: dict[str, Any], line: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=line):
        triptych.film(random_pixels(2, 1, 1, 300)).save(tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_film_as_large_as_memory_is_refused(tmp_path: Path) -> None:
    film = triptych.film(torch.zeros(600, 1, 400, 400, dtype=torch.uint8))
    with pytest.raises(InputError, match="a film of 1,198 frames of 400 x 400 pixels is too large"):
        film.save(tmp_path / "a.gif")
    for wrong in (torch.zeros(2, 3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8), "x"):
        with pytest.raises(InputError, match="a film is made of uint8"):
            triptych.film(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [".png", ".gif", ""])
@pytest.mark.parametrize("shape", [(3, 3, 4, 6), (70, 3, 4, 6), (3, 5, 3, 4, 6), (9, 2, 2, 1, 1)])
def test_room_is_asked_for_as_it_will_be_needed(
    kind: str, shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused before the work is what would be refused after it, to the pixel."""
    moving = len(shape) == 5
    if kind == ".gif" and not moving:
        return
    target = check(tmp_path / f"out{kind}", FilmOptions(scale=2), moving=True)
    asked: list[tuple[int, ...]] = []
    whole = images.check_size

    def note(*given: Any) -> None:
        height, width, scale, frames, name = (*given, *(1, 1, "")[len(given) - 2 :])
        asked.append((height, width, scale, frames, name if name == ".gif" else ""))
        whole(*given)

    monkeypatch.setattr(images, "check_size", note)
    target.check_room(shape)
    target.write({"images": random_pixels(*shape)})
    assert len(asked) > 1 and len(set(asked)) == 1


# Commands


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and three runs."""
    folder = tmp_path_factory.mktemp("films")
    write_npz(folder / "bars.npz", *make_images(300))
    few = ["widths=8,8", "batch_size=16"]
    small = [*few, "attention=false,false", "steps=2", "groups=2"]
    for model, sets in (("vae:course", few), ("diffusion:x0", small)):
        triptych.train(
            model, folder / "bars.npz", budget="0.2kimg", set=sets, resolution=16,
            out=folder / model.partition(":")[0], machine=one_thread(),
        )  # fmt: skip
    return folder


@pytest.fixture
def do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stock: Path) -> Any:
    """Runs a command in an empty folder; RUNS stands for that with the runs."""
    monkeypatch.chdir(tmp_path)

    def command(words: str, machine: str = SLOW) -> Any:
        return parser.parse(f"{words} {machine}".replace("RUNS", str(stock)).split()).run()

    return command


def pixels_of(path: Path | str) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def cells(sheet: np.ndarray, side: int = 16, gap: int = 2) -> np.ndarray:
    """The images of a grid: (rows,columns,side,side,3)."""
    step = side + gap
    rows, columns = (sheet.shape[0] + gap) // step, (sheet.shape[1] + gap) // step
    return np.stack([
        [sheet[r * step : r * step + side, c * step : c * step + side] for c in range(columns)]
        for r in range(rows)
    ])  # fmt: skip


def test_a_walk_begins_and_ends_as_its_picture_does(do: Any) -> None:
    do("interpolate RUNS/vae --points 4 --out still.png")
    do("interpolate RUNS/vae --points 4 --out walk.webp --fps 20")
    do("interpolate RUNS/vae --points 4 --out walk.gif --scale 2")
    do("interpolate RUNS/vae --points 4 --out walk --frames --scale 2")
    still = cells(pixels_of("still.png"))  # a row a path
    assert still.shape[:2] == (8, 4)
    shown, durations, _ = played(Path("walk.webp"))
    assert durations == [50] * 6
    for frame, moment in zip(shown, (0, 1, 2, 3, 2, 1), strict=True):
        assert np.array_equal(cells(frame)[0], still[:, moment])
    assert sorted(path.name for path in Path("walk").iterdir()) == [
        f"frame-0000{number}.png" for number in range(4)
    ]
    for number in range(4):
        large = np.repeat(np.repeat(shown[number], 2, 0), 2, 1)
        assert np.array_equal(pixels_of(f"walk/frame-0000{number}.png"), large)
    assert played(Path("walk.gif"))[0].shape == (6, *large.shape)


def test_a_traversal_moves_all_units_at_once(do: Any) -> None:
    do("traverse RUNS/vae --rows 3 --points 5 --out still.png")
    do("traverse RUNS/vae --rows 3 --points 5 --out moving.webp")
    still, shown = cells(pixels_of("still.png")), played(Path("moving.webp"))[0]
    assert len(shown) == 8
    for moment in range(5):
        assert np.array_equal(cells(shown[moment])[0], still[:, moment])


@pytest.mark.parametrize(("more", "states"), [("", 4), ("--steps 5 --temperature 0.9", 7)])
def test_a_trajectory_ends_in_the_samples(do: Any, more: str, states: int) -> None:
    """It has the noise, where the sampler begins, and each of its steps."""
    do(f"sample RUNS/diffusion --count 10 --seed 3 --out still.png --scale 2 {more}")
    do(f"sample RUNS/diffusion --count 10 --seed 3 --trajectory --out way.webp --scale 2 {more}")
    do(f"sample RUNS/diffusion --count 10 --seed 3 --trajectory --out way.npz {more}")
    shown, durations, _ = played(Path("way.webp"))
    assert len(shown) == states and durations == [*[100] * (states - 1), 1100]
    assert np.array_equal(shown[-1], pixels_of("still.png"))
    with np.load("way.npz") as arrays:
        way = torch.from_numpy(arrays["images"]).movedim(-1, 2)
    for moment in range(states):
        assert np.array_equal(shown[moment], as_shown(images.grid(way[:, moment]).pixels, 2))
    noise = images.to_float(way[:, 0])
    assert 0.5 < noise.std() < 0.9  # unit noise, cut to black and white


def test_the_states_of_many_steps_are_spread_evenly(
    stock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(stock / "diffusion", one_thread())
    whole = run.trajectory(2, 0, steps=11)
    monkeypatch.setattr("triptych.run.MOST_STATES", 5)
    assert torch.equal(run.trajectory(2, 0, steps=11), whole[:, ::3])
    assert whole.shape[1] == 13 and torch.equal(whole[:, -1], run.sample(2, 0, steps=11))


def test_the_film_of_a_training_is_its_pictures(do: Any, stock: Path) -> None:
    files = sorted((stock / "vae" / "samples").glob("*.png"))
    assert len(files) > 1
    do("sample RUNS/vae --training --out way.webp --fps 5 --scale 2")
    do("sample RUNS/vae --training --out way")
    shown, durations, _ = played(Path("way.webp"))
    assert durations == [*[200] * (len(files) - 1), 1200]
    for number, (frame, file) in enumerate(zip(shown, files, strict=True)):
        assert np.array_equal(frame[::2, ::2], pixels_of(file))
        assert np.array_equal(pixels_of(f"way/frame-{number:05d}.png"), pixels_of(file))


def test_samples_reconstructions_and_contact_sheets_are_enlarged(do: Any, stock: Path) -> None:
    machine = {"data": "--quiet"}
    for command in (
        "sample RUNS/vae --count 5",
        "reconstruct RUNS/vae --count 5",
        "data RUNS/bars.npz --resolution 16",
    ):
        name = command.split()[0]
        do(f"{command} --out {name}.png", machine.get(name, SLOW))
        do(f"{command} --out {name}-large.png --scale 3", machine.get(name, SLOW))
        small, large = pixels_of(f"{name}.png"), pixels_of(f"{name}-large.png")
        assert np.array_equal(large, np.repeat(np.repeat(small, 3, 0), 3, 1))
    do("sample RUNS/vae --count 2 --scale 2 --out folder")
    alone = cells(pixels_of("sample.png"))[0, 1]
    enlarged = np.repeat(np.repeat(alone, 2, 0), 2, 1)
    assert np.array_equal(pixels_of("folder/images-00001.png"), enlarged)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("sample RUNS/vae --out a.gif", "samples do not move: add --trajectory, or end --out"),
        ("sample RUNS/vae --trajectory --out a.gif", "a vae samples in one step: leave out --traj"),
        ("sample RUNS/vae --training --out a.png", "the pictures of a training are no .png file"),
        ("sample RUNS/vae --training --count 3 --out a.gif", "--count is for new samples, and --t"),
        ("sample RUNS/none --training --out a.gif", "no run folder"),
        ("reconstruct RUNS/vae --out a.webp", "cannot write .webp files: end --out in .png or .n"),
        ("interpolate RUNS/vae --out a.mp4", "cannot write .mp4 files: end --out in .png, .gif, "),
        ("interpolate RUNS/vae --out a.gif --scale 0", "no --scale 0: give 1 to 64"),
        ("interpolate RUNS/vae --out a.npz --scale 2", "a .npz file holds no enlarged images: le"),
        ("interpolate RUNS/vae --out a.png --fps 5", "--fps is for a .gif or .webp: leave it out"),
        ("interpolate RUNS/vae --out a.gif --fps 99", "no --fps 99: give one above 0 and up to 50"),
        ("interpolate RUNS/vae --out a.gif --frames", "--frames is for a folder of what moves: le"),
        ("sample RUNS/vae --out a --frames", "--frames is for a folder of what moves: leave out -"),
        ("interpolate RUNS/vae --out a.gif --points 9999999", "frames of 142 x 16 pixels is too l"),
        ("sample RUNS/vae --count 90000 --scale 64 --out a.png", "pixels is too large: give a sma"),
        (
            "evaluate RUNS/bars.npz --data RUNS/bars.npz --out a.gif",
            "--out is a folder, and a.gif e",
        ),
        ("interpolate RUNS/vae --out a.gif --points 0", "--points 0 is too few: give 2 or more"),
    ],
)
def test_what_cannot_be_shown_is_one_line(
    do: Any, words: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is said before anything is drawn."""
    monkeypatch.setattr("triptych.tasks.sample.sample", None)
    monkeypatch.setattr("triptych.tasks.interpolate.walk", None)
    with pytest.raises(InputError) as refused:
        do(words)
    assert line in str(refused.value) and "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
