"""The cache that remembers nothing."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from maskkv.models.transformer import Sublayer
from maskkv.ops.attention import Queries, UnrotatedKeys, attention


class NoCache:
    """Recompute everything at every step: the reference. The pass holds the rows of one sequence."""

    def __init__(self) -> None:
        self._pairs: tuple[Tensor, Tensor] | None = None

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
        """Hold the pairs until the last row has read them."""
        self._pairs = (keys, values)

    def first(self, layer: int, sublayer: Sublayer) -> int:
        """Need every row."""
        return 0

    def attend(
        self, layer: int, queries: Float[Tensor, "span heads head_dim"], span: slice
    ) -> Float[Tensor, "span heads head_dim"]:
        """Attend to every pair."""
        assert self._pairs is not None
        keys, values = self._pairs
        if span.stop == len(values):
            self._pairs = None
        return attention(queries, keys, values)

    def add(
        self,
        layer: int,
        sublayer: Sublayer,
        residual: Float[Tensor, "span hidden"],
        fresh: Float[Tensor, "span hidden"],
        span: slice,
    ) -> Float[Tensor, "span hidden"]:
        """Add."""
        return residual + fresh
