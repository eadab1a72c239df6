"""One prompt refresh for several sequences with equal tokens: what differs is only what each of them keeps."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from maskkv.cache.evicting import EvictingCache
from maskkv.cache.plain import NoCache
from maskkv.models.transformer import Sublayer
from maskkv.ops.attention import Queries, UnrotatedKeys


class SharedRefresh:
    """Refresh the caches of sequences whose tokens, masks and positions are the same, in one pass over their rows.

    During a refresh every row attends to the whole prompt, whatever is kept of it afterwards, so the pass is the same
    for all; and voters that several policies listen to are counted once. Without parts it is a pass without a cache.

    Of the last layer only the outputs of rows from `first_live` on are needed: the others' have no reader.
    """

    def __init__(self, parts: Sequence[EvictingCache], last_layer: int, first_live: int) -> None:
        self._parts = tuple(parts)
        self._last_layer = last_layer
        self._first_live = first_live
        self._pass = NoCache()

    def stale(self, layer: int, values: Float[Tensor, "rows kv_heads head_dim"]) -> None:
        """Recompute every row."""
        return

    def hold(
        self,
        layer: int,
        keys: Float[Tensor, "rows kv_heads head_dim"],
        values: Float[Tensor, "rows kv_heads head_dim"],
        queries: Queries,
        unrotated: UnrotatedKeys,
    ) -> None:
        """Hold the pairs until the last row has read them, and let each part choose its own from one view."""
        self._pass.hold(layer, keys, values, queries, unrotated)
        if self._parts:
            view = self._parts[0].view(layer, keys, values, queries, unrotated)
            for part in self._parts:
                part.choose(view)

    def learn(self, importance: Sequence[float]) -> None:
        """Tell the parts the importance of the first layers, or of all."""
        for part in self._parts:
            part.learn(importance)

    def first(self, layer: int, sublayer: Sublayer) -> int:
        """Need every row that a later layer, the logits or a step to come read."""
        return self._first_live if layer == self._last_layer else 0

    def attend(
        self, layer: int, queries: Float[Tensor, "span heads head_dim"], span: slice
    ) -> Float[Tensor, "span heads head_dim"]:
        """Attend to every pair."""
        return self._pass.attend(layer, queries, span)

    def add(
        self,
        layer: int,
        sublayer: Sublayer,
        residual: Float[Tensor, "span hidden"],
        fresh: Float[Tensor, "span hidden"],
        span: slice,
    ) -> Float[Tensor, "span hidden"]:
        """Add; each part remembers the live rows' outputs."""
        for part in self._parts:
            part.remember(layer, sublayer, fresh, span)
        return self._pass.add(layer, sublayer, residual, fresh, span)
