"""What the live page shows of models of points: pictures of the plane, and points that are kept."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import ImageColor
from torch import Tensor, nn

from tests.truths import MACHINE
from triptych import images
from triptych.config import POINT, ImageShape
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.registry import FAMILIES, ModelName
from triptych.tasks import sample
from triptych.web import plane
from triptych.web.plane import SIDE, PlaneAsked
from triptych.web.points import FOLDER, PROVOKED, PointsAsked

FAR = torch.full((5, 2, 1, 1), 255, dtype=torch.uint8)  # real points, in one corner


def fresh(family: str) -> Any:
    name = ModelName.parse(f"{family}:points")
    return registry.build(name, registry.defaults(name, "tiny", POINT), POINT, 0).eval()


def drawn(model: Any, family: str, **asked: Any) -> Tensor:
    """The picture as float, rows from the top: [3,512,512]."""
    picture = plane.draw(model, family, FAR, MACHINE, PlaneAsked(run="r", **asked))
    assert picture.shape == (3, SIDE, SIDE) and picture.dtype == torch.uint8
    return picture.float()


def at(picture: Tensor, x: float, y: float) -> Tensor:
    """The color [3] where a point of the square lies."""
    column, row = ((1 + x) / 2 * (SIDE - 1), (1 - y) / 2 * (SIDE - 1))
    return picture[:, round(row), round(column)]


def color_of(family: str) -> Tensor:
    return torch.tensor(ImageColor.getrgb(FAMILIES[family].color), dtype=torch.float32)


class Constant(nn.Module):
    """Decodes every latent to one point."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.tensor([-0.5, 0.25]).view(1, 2, 1, 1).expand(len(z), -1, -1, -1)


def test_samples_and_their_density_are_where_they_lie() -> None:
    model = fresh("gan")
    model.generator = Constant()
    for view in ("samples", "density"):
        picture = drawn(model, "gan", view=view)
        assert (at(picture, -0.5, 0.25) - color_of("gan")).abs().max() < 60, view
        for mirrored in ((0.5, 0.25), (-0.5, -0.25), (0.5, -0.25)):
            assert at(picture, *mirrored).min() == 255, view
    assert at(drawn(model, "gan"), 1, 1).tolist() == list(plane.REAL)


def test_a_density_is_the_root_of_blurred_counts() -> None:
    """Nine of ten samples at one place, one at another: roots 1 and 1/3, Gaussian all around."""
    points = torch.tensor([[0.5, 0.5]] * 900 + [[-0.5, -0.5]] * 100)
    found = plane.density(points)
    cells = plane.CELLS
    right, low = int(0.75 * cells), int(0.25 * cells)
    assert found.argmax().item() == (cells - 1 - right) * cells + right
    assert found.max() == 1
    assert found[cells - 1 - low, low].item() == pytest.approx(1 / 3, rel=1e-4)
    beside = found[cells - 1 - right, right + 2].item()
    assert beside == pytest.approx(math.exp(-0.5 * (2 / plane.BLUR) ** 2) ** 0.5, rel=1e-3)


class Rightwards(nn.Module):
    """Takes points for real that lie far to the right, and a little above."""

    def forward(self, x: Tensor) -> Tensor:
        return 20 * x[:, 0, 0, 0] + 2 * x[:, 1, 0, 0]


def test_a_discriminator_s_field_has_its_colors_where_it_takes_points_for_real_or_not() -> None:
    model = fresh("gan")
    model.critic = Rightwards()
    picture = drawn(model, "gan", view="field")
    assert (at(picture, 0.8, 0) - color_of("gan")).abs().max() < 3
    assert (at(picture, -0.8, 0) - torch.tensor(plane.FAKE_COLOR)).abs().max() < 3
    assert at(picture, 0, 0).min() > 230
    above, below = (at(picture, 0.05, y) - color_of("gan") for y in (0.9, -0.9))
    assert above.abs().sum() < below.abs().sum()


class Towards(nn.Module):
    """Every noisy point comes from one place."""

    network = nn.Identity()

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        assert set(sigma.tolist()) == {sigma[0].item()}
        return torch.tensor([0.5, -0.5]).view(1, 2, 1, 1).expand_as(x) * sigma.view(-1, 1, 1, 1)


