"""Muon: the update is nearly orthogonal, scaled by shape, and masked like the fused optimisers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from triptych.training.muon import Muon, orthogonalise


def test_update_has_singular_values_near_one_and_the_same_directions() -> None:
    """U S V^T becomes U D V^T with D in about [0.7, 1.2]: D is read off with SciPy-free SVD."""
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(3, 16, 40, generator=generator)
    found = orthogonalise(matrices).double()
    u, _, vh = torch.linalg.svd(matrices.double(), full_matrices=False)
    inner = u.mT @ found @ vh.mT  # diagonal if the directions are kept
    diagonal = torch.diagonal(inner, dim1=1, dim2=2)
    assert (diagonal > 0.6).all() and (diagonal < 1.3).all()
    off = inner - torch.diag_embed(diagonal)
    assert off.abs().max() < 0.05


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
