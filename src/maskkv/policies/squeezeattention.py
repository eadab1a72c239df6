"""SqueezeAttention (arXiv 2404.04793): SnapKV's votes, and the layers that change least give pairs to the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.eviction.scorers import ObservationWindow
from maskkv.eviction.view import ModelView

GROUPS = 3


@dataclass(frozen=True)
class LayerGroups:
    """Cluster the layers into three groups by mean cosine, c_l = 1 − importance, and squeeze the least important one.

    Each layer of the group with the largest mean cosine gets `squeezed` (the paper's p) of an even share; all the other
    layers share the rest evenly.
    """

    needs_importance: ClassVar[bool] = True

    squeezed: float = 0.4

    def __post_init__(self) -> None:
        """Check the parameter."""
        if not 0 <= self.squeezed <= 1:
            raise InputError(f"squeezed {self.squeezed}: expected a share from 0 to 1")

    def __str__(self) -> str:
        return f"{GROUPS}-means on 1 − I_l: {self.squeezed:g} B to the largest, the rest evenly to the others"

    def __call__(self, view: ModelView) -> list[float]:
        """Return each layer's share of the model's pairs, in even shares."""
        if view.importance is None:
            raise ValueError("layer groups need the layers' importance")
        groups = cluster([1 - each for each in view.importance], GROUPS)
        least = max(groups)
        count = groups.count(least)
        if count == view.num_layers:
            return [1.0] * view.num_layers
        others = (view.num_layers - self.squeezed * count) / (view.num_layers - count)
        return [self.squeezed if group == least else others for group in groups]

    def most(self, view: ModelView) -> list[float]:
        """Return each layer's share if it is not squeezed and all layers are that may be.

        A layer is not squeezed before those that change more. One of unknown importance may be the only one that is
        not.
        """
        known = view.importance or ()
        ahead = [sum(other >= each for other in known) for each in known] + [1] * (view.num_layers - len(known))
        return [self.squeezed + (1 - self.squeezed) * view.num_layers / count for count in ahead]


def cluster(values: Sequence[float], most: int) -> list[int]:
    """Return each value's group, counted from the smallest values: the exact k-means of numbers.

    There are as many groups as distinct values, at most `most`. Of all ways to cut the sorted values the one with
    the smallest sum of squares within the groups is taken; of equal ones that with the earliest cuts.
    """
    distinct = sorted(set(values))
    # A way to cut is named by the first value of every group but the lowest.
    ways = combinations(distinct[1:], min(most, len(distinct)) - 1)
    best = min(ways, key=lambda firsts: _spread(values, firsts))
    return _grouped(values, best)


def _grouped(values: Sequence[float], firsts: Sequence[float]) -> list[int]:
    return [sum(value >= first for first in firsts) for value in values]


def _spread(values: Sequence[float], firsts: Sequence[float]) -> float:
    """Return the sum of squared distances of the values from the mean of their group."""
    groups = _grouped(values, firsts)
    spread = 0.0
    for group in range(len(firsts) + 1):
        own = [value for value, its in zip(values, groups, strict=True) if its == group]
        mean = math.fsum(own) / len(own)
        spread += math.fsum((value - mean) ** 2 for value in own)
    return spread


POLICY = Policy(
    name="squeezeattention", paper="arXiv 2404.04793", scorer=ObservationWindow(), layer_budget=LayerGroups()
)
