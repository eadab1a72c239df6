"""AdaKV (arXiv 2407.11550): SnapKV's votes, and heads that hold more of a layer's best pairs get more."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.eviction.ranking import Shares
from maskkv.eviction.scorers import ObservationWindow
from maskkv.eviction.view import LayerView


@dataclass(frozen=True)
class TopOfLayer:
    """Give each head its part of the layer's best pairs, above a floor: (1 − α) · count_h + α · b.

    `head_base` is the original's α: that part of the layer's pairs is split evenly. count_h is how many of the layer's
    best pairs, as many as it may keep, are the head's; b is the even share. Ties go to the earlier position.
    """

    head_base: float = 0.2

    def __post_init__(self) -> None:
        """Check the parameter."""
        if not 0 <= self.head_base <= 1:
            raise InputError(f"head_base {self.head_base}: expected a share from 0 to 1")

    def __str__(self) -> str:
        return f"{self.head_base:g} evenly, {1 - self.head_base:g} by the head's part of the layer's best k_l pairs"

    def __call__(self, view: LayerView, scores: Float[Tensor, "kv_heads evictable"], most: int) -> Shares:
        """Return a function from a number of pairs, up to `most`, to each KV head's share."""
        kv_heads = view.kv_heads
        # All heads of a position lie together, so that a tie favours no head.
        owners = scores.T.flatten().sort(descending=True, stable=True).indices[:most] % kv_heads

        def shares(pairs: int) -> list[float]:
            counts = torch.bincount(owners[:pairs], minlength=kv_heads)
            even = self.head_base * pairs / kv_heads
            return [(1 - self.head_base) * count + even for count in counts.tolist()]

        return shares


POLICY = Policy(name="adakv", paper="arXiv 2407.11550", scorer=ObservationWindow(), head_budget=TopOfLayer())
