"""Points of the plane: read from a CSV file, learned by small models, measured and sampled."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import triptych
from tests.truths import MACHINE
from triptych import config, images
from triptych.cli import output
from triptych.cli.main import attempt
from triptych.config import POINT, ImageShape
from triptych.console import QUIET
from triptych.data import points
from triptych.data.batches import Batches
from triptych.data.open import open_images
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.diffusion.denoisers import Denoiser
from triptych.families.diffusion.monitor import DiagnosedDiffusion
from triptych.families.registry import ModelName
from triptych.options import ReadingOptions
from triptych.run import run_data
from triptych.seeding import ImageStreams
from triptych.tasks import sample
from triptych.training.ema import as_used
from triptych.training.plan import Plan
from triptych.training.resolve import Variant
from triptych.training.state import TrainingState
from triptych.web.points import PROVOKED
from triptych.words import english

FAMILIES = ("vae", "gan", "diffusion")
STEPS = 300


def ring(count: int = 2000, seed: int = 0) -> np.ndarray:
    """Eight Gaussians on a circle of radius 2 around (10, -5), float64 (N,2)."""
    rng = np.random.default_rng(seed)
    angle = rng.integers(0, 8, count) * np.pi / 4
    circle = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (10, -5) + circle + 0.08 * rng.normal(size=(count, 2))


def write(path: Path, lines: list[str], encoding: str = "utf-8") -> str:
    path.write_bytes("\n".join(lines).encode(encoding))
    return str(path)


def as_lines(numbers: np.ndarray, separator: str = ",") -> list[str]:
    return [separator.join(map(repr, row)) for row in numbers.tolist()]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("points") / "ring.csv", ["x,y", *as_lines(ring())])


# Reading


OTHERS = {
    "\ufeffeast,north,name": 1,
    ",Y,label,X": 2,
    ",lon,lat": 1,
    "Label,u,v": 1,
}  # further columns


@pytest.mark.parametrize(
    "lines",
    [
        as_lines(ring(100)),
        ["x,y", *as_lines(ring(100))],
        ["\ufeffeast,north,name", *(f"{line},a" for line in as_lines(ring(100)))],
        as_lines(ring(100), "\t"),
        as_lines(ring(100), "  "),
        [line.replace(".", ",") for line in as_lines(ring(100), ";")],
        [each for line in as_lines(ring(100)) for each in (line, "", "  ")],
        ["# mine", "x y", *(f'"{x!r}", "{y!r}"\r' for x, y in ring(100).tolist())],
        [",Y,label,X", *(f"{n},{y!r},a,{x!r}" for n, (x, y) in enumerate(ring(100).tolist()))],
        [",lon,lat", *(f"{n},{x!r},{y!r}" for n, (x, y) in enumerate(ring(100).tolist()))],
        ["Label,u,v", *(f"{n % 3},{x!r},{y!r}" for n, (x, y) in enumerate(ring(100).tolist()))],
        [f'"{x!r}","{y!r}"'.replace(".", ",") for x, y in ring(100).tolist()],
    ],
    ids=[
        "plain", "named", "mark and names", "tabs", "spaces", "decimal commas", "empty lines",
        "quotes", "columns by their names", "numbered rows", "labels first",
        "decimal commas in quotes",
    ],
)  # fmt: skip
def test_points_are_two_numbers_of_each_line(tmp_path: Path, lines: list[str]) -> None:
    read, others = points.read_points(Path(write(tmp_path / "a.csv", lines)))
    assert np.array_equal(read, ring(100))
    assert others == OTHERS.get(lines[0], 0)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["x,y", *as_lines(ring(30)), "3,here"], "line 32 of a.csv is no point"),
        ([*as_lines(ring(30)), "1"], "line 31 of a.csv is no point"),
        ([*as_lines(ring(30)), "nan,1"], "line 31 of a.csv is no point"),
        ([*as_lines(ring(30)), "1,inf"], "line 31 of a.csv is no point"),
        (["file,label"] * 30, "line 2 of a.csv is no point"),
        (["# no", *as_lines(ring(30)), "1;2"], "line 32 of a.csv is no point"),
        (["abc,0.5", *as_lines(ring(30))], "line 1 of a.csv is no point"),
        (["nan,1", *as_lines(ring(30))], "line 1 of a.csv is no point"),
        (["1,2"] * 100, "a.csv holds copies of few points"),
        (as_lines(8e307 * (ring(30) - (10, -5))), "these coordinates are too large"),
        (as_lines(1.7e18 + ring(30)), "holds copies of few points"),
        (as_lines(ring(5)), "a.csv holds 5 points: give 20 to 1,000,000"),
        ([], "a.csv holds 0 points"),
    ],
)
def test_what_is_no_point_is_named(tmp_path: Path, lines: list[str], why: str) -> None:
    with pytest.raises(InputError, match=re.escape(why)):
        open_images(write(tmp_path / "a.csv", lines))


def test_files_that_are_no_text_or_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"a\.csv is no text"):
        open_images(write(tmp_path / "a.csv", ["é,è"] * 30, "latin-1"))
    monkeypatch.setattr(points, "MOST_BYTES", 1 << 20)
    with pytest.raises(InputError, match=r"a\.csv is larger than 1 MiB"):
        open_images(write(tmp_path / "a.csv", ["0.25,0.25"] * 120_000))


def test_coordinates_come_back_to_half_a_step_on_a_square_around_all(file: str) -> None:
    data, wanted = open_images(file), ring()
    assert data.shape == POINT and data.train.images.dtype == torch.uint8
    ends = np.array([data.ranges[axis] for axis in points.AXES])
    sides = ends[:, 1] - ends[:, 0]
    extent = wanted.max(0) - wanted.min(0)
    assert sides == pytest.approx([1.2 * extent.max()] * 2)
    assert ends.mean(1) == pytest.approx((wanted.max(0) + wanted.min(0)) / 2)
    parts = (data.train, data.validation, data.test)
    found = torch.cat([points.coordinates(each.images, data.ranges) for each in parts]).numpy()
    assert len(found) == len(wanted)
    # Each point has one at its place, however the file's order was shuffled.
    nearest = np.abs(found[:, None] - wanted[None]).max(2)
    step = sides[0] / 255
    assert nearest.min(0).max() <= 0.5001 * step and nearest.min(1).max() <= 0.5001 * step


def test_a_given_range_is_that_of_both_axes_and_what_it_cuts_is_told(file: str) -> None:
    data = open_images(file, ReadingOptions(range="-10,12"))
    assert data.ranges == {"x": (-10, 12), "y": (-10, 12)}
    beyond = int(((ring() < -10) | (ring() > 12)).any(1).sum())
    assert f"{beyond} of 2,000 points" in " ".join(map(english, data.notes))
    within = open_images(file)
    assert not any("outside" in english(note) for note in within.notes)
    assert within.fingerprint != data.fingerprint


def test_copies_are_in_one_part_and_parts_are_drawn_from_all_over(tmp_path: Path) -> None:
    """A file sorted along x, each point twice: no point is in two parts, none has its own half."""
    numbers = np.stack([np.linspace(0, 1, 3000), np.zeros(3000)], axis=1)
    lines = as_lines(np.repeat(numbers, 2, axis=0))
    data = open_images(write(tmp_path / "line.csv", lines))
    parts, order = points.parts_of(np.repeat(numbers, 2, axis=0))
    assert (parts[::2] == parts[1::2]).all()
    sizes = [len(part) for part in (data.train, data.validation, data.test)]
    assert sum(sizes) == 6000 and 500 < sizes[2] < 700 and 450 < sizes[1] < 650
    for part in (data.train, data.validation, data.test):
        first = part.images[:50, 0].double().mean() / 255
        assert 0.3 < first < 0.7  # the first ones are of anywhere
    assert sorted(order.tolist()) == list(range(6000))


def test_points_that_only_round_alike_are_no_copies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    crowded = np.concatenate([1e-6 * rng.normal(size=(1000, 2)), [[-1, -1], [1, 1]]])
    data = open_images(write(tmp_path / "crowd.csv", as_lines(crowded)))
    assert len(data.train) > 700 and len(data.validation) > 50 and len(data.test) > 50


# Which model


def test_a_family_s_name_means_its_recipe_for_points(file: str) -> None:
    for family in FAMILIES:
        assert str(registry.fitting(ModelName.parse(family), POINT)) == f"{family}:points"
        assert (
            str(registry.fitting(ModelName.parse(f"{family}:points"), POINT)) == f"{family}:points"
        )
    image = ImageShape(channels=1, resolution=16)
    for name in registry.known_models():
        usual = registry.recipe(ModelName.parse(name)).points
        if usual:
            with pytest.raises(InputError, match=r"is for points of the plane: give a \.csv file"):
                registry.fitting(ModelName.parse(name), image)
        else:
            assert str(registry.fitting(ModelName.parse(name), image)) == name


@pytest.mark.parametrize("name", ["vae:course", "gan:r3", "diffusion:edm", "mixture:mppca"])
def test_models_of_images_refuse_points(name: str, file: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"is for images, not for points: choose from .*vae:points"
    ):
        triptych.train(name, file, budget="5kimg", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Learning


def trained(model: str, file: str, steps: int, *settings: str) -> TrainingState:
    data, name = open_images(file), ModelName.parse(model)
    usual = registry.defaults(name, "tiny", data.shape, len(data.train))
    chosen = config.override(usual, settings)
    state = TrainingState(registry.build(name, chosen, data.shape, 0).train(), chosen)
    batches = Batches(data.train, chosen.batch_size, 0, "cpu")
    plan = Plan.straight(steps * chosen.batch_size)
    for _ in range(steps):
        state.step(batches, 0, plan, MACHINE)
    return state


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E|a - b| - E|a - a'| - E|b - b'| (Szekely and Rizzo 2013), of points [N,2] and [M,2]."""
    ab, aa, bb = (torch.cdist(x, y).mean().item() for x, y in ((a, b), (a, a), (b, b)))
    return 2 * ab - aa - bb


