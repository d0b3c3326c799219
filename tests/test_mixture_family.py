"""The mixture as a model: exact numbers against SciPy, and a run without any training."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from torch import Tensor

import triptych
from tests.making import one_thread, open_tiny
from tests.truths import MACHINE, FixedStreams, NoStreams, normal
from triptych import images
from triptych.comparison import compare as comparing
from triptych.config import ImageShape
from triptych.console import Console
from triptych.errors import InputError
from triptych.evaluation.evaluate import parameters
from triptych.families import registry
from triptych.families.mixture.model import Mixture
from triptych.families.mixture.recipes.mppca import RECIPE, MixtureSettings
from triptych.images import BIN_WIDTH
from triptych.options import CompareRequest
from triptych.seeding import ImageStreams
from triptych.tasks import sample
from triptych.training.run_folder import RunFolder
from triptych.training.tensorfile import read

SIDE, RANK, SIZES = 4, 5, (160, 80, 40)


@cache
def planted(contrast: float = 2.0) -> tuple[Tensor, Tensor]:
    """Three pictures under noise that is wide along some directions: uint8 images, kinds.

    contrast: of the pictures; of little the kinds overlap
    """
    kinds = torch.repeat_interleave(torch.arange(3), torch.tensor(SIZES))
    pictures, stretch = normal(3, SIDE**2), torch.linspace(1.5, 0.1, SIDE**2).double()
    noisy = contrast * pictures[kinds] + normal(len(kinds), SIDE**2, seed=1) * stretch
    return (128 + 20 * noisy).clamp(0, 255).byte().view(-1, 1, SIDE, SIDE), kinds


@cache
def fitted(
    classes: int | None = None, groups: int = 3, rank: int = RANK, contrast: float = 2.0
) -> Mixture:
    """The recipe's own model, fitted on these; of their kinds, or of the groups that it finds."""
    pixels, kinds = planted(contrast)
    shape = ImageShape(channels=1, resolution=SIDE, classes=classes)
    model = RECIPE.build(MixtureSettings(rank=rank, groups=groups), shape)
    model.fit_before_training(pixels, 0, kinds)
    assert isinstance(model, Mixture)
    return model.eval()


def around(exemplars: int) -> Mixture:
    """The same model, whose draws begin at so many of the images, and keep much of them."""
    pixels, kinds = planted(0.3)
    settings = MixtureSettings(rank=RANK, groups=3, exemplars=exemplars)
    model = RECIPE.build(settings, ImageShape(channels=1, resolution=SIDE))
    model.fit_before_training(pixels, 0, kinds)
    assert isinstance(model, Mixture) and model.prior is not None
    model.prior.kept[:-1] = torch.linspace(0.95, 0.3, RANK)
    return model.eval()


def gaussians(model: Mixture) -> list[tuple[float, Any, Any]]:
    """Share, mean and covariance of every group in the space of pixels, from the definition.

    The mean is m + U c, the covariance U A diag(v) A^T U^T + r (I - U U^T).
    """
    m = model.mixture
    mean, basis = m.mean.double().numpy(), m.basis.double().numpy()
    outside = m.rest.item() * (np.eye(len(mean)) - basis @ basis.T)
    found = []
    for share, c, a, v in zip(m.shares, m.centres, m.axes, m.variances, strict=False):
        axes = basis @ a.double().numpy()
        inside = axes @ np.diag(v.double().numpy()) @ axes.T
        found.append((share.item(), mean + basis @ c.double().numpy(), inside + outside))
    return found


def flat(x: Tensor) -> Any:
    return x.flatten(1).double().numpy()


# Density


@pytest.mark.parametrize("classes", [None, 3])
def test_the_bound_is_the_density_of_all_groups_under_uniform_noise(classes: int | None) -> None:
    """By SciPy's normal distributions of 16 pixels, summed over the groups one by one.

    The groups overlap: the likeliest one alone would give less.
    """
    model, x = fitted(classes, contrast=0.3), images.to_float(planted(0.3)[0][::40])
    uniform = torch.rand(x.shape, generator=torch.Generator().manual_seed(3))
    [(name, found)] = model.negative_bound(x, FixedStreams(uniform), "dequantised").items()  # type: ignore[arg-type]
    points = flat(x) + BIN_WIDTH * (flat(uniform) - 0.5)
    each = [
        math.log(share) + multivariate_normal(mean, covariance).logpdf(points)
        for share, mean, covariance in gaussians(model)
    ]
    expected = -logsumexp(each, axis=0) - SIDE**2 * math.log(2 / 255)
    assert name == "dequantised" and len(each) == 3
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    alone = -np.max(each, axis=0) - SIDE**2 * math.log(2 / 255)
    assert np.median(alone - expected) > 0.05


