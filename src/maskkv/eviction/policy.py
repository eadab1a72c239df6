"""A policy: who votes × how many pairs each layer gets × how many each head gets × what comes back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol, cast, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from maskkv.errors import InputError
from maskkv.eviction.allocation import allocate, checked
from maskkv.eviction.budgets import UniformHeads, UniformLayers
from maskkv.eviction.ranking import Choice, Ranking, Shares
from maskkv.eviction.recall import BlockVote, Recall
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
    """Whether the split depends on the layers' importance; then it is an `ImportanceBudget`."""

    def __call__(self, view: ModelView) -> list[float]:
        """Return each layer's share (any non-negative scale)."""
        ...


@runtime_checkable
class ImportanceBudget(LayerBudget, Protocol):
    """Split the model's pairs over the layers by their importance, and bound the split before it is known."""

    def most(self, view: ModelView) -> list[float]:
        """Return the largest share that each layer may turn out to have; 1 is an even share.

        `view.importance` holds only the layers that have run so far.
        """
        ...


@runtime_checkable
class HeadBudget(Protocol):
    """Split a layer's pairs over its KV heads."""

    def __call__(self, view: LayerView, scores: Float[Tensor, "kv_heads evictable"], most: int) -> Shares:
        """Return a function from a number of the layer's pairs, up to `most`, to each KV head's share of them.

        What a head gets must not shrink as the number grows. The function is called when the view is gone: it must not
        hold it.
        """
        ...


@dataclass(frozen=True)
class Policy:
    """Decide which prompt pairs a sequence keeps; its `repr` is the experiment's record.

    Without a `scorer` nothing is ever evicted; without `cached` nothing is cached at all. `revote` says whether
    later prompt refreshes vote again or keep the first choice. With `recall` evicted pairs wait, in host memory or on
    the device, and come back as it says; without, they are dropped.
    """

    name: str
    paper: str
    scorer: Scorer | None = None
    layer_budget: LayerBudget = UniformLayers()
    head_budget: HeadBudget = UniformHeads()
    revote: bool = True
    cached: bool = True
    recall: Recall | BlockVote | None = None

    def __repr__(self) -> str:
        # Policies that drop what they evict are called in records what they were called before others existed.
        shown = [field.name for field in fields(self) if field.name != "recall" or self.recall is not None]
        return f"Policy({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    @property
    def evicted(self) -> str:
        """Return what becomes of evicted pairs: `drop`, or where they wait (`host`, `device`) and may come back."""
        return "drop" if self.recall is None else self.recall.where

    @property
    def can_evict(self) -> bool:
        """Tell whether there is a budget at which pairs are dropped: there is none without a scorer."""
        return self.scorer is not None

    def evicts(self, budget: int | None, evictable: int) -> bool:
        """Tell whether a prompt with so many evictable pairs loses any at this budget (None: no limit)."""
        return self.can_evict and budget is not None and budget < evictable

    def needs_importance(self, budget: int | None, evictable: int) -> bool:
        """Tell whether this prompt's split over the layers depends on their importance."""
        return self.evicts(budget, evictable) and self.layer_budget.needs_importance

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
        if budget is None or not self.evicts(budget, evictable):
            return [most] * num_layers
        shares = self.layer_budget(ModelView(num_layers, budget, evictable, importance))
        own = checked(shares, num_layers, f"policy {self.name!r}, {type(self.layer_budget).__name__}")
        return allocate(own, budget * kv_heads * num_layers, most)

    def most_pairs(
        self, budget: int, *, num_layers: int, kv_heads: int, evictable: int, importance: Sequence[float]
    ) -> list[int]:
        """Return the most pairs that each layer may come to keep, while only the first layers' importance is known.

        Each number is two above the rounded-down bound: one for rounding to whole pairs, one for floating-point error.
        """
        layers = self.layer_budget
        if not hasattr(layers, "most"):
            raise InputError(f"policy {self.name!r}: {type(layers).__name__} needs importance, so it needs `most` too")
        shares = cast("ImportanceBudget", layers).most(ModelView(num_layers, budget, evictable, importance))
        if len(shares) != num_layers or not all(share >= 0 for share in shares):
            raise InputError(
                f"policy {self.name!r}: expected `most` to be {num_layers} shares of at least 0, not {shares}"
            )
        every = kv_heads * evictable
        return [math.floor(min(share * budget * kv_heads, every - 2)) + 2 if every > 2 else every for share in shares]

    def rank(self, view: LayerView, most: int) -> Ranking:
        """Rank a layer's pairs, of which at most `most` will stay."""
        if self.scorer is None:
            raise ValueError(f"policy {self.name!r} evicts nothing")
        scores = self.scorer(view)
        if scores.shape != (view.kv_heads, view.evictable):
            raise InputError(
                f"policy {self.name!r}: expected scores of {view.kv_heads} KV heads × {view.evictable} pairs, not of "
                f"{' × '.join(map(str, scores.shape))}; of a model that is split, see LayerView.gathered"
            )
        shares = self.head_budget(view, scores, most)
        if not callable(shares):
            raise InputError(f"policy {self.name!r}: expected a head budget to return a function from pairs to shares")
        return Ranking.of(scores, shares)

    def choose(self, view: LayerView, pairs: int) -> Choice:
        """Return which pairs stay: the best of each KV head, `pairs` in all (Eq. 16)."""
        if self.scorer is None or pairs == view.kv_heads * view.evictable:
            return Choice.everything(view.kv_heads, view.evictable, view.keys.device)
        return self.rank(view, pairs).best(pairs)[0]
