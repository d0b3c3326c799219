"""What can be asked of VAEs: bounds with any number of draws, noisy pixels, and what is refused."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import triptych
from tests.making import encode, evaluated, make_images, one_thread, write_npz
from tests.test_cli import SLOW, Call, call, refuses
from tests.truths import MACHINE
from triptych import images
from triptych.cli import text
from triptych.config import Budget, ImageShape
from triptych.console import QUIET
from triptych.errors import InputError
from triptych.evaluation import classifier
from triptych.evaluation.evaluate import CONDITIONAL
from triptych.families.capabilities import BoundsLikelihood, NoisyPixels
from triptych.options import LikelihoodOptions
from triptych.pages.language import Language
from triptych.records import Note, as_json
from triptych.run import Run, run_data
from triptych.seeding import ImageStreams
from triptych.tasks import likelihood
from triptych.training import calibration

__all__ = ["call", "refuses"]  # fixtures

SMALL = (
    "patch=2 widths=16,16,16 bottom_up_blocks=1,1,1 top_down_blocks=1,1,1 latents=2,2,4 "
    "batch_size=32"
)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that tests only read; grey data beside the coloured ones."""
    folder = tmp_path_factory.mktemp("stock")
    write_npz(folder / "bars.npz", *make_images(300))
    write_npz(folder / "grey.npz", *make_images(300, channels=1))
    wanted = {
        "ladder": ("vae:ladder", SMALL, "bars", "1.28kimg"),
        "sigma": ("vae:sigma", "widths=8,8 latent=4 batch_size=32", "bars", "1.28kimg"),
        "grey": ("vae:sigma", "widths=8,8 latent=4 batch_size=32", "grey", "0.32kimg"),
        "gan": ("gan:course", "", "bars", "0.32kimg"),
        "diffusion": (
            "diffusion:x0",
            "widths=8,16 attention=false,false batch_size=32",
            "bars",
            "0.32kimg",
        ),
    }
    for name, (model, settings, data, length) in wanted.items():
        triptych.train(
            model,
            str(folder / f"{data}.npz"),
            budget=length,
            out=folder / name,
            set=settings.split(),
            resolution=16,
            machine=one_thread(),
        )
    return folder


def held_out(run: Run, count: int) -> Tensor:
    return run_data(run, None, None, QUIET).test.images[:count]


# Likelihood


@pytest.mark.parametrize("name", ["ladder", "sigma", "diffusion"])
def test_a_bound_is_averaged_over_its_draws(stock: Path, name: str) -> None:
    """Three draws are the mean of three calls that go on in the same streams."""
    run = Run(stock / name, one_thread())
    assert isinstance(run.model, BoundsLikelihood)
    pixels = held_out(run, 4)
    method = next(iter(run.model.bounds))
    found = run.log_likelihood(pixels, draws=3).to_json()
    rng = ImageStreams(0, f"likelihood/{method}", range(4))
    with torch.inference_mode():
        x = images.to_float(pixels)
        each = [run.model.negative_bound(x, rng, method) for _ in range(3)]
    assert set(found["terms"]) == set(each[0])
    for term, values in found["terms"].items():
        expected = statistics.mean(float(terms[term].double().mean()) for terms in each)
        assert values["nats"] == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert found["note"] == {"code": "draws", "values": {"n": 3}}
    usual = run.log_likelihood(pixels).to_json()
    assert usual["note"]["values"] == {"n": 1} and usual["value"] != found["value"]


def test_the_importance_weighted_bound_takes_any_k(stock: Path) -> None:
    """100 is usual; the more, the tighter, on the same streams."""
    run = Run(stock / "sigma", one_thread())
    pixels = held_out(run, 12)
    bound = {
        K: run.log_likelihood(pixels, method="importance", draws=K).to_json() for K in (1, 10, 100)
    }
    assert bound[1]["value"] > bound[10]["value"] > bound[100]["value"]
    assert run.log_likelihood(pixels, method="importance").to_json() == bound[100]
    assert bound[100]["note"] == {"code": "draws", "values": {"n": 100}}
    assert isinstance(run.model, BoundsLikelihood)
    rng = ImageStreams(0, "likelihood/importance", range(12))
    with torch.inference_mode():
        terms = run.model.negative_bound(images.to_float(pixels), rng, "importance", 10)
    expected = terms["importance_weighted"].double().mean().item()
    assert bound[10]["terms"]["importance_weighted"]["nats"] == pytest.approx(expected, rel=1e-5)


