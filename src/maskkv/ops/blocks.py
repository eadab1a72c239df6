"""Attention of block-causal models: a row reads its own block of rows and the blocks before it, and nothing later.

Blocks count from a sequence's first row, `block` rows each; the last one may be short.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.ops.attention import TILE_ELEMENTS, attention
from maskkv.ops.spans import spans


def reach(rows: Int[Tensor, " rows"], block: int) -> Int[Tensor, " rows"]:
    """Return how many pairs, counted from a sequence's first, each row reads: all up to the end of its block.

    >>> reach(torch.tensor([0, 3, 4, 9]), 4)
    tensor([ 4,  4,  8, 12])
    """
    return (rows // block + 1) * block


def block_causal_attention(
    queries: Float[Tensor, "span heads head_dim"],
    keys: Float[Tensor, "pairs kv_heads head_dim"],
    values: Float[Tensor, "pairs kv_heads head_dim"],
    start: int,
    block: int,
) -> Float[Tensor, "span heads head_dim"]:
    """Attend from rows `start`, `start + 1`, ... of a sequence to those of all its pairs that they read.

    Rows are taken a few at a time, so that what says who reads what is never larger than a tile of scores.
    """
    read = torch.empty_like(queries)
    group = queries.shape[1] // keys.shape[1]
    most = max(1, TILE_ELEMENTS // (len(keys) * group))
    # Whole blocks if they fit: the rows of one block read the same, and nothing has to say who reads what.
    most = max(block, most - most % block) if most >= block else most
    for own in spans(start + len(queries), most, start):
        stop = min(len(keys), (own.stop - 1) // block * block + block)
        rows = torch.arange(own.start, own.stop, device=keys.device)
        same = own.start // block == (own.stop - 1) // block
        mask = None if same else torch.arange(stop, device=keys.device) < reach(rows, block)[:, None]
        here = slice(own.start - start, own.stop - start)
        read[here] = attention(queries[here], keys[:stop], values[:stop], mask)
    return read
