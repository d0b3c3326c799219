"""The linear probe against scikit-learn, and on data whose answer is known."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from tests.truths import normal
from triptych.metrics import probe_accuracy as module
from triptych.metrics.probe_accuracy import Represented, Weights, fit, probe_accuracy


def classes(count: int, apart: float, seed: int, kinds: int = 4) -> Represented:
    """Gaussians around corners that lie `apart` from the origin."""
    labels = torch.arange(count) % kinds
    corners = apart * torch.eye(kinds, 6, dtype=torch.float64)
    return Represented(corners[labels] + normal(count, 6, seed=seed), labels)


@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize("penalty", [0.1, 0.001])
def test_the_fit_is_scikit_learn_s(penalty: float, products: bool) -> None:
    """Its C weighs the summed loss: 1 / (n penalty). The bias is free in both."""
    from sklearn.linear_model import LogisticRegression

    part = classes(200, 2.0, seed=0)
    theirs = LogisticRegression(C=1 / (200 * penalty), max_iter=2000, tol=1e-10)
    theirs.fit(part.features.numpy(), part.labels.numpy())
    zeros = torch.zeros(4, 7, dtype=torch.float64)
    start = Weights(zeros[:, :6], zeros[:, 6])
    x = part.features
    ours = fit(x, part.labels, penalty, start, x.T @ x / 200 if products else None)
    expected = torch.from_numpy(theirs.predict_proba(part.features.numpy()))
    torch.testing.assert_close(ours.logits(part.features).softmax(1), expected, atol=2e-3, rtol=0)


def test_coordinates_that_fit_the_curvature_take_fewer_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Features like pixels, each much like the next one; labels that are mostly chance."""
    noise = normal(1000, 200, seed=3).float()
    x = noise.cumsum(1)
    x = (x - x.mean(0)) / x.std(0)
    scores = noise @ normal(200, 4, seed=4).float() + 8 * normal(1000, 4, seed=5).float()
    labels = scores.argmax(1)
    start = Weights(0.01 * normal(4, 200, seed=6).float(), normal(4, 1, seed=7)[:, 0].float())
    evaluations, logits = [], Weights.logits
    monkeypatch.setattr(Weights, "logits", lambda w, x: evaluations.append(1) or logits(w, x))
    found, steps = [], []
    for products in (None, x.T @ x / 1000):
        evaluations.clear()
        found.append(fit(x, labels, 0.01, start, products))
        steps.append(len(evaluations))
    torch.testing.assert_close(*(logits(w, x).softmax(1) for w in found), atol=1e-3, rtol=0)
    assert steps[1] < 0.5 * steps[0], steps


def test_two_gaussians_are_told_apart_as_often_as_they_can_be() -> None:
    """Two classes 2 s apart: the best accuracy is the normal distribution's at s."""
    train, validation, test = (classes(n, 2.0, s, 2) for n, s in ((4000, 0), (1000, 1), (8000, 2)))
    found = probe_accuracy(train, validation, test)
    best = stats.norm.cdf(2.0 / 2**0.5)  # half the distance between the corners
    assert found.value == pytest.approx(best, abs=0.012)
    assert found.low < best < found.high


def test_the_penalty_is_chosen_on_validation_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """By made fits: the strongest penalty names all validation images, the weakest all test images.

    What is reported is then the strongest one's accuracy on test images: none.
    """
    one_hot = torch.eye(2, dtype=torch.float64)
    labels = torch.tensor([0, 1] * 10)
    train = Represented(one_hot[labels], labels)
    test = Represented(one_hot[1 - labels], labels)  # the other way round

    def made(x: torch.Tensor, labels: torch.Tensor, penalty: float, *more: object) -> Weights:
        sign = 1.0 if penalty == 1.0 else -1.0
        return Weights(sign * one_hot, torch.zeros(2, dtype=torch.float64))

    monkeypatch.setattr(module, "fit", made)
    assert probe_accuracy(train, train, test).value == 0
    assert probe_accuracy(train, test, test).value == 1


def test_scale_and_offset_do_not_matter() -> None:
    parts = [classes(300, 2.0, seed) for seed in range(3)]
    moved = [Represented(1e4 * p.features + 50, p.labels) for p in parts]
    assert probe_accuracy(*parts).value == probe_accuracy(*moved).value


def test_of_equally_good_penalties_the_strongest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """All fits name the validation images alike, but only the first one the test images."""
    labels = torch.tensor([0, 1] * 10)
    signs = 2.0 * labels - 1
    train = Represented(torch.stack([signs, -signs], 1).double(), labels)
    test = Represented(torch.stack([signs, signs], 1).double(), labels)  # disagree in the second

    def made(x: torch.Tensor, labels: torch.Tensor, penalty: float, *more: object) -> Weights:
        column = torch.tensor([[-1.0, 0.0], [1.0, 0.0]] if penalty == 1 else [[0.0, 1], [0, -1]])
        return Weights(column.double(), torch.zeros(2).double())

    monkeypatch.setattr(module, "fit", made)
    found = probe_accuracy(train, train, test)
    assert found.value == 1
    assert found.left_out["reference"] == [1.0] * 20


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_the_probe_is_scikit_learn_s_of_standardised_features(scale: float) -> None:
    """Informative features that vary little beside loud ones, all far from 0."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    units = scale * torch.tensor([1e-2] * 6 + [1e3] * 20).double()

    def part(seed: int, count: int) -> Represented:
        own = classes(count, 2.0, seed)
        features = torch.cat([own.features, normal(count, 20, seed=seed + 9)], 1)
        return Represented(units * (features + 30), own.labels)

    parts = [part(seed, count) for seed, count in ((0, 60), (1, 200), (2, 2000))]
    train, validation, test = ((p.features.numpy(), p.labels.numpy()) for p in parts)
    theirs = [
        make_pipeline(
            StandardScaler(), LogisticRegression(C=1 / (60 * penalty), max_iter=5000, tol=1e-8)
        ).fit(*train)
        for penalty in module.PENALTIES
    ]
    best = max(theirs, key=lambda each: each.score(*validation))  # the first of the best
    assert probe_accuracy(*parts).value == pytest.approx(best.score(*test), abs=0.003)


def test_what_holds_no_label_gives_chance() -> None:
    parts = [Represented(normal(2000, 6, seed=s), torch.arange(2000) % 4) for s in range(3)]
    assert probe_accuracy(*parts).value == pytest.approx(0.25, abs=0.03)


def test_features_that_never_vary_do_no_harm() -> None:
    parts = [classes(300, 3.0, seed) for seed in range(3)]
    still = [Represented(torch.cat([p.features, torch.ones(300, 2)], 1), p.labels) for p in parts]
    assert probe_accuracy(*still).value == pytest.approx(probe_accuracy(*parts).value, abs=0.02)
