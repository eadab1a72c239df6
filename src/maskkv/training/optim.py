"""Muon with matrices of one shape orthogonalised together: on two cores many small products cost more."""

import torch
from torch import Tensor

from maskkv.ops.linear import multiplies

# The quintic iteration of Keller Jordan's Muon (2024), https://kellerjordan.github.io/posts/muon/.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """Bring the singular values of a stack of matrices [n, rows, columns] near 1."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    # Half the bits do, where the device multiplies them.
    x = matrices.mT if tall else matrices
    x = x if multiplies(x.device, torch.bfloat16) is False else x.bfloat16()
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).float()


class Muon:
    """Update matrices by their orthogonalised Nesterov momentum."""

    def __init__(self, matrices: list[Tensor], momentum: float = 0.95) -> None:
        """Group the matrices by shape."""
        self.momentum = momentum
        shapes = sorted({tuple(matrix.shape) for matrix in matrices})
        self._groups = [[m for m in matrices if tuple(m.shape) == shape] for shape in shapes]
        self.buffers = [group[0].new_zeros(len(group), *group[0].shape) for group in self._groups]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Take one step of size `lr`; the gradients are in `.grad`."""
        for group, buffer in zip(self._groups, self.buffers, strict=True):
            gradients = torch.stack([_gradient(matrix) for matrix in group])
            buffer.lerp_(gradients, 1 - self.momentum)
            update = orthogonalise(gradients.lerp(buffer, self.momentum))
            rows, columns = group[0].shape
            step = lr * max(1.0, rows / columns) ** 0.5
            for matrix, direction in zip(group, update, strict=True):
                matrix.sub_(direction, alpha=step)


def _gradient(matrix: Tensor) -> Tensor:
    assert matrix.grad is not None, "a matrix without a gradient cannot be updated"
    return matrix.grad
