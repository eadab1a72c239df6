"""Random choice, the control: pairs drawn by the layer and a fixed seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import torch
from jaxtyping import Float
from torch import Tensor

from maskkv.eviction.policy import Policy
from maskkv.eviction.view import LayerView


@dataclass(frozen=True)
class Drawn:
    """Rank pairs by numbers drawn from a generator that `seed` and the layer start; the same on every device."""

    seed: int = 0

    def __str__(self) -> str:
        return f"random, by seed {self.seed} and layer"

    def __call__(self, view: LayerView) -> Float[Tensor, "kv_heads evictable"]:
        """Return uniform numbers."""
        # Of a seed the generator takes 32 bits: they are drawn from both numbers.
        start = Random(f"{self.seed}/{view.layer}").getrandbits(32)
        drawn = torch.rand(view.kv_heads, view.evictable, generator=torch.Generator().manual_seed(start))
        return drawn.to(view.keys.device)


POLICY = Policy(name="random", paper="–", scorer=Drawn())
