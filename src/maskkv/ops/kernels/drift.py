"""Which rows have moved most since the step before."""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.ops.kernels.launch import block, packed

LONGEST = 4096
"""Rows of one sequence that `least` can rank."""


@no_type_check
@triton.jit
def _moved(  # noqa: PLR0913
    before, places, values, out, kv_heads, head_dim, before_row, place_row, place_head, value_row, value_head,
    HEADS: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head, column = tl.arange(0, HEADS), tl.arange(0, DIM)[None, :]
    place = tl.load(places + row * place_row + head * place_head, mask=head < kv_heads, other=0)
    inside = (head[:, None] < kv_heads) & (column < head_dim)
    fresh = values + row * value_row + head[:, None] * value_head + column
    old = tl.load(before + place[:, None] * before_row + column, mask=inside, other=0.0).to(tl.float32)
    new = tl.load(fresh, mask=inside, other=0.0).to(tl.float32)
    old_norm = tl.maximum(tl.sqrt_rn(tl.sum(tl.sum(old * old, axis=1), axis=0)), 1e-8)
    new_norm = tl.maximum(tl.sqrt_rn(tl.sum(tl.sum(new * new, axis=1), axis=0)), 1e-8)
    tl.store(out + row, tl.sum(tl.sum((old / old_norm) * (new / new_norm), axis=1), axis=0))


def moved(
    before: Float[Tensor, "pairs head_dim"],
    places: Int[Tensor, "live kv_heads"],
    values: Float[Tensor, "live kv_heads head_dim"],
) -> Float[Tensor, " live"]:
    """Return the cosine similarity of each row's old values, which lie in `places` of `before`, and its new ones."""
    before, values = packed(before), packed(values)
    live, kv_heads, head_dim = values.shape
    out = torch.empty(live, dtype=torch.float32, device=values.device)
    _moved[(live,)](
        before, places, values, out, kv_heads, head_dim, before.stride(0), places.stride(0), places.stride(1),
        values.stride(0), values.stride(1), HEADS=block(kv_heads), DIM=block(head_dim), num_warps=8,
    )  # fmt: skip
    return out


@no_type_check
@triton.jit
def _least(similarity, starts, firsts, out, BLOCK: tl.constexpr, CHUNK: tl.constexpr):
    sequence = tl.program_id(0)
    start = tl.load(starts + sequence).to(tl.int64)
    rows = (tl.load(starts + sequence + 1) - start).to(tl.int32)
    first = tl.load(firsts + sequence).to(tl.int64)
    count = (tl.load(firsts + sequence + 1) - first).to(tl.int32)
    row = tl.arange(0, BLOCK)
    # NaN sorts last, and so does the filling: behind every row, hence never chosen.
    own = tl.load(similarity + start + row, mask=row < rows, other=float("nan"))[:, None]
    rank = tl.zeros((BLOCK,), tl.int32)
    for begin in range(0, BLOCK, CHUNK):
        rival = begin + tl.arange(0, CHUNK)
        other = tl.load(similarity + start + rival, mask=rival < rows, other=float("nan"))[None, :]
        less = (other < own) | ((own != own) & (other == other))
        equal = (other == own) | ((own != own) & (other != other))
        ahead = less | (equal & (rival[None, :] < row[:, None]))
        rank += tl.sum(ahead.to(tl.int32), axis=1)
    chosen = rank < count
    place = first + tl.cumsum(chosen.to(tl.int32), axis=0) - 1
    tl.store(out + place, start + row, mask=chosen)


def least(
    similarity: Float[Tensor, " rows"],
    starts: Int[Tensor, " offsets"],
    firsts: Int[Tensor, " offsets"],
    longest: int,
    total: int,
) -> Int[Tensor, " total"]:
    """Return the rows least similar to before, in increasing order; ties go to the earlier row, NaN comes last.

    Sequence s has the rows from `starts[s]` on, at most `longest`; its choice goes from `firsts[s]` on into `total`.
    """
    if longest > LONGEST:
        raise ValueError(f"a sequence has {longest} rows, the kernel ranks at most {LONGEST}")
    out = torch.empty(total, dtype=torch.int64, device=similarity.device)
    size = block(longest)
    _least[(len(starts) - 1,)](
        similarity.contiguous(), starts.contiguous(), firsts.contiguous(), out,
        BLOCK=size, CHUNK=min(32, 16384 // size), num_warps=8,
    )  # fmt: skip
    return out