def test_every_term_has_the_interval_of_its_mean() -> None:
    """2.776 standard errors of five to each side, in nats and in bits of one pixel."""
    values = [3.0, 5.0, 4.0, 9.0, 2.5]
    found = likelihood.in_units(
        torch.tensor(values, dtype=torch.float64), ImageShape(channels=3, resolution=2)
    )
    margin = 2.7764451051977987 * statistics.stdev(values) / math.sqrt(5)  # Student, 4 degrees
    bits = 12 * math.log(2)
    assert asdict(found) == pytest.approx(
        {
            "nats": 4.7,
            "nats_low": 4.7 - margin,
            "nats_high": 4.7 + margin,
            "bits_per_dim": 4.7 / bits,
            "bits_per_dim_low": (4.7 - margin) / bits,
            "bits_per_dim_high": (4.7 + margin) / bits,
        }
    )


def test_terms_and_intervals_are_printed(call: Call, stock: Path) -> None:
    words = ("likelihood", stock / "ladder", "--count", "6", "--draws", "2", *SLOW)
    found = call(*words, "--json").json()
    assert set(found["terms"]) == {
        "reconstruction",
        "kl_vector",
        "kl_1x1",
        "kl_4x4",
        "kl_8x8",
        "group",  # so brief a training begins at a mixture
    }
    assert sum(term["bits_per_dim"] for term in found["terms"].values()) == pytest.approx(
        found["value"]
    )
    first, *terms, last = call(*words).out.splitlines()
    assert first == (
        f"bits per dimension: {found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}] "
        "(upper bound, elbo, 6 test images)"
    )
    assert last == "2 random draws for each image"
    for line, (name, term) in zip(terms, found["terms"].items(), strict=True):
        shown = [float(number) for number in re.findall(r"-?\d+\.\d+", line)]
        assert line.split()[0] == name and line.endswith(" nats")
        ends = ("", "_low", "_high")
        expected = [term[f"{unit}{end}"] for unit in ("bits_per_dim", "nats") for end in ends]
        assert shown == pytest.approx(expected, abs=0.006)


