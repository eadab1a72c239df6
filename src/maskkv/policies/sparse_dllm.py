"""Sparse-dLLM (arXiv 2508.02558): the block's mean query votes for one set of pairs that all heads share."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from maskkv.eviction.policy import Policy
from maskkv.eviction.scorers import check_pooling, pool
from maskkv.eviction.view import LayerView


@dataclass(frozen=True)
class BlockQuery:
    """Rank pairs by q̄ · k, averaged over all query heads and max-pooled, where q̄ is the mean query of the block."""

    kernel: int = 3

    def __post_init__(self) -> None:
        """Check the parameter."""
        check_pooling(self.kernel)

    def __str__(self) -> str:
        return f"q̄·k_j, q̄ the mean query of the block, mean over heads, max-pooled over {self.kernel}"

    def __call__(self, view: LayerView) -> Float[Tensor, "kv_heads evictable"]:
        """Return each pair's mean logit, the same for every head, in fp32."""
        rows = view.rows("block")
        query = view.queries(slice(int(rows[0]), int(rows[-1]) + 1)).float().mean(0)
        keys = view.keys[: view.evictable].float()
        by_group = query.view(keys.shape[1], -1, query.shape[-1]).sum(1)
        by_head = view.gathered((keys * by_group).sum(2).T)
        logits = by_head.sum(0) / (len(query) * view.ranks.count)
        return pool(logits[None], self.kernel).expand(view.kv_heads, -1)


POLICY = Policy(name="sparse-dllm", paper="arXiv 2508.02558", scorer=BlockQuery())
