"""The order in which a layer's pairs are kept, and which of them are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.errors import InputError
from maskkv.eviction.allocation import allocate, checked, pour

Shares = Callable[[int], list[float]]
"""Each KV head's share (any non-negative scale) of so many pairs of a layer."""


@dataclass(frozen=True)
class Choice:
    """Say which of a layer's evictable pairs stay.

    `cells` are `head · evictable + position`, increasing; `counts` says how many of them each KV head has.
    """

    cells: Int[Tensor, " pairs"]
    counts: tuple[int, ...]
    evictable: int

    @classmethod
    def everything(cls, kv_heads: int, evictable: int, device: torch.device) -> Choice:
        """Keep every pair."""
        cells = torch.arange(kv_heads * evictable, dtype=torch.int32, device=device)
        return cls(cells, (evictable,) * kv_heads, evictable)

    def of_heads(self, heads: slice) -> Choice:
        """Return what of it is kept by some KV heads that lie side by side, counted from the first of them."""
        own = self.cells[sum(self.counts[: heads.start]) : sum(self.counts[: heads.stop])]
        return Choice(own - heads.start * self.evictable, self.counts[heads], self.evictable)

    @property
    def is_everything(self) -> bool:
        """Tell whether nothing is evicted."""
        return min(self.counts) == self.evictable

    def rows(self) -> Int[Tensor, " pairs"]:
        """Return where the pairs lie among all of the layer's, heads of a position side by side."""
        return _rows(self.cells, len(self.counts), self.evictable)

    def positions(self) -> list[list[int]]:
        """List the positions that each KV head keeps, increasing."""
        own = (self.cells % self.evictable).cpu().split(list(self.counts))
        return [positions.tolist() for positions in own]

    def holders(self) -> Int[Tensor, " evictable"]:
        """Count the KV heads that keep each position, in host memory."""
        return torch.bincount((self.cells % self.evictable).cpu(), minlength=self.evictable)


@dataclass(frozen=True)
class Ranking:
    """Rank a layer's evictable pairs: the best of each KV head first, head after head.

    `cells` are `head · evictable + position`, of which each head has `lengths`: all, or as many as it may come to keep.
    """

    cells: Int[Tensor, " ranked"]
    lengths: tuple[int, ...]
    evictable: int
    shares: Shares

    @classmethod
    def of(cls, scores: Float[Tensor, "kv_heads evictable"], shares: Shares) -> Ranking:
        """Rank by score, ties by position."""
        kv_heads, evictable = scores.shape
        # 32 bits halve what is stored beside the kept pairs; no layer has 2³¹ pairs.
        order = scores.sort(dim=-1, descending=True, stable=True).indices.int()
        order += torch.arange(kv_heads, dtype=order.dtype, device=order.device)[:, None] * evictable
        return cls(order.flatten(), (evictable,) * kv_heads, evictable, shares)

    def rows(self, heads: slice) -> Int[Tensor, " ranked"]:
        """Return where the pairs of some KV heads lie among all that these have, heads of a position side by side."""
        own = self.cells[sum(self.lengths[: heads.start]) : sum(self.lengths[: heads.stop])]
        return _rows(own - heads.start * self.evictable, heads.stop - heads.start, self.evictable)

    def counts(self, pairs: int) -> list[int]:
        """Return how many each KV head keeps of `pairs` in all."""
        return allocate(self._shares(pairs), pairs, self.evictable)

    def best(self, pairs: int) -> tuple[Choice, Int[Tensor, " pairs"]]:
        """Return the best pairs of each KV head, `pairs` in all (Eq. 16), and their places in this ranking."""
        counts = self.counts(pairs)
        if any(map(int.__gt__, counts, self.lengths)):
            raise InputError(
                f"heads keep {counts} pairs of a layer of which only {list(self.lengths)} were held: what a head budget"
                " gives a head must not shrink as the layer gets more, nor a layer get more than its `most`"
            )
        places = self._first(counts)
        cells, order = self.cells[places].sort()
        return Choice(cells, tuple(counts), self.evictable), places[order]

    def narrowed(self, most: int) -> tuple[Ranking, Int[Tensor, " ranked"]]:
        """Return the part of this ranking that can decide about `most` pairs or fewer, and its places in this one.

        Before rounding, what a head gets grows with the layer's pairs. Rounding adds less than one pair; one more
        covers floating-point error.
        """
        wanted = [math.floor(amount) + 2 for amount in pour(self._shares(most), most, self.evictable)]
        lengths = [min(length, own) for length, own in zip(self.lengths, wanted, strict=True)]
        places = self._first(lengths)
        return Ranking(self.cells[places], tuple(lengths), self.evictable, self.shares), places

    def _shares(self, pairs: int) -> Sequence[float]:
        return checked(self.shares(pairs), len(self.lengths), "head budget")

    def _first(self, counts: Sequence[int]) -> Int[Tensor, " places"]:
        """Return the places of the first few of each KV head."""
        every = torch.arange(len(self.cells), device=self.cells.device).split(list(self.lengths))
        return torch.cat([own[:count] for own, count in zip(every, counts, strict=True)])


def _rows(cells: Int[Tensor, " pairs"], kv_heads: int, evictable: int) -> Int[Tensor, " pairs"]:
    return cells % evictable * kv_heads + cells // evictable
