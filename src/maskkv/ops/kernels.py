"""Triton kernels that round where the plain torch code does, each behind a function of tensors.

Tensors lie on one CUDA device, or anywhere under TRITON_INTERPRET=1. Nothing here waits for the device or reads a
value from it, so a CUDA graph may record all of it. Arithmetic is in fp32; a narrower dtype only rounds its results.
"""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

LONGEST = 4096
"""Rows of one sequence that `least` can rank."""


@no_type_check
@triton.jit
def _rms_norm(x, weight, out, hidden, x_row, eps, HIDDEN: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, HIDDEN)
    inside = column < hidden
    wide = tl.load(x + row * x_row + column, mask=inside, other=0.0).to(tl.float32)
    normed = (wide * tl.rsqrt(tl.sum(wide * wide, axis=0) / hidden + eps)).to(out.dtype.element_ty)
    scale = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * hidden + column, (scale * normed.to(tl.float32)).to(out.dtype.element_ty), mask=inside)


def rms_norm(
    x: Float[Tensor, "rows hidden"], weight: Float[Tensor, " hidden"], eps: float
) -> Float[Tensor, "rows hidden"]:
    """Normalise each row in fp32, cast back, then multiply by the weight."""
    x = _packed(x)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    _rms_norm[(len(x),)](x, weight, out, x.shape[1], x.stride(0), eps, HIDDEN=_block(x.shape[1]), num_warps=8)
    return out


@no_type_check
@triton.jit
def _rotate(x, cos, sin, taken, out, heads, half, x_row, x_head, HEADS: tl.constexpr, HALF: tl.constexpr):  # noqa: PLR0913
    row = tl.program_id(0).to(tl.int64)
    head, column = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    inside = (head < heads) & (column < half)
    kind = cos.dtype.element_ty
    turn = row if taken is None else tl.load(taken + row)
    angle = turn * half + column
    c = tl.load(cos + angle, mask=column < half, other=0.0).to(tl.float32)
    s = tl.load(sin + angle, mask=column < half, other=0.0).to(tl.float32)
    place = row * x_row + head * x_head + column
    first = tl.load(x + place, mask=inside, other=0.0).to(kind).to(tl.float32)
    second = tl.load(x + place + half, mask=inside, other=0.0).to(kind).to(tl.float32)
    low = (first * c).to(kind).to(tl.float32) - (second * s).to(kind).to(tl.float32)
    high = (second * c).to(kind).to(tl.float32) + (first * s).to(kind).to(tl.float32)
    place = (row * heads + head) * (2 * half) + column
    tl.store(out + place, low.to(kind).to(out.dtype.element_ty), mask=inside)
    tl.store(out + place + half, high.to(kind).to(out.dtype.element_ty), mask=inside)


def rotate(
    heads: Float[Tensor, "rows heads head_dim"],
    cos: Float[Tensor, "all half"],
    sin: Float[Tensor, "all half"],
    taken: Int[Tensor, " rows"] | None = None,
) -> Float[Tensor, "rows heads head_dim"]:
    """Rotate each head in the dtype of the cosines, every product and sum rounded to it, and cast back.

    Row i turns by the cosines of row `taken[i]`, or of row i.
    """
    heads = _packed(heads)
    out = torch.empty(heads.shape, dtype=heads.dtype, device=heads.device)
    count, half = heads.shape[1], cos.shape[1]
    _rotate[(len(heads),)](
        heads, cos.contiguous(), sin.contiguous(), taken, out, count, half, heads.stride(0), heads.stride(1),
        HEADS=_block(count), HALF=_block(half),
        enable_fp_fusion=False,  # a fused multiply-add would leave out a rounding
    )  # fmt: skip
    return out


@no_type_check
@triton.jit
def _swiglu(gate, up, out, mlp, gate_row, up_row, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < mlp
    g = tl.load(gate + row * gate_row + column, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(up + row * up_row + column, mask=inside, other=0.0).to(tl.float32)
    silu = tl.div_rn(g, 1.0 + tl.exp(-g)).to(out.dtype.element_ty).to(tl.float32)
    tl.store(out + row * mlp + column, (silu * u).to(out.dtype.element_ty), mask=inside)


def swiglu(gate: Float[Tensor, "rows mlp"], up: Float[Tensor, "rows mlp"]) -> Float[Tensor, "rows mlp"]:
    """Return `silu(gate) · up`, the first factor rounded before the product."""
    gate, up = _packed(gate), _packed(up)
    out = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device)
    rows, mlp = gate.shape
    _swiglu[(rows, triton.cdiv(mlp, 1024))](gate, up, out, mlp, gate.stride(0), up.stride(0), BLOCK=1024)
    return out


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
    if head_dim not in (16, 32, 64, 128, 256):
        raise ValueError(f"head_dim is {head_dim}, the kernel needs 16, 32, 64, 128 or 256")
    queries, keys = _packed(queries), _packed(keys)
    out = torch.empty((kv_heads, pairs), dtype=torch.float32, device=keys.device)
    # The interpreter neither multiplies bf16 nor loops to a number that it holds itself.
    interpreted = triton.knobs.runtime.interpret
    count = tl.constexpr(queries.shape[1]) if interpreted else queries.shape[1]
    # At most 32 KiB of keys and 16 KiB of queries at a time, 128 × 64 of them in half precision: no register spills.
    size = keys.element_size()
    tile, rows = min(256, (1 << 15) // head_dim) // size, min(128, (1 << 14) // head_dim) // size
    _columns[(triton.cdiv(pairs, tile), kv_heads)](
        queries, keys, lse.contiguous(), None if weights is None else weights.contiguous(), out,
        count, pairs, head_dim**-0.5, queries.stride(0), queries.stride(1), keys.stride(0), keys.stride(1),
        PEAK=peak, WIDE=interpreted, ROWS=rows, PAIRS=tile, DIM=head_dim, num_warps=8,
    )  # fmt: skip
    return out


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
    before, values = _packed(before), _packed(values)
    live, kv_heads, head_dim = values.shape
    out = torch.empty(live, dtype=torch.float32, device=values.device)
    _moved[(live,)](
        before, places, values, out, kv_heads, head_dim, before.stride(0), places.stride(0), places.stride(1),
        values.stride(0), values.stride(1), HEADS=_block(kv_heads), DIM=_block(head_dim), num_warps=8,
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
    block = _block(longest)
    _least[(len(starts) - 1,)](
        similarity.contiguous(), starts.contiguous(), firsts.contiguous(), out,
        BLOCK=block, CHUNK=min(32, 16384 // block), num_warps=8,
    )  # fmt: skip
    return out


def _packed(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _block(size: int) -> int:
    return triton.next_power_of_2(max(size, 16))
