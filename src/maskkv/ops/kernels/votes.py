"""How much attention each key gets, from tiles that never leave the chip."""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from maskkv.ops.kernels.launch import packed, parts

HEAD_DIMS = (16, 32, 64, 128, 256)
"""How many numbers a head may have."""


@no_type_check
@triton.jit(do_not_specialize=["rows", "pairs"])
def _columns(  # noqa: PLR0913
    queries, keys, lse, weights, out, rows, pairs, scale, query_head, query_row, key_pair, key_head,
    PEAK: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, PAIRS: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1).to(tl.int64)
    pair, column = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS), tl.arange(0, DIM)
    source = keys + head * key_head + pair[None, :].to(tl.int64) * key_pair + column[:, None]
    tile = tl.load(source, mask=pair[None, :] < pairs, other=0.0)
    tile = tile.to(tl.float32) if WIDE else tile
    found = tl.zeros((PAIRS,), tl.float32)
    for start in range(0, rows, ROWS):
        row = start + tl.arange(0, ROWS)
        place = queries + head * query_head + row[:, None].to(tl.int64) * query_row + column[None, :]
        asked = tl.load(place, mask=row[:, None] < rows, other=0.0)
        asked = asked.to(tl.float32) if WIDE else asked
        # A row of filling has an infinite sum of exponentials: it attends to nothing.
        total = tl.load(lse + head * rows + row, mask=row < rows, other=float("inf"))
        attended = tl.exp(tl.dot(asked, tile, input_precision="ieee") * scale - total[:, None])
        if weights is not None:
            attended *= tl.load(weights + row, mask=row < rows, other=0.0).to(tl.float32)[:, None]
        found = tl.maximum(found, tl.max(attended, axis=0)) if PEAK else found + tl.sum(attended, axis=0)
    tl.store(out + head * pairs + pair, found, mask=pair < pairs)


@no_type_check
@triton.jit(do_not_specialize=["rows", "pairs"])
def _sums(  # noqa: PLR0913
    queries, keys, out, rows, pairs, scale, query_head, query_row, key_pair, key_head,
    WIDE: tl.constexpr, TILES: tl.constexpr, ROWS: tl.constexpr, PAIRS: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1).to(tl.int64)
    row, column = tl.program_id(2) * ROWS + tl.arange(0, ROWS), tl.arange(0, DIM)
    place = queries + head * query_head + row[:, None].to(tl.int64) * query_row + column[None, :]
    asked = tl.load(place, mask=row[:, None] < rows, other=0.0)
    asked = asked.to(tl.float32) if WIDE else asked
    peak = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    for index in range(TILES):
        pair = (tl.program_id(0) * TILES + index) * PAIRS + tl.arange(0, PAIRS)
        source = keys + head * key_head + pair[None, :].to(tl.int64) * key_pair + column[:, None]
        tile = tl.load(source, mask=pair[None, :] < pairs, other=0.0)
        tile = tile.to(tl.float32) if WIDE else tile
        scores = tl.dot(asked, tile, input_precision="ieee") * scale
        # The first tile of a program is never empty, so that the peak is a number from then on.
        scores = tl.where(pair[None, :] < pairs, scores, float("-inf"))
        higher = tl.maximum(peak, tl.max(scores, axis=1))
        total = total * tl.exp(peak - higher) + tl.sum(tl.exp(scores - higher[:, None]), axis=1)
        peak = higher
    place = out + (tl.program_id(0) * tl.num_programs(1) + head) * rows + row
    tl.store(place, peak + tl.log(total), mask=row < rows)


def log_sum_exp(
    queries: Float[Tensor, "kv_heads rows head_dim"], keys: Float[Tensor, "pairs kv_heads head_dim"]
) -> Float[Tensor, "kv_heads rows"]:
    """Return `ln Σ exp(qᵢ · k / √d)` over all keys, in fp32; head dimensions as for `column_mass`."""
    pairs, kv_heads, head_dim = keys.shape
    check_head_dim(head_dim)
    queries, keys = packed(queries), packed(keys)
    interpreted, row_bytes = triton.knobs.runtime.interpret, head_dim * keys.element_size()
    tile, rows, tiles = min(128, (1 << 15) // row_bytes), min(64, (1 << 14) // row_bytes), 8
    # Few rows against many keys: each program takes a part of the keys, and the parts' sums are summed.
    splits = parts(pairs, tile * tiles)
    out = torch.empty((splits, kv_heads, queries.shape[1]), dtype=torch.float32, device=keys.device)
    _sums[(splits, kv_heads, parts(queries.shape[1], rows))](
        queries, keys, out, queries.shape[1], pairs, head_dim**-0.5,
        queries.stride(0), queries.stride(1), keys.stride(0), keys.stride(1),
        WIDE=interpreted, TILES=tiles, ROWS=rows, PAIRS=tile, DIM=head_dim, num_warps=8,
    )  # fmt: skip
    return out.logsumexp(0)


def column_mass(
    queries: Float[Tensor, "kv_heads rows head_dim"],
    keys: Float[Tensor, "pairs kv_heads head_dim"],
    lse: Float[Tensor, "kv_heads rows"],
    weights: Float[Tensor, " rows"] | None = None,
) -> Float[Tensor, "kv_heads pairs"]:
    """Sum `wᵢ exp(qᵢ · k / √d − lseᵢ)` over the rows, in fp32, for head dimensions 16, 32, 64, 128 and 256."""
    return _column_wise(queries, keys, lse, weights, peak=False)


def column_peak(
    queries: Float[Tensor, "kv_heads rows head_dim"],
    keys: Float[Tensor, "pairs kv_heads head_dim"],
    lse: Float[Tensor, "kv_heads rows"],
) -> Float[Tensor, "kv_heads pairs"]:
    """Return the largest `exp(qᵢ · k / √d − lseᵢ)` over the rows; head dimensions as for `column_mass`."""
    return _column_wise(queries, keys, lse, None, peak=True)


def _column_wise(queries: Tensor, keys: Tensor, lse: Tensor, weights: Tensor | None, *, peak: bool) -> Tensor:
    pairs, kv_heads, head_dim = keys.shape
    check_head_dim(head_dim)
    queries, keys = packed(queries), packed(keys)
    out = torch.empty((kv_heads, pairs), dtype=torch.float32, device=keys.device)
    # The interpreter neither multiplies bf16 nor loops to a number that it holds itself.
    interpreted = triton.knobs.runtime.interpret
    count = tl.constexpr(queries.shape[1]) if interpreted else queries.shape[1]
    # At most 32 KiB of keys and 16 KiB of queries at a time, 128 × 64 of them in half precision: no register spills.
    size = keys.element_size()
    tile, rows = min(256, (1 << 15) // head_dim) // size, min(128, (1 << 14) // head_dim) // size
    _columns[(parts(pairs, tile), kv_heads)](
        queries, keys, lse.contiguous(), None if weights is None else weights.contiguous(), out,
        count, pairs, head_dim**-0.5, queries.stride(0), queries.stride(1), keys.stride(0), keys.stride(1),
        PEAK=peak, WIDE=interpreted, ROWS=rows, PAIRS=tile, DIM=head_dim, num_warps=8,
    )  # fmt: skip
    return out


def check_head_dim(head_dim: int) -> None:
    """Raise ValueError unless a tile can have so many columns."""
    if head_dim not in HEAD_DIMS:
        raise ValueError(f"head_dim is {head_dim}, the kernel needs one of {', '.join(map(str, HEAD_DIMS))}")
