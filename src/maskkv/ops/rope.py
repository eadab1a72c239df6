"""Rotary position embedding (RoFormer, arXiv 2104.09864), rotate-half layout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.ops.fused import fused


@dataclass(frozen=True)
class Rotation:
    """Hold the cosines and sines of a set of rows; the second half of what is rotated of a head repeats the first.

    With `rows` it is the rotation of those rows of the set.
    """

    cos: Float[Tensor, "all half"]
    sin: Float[Tensor, "all half"]
    rows: Int[Tensor, " rows"] | None = None

    def __getitem__(self, rows: slice | Int[Tensor, " taken"]) -> Rotation:
        """Take the rotation of some rows."""
        if self.rows is not None:
            return Rotation(self.cos, self.sin, self.rows[rows])
        if isinstance(rows, slice):
            return Rotation(self.cos[rows], self.sin[rows])
        return Rotation(self.cos, self.sin, rows)

    @classmethod
    def join(cls, parts: Sequence[Rotation]) -> Rotation:
        """Lay the rotations of several whole sets end to end."""
        if len(parts) == 1:
            return parts[0]
        return cls(torch.cat([part.cos for part in parts]), torch.cat([part.sin for part in parts]))


def rotation(positions: Int[Tensor, " rows"], rotated: int, theta: float, dtype: torch.dtype) -> Rotation:
    """Compute the angles of `positions` for so many numbers of a head, in fp32, then cast cosines and sines to `dtype`.

    `dtype` is where the two published families differ: LLaDA rotates in fp32, Dream in the model's own dtype.
    """
    exponents = torch.arange(0, rotated, 2, dtype=torch.float32, device=positions.device) / rotated
    angles = positions.float()[:, None] * (1.0 / theta**exponents)[None, :]
    return Rotation(angles.cos().to(dtype), angles.sin().to(dtype))


def rotate(heads: Float[Tensor, "rows heads head_dim"], rotation: Rotation) -> Float[Tensor, "rows heads head_dim"]:
    """Rotate each head, or as many of its first numbers as there are angles, in the rotation's dtype; cast back."""
    rotated = 2 * rotation.cos.shape[1]
    if rotated < heads.shape[2]:
        return torch.cat((rotate(heads[..., :rotated], rotation), heads[..., rotated:]), dim=-1)
    if fused(heads):
        from maskkv.ops import kernels

        return kernels.rotate(heads, rotation.cos, rotation.sin, rotation.rows)
    cos, sin = rotation.cos, rotation.sin
    if rotation.rows is not None:
        cos, sin = cos[rotation.rows], sin[rotation.rows]
    cos, sin = cos[:, None, :], sin[:, None, :]
    first, second = heads.to(cos.dtype).chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(heads.dtype)


def ntk_scale(head_dim: int, theta: float, trained_length: int, length: int) -> float:
    """Return the factor λ on `theta` that stretches a model to `length` tokens (LongLLaDA, arXiv 2506.14429).

    1.0 up to the trained length; beyond it the closed form of the paper's table, rounded up to an integer.
    """
    if length <= trained_length:
        return 1.0
    critical = 2 * math.ceil(head_dim / 2 * math.log(trained_length / (2 * math.pi), theta))
    return float(max(1, math.ceil((length / (2 * math.pi)) ** (head_dim / critical) / theta)))
