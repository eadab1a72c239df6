"""What the kernels' functions have in common."""

from __future__ import annotations

import triton
from torch import Tensor


def packed(x: Tensor) -> Tensor:
    """Return the tensor, copied if its last axis is not contiguous."""
    return x if x.stride(-1) == 1 else x.contiguous()


def block(size: int) -> int:
    """Return how many numbers a program takes to have room for so many."""
    return triton.next_power_of_2(max(size, 16))
