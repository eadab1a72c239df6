"""PyramidKV (arXiv 2406.02069): SnapKV's votes, and each layer gets less than the one below it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.eviction.scorers import ObservationWindow
from maskkv.eviction.view import ModelView


@dataclass(frozen=True)
class Pyramid:
    """Let the pairs per head fall linearly from the first layer to the last, which gets b / `slope` (the paper's β).

    The mean is b, so the first layer gets 2 b − b / β; where that is more than the prompt has, the prompt's length,
    and the last one what keeps the mean. Every layer gets at least one pair per head. `protected` pairs of every
    head (a window that is kept anyway) come on top of a ramp over the rest.
    """

    needs_importance: ClassVar[bool] = False

    slope: float = 20.0
    protected: int = 0

    def __post_init__(self) -> None:
        """Check the parameters."""
        if not self.slope >= 1:
            raise InputError(f"slope {self.slope}: expected 1 (level) or more")
        if self.protected < 0:
            raise InputError(f"protected {self.protected}: expected 0 or more pairs")

    def __str__(self) -> str:
        kept = f"{self.protected} and " if self.protected else ""
        return f"{kept}from 2B − B/{self.slope:g} (at most T) linearly down to B/{self.slope:g}"

    def __call__(self, view: ModelView) -> list[float]:
        """Return each layer's pairs per head, before rounding."""
        if view.num_layers == 1:
            return [float(view.budget)]
        protected = min(self.protected, view.budget)
        mean = view.budget - protected
        first = min(2 * mean - mean / self.slope, view.evictable - protected)
        step = (2 * first - 2 * mean) / (view.num_layers - 1)
        return _raised_to_one([protected + first - layer * step for layer in range(view.num_layers)])


def _raised_to_one(amounts: list[float]) -> list[float]:
    """Raise falling amounts to at least 1 and lower those above in proportion; their mean, at least 1, stays."""
    total, count, above = math.fsum(amounts), len(amounts), len(amounts)
    while above > 1 and amounts[above - 1] < 1:
        above -= 1
        scale = (total - (count - above)) / math.fsum(amounts[:above])
        amounts = [amount * scale for amount in amounts[:above]] + [1.0] * (count - above)
    return amounts


POLICY = Policy(name="pyramidkv", paper="arXiv 2406.02069", scorer=ObservationWindow(), layer_budget=Pyramid())
