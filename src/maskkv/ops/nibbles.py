"""Vectors in 4 bits, two numbers to a byte."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import BFloat16, Float, UInt8
from torch import Tensor

_LARGEST = 7
"""Codes run from -7 to 7; 8 is added to each, so that it is stored without a sign."""


@dataclass
class Nibbles:
    """Hold vectors as 4-bit codes times a bf16 scale per vector: a number is off by at most half a scale.

    The first half of a vector lies in the low four bits of its bytes, the second half in the high ones.
    """

    codes: UInt8[Tensor, "vectors half_dim"]
    scales: BFloat16[Tensor, "vectors 1"]

    @classmethod
    def of(cls, vectors: Float[Tensor, "vectors head_dim"]) -> Nibbles:
        """Quantise; the number of columns is even."""
        wide = vectors.float()
        scales = (wide.abs().amax(1, keepdim=True) / _LARGEST).bfloat16()
        exact = wide / scales.float().clamp(min=torch.finfo(torch.bfloat16).tiny)
        codes = exact.round().clamp(-_LARGEST, _LARGEST).add(_LARGEST + 1).to(torch.uint8)
        low, high = codes.chunk(2, dim=1)
        return cls(low | (high << 4), scales)

    def copy_(self, other: Nibbles) -> None:
        """Take the vectors of another, as many, in the same memory."""
        self.codes.copy_(other.codes)
        self.scales.copy_(other.scales)

    @property
    def nbytes(self) -> int:
        """Return the bytes of codes and scales."""
        return self.codes.nbytes + self.scales.nbytes

    def all(self, dtype: torch.dtype) -> Float[Tensor, "vectors head_dim"]:
        """Return the vectors as numbers again."""
        codes = torch.cat((self.codes & 15, self.codes >> 4), dim=1)
        return (codes.to(dtype) - (_LARGEST + 1)) * self.scales.to(dtype)
