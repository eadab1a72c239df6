"""Which of many vectors are the pairs of one sequence in one layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Selection:
    """Say where the kept pairs lie, those of one KV head after the other, and where the live rows' do.

    `counts` says how many kept ones each KV head has.
    """

    kept: Int[Tensor, " kept"]
    counts: tuple[int, ...]
    tail: Int[Tensor, "live kv_heads"]

    def by_head(self) -> Int[Tensor, " kept_and_tail"]:
        """Return where the pairs of each KV head lie: its kept ones, then its live rows'."""
        own = zip(self.kept.split(list(self.counts)), self.tail.unbind(1), strict=True)
        return torch.cat([places for both in own for places in both])
