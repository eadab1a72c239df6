"""One prompt refresh for several sequences with equal tokens: they differ only in what each of them keeps."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from maskkv.cache.evicting import EvictingCache
from maskkv.cache.plain import NoCache
from maskkv.cache.prefix import Resumed
from maskkv.models.step_cache import Sublayer
from maskkv.ops.attention import Queries, UnrotatedKeys


class SharedRefresh(NoCache):
    """Refresh the caches of sequences whose tokens, masks and positions are the same, in one pass over their rows.

    During a refresh every row attends to all of the prompt that the model lets it read, whatever is kept of it
    afterwards. So one pass without a cache serves all parts, and each of them takes from it what it keeps. Voters that
    several policies listen to are counted once.

    Of the last layer only the outputs of rows from `first_live` on are needed: nothing reads the others. A pass that is
    `resumed` begins behind rows whose pairs are known, and does the same for all rows as if they had run.
    """

    def __init__(
        self,
        parts: Sequence[EvictingCache],
        last_layer: int,
        first_live: int,
        causal_block: int | None = None,
        resumed: Resumed | None = None,
    ) -> None:
        super().__init__(causal_block, 0 if resumed is None else resumed.start)
        self._resumed = resumed
        self._parts = tuple(parts)
        self._last_layer = last_layer
        self._first_live = first_live

    def hold(
        self,
        layer: int,
        keys: Float[Tensor, "rows kv_heads head_dim"],
        values: Float[Tensor, "rows kv_heads head_dim"],
        queries: Queries,
        unrotated: UnrotatedKeys,
    ) -> None:
        """Take the pairs for this pass, and let each part choose its own from one view."""
        if self._resumed is not None:
            keys, values = self._resumed.joined(layer, keys, values)
            queries, unrotated = self._resumed.counted(queries), self._resumed.counted(unrotated)
        super().hold(layer, keys, values, queries, unrotated)
        if self._parts:
            view = self._parts[0].view(layer, keys, values, queries, unrotated)
            for part in self._parts:
                part.choose(view)

    def learn(self, importance: Sequence[float]) -> None:
        """Tell the parts the importance of the first layers, or of all."""
        for part in self._parts:
            part.learn(importance)

    def first(self, layer: int, sublayer: Sublayer) -> int:
        """Return the first row that a later layer, the logits or a later step reads."""
        return self._first_live - self._start if layer == self._last_layer else 0

    def add(
        self,
        layer: int,
        sublayer: Sublayer,
        residual: Float[Tensor, "span hidden"],
        fresh: Float[Tensor, "span hidden"],
        span: slice,
    ) -> Float[Tensor, "span hidden"]:
        """Return the residual with every row's output added; each part remembers the live rows' outputs."""
        every = slice(self._start + span.start, self._start + span.stop)
        for part in self._parts:
            part.remember(layer, sublayer, fresh, every)
        return super().add(layer, sublayer, residual, fresh, span)