def test_the_bound_around_exemplars_is_of_gaussians_around_their_images() -> None:
    """SciPy's densities of pixels, one by one.

    Of exemplar n, of whose latent a share a is kept, the mean is m + U (c + A v^(1/2) a z_n), the
    covariance U A v (1 - a^2) A^T U^T + r (I - U U^T).
    """
    model, x = around(60), images.to_float(planted(0.3)[0][::40])
    prior, m = model.prior, model.mixture
    assert prior is not None
    uniform = torch.rand(x.shape, generator=torch.Generator().manual_seed(3))
    bound = model.negative_bound(x, FixedStreams(uniform), "dequantised")["dequantised"]  # type: ignore[arg-type]
    points = flat(x) + BIN_WIDTH * (flat(uniform) - 0.5)
    basis = m.basis.double()
    outside = m.rest.double() * (torch.eye(SIDE**2, dtype=torch.float64) - basis @ basis.T)
    totals = []
    for k, share in enumerate(m.shares.tolist()):
        a, axes = prior.kept[k].double(), basis @ m.axes[k].double()
        own, scale = prior.exemplars[prior.groups == k].double(), m.variances[k].double().sqrt()
        covariance = (axes * (scale**2 * (1 - a**2))) @ axes.T + outside
        centre = m.mean.double() + basis @ m.centres[k].double()
        means = centre + (own * a * scale) @ axes.T
        each = [multivariate_normal(n.numpy(), covariance.numpy()).logpdf(points) for n in means]
        totals.append(math.log(share) + logsumexp(each, axis=0) - math.log(len(own)))
    expected = -logsumexp(totals, axis=0) - SIDE**2 * math.log(2 / 255)
    np.testing.assert_allclose(bound.numpy(), expected, rtol=1e-4)
    plain = fitted(contrast=0.3).negative_bound(x, FixedStreams(uniform), "dequantised")  # type: ignore[arg-type]
    assert (bound - plain["dequantised"]).abs().median() > 0.05


def test_the_bound_is_above_the_mass_of_the_bin_by_jensen_s_gap() -> None:
    """One pixel, one normal distribution no wider than two grey levels: both are known.

    E[-log p(x + u)] = log(2 pi v) / 2 + ((x - m)^2 + w^2 / 12) / (2 v), u uniform on a bin of
    width w.
    """
    shape = ImageShape(channels=1, resolution=1)
    model = RECIPE.build(MixtureSettings(rank=1, groups=1), shape).eval()
    mean, std = 0.1, BIN_WIDTH
    model.mixture.mean.fill_(mean)
    model.mixture.variances.fill_(std**2)
    model.conditioning.counts.fill_(1)
    x = images.to_float(torch.tensor([[[[140]]]], dtype=torch.uint8))
    rng = ImageStreams(0, "bin", range(1))
    found = model.negative_bound(x, rng, "dequantised", draws=4000)["dequantised"].item()
    square = (x.item() - mean) ** 2 + BIN_WIDTH**2 / 12
    expected = 0.5 * math.log(2 * math.pi * std**2) + square / (2 * std**2) - math.log(BIN_WIDTH)
    edges = x.item() + BIN_WIDTH * np.array([-0.5, 0.5])
    mass = np.diff(norm(mean, std).cdf(edges)).item()
    assert found == pytest.approx(expected, abs=0.02)
    assert -math.log(mass) < found


# Draws


def test_draws_around_exemplars_lie_where_the_prior_puts_them() -> None:
    """Less what the exemplar says, unit noise is left; of all images each is its own exemplar."""
    model, count = around(10_000), 4000
    prior = model.prior
    assert prior is not None and model.exemplar_numbers == sum(SIZES) * RANK
    latent = model.draw_latent(count, ImageStreams(0, "draws", range(count)))
    begun = model.exemplars_of_draws(count, ImageStreams(0, "draws", range(count)))
    assert latent.labels is not None
    k = latent.labels.argmax(1)
    assert torch.equal(prior.groups[begun], k) and len(begun.unique()) > 200
    a = prior.kept[k]
    left = (latent.tensors["z"] - a * prior.exemplars[begun]) / (1 - a**2).sqrt()
    torch.testing.assert_close(left.T.cov(), torch.eye(RANK), atol=0.1, rtol=0)
    x = images.to_float(planted(0.3)[0][:30])
    found = model.exemplars_of_images(x)
    latents = model.encode(x).tensors["z"]
    torch.testing.assert_close(prior.exemplars[found], latents, atol=1e-3, rtol=1e-3)
    assert fitted().exemplar_numbers == 0