def test_a_measurement_says_its_draws(
    stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that samples are means, without pixel noise: in the notes, under the pictures."""
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 640)
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    place = tmp_path / "ladder"
    place.symlink_to(stock / "ladder")
    [found] = evaluated([place], count=10, machine=one_thread())
    notes = {metric["name"]: metric["note"] for metric in found["metrics"]}
    assert notes["bits_per_dim"] == {"code": "draws", "values": {"n": 1}}
    fine = {"code": "mean_pixels_cooled", "values": {"share": 0.3}}
    assert notes["sharpness"] == fine
    assert Language("fr").note(Note("draws", {"n": 1})) == "1 tirage par image"
    assert as_json(CONDITIONAL) not in found["warnings"]
    for figure in ("samples", "interpolation", "reconstruction"):
        said = json.loads((place / "figures" / f"{figure}.json").read_text())
        plain = {"code": "mean_pixels", "values": {}}
        assert said["note"] == (plain if figure == "reconstruction" else fine)
    for language, words in {
        "en": ("Means of the decoder, without pixel noise", "means of its pixels"),
        "fr": ("Moyennes du décodeur, sans bruit de pixel", "sans bruit de pixel"),
    }.items():
        page = triptych.report([place], lang=language, out=tmp_path / "a.html")  # type: ignore[arg-type]
        text = page.read_text()
        assert all(each in text for each in words), language


# Pixel noise


def test_noise_of_the_learned_deviation_is_drawn(stock: Path) -> None:
    """The same latents decode to the same means, and pixels lie about them as the model says."""
    run = Run(stock / "sigma", one_thread())
    run.model.log_std.data.fill_(math.log(0.1))  # type: ignore[operator]
    mean, drawn = run.sample(40, seed=1), run.sample(40, seed=1, pixel_noise=True)
    std = 0.1 * 127.5
    inside = (mean > 3 * std) & (mean < 255 - 3 * std)  # where no value was clamped
    apart = (drawn.float() - mean)[inside]
    assert apart.numel() > 5000
    assert abs(apart.mean()) < 4 * std / apart.numel() ** 0.5
    assert apart.std() == pytest.approx(std, rel=0.05)
    assert torch.equal(drawn[7:9], run.sample(9, seed=1, pixel_noise=True)[7:])


def test_a_ladder_s_pixels_are_drawn_after_its_latents(stock: Path) -> None:
    """From each image's own stream: the same latents, then the noise of the pixels."""
    run = Run(stock / "ladder", one_thread())
    assert isinstance(run.model, NoisyPixels)
    drawn = run.sample(5, pixel_noise=True)
    rng = ImageStreams(0, "sample", range(5))
    with torch.inference_mode():
        latent = run.model.draw_latent(5, rng)
        expected = images.to_uint8(run.model.with_pixel_noise().decode(latent, rng))
    assert torch.equal(drawn, expected)
    apart = (drawn.int() - run.sample(5)).abs().double().mean((1, 2, 3))
    assert (apart > 5).all() and len(set(apart.tolist())) == 5


def test_samples_with_pixel_noise_by_the_command(call: Call, stock: Path) -> None:
    words = ("sample", stock / "ladder", "--count", "3", *SLOW)
    assert call(*words, "--out", "a.npz").code == 0
    assert call(*words, "--pixel-noise", "--out", "b.npz").code == 0
    run = Run(stock / "ladder", one_thread())
    with np.load("a.npz") as mean, np.load("b.npz") as drawn:
        assert set(mean) == set(drawn) == {"images"}
        assert torch.equal(images.from_array(mean["images"]), run.sample(3))
        assert torch.equal(images.from_array(drawn["images"]), run.sample(3, pixel_noise=True))
        assert (mean["images"] != drawn["images"]).any()


@pytest.mark.parametrize("name", ["ladder", "sigma"])
def test_colder_samples_are_nearer_to_each_other(stock: Path, name: str) -> None:
    run = Run(stock / name, one_thread())
    spread = [run.sample(20, temperature=t).float().std(0).mean() for t in (1e-6, 0.5, 1.0)]
    assert spread[0] < spread[1] < spread[2]
    coldest = run.sample(20, temperature=1e-12).unique(dim=0)
    groups = getattr(run.model, "conditioning", None)
    kinds = 1 if groups is None else int((groups.counts > 0).sum())
    assert 1 <= len(coldest) <= kinds  # every group has its own mean


# Bad input


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("likelihood {ladder} --draws 0", "--draws 0 is too few: give 1 or more"),
        ("likelihood {diffusion} --draws -1", "--draws -1 is too few: give 1 or more"),
        ("sample {ladder} --label 1 --out a.png", "was trained without labels: leave out --label"),
        ("sample {gan} --pixel-noise --out a.png", "a gan has no distribution of pixels to draw"),
        ("sample {diffusion} --pixel-noise --out a.png", "a diffusion has no distribution of"),
        ("reconstruct {sigma} --data {grey} --out a.png", "is (1, 16, 16), the run (3, 16, 16)"),
        (
            "likelihood {sigma} --data {grey}",
            "grey is (1, 16, 16), the run (3, 16, 16): save",
        ),
        ("evaluate {sigma} --data {grey}", "grey is (1, 16, 16), the run (3, 16, 16)"),
        ("traverse {sigma} --data {grey} --out a.png", "grey is (1, 16, 16), the run (3, 16, 16)"),
        ("reconstruct {sigma} --resolution 32 --out a.png", "bars is (3, 32, 32), the run (3, 16"),
        ("evaluate {sigma} --resolution 32", "bars is (3, 32, 32), the run (3, 16, 16)"),
    ],
)
def test_what_is_asked_in_vain(
    refuses: Callable[..., str], stock: Path, words: str, line: str
) -> None:
    places = {n: stock / n for n in ("ladder", "sigma", "gan", "diffusion")}
    places["grey_data"] = stock / "grey.npz"
    typed = words.replace("{grey}", "{grey_data}").format(**places).split()
    assert line in refuses(*typed, *SLOW)


