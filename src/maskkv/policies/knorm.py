"""KNorm (arXiv 2406.11430): pairs whose keys are short are kept."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from maskkv.eviction.policy import Policy
from maskkv.eviction.view import LayerView


@dataclass(frozen=True)
class ShortKeys:
    """Rank pairs by −‖k‖₂."""

    def __str__(self) -> str:
        return "−‖k_j‖₂"

    def __call__(self, view: LayerView) -> Float[Tensor, "kv_heads evictable"]:
        """Return minus the length of each pair's key."""
        return -view.key_lengths()


POLICY = Policy(name="knorm", paper="arXiv 2406.11430", scorer=ShortKeys())
