"""A model cut by its heads, the columns of its MLPs and its experts, so that several devices hold one part each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from maskkv.errors import InputError
from maskkv.models.config import Experts, ModelConfig

_BY_OUTPUTS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
"""Maps of which a part has some outputs, which nobody else computes."""
_BY_INPUTS = ("o_proj", "down_proj")
"""Maps of which a part has the inputs that it computes itself: what they make is added up over all parts."""


@dataclass(frozen=True)
class Part:
    """Say which part of a model this is: number `rank`, from 0, of `count` equal ones (arXiv 1909.08053).

    A part has whole KV heads with the queries that read them, a share of the columns of each MLP, and whole experts.
    Embedding, head, norms and routers are in every part.
    """

    rank: int = 0
    count: int = 1

    def config(self, config: ModelConfig) -> ModelConfig:
        """Return the config of this part of a model.

        Raises:
            InputError: Heads, columns or experts do not split evenly.
        """
        if self.count == 1:
            return config
        return replace(
            config,
            num_heads=config.num_heads // self.count,
            num_kv_heads=self._share(config.num_kv_heads, "KV heads"),
            mlp_size=self._share(config.mlp_size, "columns of an MLP"),
            experts=None if config.experts is None else self._experts(config.experts),
        )

    def take(self, parameter: str, whole: Tensor) -> Tensor:
        """Return this part's share of a parameter that it has a share of, in memory of its own."""
        module = parameter.split(".")[-2]
        if self.count == 1 or ".experts." in parameter:
            return whole
        if module in _BY_OUTPUTS:
            return whole.chunk(self.count)[self.rank].clone()
        if module in _BY_INPUTS:
            return whole.chunk(self.count, dim=1)[self.rank].clone(memory_format=torch.contiguous_format)
        return whole

    def _experts(self, experts: Experts) -> Experts:
        own = self._share(experts.count, "experts")
        shared = self._share(experts.shared_size, "columns of the shared expert")
        return replace(experts, held=(self.rank * own, (self.rank + 1) * own), shared_size=shared)

    def _share(self, number: int, what: str) -> int:
        if number % self.count:
            raise InputError(
                f"tensor_parallel {self.count}: this model's {number} {what} do not split into {self.count} equal parts"
            )
        return number // self.count