# Distances after 300 steps were 0.030, 0.019 and 0.011; before the first 0.48, 0.50 and 0.042.
@pytest.mark.parametrize(("family", "most"), [("vae", 0.1), ("gan", 0.1), ("diffusion", 0.02)])
def test_three_hundred_steps_learn_the_ring(family: str, most: float, file: str) -> None:
    state, data = trained(f"{family}:points", file, STEPS), open_images(file)
    real = images.to_float(data.test.images).flatten(1)
    with as_used(state.model, state.ema) as model:
        drawn = images.to_float(sample.sample(model, 500, 1, MACHINE)).flatten(1)
    assert energy_distance(drawn, real) < most
    assert sum(p.numel() for p in state.model.parameters()) < 14_000


PROVOKED_STEPS = {"vae": 60, "gan": STEPS, "diffusion": 30}
NAMED = {"vae": "unused_latent_points", "gan": "few_kinds_of_points", "diffusion": "too_few_steps"}


@pytest.mark.parametrize("family", FAMILIES)
def test_each_provoked_failure_is_named_by_the_diagnosis(family: str, file: str) -> None:
    state = trained(f"{family}:points", file, PROVOKED_STEPS[family], *PROVOKED[family])
    assert NAMED[family] in diagnosed(state, file)


@pytest.mark.parametrize("family", ["vae", "diffusion"])
def test_without_them_nothing_is_amiss(family: str, file: str) -> None:
    state = trained(f"{family}:points", file, 2 * PROVOKED_STEPS[family])
    assert NAMED[family] not in diagnosed(state, file)


