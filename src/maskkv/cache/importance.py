"""How much each layer changes what passes through it (Eq. 8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.cache.plain import NoCache
from maskkv.models.transformer import StepCache, Sublayer, Transformer
from maskkv.ops.attention import Queries, UnrotatedKeys
from maskkv.ops.rope import Rotation

_PROBED_ROWS = 256
"""Rows that are compared at a time: in fp32 a chunk of the pass would take more than it does in the MLP."""


class ImportanceProbe:
    """Measure each layer's importance while another cache does the work (Eq. 8).

    Importance is one minus the mean cosine, over the pass's rows, between the residual stream before the attention
    norm and after the attention output was added. Before a layer's pairs are held, `tell` is called with the importance
    of those before it.
    """

    def __init__(
        self,
        inner: StepCache,
        num_layers: int,
        device: torch.device,
        tell: Callable[[Sequence[float]], None] | None = None,
    ) -> None:
        self._inner = inner
        self._tell = tell
        self._cosines = torch.zeros(num_layers, dtype=torch.float64, device=device)
        self._rows = [0] * num_layers

    @property
    def importance(self) -> tuple[float, ...]:
        """Return the importance of each layer that has run, over the passes seen."""
        pairs = zip(self._cosines.tolist(), self._rows, strict=True)
        return tuple(max(0.0, 1 - cosine / rows) for cosine, rows in pairs if rows)

    def stale(self, layer: int, values: Float[Tensor, "rows kv_heads head_dim"]) -> Int[Tensor, " fresh"] | None:
        """Ask the inner cache."""
        return self._inner.stale(layer, values)

    def hold(
        self,
        layer: int,
        keys: Float[Tensor, "fresh kv_heads head_dim"],
        values: Float[Tensor, "rows kv_heads head_dim"],
        queries: Queries,
        unrotated: UnrotatedKeys,
    ) -> None:
        """Ask the inner cache."""
        if self._tell is not None:
            self._tell(self.importance)
        self._inner.hold(layer, keys, values, queries, unrotated)

    def first(self, layer: int, sublayer: Sublayer) -> int:
        """Need what the inner cache needs, and every row's attention."""
        return 0 if sublayer is Sublayer.ATTENTION else self._inner.first(layer, sublayer)

    def attend(
        self, layer: int, queries: Float[Tensor, "span heads head_dim"], span: slice
    ) -> Float[Tensor, "span heads head_dim"]:
        """Ask the inner cache."""
        return self._inner.attend(layer, queries, span)

    def add(
        self,
        layer: int,
        sublayer: Sublayer,
        residual: Float[Tensor, "span hidden"],
        fresh: Float[Tensor, "taken hidden"],
        span: slice,
    ) -> Float[Tensor, "span hidden"]:
        """Ask the inner cache, and compare the residual before and after attention."""
        after = self._inner.add(layer, sublayer, residual, fresh, span)
        if sublayer is Sublayer.ATTENTION:
            for before, with_it in zip(residual.split(_PROBED_ROWS), after.split(_PROBED_ROWS), strict=True):
                cosine = F.cosine_similarity(before.float(), with_it.float(), dim=-1)
                self._cosines[layer] += cosine.double().sum()
            self._rows[layer] += len(residual)
        return after


def measure_importance(model: Transformer, tokens: Tensor, rotation: Rotation) -> tuple[float, ...]:
    """Return each layer's importance for these tokens, from one pass that keeps no pairs (Eq. 8)."""
    probe = ImportanceProbe(NoCache(), model.config.num_layers, model.device)
    cache: StepCache = probe
    with torch.inference_mode():
        model(tokens, rotation, cache)
    return probe.importance
