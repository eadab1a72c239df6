"""What one layer remembers of a sequence: what it keeps, or what it may come to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.eviction.ranking import Choice, Ranking
from maskkv.eviction.view import LayerView
from maskkv.ops.segmented_kv import SegmentedKV
from maskkv.ops.selection import Selection


@dataclass(eq=False)
class LiveState:
    """Hold what one layer remembers: the kept pairs with the live rows' behind them, and the live rows' outputs."""

    pairs: SegmentedKV
    outputs: Float[Tensor, "sublayers live hidden"]
    kept: int
    """Kept prompt pairs, over the KV heads of this process."""

    @classmethod
    def join(cls, parts: Sequence[LiveState]) -> LiveState:
        """Lay the states of several sequences end to end; each part becomes a view of the whole."""
        if len(parts) == 1:
            return parts[0]
        pairs = parts[0].pairs.join([part.pairs for part in parts[1:]])
        outputs = torch.cat([part.outputs for part in parts], dim=1)
        for part, own in zip(parts, outputs.split([part.outputs.shape[1] for part in parts], dim=1), strict=True):
            part.outputs = own
        return cls(pairs, outputs, sum(part.kept for part in parts))

    def leave(self) -> None:
        """Copy what is a view of a larger whole."""
        self.pairs.leave()
        if self.outputs.untyped_storage().nbytes() > self.outputs.nbytes:
            self.outputs = self.outputs.clone()

    @property
    def nbytes(self) -> int:
        """Return the bytes of pairs and outputs."""
        return self.pairs.nbytes + self.outputs.nbytes


NARROWED = 0.75
"""A layer gives pairs up while it waits once it can keep at most this part of those held: the rest is copied then."""


@dataclass(frozen=True, eq=False)
class WaitingState:
    """Hold the pairs that a layer may come to keep, while the layers' importance is being found out.

    They are in the order of `ranking`, enough to choose `most` pairs or fewer, with the live rows' behind them. The
    ranking is of all KV heads, the pairs are those of this process's `heads`. `outputs` are the live rows'.
    """

    keys: Float[Tensor, "ranked_and_tail head_dim"]
    values: Float[Tensor, "ranked_and_tail head_dim"]
    ranking: Ranking
    heads: slice
    most: int
    outputs: Float[Tensor, "sublayers live hidden"]

    @classmethod
    def of(
        cls, view: LayerView, ranking: Ranking, most: int, outputs: Float[Tensor, "sublayers live hidden"]
    ) -> WaitingState:
        """Copy from all pairs of a layer those that may stay."""
        narrow, _ = ranking.narrowed(most)
        chosen = torch.cat((narrow.rows(view.own_heads), view.live_rows().flatten()))
        keys, values = (each.flatten(0, 1).index_select(0, chosen) for each in (view.keys, view.values))
        return cls(keys, values, narrow, view.own_heads, most, outputs)

    def narrowed(self, most: int) -> WaitingState:
        """Copy those that are needed to choose `most` pairs or fewer."""
        narrow, places = self.ranking.narrowed(most)
        chosen = torch.cat((self._here(places, narrow.lengths), self._tail()))
        keys, values = self.keys.index_select(0, chosen), self.values.index_select(0, chosen)
        return replace(self, keys=keys, values=values, ranking=narrow, most=most)

    def best(self, pairs: int) -> tuple[Choice, Selection]:
        """Return which pairs stay, `pairs` in all, and where they and the live rows' lie here."""
        choice, places = self.ranking.best(pairs)
        own = choice.counts[self.heads]
        return choice, Selection(self._here(places, choice.counts), own, self._tail().view(-1, len(own)))

    def _here(self, places: Int[Tensor, " places"], counts: Sequence[int]) -> Int[Tensor, " own"]:
        """Return where those of this process's heads lie here, of places in the ranking: `counts` of each head."""
        own = places[sum(counts[: self.heads.start]) : sum(counts[: self.heads.stop])]
        return own - sum(self.ranking.lengths[: self.heads.start])

    def _tail(self) -> Int[Tensor, " live_kv_heads"]:
        return torch.arange(sum(self.ranking.lengths[self.heads]), len(self.keys), device=self.keys.device)