def diagnosed(state: TrainingState, file: str) -> list[str]:
    """The codes of the advice on the weights as they would be used."""
    data = open_images(file)
    seen, unseen = (images.to_float(p.images[:64]) for p in (data.train, data.validation))
    with as_used(state.model, state.ema) as model, torch.inference_mode():
        found = model.diagnose(seen, unseen, ImageStreams(0, "d", range(128)), 0.9)  # type: ignore[operator]
    return [note.code for note in found.advice]


# Steps of a sampler


class Exact(Denoiser):
    """E[x | x + sigma noise] of x ~ N(0, std^2 I)."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std, self.network = std, torch.nn.Identity()

    def precondition_input(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return x, sigma

    def to_x0(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        return x * self.std**2 / (self.std**2 + sigma**2)

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.to_x0(x, x, sigma.view(-1, 1, 1, 1))


def sampled_by_hand(start: Tensor, std: float, levels: list[float]) -> Tensor:
    """Heun's method (arXiv:2206.00364, Algorithm 1) on the slope x sigma / (std^2 + sigma^2)."""
    x = start
    for sigma, after in pairwise(levels):
        slope = x * sigma / (std**2 + sigma**2)
        there = x + (after - sigma) * slope
        if after:
            there = x + (after - sigma) * (slope + there * after / (std**2 + after**2)) / 2
        x = there
    return x


