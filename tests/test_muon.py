"""Muon: the update is nearly orthogonal, scaled by shape, and masked like the fused optimizers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.test_training import request, train
from triptych.errors import InputError
from triptych.training.optimizer import Muon, orthogonalise

SHAPES = [(16, 40), (40, 16), (16, 16), (16, 24), (8, 300)]


def drawn(shapes: list[tuple[int, int]]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def test_update_has_singular_values_near_one_and_the_same_directions() -> None:
    """U S V^T becomes U D V^T with D in about [0.7, 1.2]: D is read off with SciPy-free SVD."""
    matrices = drawn(SHAPES)
    for matrix, found in zip(matrices, orthogonalise(matrices), strict=True):
        u, _, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
        inner = u.mT @ found.double() @ vh.mT  # diagonal if the directions are kept
        diagonal = torch.diagonal(inner)
        if matrix.shape != (16, 16):  # a square one may have a singular value near zero
            assert (diagonal > 0.6).all()
        assert (diagonal < 1.3).all()
        assert (inner - torch.diag(diagonal)).abs().max() < 1e-4


def test_small_matrices_are_iterated_as_the_whole_ones_would_be() -> None:
    """X <- a X + b (X X^T) X + c (X X^T)^2 X five times, in float64; the author's a, b and c.

    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    matrices = drawn(SHAPES)
    for matrix, found in zip(matrices, orthogonalise(matrices), strict=True):
        x = matrix.double() / matrix.double().norm()
        for _ in range(5):
            gram = x @ x.mT
            x = a * x + (b * gram + c * gram @ gram) @ x
        torch.testing.assert_close(found.double(), x, rtol=0, atol=2e-4)


def test_matrices_of_low_rank_do_not_grow() -> None:
    """Rounding makes eigenvalues of X X^T a little negative, which must stay harmless."""
    [tall, wide] = drawn([(64, 3), (3, 80)])
    [found] = orthogonalise([tall @ wide])
    values = torch.linalg.svdvals(found)
    assert (values[:3] > 0.6).all() and (values < 1.3).all()
    assert (values[3:] < 0.2).all()


@pytest.mark.parametrize("shape", [(32, 8), (8, 32), (16, 8, 3, 3)])
def test_step_length_follows_shape(shape: tuple[int, ...]) -> None:
    """|step| = rate * sqrt(max(1, m/n)) * sqrt(rank), up to the iteration's error."""
    parameter = nn.Parameter(torch.zeros(shape))
    parameter.grad = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    Muon([parameter], lr=0.1).step()
    rows, columns = parameter.flatten(1).shape
    expected = 0.1 * math.sqrt(max(1, rows / columns)) * math.sqrt(min(rows, columns))
    assert parameter.detach().norm().item() == pytest.approx(expected, rel=0.25)
    assert (parameter.detach() * parameter.grad).sum() < 0  # downhill


def test_masked_step_changes_nothing() -> None:
    parameter = nn.Parameter(torch.ones(4, 8))
    muon = Muon([parameter], lr=0.1)
    parameter.grad = torch.randn(4, 8, generator=torch.Generator().manual_seed(2))
    muon.step()
    weights, momentum = parameter.detach().clone(), muon.state[parameter]["momentum"].clone()
    muon.found_inf = torch.ones(())
    parameter.grad = torch.full((4, 8), math.nan)
    muon.step()
    assert torch.equal(parameter.detach(), weights)
    assert torch.equal(muon.state[parameter]["momentum"], momentum)


def test_a_rate_for_matrices_that_there_are_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no matrices for a muon_lr"):
        train(request("vae:sigma", "0.64kimg", "optimizer.muon_lr=0.01"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
