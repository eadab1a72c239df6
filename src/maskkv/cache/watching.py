"""A cache that answers as another one does, and shows what passes through it."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor

from maskkv.models.step_cache import StepCache, Sublayer
from maskkv.ops.attention import Queries, UnrotatedKeys

OnPairs = Callable[[int, Tensor, Tensor, Queries, UnrotatedKeys], None]
"""Called with what `StepCache.hold` takes: the layer, its keys and values, its queries and unrotated keys."""

OnAttention = Callable[[int, Tensor, Tensor], None]
"""Called with the layer and the residual stream, span × hidden, before and after the attention output is added."""


class WatchingCache:
    """Let callbacks see a pass while `inner` does the work.

    `on_pairs` is called once per layer, before `inner` holds the pairs. `on_attention` is called for one span of rows
    after another, until it has seen every row: where it is given, attention is computed for all of them, also for
    those whose output `inner` does not need.
    """

    def __init__(
        self, inner: StepCache, *, on_pairs: OnPairs | None = None, on_attention: OnAttention | None = None
    ) -> None:
        self._inner = inner
        self._on_pairs = on_pairs
        self._on_attention = on_attention

    def stale(self, layer: int, values: Float[Tensor, "rows kv_heads head_dim"]) -> Int[Tensor, " fresh"] | None:
        """Return the rows that `inner` recomputes."""
        return self._inner.stale(layer, values)

    def hold(
        self,
        layer: int,
        keys: Float[Tensor, "fresh kv_heads head_dim"],
        values: Float[Tensor, "rows kv_heads head_dim"],
        queries: Queries,
        unrotated: UnrotatedKeys,
    ) -> None:
        """Show the pairs, then hand them on."""
        if self._on_pairs is not None:
            self._on_pairs(layer, keys, values, queries, unrotated)
        self._inner.hold(layer, keys, values, queries, unrotated)

    def first(self, layer: int, sublayer: Sublayer) -> int:
        """Return the first row that `inner` needs, or row 0 where every row's attention is watched."""
        if sublayer is Sublayer.ATTENTION and self._on_attention is not None:
            return 0
        return self._inner.first(layer, sublayer)

    def attend(
        self, layer: int, queries: Float[Tensor, "span heads head_dim"], span: slice
    ) -> Float[Tensor, "span heads head_dim"]:
        """Return what the rows in `span` read from `inner`."""
        return self._inner.attend(layer, queries, span)

    def add(
        self,
        layer: int,
        sublayer: Sublayer,
        residual: Float[Tensor, "span hidden"],
        fresh: Float[Tensor, "taken hidden"],
        span: slice,
    ) -> Float[Tensor, "span hidden"]:
        """Return the residual that `inner` makes; show it before and after attention."""
        after = self._inner.add(layer, sublayer, residual, fresh, span)
        if sublayer is Sublayer.ATTENTION and self._on_attention is not None:
            self._on_attention(layer, residual, after)
        return after
