"""What keeps numbers small: RMSNorm (arXiv 1910.07467) of whole rows and of heads, and limits."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from maskkv.ops.fused import rms_norm


class RMSNorm(nn.Module):
    """Normalise in fp32, cast back, then multiply by the weight, in this order: it decides the rounding."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(
        self, x: Float[Tensor, "all hidden"], taken: Int[Tensor, " rows"] | None = None
    ) -> Float[Tensor, "rows hidden"]:
        """Normalise each row, or those `taken`."""
        return rms_norm(x, self.weight, self.eps, taken)


class HeadNorm(nn.Module):
    """Normalise each head of queries or keys by itself, as `RMSNorm` does a row; all heads share the weight."""

    def __init__(self, head_dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(head_dim))
        self.eps = eps

    def forward(self, heads: Float[Tensor, "rows heads head_dim"]) -> Float[Tensor, "rows heads head_dim"]:
        """Normalise each head of each row."""
        return rms_norm(heads.flatten(0, 1), self.weight, self.eps).unflatten(0, heads.shape[:2])


class Clip(nn.Module):
    """Limit every number of the heads to `-limit..limit`."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, heads: Float[Tensor, "rows heads head_dim"]) -> Float[Tensor, "rows heads head_dim"]:
        """Limit each number."""
        return heads.clamp(-self.limit, self.limit)