def test_images_that_a_run_was_not_made_for(stock: Path) -> None:
    run = Run(stock / "sigma", one_thread())
    small, grey = torch.zeros(2, 3, 8, 8).byte(), torch.zeros(2, 1, 16, 16).byte()
    verbs: list[Callable[[Tensor], Any]] = [
        run.reconstruct,
        run.log_likelihood,
        run.traverse,
        lambda pixels: run.interpolate(pixels, pixels),
    ]
    for verb in verbs:
        with pytest.raises(InputError, match=r"images of 3x8x8, but the run is of 3x16x16"):
            verb(small)
        with pytest.raises(InputError, match=r"images of 1x16x16, but the run is of 3x16x16"):
            verb(grey)


def test_a_coloured_picture_for_a_run_of_grey_images(
    call: Call, stock: Path, tmp_path: Path
) -> None:
    """It is turned grey, and that is said; a file that is grey in all but its format stays."""
    colour, grey = make_images(1)[0][0], make_images(1, channels=1)[0][0]
    (tmp_path / "colour.png").write_bytes(encode(colour))
    (tmp_path / "grey.png").write_bytes(encode(grey.repeat(3, axis=2)))
    ends = ("--from", tmp_path / "grey.png", "--to", tmp_path / "colour.png")
    words = ("interpolate", stock / "grey", *ends, "--points", "3", *SLOW)
    told = call(*words, "--out", "a.npz")
    assert told.code == 0
    assert told.err.startswith("note: 1 of 1 image was in colour and is shown to the model in grey")
    run = Run(stock / "grey", one_thread())
    first, last = (run.read_images(path) for path in ends[1::2])
    assert torch.equal(first, images.from_array(grey[None]))
    with np.load("a.npz") as found:
        ways = run.interpolate(first, last, 3)
        assert torch.equal(images.from_array(found["images"][0]), ways[0])


# Budgets


def test_too_few_steps_are_refused_with_the_least(refuses: Callable[..., str], stock: Path) -> None:
    data = ("--data", stock / "bars.npz", "--resolution", "16", "--out", "made", *SLOW)
    small = [word for setting in SMALL.split() for word in ("--set", setting)]
    line = refuses("train", "vae:ladder", *data, *small, "--budget", "0.1kimg")
    assert line == (
        "the budget 0.1kimg pays for 3 steps of 32 images, too few to learn anything: "
        "give at least 0.16kimg"
    )
    line = refuses("train", "vae:ladder", *data, *small, "--budget", "0.01s")
    assert line.startswith("the budget 0.01s pays for 0 steps of 32 images, too few to learn")
    assert re.search(r": give at least \d+s on this machine$", line)


def test_the_least_budget_is_enough() -> None:
    def plan(text: str) -> int:
        return calibration.planned_images(Budget.parse(text), 1000, 32, pytest.fail).images

    assert plan("0.16kimg") == 5 * 32
    with pytest.raises(InputError, match=r"give at least 0\.16kimg"):
        plan("0.159kimg")


def test_few_steps_are_noted(call: Call, stock: Path) -> None:
    data = ("--data", stock / "bars.npz", "--resolution", "16", *SLOW)
    small = [word for setting in SMALL.split() for word in ("--set", setting)]
    told = call("train", "vae:ladder", *data, *small, "--budget", "0.16kimg", "--out", "few").err
    assert "note: this budget pays for 5 training steps, which teach a model hardly" in told
    assert "(normal: 100 or more): give --budget 3.2kimg or more" in told
    assert calibration.note_few(99 * 32, 32) is not None
    assert calibration.note_few(100 * 32, 32) is None


def test_the_lines_of_a_likelihood_that_there_is_not() -> None:
    model = torch.nn.Module()
    model.lacks = {}  # type: ignore[assignment]
    entry = likelihood.bits_per_dim(model, torch.zeros(2), 0, MACHINE, LikelihoodOptions())  # type: ignore[arg-type]
    assert text.likelihood(entry).startswith("bits per dimension: not defined: this model has no")
    assert "ais" not in text.likelihood(entry)
    assert text.likelihood(entry, text.BY_ESTIMATE).endswith(f"\n  {text.BY_ESTIMATE}")