def test_a_score_field_points_to_where_noisy_points_come_from_at_its_level(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, lines = fresh("diffusion"), []
    model.denoiser = Towards()
    monkeypatch.setattr(plane.Canvas, "line", lambda self, points, width=1: lines.append(points))
    for sigma in (1.0, 0.5):
        lines.clear()
        drawn(model, "diffusion", view="field", sigma=sigma)
        assert len(lines) == plane.ARROWS**2
        goal = sigma * torch.tensor([0.5, -0.5])
        lengths = []
        for tail, head in lines:
            way, wanted = head - tail, goal - tail
            assert torch.dot(way, wanted) >= 0.999 * way.norm() * wanted.norm() - 1e-6
            lengths.append((way.norm() / wanted.norm()).item())
        assert max(lengths) - min(lengths) < 1e-4  # all by the same scale
        longest = max((head - tail).norm().item() for tail, head in lines)
        assert longest == pytest.approx(2 / plane.ARROWS)


def test_a_grid_of_latents_is_decoded_along_each_of_its_axes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, lines = fresh("vae"), []
    model.decoder = nn.Sequential(nn.Unflatten(1, (2, 1, 1)))  # a latent is a point
    monkeypatch.setattr(plane.Canvas, "line", lambda self, points, width=1: lines.append(points))
    drawn(model, "vae", view="field")
    assert len(lines) == 2 * plane.LINES
    ends = {tuple((line[-1] - line[0]).tolist()) for line in lines}
    assert ends == {(2 * plane.REACH, 0.0), (0.0, 2 * plane.REACH)}


@pytest.mark.parametrize("family", ["vae", "gan", "diffusion"])
def test_paths_end_at_samples(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[Tensor] = []
    monkeypatch.setattr(plane.Canvas, "line", lambda self, points, width=1: lines.append(points))
    model = fresh(family)
    drawn(model, family, view="paths", seed=4)
    assert len(lines) == plane.PATHS and {len(line) for line in lines} == {plane.POINTS}
    if family == "diffusion":
        ends = images.to_float(sample.sample(model, plane.PATHS, 4, MACHINE)).flatten(1)
        inside = torch.stack([line[-1] for line in lines]).clamp(-1, 1)
        assert (inside - ends).abs().max() < 1 / 255 + 1e-5
        assert (lines[0][0] - lines[0][-1]).abs().max() > 0.01


def test_a_run_of_images_has_no_plane() -> None:
    name, shape = ModelName.parse("vae:sigma"), ImageShape(channels=1, resolution=16)
    model = registry.build(name, registry.defaults(name, "tiny", shape), shape, 0)
    with pytest.raises(InputError, match="this run is of images"):
        plane.draw(model, "vae", FAR, MACHINE, PlaneAsked(run="r"))


# Points that are kept


SOME = tuple((x / 10, -x / 7) for x in range(60))


def test_points_are_kept_once_as_they_were_drawn(tmp_path: Path) -> None:
    asked = PointsAsked(name="spiral", points=SOME)
    path = asked.write(tmp_path)
    assert asked.write(tmp_path) == path and path.parent == tmp_path / FOLDER
    assert len(list(path.parent.iterdir())) == 1
    first, *rows = csv.reader(path.read_text().splitlines())
    assert first == ["x", "y"]
    found = torch.tensor([[float(cell) for cell in row] for row in rows])
    assert torch.allclose(found, torch.tensor(SOME), atol=1e-6)
    assert PointsAsked(name="spiral", points=SOME[1:]).write(tmp_path) != path


def test_a_training_of_points_has_a_model_of_each_family_and_what_makes_it_fail(
    tmp_path: Path,
) -> None:
    asked = PointsAsked(points=SOME, provoked=("gan",))
    training = asked.training(tmp_path / "a.csv")
    assert [model.split(",")[0] for model in training.models] == [
        "vae:points", "gan:points", "diffusion:points",
    ]  # fmt: skip
    assert training.models[1] == ",".join(["gan:points", *PROVOKED["gan"]])
    assert "," not in training.models[0] and "," not in training.models[2]
    request = training.request()
    assert request.command().startswith("triptych compare vae:points 'gan:points,gamma=0")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../up"},
        {"name": ""},
        {"name": "a" * 21},
        {"points": [[0, "a"]]},
        {"points": [[0, 1e300]]},
        {"points": [[0, float("nan")]]},
        {"points": [[0, 1, 2]]},
        {"provoked": ["flow"]},
        {"more": 1},
    ],
)
def test_what_are_no_points_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, InputError)):
        PointsAsked.read({"points": [list(point) for point in SOME], **wrong})


@pytest.mark.parametrize("count", [0, 49, 4001])
def test_too_few_or_too_many_points_are_refused(count: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"draw 50 to 4,000"):
        PointsAsked(points=((0.5, 0.5),) * count).write(tmp_path)
    assert not (tmp_path / FOLDER).exists()
