"""Scorers that more than one policy uses."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from maskkv.eviction.view import LayerView, check_voters


@dataclass(frozen=True)
class Votes:
    """Rank pairs by the attention that the voters give them (Eq. 6–7).

    `pooled` ranks by the sum over all KV heads ("universal ranking") instead of per head.
    """

    voters: str
    pooled: bool = False

    def __post_init__(self) -> None:
        """Check the voters' spelling."""
        check_voters(self.voters)

    def __call__(self, view: LayerView) -> Float[Tensor, "kv_heads evictable"]:
        """Return each pair's votes."""
        votes = view.votes(self.voters)
        return votes.sum(0, keepdim=True).expand_as(votes) if self.pooled else votes
