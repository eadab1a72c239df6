"""The cache that remembers nothing."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from maskkv.models.step_cache import Sublayer
from maskkv.ops.attention import Queries, UnrotatedKeys, attention
from maskkv.ops.blocks import block_causal_attention


class NoCache:
    """Remember nothing between steps: the reference, for the rows of one sequence, from its first row on.

    Attention is bidirectional, or block-causal in blocks of `causal_block` rows. Then a pass may begin at row `start`.
    """

    def __init__(self, causal_block: int | None = None, start: int = 0) -> None:
        self._causal_block = causal_block
        self._start = start
        self._pairs: tuple[Tensor, Tensor] | None = None

    def stale(self, layer: int, values: Float[Tensor, "rows kv_heads head_dim"]) -> None:
        """Return None: every row is recomputed."""
        return

    def hold(
        self,
        layer: int,
        keys: Float[Tensor, "rows kv_heads head_dim"],
        values: Float[Tensor, "rows kv_heads head_dim"],
        queries: Queries,
        unrotated: UnrotatedKeys,
    ) -> None:
        """Take all pairs, those before the pass as well, and let go of them once the last row has read them."""
        self._pairs = (keys, values)

    def first(self, layer: int, sublayer: Sublayer) -> int:
        """Return 0: every row's output is needed."""
        return 0

    def attend(
        self, layer: int, queries: Float[Tensor, "span heads head_dim"], span: slice
    ) -> Float[Tensor, "span heads head_dim"]:
        """Return what the rows in `span` read from the pairs."""
        assert self._pairs is not None
        keys, values = self._pairs
        if self._start + span.stop == len(values):
            self._pairs = None
        if self._causal_block is None:
            return attention(queries, keys, values)
        return block_causal_attention(queries, keys, values, self._start + span.start, self._causal_block)

    def add(
        self,
        layer: int,
        sublayer: Sublayer,
        residual: Float[Tensor, "span hidden"],
        fresh: Float[Tensor, "span hidden"],
        span: slice,
    ) -> Float[Tensor, "span hidden"]:
        """Return the residual with every row's output added."""
        return residual + fresh
