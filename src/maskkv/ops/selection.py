"""Which of many vectors are the pairs of one sequence in one layer, and which are the best."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Selection:
    """Say where the kept pairs lie, those of one KV head after the other, and where the live rows' do.

    `counts` says how many kept ones each KV head has.
    """

    kept: Int[Tensor, " kept"]
    counts: tuple[int, ...]
    tail: Int[Tensor, "live kv_heads"]

    def by_head(self, room: int = 0) -> Int[Tensor, " slots"]:
        """Return where the pairs of each KV head lie: its kept ones, then its live rows', then any for `room` slots."""
        own = zip(self.kept.split(list(self.counts)), self.tail.unbind(1), strict=True)
        return torch.cat([places for kept, tail in own for places in (kept, tail, tail[:1].expand(room))])


def best(
    scores: Float[Tensor, "kv_heads pairs"], counts: Int[Tensor, "kv_heads 1"], most: int
) -> Bool[Tensor, "kv_heads pairs"]:
    """Mark the `counts` best of each row, at most `most` of them; ties go to the earlier one.

    >>> best(torch.tensor([[1.0, 3.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0]]), torch.tensor([[2], [1]]), 2)
    tensor([[False,  True,  True, False],
            [ True, False, False, False]])
    """
    least = scores.topk(most, dim=1).values.gather(1, (counts - 1).clamp(min=0))
    above, level = scores > least, scores == least
    room = counts - above.sum(1, keepdim=True)
    return above | (level & (level.cumsum(1) <= room))
