"""A policy: who votes × how many pairs each layer gets × how many each head gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkv.eviction.budgets import UniformHeads, UniformLayers, allocate
from maskkv.eviction.view import LayerView, ModelView


@runtime_checkable
class Scorer(Protocol):
    """Rank the pairs of each KV head: the higher, the sooner kept.

    `str` of a part says it in words, with its parameters; `repr` is its record.
    """

    def __call__(self, view: LayerView) -> Float[Tensor, "kv_heads evictable"]:
        """Return a score per KV head and evictable pair."""
        ...


@runtime_checkable
class LayerBudget(Protocol):
    """Split the model's pairs over the layers."""

    needs_importance: ClassVar[bool]
    """Whether the split depends on the layers' importance."""

    def __call__(self, view: ModelView) -> list[float]:
        """Return each layer's share (any non-negative scale)."""
        ...


@runtime_checkable
class HeadBudget(Protocol):
    """Split a layer's pairs over its KV heads."""

    def __call__(self, view: LayerView, scores: Float[Tensor, "kv_heads evictable"], pairs: int) -> list[float]:
        """Return each KV head's share (any non-negative scale) of the layer's `pairs`."""
        ...


@dataclass(frozen=True)
class Policy:
    """Decide which prompt pairs a sequence keeps; its `repr` is the experiment's record.

    Without a `scorer` nothing is ever evicted; without `cached` nothing is cached at all. `revote` says whether
    later prompt refreshes vote again or keep the first choice.
    """

    name: str
    paper: str
    scorer: Scorer | None = None
    layer_budget: LayerBudget = UniformLayers()
    head_budget: HeadBudget = UniformHeads()
    revote: bool = True
    cached: bool = True

    def needs_importance(self, budget: int | None, evictable: int) -> bool:
        """Say whether the layers' importance decides anything for this prompt."""
        return self._evicts(budget, evictable) and self.layer_budget.needs_importance

    def layer_pairs(
        self,
        budget: int | None,
        *,
        num_layers: int,
        kv_heads: int,
        evictable: int,
        importance: Sequence[float] | None = None,
    ) -> list[int]:
        """Return how many pairs each layer keeps, over all its KV heads.

        They sum to exactly `budget × kv_heads × num_layers`, or to every pair if the budget is None or as
        large as the prompt.
        """
        most = kv_heads * evictable
        if budget is None or not self._evicts(budget, evictable):
            return [most] * num_layers
        shares = self.layer_budget(ModelView(num_layers, budget, evictable, importance))
        return allocate(shares, budget * kv_heads * num_layers, most)

    def keep(self, view: LayerView, pairs: int) -> Bool[Tensor, "kv_heads evictable"]:
        """Return which pairs stay: the best of each KV head, `pairs` in all (Eq. 16)."""
        if self.scorer is None or pairs == view.kv_heads * view.evictable:
            return view.keys.new_ones((view.kv_heads, view.evictable), dtype=torch.bool)
        scores = self.scorer(view)
        heads = allocate(self.head_budget(view, scores, pairs), pairs, view.evictable)
        return top_pairs(scores, torch.tensor(heads, device=scores.device))

    def _evicts(self, budget: int | None, evictable: int) -> bool:
        return self.scorer is not None and budget is not None and budget < evictable


def top_pairs(
    scores: Float[Tensor, "kv_heads pairs"], counts: Int[Tensor, " kv_heads"]
) -> Bool[Tensor, "kv_heads pairs"]:
    """Mark the `counts[h]` best pairs of each head; ties go to the earlier position."""
    order = scores.sort(dim=-1, descending=True, stable=True).indices
    ranks = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, order, ranks < counts[:, None])