def test_draws_have_the_moments_of_the_mixture() -> None:
    """Mean and covariance of all groups together, without what lies outside the basis."""
    model, count = fitted(), 20_000
    rng = ImageStreams(0, "moments", range(count))
    with torch.inference_mode():
        drawn = flat(model.decode(model.draw_latent(count, rng), rng))
    known, basis = gaussians(model), model.mixture.basis.double().numpy()
    mean = sum(share * centre for share, centre, _ in known)
    projected = [
        (share, centre, basis @ basis.T @ c @ basis @ basis.T) for share, centre, c in known
    ]
    covariance = sum(
        share * (c + np.outer(centre - mean, centre - mean)) for share, centre, c in projected
    )
    spread = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.03 * spread.max())
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.03 * spread.max() ** 2)


def test_groups_are_drawn_as_often_as_they_occur_and_classes_as_asked() -> None:
    rng = ImageStreams(0, "groups", range(5000))
    labels = fitted().draw_latent(5000, rng).labels
    assert labels is not None
    shares = labels.double().mean(0)
    assert sorted(shares.tolist()) == pytest.approx([0, 40 / 280, 80 / 280, 160 / 280], abs=0.02)
    model, asked = fitted(classes=3), torch.tensor([2, 0, 1] * 500)
    rng = ImageStreams(1, "classes", range(1500))
    with torch.inference_mode():
        drawn = flat(model.decode(model.draw_latent(1500, rng, asked), rng))
    for number, (_, centre, _) in enumerate(gaussians(model)):
        np.testing.assert_allclose(drawn[asked == number].mean(0), centre, atol=0.06)


def test_samples_lie_in_the_basis() -> None:
    model = fitted()
    rng = ImageStreams(0, "inside", range(20))
    with torch.inference_mode():
        drawn = flat(model.decode(model.draw_latent(20, rng), rng))
    centred, basis = (
        drawn - model.mixture.mean.double().numpy(),
        model.mixture.basis.double().numpy(),
    )
    np.testing.assert_allclose(centred @ basis @ basis.T, centred, atol=1e-5)


# Encoding


@pytest.mark.parametrize("classes", [None, 3])
def test_an_encoded_image_is_decoded_to_its_projection(classes: int | None) -> None:
    model, x = fitted(classes), images.to_float(planted()[0][::20])
    with torch.inference_mode():
        latent = model.encode(x)
        found = flat(model.decode(latent, NoStreams()))  # type: ignore[arg-type]
    mean, basis = model.mixture.mean.double().numpy(), model.mixture.basis.double().numpy()
    expected = mean + (flat(x) - mean) @ basis @ basis.T
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - flat(x)).max() > 0.02  # five of sixteen directions are not all
    assert latent.labels is not None
    numbers = latent.labels.argmax(1)
    if classes is None:  # the groups are the planted kinds, whatever their order
        pairs = set(zip(numbers.tolist(), planted()[1][::20].tolist(), strict=True))
        assert len(pairs) == len({group for group, _ in pairs}) == 3
    else:
        assert set(numbers.tolist()) == {3}  # nobody said the class


def test_the_training_images_of_a_group_are_encoded_as_standard_normal_numbers() -> None:
    """Nearly: mean and covariance of a group lean on those of all."""
    model, (pixels, kinds) = fitted(), planted()
    with torch.inference_mode():
        z = model.encode(images.to_float(pixels[kinds == 0])).tensors["z"].double()
    assert z.shape == (160, RANK)
    assert z.mean(0).abs().max() < 0.1
    torch.testing.assert_close(z.T.cov(), torch.eye(RANK).double(), atol=0.15, rtol=0)


def test_features_are_the_coordinates_in_the_basis() -> None:
    model, x = fitted(), images.to_float(planted()[0][:7])
    m = model.mixture
    expected = (flat(x) - m.mean.double().numpy()) @ m.basis.double().numpy()
    np.testing.assert_allclose(model.represent(x).numpy(), expected, atol=1e-5)


# Settings


def test_all_that_is_stored_is_counted_but_its_exemplars(tmp_path: Path) -> None:
    out = triptych.train("mixture", open_tiny(tmp_path), out=tmp_path / "run", machine=one_thread())
    stored = read(RunFolder(out.folder.path).weights)
    own = [tensor for name, tensor in stored.items() if not name.startswith("prior.")]
    assert len(own) < len(stored)
    assert parameters(out.model) == sum(tensor.numel() for tensor in own) > 1_000_000


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("groups=0", "groups must be at least 1"),
        ("rank=0", "rank must be at least 1"),
        ("rank=3000", "at most 268,435,456"),
    ],
)
def test_settings_that_make_no_mixture_are_refused(
    setting: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=reason):
        triptych.train("mixture", open_tiny(tmp_path), set=(setting,), machine=one_thread())


def test_a_rank_beyond_the_pixels_keeps_all_of_them() -> None:
    model = fitted(rank=40)
    assert model.mixture.basis.shape == (16, 16)


# Runs


