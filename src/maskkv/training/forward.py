"""Run the package's own transformer over a batch of equally long sequences, with gradients."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from maskkv.models.step_cache import Sublayer
from maskkv.models.transformer import Transformer
from maskkv.ops.attention import Queries, UnrotatedKeys

# Score matrices worked on at a time in the backward pass, in elements: what fits the cache of a core or two.
_GROUP = 2**22


class BatchCache:
    """Let `rows` sequences packed one after the other attend each to itself; nothing is kept for later."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._pairs: tuple[Tensor, Tensor] | None = None

    def stale(self, layer: int, values: Tensor) -> None:
        """Have every row computed."""

    def hold(self, layer: int, keys: Tensor, values: Tensor, queries: Queries, unrotated: UnrotatedKeys) -> None:
        """Take the layer's keys and values."""
        self._pairs = self._split(keys), self._split(values)

    def first(self, layer: int, sublayer: Sublayer) -> int:
        """Need every row."""
        return 0

    def attend(self, layer: int, queries: Tensor, span: slice) -> Tensor:
        """Attend within each sequence; the model is built with one span for all rows."""
        assert self._pairs is not None, "a layer attends after its pairs are held"
        keys, values = self._pairs
        asked = self._split(queries)
        # Query heads that share a head of keys lie end to end along its rows.
        folded = asked.reshape(self._rows, keys.shape[1], -1, keys.shape[-1])
        if queries.is_cuda:
            read = F.scaled_dot_product_attention(folded, keys, values)
        else:
            read = Attention.apply(folded, keys, values)  # type: ignore[no-untyped-call]
        return read.reshape(asked.shape).transpose(1, 2).flatten(0, 1)

    def add(self, layer: int, sublayer: Sublayer, residual: Tensor, fresh: Tensor, span: slice) -> Tensor:
        """Join a sub-layer's output to the residual stream."""
        return residual + fresh

    def _split(self, packed: Tensor) -> Tensor:
        """Turn packed rows [rows·length, heads, size] into [rows, heads, length, size]."""
        return packed.unflatten(0, (self._rows, -1)).transpose(1, 2)


class Attention(torch.autograd.Function):
    """Attend as `scaled_dot_product_attention` does, with a backward pass of plain products.

    On CPUs with bfloat16 matrix units the fused kernel's backward pass takes most of a training step; scores
    recomputed for a few sequences at a time, while they are in the cache, take less than half of it.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Compute what the queries read."""
        read = F.scaled_dot_product_attention(queries, keys, values)
        ctx.save_for_backward(queries, keys, values, read)
        return read

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the gradients of queries, keys and values."""
        queries, keys, values, read = ctx.saved_tensors
        (gradient,) = gradients
        scale = queries.shape[-1] ** -0.5
        size = max(1, _GROUP // (queries.shape[1] * queries.shape[2] * keys.shape[2]))
        outer = (gradient * read).sum(-1, keepdim=True)
        made = torch.empty_like(queries), torch.empty_like(keys), torch.empty_like(values)
        for start in range(0, len(queries), size):
            part = slice(start, start + size)
            scaled = queries[part] * scale
            shares = (scaled @ keys[part].mT).softmax(-1)
            made[2][part] = shares.mT @ gradient[part]
            pull = (gradient[part] @ values[part].mT).sub_(outer[part]).mul_(shares)
            made[0][part] = pull @ keys[part] * scale
            made[1][part] = pull.mT @ scaled
        return made


def logits(model: Transformer, ids: Tensor, where: Tensor) -> Tensor:
    """Predict the words at `where` (indices into the flattened `ids` [rows, length])."""
    rows, length = ids.shape
    rotation = model.rotation(torch.arange(length, device=model.device).repeat(rows))
    hidden = model(ids.flatten(), rotation, BatchCache(rows))
    return model.logits(hidden[where.to(model.device)])
