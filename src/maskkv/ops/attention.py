"""Bidirectional attention, and how much of it each key receives, without a queries × keys matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkv.ops.fused import fused

Queries = Callable[[slice], Float[Tensor, "span heads head_dim"]]
"""Compute the rotated queries of some of a layer's rows, on demand."""

UnrotatedKeys = Callable[[slice], Float[Tensor, "span kv_heads head_dim"]]
"""Compute the keys of some of a layer's rows as they are before they are rotated, on demand."""

HALF = (torch.float16, torch.bfloat16)
"""The dtypes that the variable-length kernel computes in."""

TILE_ELEMENTS = 1 << 22
"""Scores alive at a time while attention mass is summed: 16 MiB in fp32."""


def attention(
    queries: Float[Tensor, "rows heads head_dim"],
    keys: Float[Tensor, "pairs kv_heads head_dim"],
    values: Float[Tensor, "pairs kv_heads head_dim"],
    mask: Bool[Tensor, "rows pairs"] | None = None,
) -> Float[Tensor, "rows heads head_dim"]:
    """Attend from every row to every pair, or to those that `mask` gives it.

    The query heads that share a KV head are folded into rows.
    """
    folded, every = fold_groups(queries, keys.shape[1]), (keys.transpose(0, 1)[None], values.transpose(0, 1)[None])
    # With a mask of fewer axes torch would leave its fused kernel.
    seen = None if mask is None else mask.repeat(queries.shape[1] // keys.shape[1], 1)[None, None]
    read = F.scaled_dot_product_attention(folded[None], *every, seen)
    return unfold_groups(read[0], queries.shape[1])


def attention_mass(
    queries: Float[Tensor, "rows heads head_dim"],
    keys: Float[Tensor, "pairs kv_heads head_dim"],
    weights: Float[Tensor, " rows"] | None = None,
    reach: Int[Tensor, " rows"] | None = None,
) -> Float[Tensor, "kv_heads pairs"]:
    """Sum `softmax(q Kᵀ / √d)` over the rows and over the query heads of each KV head (Eq. 6–7), in fp32.

    With `weights` it is the rows' weighted sum; with `reach` a row reads so many of the first pairs only.
    """
    group = queries.shape[1] // keys.shape[1]
    if on_chip(queries) and reach is None:
        from maskkv.ops import kernels

        own = None if weights is None else weights.float().repeat(group)
        folded = fold_groups(queries, keys.shape[1])
        return kernels.column_mass(folded, keys, kernels.log_sum_exp(folded, keys), own)
    mass = torch.empty((keys.shape[1], len(keys)), dtype=torch.float32, device=keys.device)
    for span, attended in _attended(queries, keys, reach):
        mass[:, span] = attended.sum(1) if weights is None else weights.float().repeat(group) @ attended
    return mass


def attention_peak(
    queries: Float[Tensor, "rows heads head_dim"],
    keys: Float[Tensor, "pairs kv_heads head_dim"],
    reach: Int[Tensor, " rows"] | None = None,
) -> Float[Tensor, "kv_heads pairs"]:
    """Return the largest `softmax(q Kᵀ / √d)` over the rows and the query heads of each KV head, in fp32.

    With `reach` a row reads so many of the first pairs only.
    """
    if on_chip(queries) and reach is None:
        from maskkv.ops import kernels

        folded = fold_groups(queries, keys.shape[1])
        return kernels.column_peak(folded, keys, kernels.log_sum_exp(folded, keys))
    peak = torch.empty((keys.shape[1], len(keys)), dtype=torch.float32, device=keys.device)
    for span, attended in _attended(queries, keys, reach):
        peak[:, span] = attended.amax(1)
    return peak


def on_chip(queries: Float[Tensor, "rows heads head_dim"]) -> bool:
    """Tell whether a kernel can count without writing a score to memory."""
    if not fused(queries):
        return False
    from maskkv.ops import kernels

    return queries.shape[-1] in kernels.HEAD_DIMS


def _attended(
    queries: Float[Tensor, "rows heads head_dim"],
    keys: Float[Tensor, "pairs kv_heads head_dim"],
    reach: Int[Tensor, " rows"] | None,
) -> Iterator[tuple[slice, Float[Tensor, "kv_heads group_rows tile"]]]:
    """Yield tiles of keys with the attention they get from every row.

    Two sweeps over the tiles: the first finds each row's log-sum-exp, the second computes `exp(qk − lse)`.
    """
    pairs, kv_heads, head_dim = keys.shape
    folded = fold_groups(queries, kv_heads).float() * head_dim**-0.5
    # Few rows against many keys: then the fp32 copy of the keys is what fills a tile.
    tile = max(1, TILE_ELEMENTS // (kv_heads * max(folded.shape[1], head_dim)))
    tiles = [slice(start, min(start + tile, pairs)) for start in range(0, pairs, tile)]

    ends = None if reach is None else reach.repeat(queries.shape[1] // kv_heads)[:, None]

    def scores(span: slice) -> Tensor:
        every = folded @ keys[span].permute(1, 2, 0).float()
        if ends is None:
            return every
        return every.masked_fill(torch.arange(span.start, span.stop, device=keys.device) >= ends, -torch.inf)

    if len(tiles) == 1:
        yield tiles[0], scores(tiles[0]).softmax(-1)
        return
    lse = folded.new_full(folded.shape[:2], -torch.inf)
    for span in tiles:
        lse = torch.logaddexp(lse, scores(span).logsumexp(-1))
    for span in tiles:
        yield span, (scores(span) - lse[..., None]).exp()


def fold_groups(
    heads: Float[Tensor, "rows heads head_dim"], kv_heads: int, sequences: int = 1
) -> Float[Tensor, "segments group_rows head_dim"]:
    """Lay the query heads that share a KV head end to end along the rows, sequence by sequence.

    Every sequence has equally many of the rows, and `kv_heads` of the segments.
    """
    rows, num_heads, head_dim = heads.shape
    group_rows = rows // sequences * (num_heads // kv_heads)
    by_head = heads.view(sequences, rows // sequences, num_heads, head_dim).transpose(1, 2)
    return by_head.reshape(sequences * kv_heads, group_rows, head_dim)


def unfold_groups(
    folded: Float[Tensor, "segments group_rows head_dim"], num_heads: int, sequences: int = 1
) -> Float[Tensor, "rows heads head_dim"]:
    """Undo `fold_groups`."""
    segments, group_rows, head_dim = folded.shape
    rows = segments * group_rows // (num_heads * sequences)
    # What a kernel returns need not be contiguous.
    return folded.reshape(sequences, num_heads, rows, head_dim).transpose(1, 2).flatten(0, 1)
