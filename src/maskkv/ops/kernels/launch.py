"""What the kernels' functions have in common; plain Python, since Triton's own helpers cost as much as a launch."""

from __future__ import annotations

from torch import Tensor


def packed(x: Tensor) -> Tensor:
    """Return the tensor, copied if its last axis is not contiguous."""
    return x if x.stride(-1) == 1 else x.contiguous()


def block(size: int) -> int:
    """Return how many numbers a program takes to have room for so many: a power of two."""
    return 1 << (max(size, 16) - 1).bit_length()


def parts(size: int, part: int) -> int:
    """Return how many parts cover so many numbers."""
    return -(-size // part)
