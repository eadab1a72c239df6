"""Muon's step, checked against the singular value decomposition that it approximates."""

import pytest
import torch

from maskkv.training.optim import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(2, 16, 16), (1, 8, 24), (1, 24, 8)])
def test_singular_values_come_near_one(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_a_step_goes_against_the_gradient_with_a_size_that_ignores_the_gradients() -> None:
    for size in (1.0, 1000.0):
        weight = torch.zeros(8, 8)
        weight.grad = size * torch.eye(8)
        Muon([weight]).step(0.1)
        assert (weight.diagonal() < -0.05).all()
        assert (weight.diagonal() > -0.15).all()
        assert weight.fill_diagonal_(0).abs().max() < 0.02


def test_tall_matrices_step_further() -> None:
    """By the root of rows over columns, so that their effect on an output is that of square ones."""
    tall = torch.zeros(16, 4)
    tall.grad = torch.eye(16, 4)
    square = torch.zeros(4, 4)
    square.grad = torch.eye(4)
    Muon([tall]).step(0.1)
    Muon([square]).step(0.1)
    torch.testing.assert_close(tall[:4], 2 * square, rtol=0.05, atol=1e-3)
