"""Vectors in 8 bits, each with a scale of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import BFloat16, Float, Int, Shaped
from torch import Tensor

from maskkv.ops.segments import Bucket

CODES = {"int8": (torch.int8, 127.0), "fp8": (torch.float8_e4m3fn, 448.0)}
"""For each name the dtype of the codes and the largest one."""


@dataclass
class Quantised:
    """Hold vectors as 8-bit codes times a bf16 scale per vector.

    With int8 a number is off by at most half a scale, which is 1/254 of the vector's largest magnitude; with fp8
    (e4m3) by 1/16 of itself, or 2⁻¹⁰ scales near zero.
    """

    codes: Shaped[Tensor, "vectors head_dim"]
    scales: BFloat16[Tensor, "vectors 1"]

    @classmethod
    def of(cls, vectors: Float[Tensor, "vectors head_dim"], kind: str) -> Quantised:
        """Quantise to `int8` or `fp8`."""
        dtype, largest = CODES[kind]
        wide = vectors.float()
        scales = (wide.abs().amax(1, keepdim=True) / largest).bfloat16()
        # A vector of zeros has no scale; the division is by the rounded scale, so that its rounding costs nothing.
        codes = (wide / scales.float().clamp(min=torch.finfo(torch.bfloat16).tiny)).clamp(-largest, largest)
        return cls((codes if dtype.is_floating_point else codes.round()).to(dtype), scales)

    @classmethod
    def join(cls, parts: Sequence[Quantised]) -> Quantised:
        """Lay vectors end to end; each part becomes a view of the whole."""
        codes, scales = torch.cat([part.codes for part in parts]), torch.cat([part.scales for part in parts])
        sizes = [len(part.codes) for part in parts]
        for part, own, scale in zip(parts, codes.split(sizes), scales.split(sizes), strict=True):
            part.codes, part.scales = own, scale
        return cls(codes, scales)

    def leave(self) -> None:
        """Copy the vectors if they are a view of a larger whole."""
        if self.codes.untyped_storage().nbytes() > self.codes.nbytes:
            self.codes, self.scales = self.codes.clone(), self.scales.clone()

    def put(self, places: Int[Tensor, " changed"], other: Quantised) -> None:
        """Take other vectors in the place of some."""
        self.codes[places] = other.codes
        self.scales[places] = other.scales

    def copy_(self, other: Quantised) -> None:
        """Take the vectors of another, as many, in the same memory."""
        self.codes.copy_(other.codes)
        self.scales.copy_(other.scales)

    @property
    def nbytes(self) -> int:
        """Return the bytes of codes and scales."""
        return self.codes.nbytes + self.scales.nbytes

    def all(self, dtype: torch.dtype) -> Float[Tensor, "vectors head_dim"]:
        """Return the vectors as numbers again."""
        return self.codes.to(dtype) * self.scales.to(dtype)

    def take(self, bucket: Bucket, dtype: torch.dtype) -> Float[Tensor, "segments width head_dim"]:
        """Gather a bucket's vectors, as numbers again."""
        return bucket.take(self.codes).to(dtype) * bucket.take(self.scales).to(dtype)
