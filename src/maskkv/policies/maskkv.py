"""MaskKV (arXiv 2510.09309): the mask tokens vote, boundary layers and prompt-reading heads get more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.eviction.ranking import Shares
from maskkv.eviction.scorers import Votes
from maskkv.eviction.view import LayerView, ModelView
from maskkv.ops.wide import wide


@dataclass(frozen=True)
class BoundaryAware:
    """Give every layer a base, and split the rest between boundary and middle layers (Eq. 8–13).

    `layer_base` is the paper's β, `boundary_layers` how many layers at each end are the boundary (S_bound). The two
    groups share the rest in proportion to their summed importance, evenly inside a group.
    """

    needs_importance: ClassVar[bool] = True

    layer_base: float = 0.4
    boundary_layers: int = 1

    def __post_init__(self) -> None:
        """Check the parameters."""
        if not 0 <= self.layer_base <= 1:
            raise InputError(f"layer_base {self.layer_base}: expected a share from 0 to 1")
        if self.boundary_layers < 1:
            raise InputError(f"boundary_layers {self.boundary_layers}: expected at least 1 layer at each end")

    def __str__(self) -> str:
        ends = "first and last layer" if self.boundary_layers == 1 else f"first and last {self.boundary_layers} layers"
        return f"{self.layer_base:g} evenly, {1 - self.layer_base:g} to {ends} and to the middle by their Σ I_l"

    def __call__(self, view: ModelView) -> list[float]:
        """Return each layer's share of the model's pairs."""
        num_layers, importance = view.num_layers, view.importance
        if importance is None:
            raise ValueError("boundary-aware layer budgets need the layers' importance")
        boundary = self._boundary(num_layers)
        at_boundary = sum(value for value, at_end in zip(importance, boundary, strict=True) if at_end)
        total = sum(importance)
        if total == 0 or all(boundary):
            return [1.0] * num_layers
        rest = {
            True: (1 - self.layer_base) * at_boundary / total / sum(boundary),
            False: (1 - self.layer_base) * (total - at_boundary) / total / (num_layers - sum(boundary)),
        }
        return [self.layer_base / num_layers + rest[at_end] for at_end in boundary]

    def most(self, view: ModelView) -> list[float]:
        """Return each layer's share if the layers of the other group had no importance at all."""
        boundary = self._boundary(view.num_layers)
        if all(boundary):
            return [1.0] * view.num_layers
        size = {True: sum(boundary), False: view.num_layers - sum(boundary)}
        return [self.layer_base + (1 - self.layer_base) * view.num_layers / size[at_end] for at_end in boundary]

    def _boundary(self, num_layers: int) -> list[bool]:
        return [
            layer < self.boundary_layers or layer >= num_layers - self.boundary_layers for layer in range(num_layers)
        ]


@dataclass(frozen=True)
class PromptPreference:
    """Give heads whose masks read the prompt more than heads whose masks read masks (Eq. 14–15).

    `head_base` is the paper's α: that part of the layer's pairs is split evenly. Decoded response tokens count
    on neither side.
    """

    head_base: float = 0.1

    def __post_init__(self) -> None:
        """Check the parameter."""
        if not 0 <= self.head_base <= 1:
            raise InputError(f"head_base {self.head_base}: expected a share from 0 to 1")

    def __str__(self) -> str:
        return f"{self.head_base:g} evenly, {1 - self.head_base:g} by P_h"

    def __call__(self, view: LayerView, scores: Float[Tensor, "kv_heads evictable"], most: int) -> Shares:
        """Return a function from a number of pairs to each KV head's share; here it depends on the heads alone."""
        preference = self.preference(view)
        even = self.head_base / view.kv_heads
        shares = (even + (1 - self.head_base) * preference / preference.sum().clamp_min(1e-30)).tolist()
        return lambda pairs: shares

    def preference(self, view: LayerView) -> Float[Tensor, " kv_heads"]:
        """Return P_h, the part of the masks' attention that goes to the prompt rather than to masks (Eq. 14)."""
        mass = wide(view.mass("mask"))
        to_prompt = mass[:, : view.prompt_length].sum(1)
        masks = view.rows("mask").to(mass.device, non_blocking=True)
        to_masks = mass.index_select(1, masks).sum(1)
        return to_prompt / (to_prompt + to_masks)


POLICY = Policy(
    name="maskkv",
    paper="arXiv 2510.09309",
    scorer=Votes(voters="mask"),
    layer_budget=BoundaryAware(),
    head_budget=PromptPreference(),
)