@pytest.mark.parametrize("steps", [2, 3, 6, 40])
def test_moved_is_how_far_samples_go_with_twice_the_steps(steps: int) -> None:
    name, std = ModelName.parse("diffusion:points"), 0.4
    settings = replace(registry.defaults(name, "tiny", POINT), steps=steps)
    model: Any = registry.build(name, settings, POINT, 0)
    assert isinstance(model, DiagnosedDiffusion)
    model.denoiser = Exact(std)
    real = std * torch.randn(50, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    found = model.diagnose(real, real, ImageStreams(3, "d", range(100)), 0.9)

    start = settings.sigma_max * ImageStreams(3, "d", range(100)).normal(2, 1, 1).double()
    ends = []
    for count in (steps, 2 * steps):
        ramp = np.linspace(0, 1, count)
        top, bottom = (level ** (1 / 7) for level in (settings.sigma_max, settings.sigma_min))
        ends.append(sampled_by_hand(start, std, [*((top + ramp * (bottom - top)) ** 7), 0.0]))
    lengths = (ends[0] - ends[1]).flatten(1).norm(dim=1)
    extent = (real - real.mean(0)).flatten(1).norm(dim=1).mean()
    assert found.numbers["moved"] == pytest.approx((lengths.mean() / extent).item(), rel=1e-3)
    advised = [note.code for note in found.advice]
    assert advised == (["too_few_steps"] if found.numbers["moved"] > 0.1 else [])
    assert steps not in (2, 40) or (steps == 2) == bool(advised)
    early = model.diagnose(real, real, ImageStreams(3, "d", range(100)), 0.1)
    assert early.advice == [] and early.numbers == found.numbers
    noisy = model.with_sampler("ancestral")
    assert noisy.diagnose(real, real, ImageStreams(3, "d", range(100)), 0.9).numbers == {}


# A run


def test_a_run_of_points_is_trained_measured_and_opened_again(file: str, tmp_path: Path) -> None:
    run = triptych.train("vae", file, budget="20kimg", out=tmp_path / "run", threads=1)
    assert run.record.model == "vae:points" and "--resolution" not in run.record.command
    assert run.record.data.ranges.keys() == {"x", "y"}
    [results] = triptych.evaluate(tmp_path / "run", count=150)
    found = {(m.name, m.reference, m.method): m for m in results.metrics}
    told = {name: m for (name, *_), m in found.items()}
    for name in ("sharpness", "real_or_fake", "memorised", "copied"):
        assert told[name].value is None and told[name].note is not None
        assert told[name].note.code == "images_only", name
    again = triptych.load(tmp_path / "run")
    drawn = again.sample(150, seed=1_000_003)
    assert drawn.shape == (150, 2, 1, 1)
    first = next(
        m for m in results.metrics if m.name == "frechet_distance" and m.reference == "test"
    )
    assert first.features == "coordinates"
    real, ours = (
        images.to_float(x).flatten(1).double() for x in (open_images(file).test.images, drawn)
    )
    assert first.value == pytest.approx(frechet_of_plane(ours, real), rel=1e-4)


def frechet_of_plane(a: Tensor, b: Tensor) -> float:
    """Of two Gaussians in two dimensions, where tr sqrt(M) = sqrt(tr M + 2 sqrt(det M))."""
    mean = (a.mean(0) - b.mean(0)).square().sum()
    first, second = torch.cov(a.T), torch.cov(b.T)
    product = first @ second
    root = (product.trace() + 2 * torch.linalg.det(product).clamp(min=0).sqrt()).sqrt()
    return (mean + first.trace() + second.trace() - 2 * root).item()


# Pictures


def test_a_scatter_has_a_dot_where_a_point_lies_and_is_darker_where_more_do() -> None:
    places = [(10, 250), (100, 20), (100, 20)]
    drawn = images.scatter(torch.tensor(places, dtype=torch.uint8)[:, :, None, None])
    assert drawn.shape == (1, 256, 256) and drawn.dtype == torch.uint8
    rows, columns = (drawn[0] < 255).nonzero().T.tolist()
    assert set(zip(columns, rows, strict=True)) == {
        (x + right, 255 - y + down)
        for x, y in ((10, 250), (100, 20))
        for right in (-1, 0, 1)
        for down in (-1, 0, 1)
    }
    assert drawn[0, 255 - 20, 100] < drawn[0, 255 - 250, 10] < 255
    alone = images.grid(torch.full((3, 2, 1, 1), 7, dtype=torch.uint8)).pixels
    assert alone[0, 255 - 7, 7] < 255 and alone[0, 255 - 7, 7] == alone.min()


def test_a_list_among_settings_is_one_word(file: str) -> None:
    variant = Variant.parse("gan:points,generator.betas=[0.9,0.99],gamma=0")
    assert variant.words == ("generator.betas=[0.9,0.99]", "gamma=0")
    usual = registry.defaults(variant.name, "tiny", POINT)
    assert config.override(usual, variant.words).generator.betas == (0.9, 0.99)


# Commands


@pytest.fixture(scope="module")
def run(file: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learned") / "run"
    triptych.train("gan", file, budget="6kimg", set=("batch_size=64",), out=folder, threads=1)
    return folder


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The program in this process: its exit code, what it printed and what it said."""
    monkeypatch.setattr("triptych.hardware.keep_memory", lambda: None)

    def program(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["triptych", *map(str, words)])
        code = attempt(lambda *rest: None)
        return code, *capsys.readouterr()

    return program


def test_samples_are_written_as_points_in_the_units_of_the_data(
    call: Call, run: Path, file: str, tmp_path: Path
) -> None:
    code, *_ = call("sample", run, "--count", 30, "--seed", 2, "--out", tmp_path / "s.csv")
    assert code == 0
    read, _ = points.read_points(tmp_path / "s.csv")
    opened = triptych.load(run)
    expected = points.coordinates(opened.sample(30, 2), opened.record.data.ranges)
    assert np.allclose(read, expected, atol=1e-4)
    low, high = np.array([open_images(file).ranges[axis] for axis in points.AXES]).T
    assert (read >= low - 1e-3).all() and (read <= high + 1e-3).all()
    assert open_images(str(tmp_path / "s.csv")).shape == POINT  # they are data again


def test_the_data_are_told_of(call: Call, file: str, tmp_path: Path) -> None:
    code, told, _ = call("data", file, "--out", tmp_path / "sheet.png")
    assert code == 0
    assert "2,000, points" in told and "models make points of the plane" in told
    assert "are kept as one of 256 values each" in told


@pytest.mark.parametrize(
    "words",
    [
        ("--resolution", "64"),
        ("--fit", "pad"),
        ("--flip",),
        ("--crop", "2"),
        ("--label-column", "z"),
        ("--image-column", "x"),
    ],
)
def test_options_of_images_are_refused(
    call: Call, words: tuple[str, ...], file: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    code, _, said = call("train", "vae", "--data", file, "--budget", "9kimg", "--out", out, *words)
    assert code == 2 and f"{words[0]} is for images, not for points" in said
    assert not out.exists()


def test_nothing_from_elsewhere_is_measured_on_points(
    call: Call, file: str, run: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "s.npz", images=np.zeros((40, 8, 8, 3), np.uint8))
    for *words, why in (
        ("evaluate", tmp_path / "s.npz", "--data", file, "--out", tmp_path / "o", "of images"),
        ("compare", run, tmp_path / "s.npz", "--data", file, "--out", tmp_path / "c", "of images"),
        ("reference", file, "--out", tmp_path / "r.safetensors", "is of images, not of points"),
        ("sample", run, "--out", tmp_path / "s.txt", "cannot write .txt files"),
        ("evaluate", run, "--features", "patches", "points have no features 'patches'"),
    ):
        code, _, said = call(*words)
        assert code == 2 and why in said and "Traceback" not in said, words
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


def test_other_points_are_read_on_the_run_s_own_square(
    run: Path, file: str, tmp_path: Path
) -> None:
    """Far away and twice as large they are no nearer for having a square of their own."""
    far = write(tmp_path / "far.csv", as_lines(100 + 2 * ring()))
    own, opened = triptych.load(run), open_images(file)
    data = run_data(own, far, None, QUIET)
    assert data.ranges == opened.ranges
    assert (data.train.images == 255).all()  # all beyond the upper right corner
    assert "2,000 of 2,000 points" in " ".join(map(english, data.notes))
    asked = run_data(own, far, ReadingOptions(range="0,200"), QUIET)
    assert asked.ranges == {"x": (0, 200), "y": (0, 200)}
    assert run_data(own, None, None, QUIET).fingerprint == opened.fingerprint


def test_coordinates_are_written_with_all_their_digits(tmp_path: Path) -> None:
    offset = np.array([431_000.125, 4_649_776.25]) + ring(30)
    data = open_images(write(tmp_path / "a.csv", as_lines(offset)))
    found = points.coordinates(data.train.images, data.ranges)
    output.check(tmp_path / "b.csv", points=True).write_points(found)
    again, _ = points.read_points(tmp_path / "b.csv")
    assert np.abs(again - found.numpy()).max() < 1e-4


def test_images_are_nothing_for_a_run_of_points(call: Call, run: Path, tmp_path: Path) -> None:
    images.grid(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)).save(tmp_path / "a.png")
    code, _, said = call("reconstruct", run, tmp_path / "a.png", "--out", tmp_path / "r.png")
    assert code == 2 and "is of points, not of images" in said


def test_points_are_joined_without_filling_rows() -> None:
    few = torch.full((3, 2, 1, 1), 7, dtype=torch.uint8)
    assert torch.equal(images.interleave(few, few, columns=10), torch.cat([few, few]))


def test_a_family_and_its_recipe_for_points_are_one_model(
    call: Call, file: str, tmp_path: Path
) -> None:
    code, _, said = call(
        "compare", "vae", "vae:points", "--data", file, "--budget", "9kimg", "--out", tmp_path / "c"
    )
    assert code == 2 and "two models would be vae-points-s0" in said
    assert not (tmp_path / "c").exists()


def test_a_cell_that_no_table_has_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + f'1,"{"A" * 200_000}"\n' * 30)
    with pytest.raises(InputError, match=r"a.csv is no table of points \(field larger"):
        points.read_points(path)
    assert not points.is_points("~nosuchuser/a.csv") and not points.is_points("a\0.csv")
