"""StreamingLLM (arXiv 2309.17453): the first pairs are attention sinks, and after them the latest are kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.eviction.view import LayerView


@dataclass(frozen=True)
class SinksThenLatest:
    """Rank the first `sinks` pairs before all others, and the others from the last to the first."""

    sinks: int = 4

    def __post_init__(self) -> None:
        """Check the parameter."""
        if self.sinks < 0:
            raise InputError(f"sinks {self.sinks}: expected 0 or more pairs")

    def __str__(self) -> str:
        return f"the first {self.sinks}, then the latest"

    def __call__(self, view: LayerView) -> Float[Tensor, "kv_heads evictable"]:
        """Return each pair's position, and for the sinks more than any position."""
        scores = torch.arange(view.evictable, dtype=torch.float32, device=view.keys.device)
        scores[: self.sinks] = 2 * view.evictable - scores[: self.sinks]
        return scores.expand(view.kv_heads, -1)


POLICY = Policy(name="streamingllm", paper="arXiv 2309.17453", scorer=SinksThenLatest())
