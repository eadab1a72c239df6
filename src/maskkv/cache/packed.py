"""The caches of several sequences, seen as one by the transformer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.cache.evicting import EvictingCache
from maskkv.models.transformer import Sublayer
from maskkv.ops.attention import Queries


class PackedCache:
    """Run the live rows of several sequences, laid end to end, through one pass."""

    def __init__(self, parts: Sequence[EvictingCache]) -> None:
        self._parts = tuple(parts)
        self._stale: list[Int[Tensor, " fresh"] | None] = []
        self._live = [part.extent.live for part in parts]
        self._fresh = list(self._live)

    def stale(self, layer: int, values: Float[Tensor, "rows kv_heads head_dim"]) -> Int[Tensor, " fresh"] | None:
        """Join the rows that each sequence calls stale."""
        live = self._live
        parts = zip(self._parts, values.split(live), strict=True)
        self._stale = [part.stale(layer, own) for part, own in parts]
        self._fresh = [rows if stale is None else len(stale) for rows, stale in zip(live, self._stale, strict=True)]
        if all(stale is None for stale in self._stale):
            return None
        every = torch.arange(len(values), device=values.device).split(live)
        return torch.cat(
            [rows if stale is None else rows[stale] for rows, stale in zip(every, self._stale, strict=True)]
        )

    def hold(
        self,
        layer: int,
        keys: Float[Tensor, "fresh kv_heads head_dim"],
        values: Float[Tensor, "rows kv_heads head_dim"],
        queries: Queries,
    ) -> None:
        """Give each sequence its own keys and values; nobody votes here, so `queries` is nobody's."""
        own_keys = keys.split(self._fresh)
        own_values = values.split(self._live)
        for part, part_keys, part_values in zip(self._parts, own_keys, own_values, strict=True):
            part.hold(layer, part_keys, part_values, queries)

    def attend(
        self, layer: int, queries: Float[Tensor, "span heads head_dim"], span: slice
    ) -> Float[Tensor, "span heads head_dim"]:
        """Let each sequence's rows attend to its own pairs."""
        read = [
            self._parts[index].attend(layer, queries[inside], own)
            for index, own, inside in self._shared(span)
            if own.start < own.stop
        ]
        return torch.cat(read) if read else queries

    def add(
        self,
        layer: int,
        sublayer: Sublayer,
        residual: Float[Tensor, "span hidden"],
        fresh: Float[Tensor, "taken hidden"],
        span: slice,
    ) -> Float[Tensor, "span hidden"]:
        """Join each sequence's outputs with its own residual rows."""
        some_reused = any(stale is not None for stale in self._stale)
        by_sequence = residual.split(self._live) if some_reused else ()
        joined = []
        for index, own, inside in self._shared(span):
            rows = by_sequence[index] if some_reused else residual[inside]
            joined.append(self._parts[index].add(layer, sublayer, rows, fresh[inside], own))
        return torch.cat(joined)

    def _shared(self, span: slice) -> Iterator[tuple[int, slice, slice]]:
        """Yield each sequence, its own fresh rows inside `span`, and where in the span they lie."""
        starts = accumulate(self._fresh, initial=0)
        for index, (start, count) in enumerate(zip(starts, self._fresh, strict=False)):
            low = max(span.start, start)
            high = max(low, min(span.stop, start + count))
            yield index, slice(low - start, high - start), slice(low - span.start, high - span.start)