def test_it_is_the_one_family_that_is_not_trained_and_not_compared_by_default() -> None:
    assert registry.trained_families() == ["vae", "gan", "diffusion"]
    assert not registry.is_trained("mixture") and registry.is_trained("theirs")


def test_a_run_is_fitted_on_all_training_images_and_spends_no_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, console = open_tiny(tmp_path), Console()
    run = triptych.train(
        "mixture", data, budget="5kimg", out=tmp_path / "run", machine=one_thread(), console=console
    )
    record = run.record
    assert record.done and record.budget.amount == 0 and record.budget.asked == "0img"
    assert record.images_seen == record.planned_images == len(data.train)
    assert record.train_seconds and record.train_seconds < 60
    said = " ".join(capsys.readouterr().err.split())
    assert "of 5kimg nothing is spent" in said and "fitting mixture:mppca" in said
    events = [json.loads(line)["event"] for line in run.folder.log.read_text().splitlines()]
    assert events == ["start", "done"]
    assert [path.suffix for path in run.folder.samples.iterdir()] == [".png"]
    assert not run.folder.checkpoints.exists()
    expected = registry.build(
        registry.ModelName.parse("mixture"), RECIPE.defaults("tiny", data.shape), data.shape, seed=0
    )
    expected.fit_before_training(data.train.images[:], 0)
    ours = sample.sample(run.model, 4, 0, MACHINE)
    assert torch.equal(ours, sample.sample(expected.eval(), 4, 0, MACHINE))


def test_the_same_command_again_fits_nothing_whatever_its_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, console = open_tiny(tmp_path), Console()
    out, machine = tmp_path / "run", one_thread()
    triptych.train("mixture", data, out=out, machine=machine)
    before = (out / "run.json").read_bytes()
    triptych.train("mixture", data, out=out, budget="1m", machine=machine, console=console)
    assert "trained already" in capsys.readouterr().err
    assert (out / "run.json").read_bytes() == before
    with pytest.raises(InputError, match="another seed"):
        triptych.train("mixture", data, out=out, seed=1, machine=machine)


def test_a_fit_that_was_killed_begins_anew(tmp_path: Path) -> None:
    data, out, machine = open_tiny(tmp_path), tmp_path / "run", one_thread()
    whole = triptych.train("mixture", data, out=out, machine=machine)
    expected, record = sample.sample(whole.model, 2, 0, MACHINE), whole.record
    whole.folder.write(replace(record, status="running"))
    whole.folder.weights.unlink()
    again = triptych.train("mixture", data, out=out, machine=machine)
    assert again.record.done
    assert torch.equal(sample.sample(again.model, 2, 0, MACHINE), expected)


def test_a_fit_can_be_repeated(tmp_path: Path) -> None:
    data, machine = open_tiny(tmp_path), one_thread()
    run = triptych.train("mixture", data, seed=3, out=tmp_path / "run", machine=machine)
    again = triptych.repeat(tmp_path / "run", tmp_path / "again", machine=machine)
    assert again.record.digests == run.record.digests


def test_a_conditional_mixture_draws_the_class_that_is_asked_for(tmp_path: Path) -> None:
    """The bar of `make_images` stands where the label says."""
    data, machine = open_tiny(tmp_path), one_thread()
    run = triptych.train("mixture", data, conditional=True, out=tmp_path / "run", machine=machine)
    for label in range(5):
        drawn = run.sample(20, label=label).float().mean((0, 1, 2))
        assert drawn[:15].view(5, 3).mean(1).argmax() == label


def test_a_mixture_among_trained_models_keeps_their_contract(tmp_path: Path) -> None:
    """Its budget of nothing forbids no comparing, and snapshots are chosen as without it."""
    data = open_tiny(tmp_path, labeled=False)
    page = triptych.compare(
        ["mixture", "vae:course"], data, budget="1.6kimg", count=20, features="patches",
        out=tmp_path / "comparison", machine=one_thread(),
    )  # fmt: skip
    contract = json.loads((page.parent / "contract.json").read_text())
    assert contract["budget"]["asked"] == "1.6kimg" and contract["differences"] == []
    results = json.loads((page.parent / "results.json").read_text())
    by_name = {metric["name"]: metric for metric in results["runs"][0]["metrics"]}
    assert results["runs"][0]["model"] == "mixture:mppca"
    for name in ("frechet_distance", "bits_per_dim", "reconstruction_psnr", "path_length"):
        assert by_name[name]["value"] is not None
    asked = CompareRequest(models=("gan", "mixture"), budget="15kimg", size="tiny")
    requests = comparing.make_requests(
        comparing.Entries.parse(asked.models).variants, asked, data, MACHINE
    )
    assert [bool(each.settings.select) for each in requests] == [True, False]
    assert not comparing.choose_unlike(asked, requests, [])
