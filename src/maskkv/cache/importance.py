"""How much each layer changes the residual stream (Eq. 8)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from maskkv.cache.plain import NoCache
from maskkv.cache.watching import WatchingCache
from maskkv.models.step_cache import StepCache
from maskkv.models.transformer import Transformer
from maskkv.ops.rope import Rotation
from maskkv.ops.wide import wide, widest

_ROWS = 256
"""Rows that are compared at a time: all rows of a pass in fp32 would take more memory than its MLP does."""


class ImportanceProbe:
    """Measure each layer's importance in the passes that `compare` is shown (Eq. 8).

    Importance is one minus the mean cosine, over the rows, between the residual stream before the attention norm and
    after the attention output was added.
    """

    def __init__(self, num_layers: int, device: torch.device) -> None:
        self._cosines = torch.zeros(num_layers, dtype=widest(device), device=device)
        self._rows = [0] * num_layers

    @property
    def importance(self) -> tuple[float, ...]:
        """Return the importance of the layers shown so far: in the first pass, of those that have run."""
        pairs = zip(self._cosines.tolist(), self._rows, strict=True)
        return tuple(max(0.0, 1 - cosine / rows) for cosine, rows in pairs if rows)

    def compare(self, layer: int, before: Float[Tensor, "span hidden"], after: Float[Tensor, "span hidden"]) -> None:
        """Count the rows of a layer in: the residual stream before and after attention."""
        for old, new in zip(before.split(_ROWS), after.split(_ROWS), strict=True):
            self._count(layer, row_cosines(old, new))

    def _count(self, layer: int, cosines: Float[Tensor, " rows"]) -> None:
        self._cosines[layer] += wide(cosines).sum()
        self._rows[layer] += len(cosines)


class ResumedProbe(ImportanceProbe):
    """Measure it in one pass that begins behind rows that ran before: their cosines are `known`.

    Those of the rows of this pass are kept for the next.
    """

    def __init__(self, known: Float[Tensor, "known layers"], device: torch.device) -> None:
        super().__init__(known.shape[1], device)
        self._known = len(known)
        self._cosines += known.double().sum(0).to(self._cosines)
        self._own: list[list[Tensor]] = [[] for _ in self._rows]

    def rows(self) -> Float[Tensor, "rows layers"]:
        """Return the cosines of the rows of this pass."""
        return torch.stack([torch.cat(own) for own in self._own], dim=1)

    def _count(self, layer: int, cosines: Float[Tensor, " rows"]) -> None:
        if not self._rows[layer]:
            # What says that a layer has run, and may be told.
            self._rows[layer] = self._known
        super()._count(layer, cosines)
        self._own[layer].append(cosines)


def row_cosines(before: Float[Tensor, "rows hidden"], after: Float[Tensor, "rows hidden"]) -> Float[Tensor, " rows"]:
    """Return the cosine between both in each row, in fp32."""
    return F.cosine_similarity(before.float(), after.float(), dim=-1)


def measure_importance(model: Transformer, tokens: Tensor, rotation: Rotation) -> tuple[float, ...]:
    """Return each layer's importance for these tokens, from one pass that keeps no pairs (Eq. 8)."""
    probe = ImportanceProbe(model.config.num_layers, model.device)
    cache: StepCache = WatchingCache(NoCache(model.config.causal_block), on_attention=probe.compare)
    with torch.inference_mode():
        model(tokens, rotation, cache)
    return probe.importance
