"""The two plain budgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from maskkv.eviction.ranking import Shares
from maskkv.eviction.view import LayerView, ModelView


@dataclass(frozen=True)
class UniformLayers:
    """Give every layer the same number of pairs."""

    needs_importance: ClassVar[bool] = False

    def __str__(self) -> str:
        return "evenly"

    def __call__(self, view: ModelView) -> list[float]:
        """Return each layer's share of the model's pairs."""
        return [1.0] * view.num_layers


@dataclass(frozen=True)
class UniformHeads:
    """Give every KV head of a layer the same number of pairs."""

    def __str__(self) -> str:
        return "evenly"

    def __call__(self, view: LayerView, scores: Float[Tensor, "kv_heads evictable"], most: int) -> Shares:
        """Return a function that gives each KV head an equal share of any number of pairs."""
        shares = [1.0] * view.kv_heads
        return lambda pairs: shares
