"""What is done to each row by itself, and where rows are written."""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.ops.kernels.launch import block, packed, parts


@no_type_check
@triton.jit
def _rms_norm(x, weight, taken, out, hidden, x_row, eps, HIDDEN: tl.constexpr):  # noqa: PLR0913
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, HIDDEN)
    inside = column < hidden
    source = row if taken is None else tl.load(taken + row)
    wide = tl.load(x + source * x_row + column, mask=inside, other=0.0).to(tl.float32)
    normed = (wide * tl.rsqrt(tl.sum(wide * wide, axis=0) / hidden + eps)).to(out.dtype.element_ty)
    scale = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * hidden + column, (scale * normed.to(tl.float32)).to(out.dtype.element_ty), mask=inside)


def rms_norm(
    x: Float[Tensor, "all hidden"], weight: Float[Tensor, " hidden"], eps: float, taken: Int[Tensor, " rows"] | None
) -> Float[Tensor, "rows hidden"]:
    """Normalise each row, or those `taken`, in fp32, cast back, then multiply by the weight."""
    x = packed(x)
    rows, hidden = len(x if taken is None else taken), x.shape[1]
    out = torch.empty((rows, hidden), dtype=x.dtype, device=x.device)
    _rms_norm[(rows,)](x, weight, taken, out, hidden, x.stride(0), eps, HIDDEN=block(hidden), num_warps=8)
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
    heads = packed(heads)
    out = torch.empty(heads.shape, dtype=heads.dtype, device=heads.device)
    count, half = heads.shape[1], cos.shape[1]
    _rotate[(len(heads),)](
        heads, cos.contiguous(), sin.contiguous(), taken, out, count, half, heads.stride(0), heads.stride(1),
        HEADS=block(count), HALF=block(half),
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
    gate, up = packed(gate), packed(up)
    out = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device)
    rows, mlp = gate.shape
    _swiglu[(rows, parts(mlp, 1024))](gate, up, out, mlp, gate.stride(0), up.stride(0), BLOCK=1024)
    return out


@no_type_check
@triton.jit(do_not_specialize=["count"])
def _join(  # noqa: PLR0913
    residual, kept, fresh, rows, out, count, hidden, residual_row, fresh_row, COUNT: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < hidden
    place = kept + row * hidden + column
    if rows is None:
        added = tl.load(fresh + row * fresh_row + column, mask=inside, other=0.0)
        tl.store(place, added, mask=inside)
    else:
        index = tl.arange(0, COUNT)
        mine = (tl.load(rows + index, mask=index < count, other=-1) == row).to(tl.int32)
        source = tl.sum(mine * index, axis=0).to(tl.int64)
        new = inside & (tl.sum(mine, axis=0) > 0)
        added = tl.load(fresh + source * fresh_row + column, mask=new, other=0.0)
        added = tl.where(new, added, tl.load(place, mask=inside, other=0.0))
        tl.store(place, added, mask=new)
    whole = tl.load(residual + row * residual_row + column, mask=inside, other=0.0).to(tl.float32) + added.to(
        tl.float32
    )
    tl.store(out + row * hidden + column, whole.to(out.dtype.element_ty), mask=inside)


def join(
    residual: Float[Tensor, "all hidden"],
    kept: Float[Tensor, "all hidden"],
    fresh: Float[Tensor, "rows hidden"],
    rows: Int[Tensor, " rows"] | None,
) -> Float[Tensor, "all hidden"]:
    """Write the fresh rows over the `kept` ones (None: over all), and return the residual plus all of these.

    `kept` is contiguous; `rows` are distinct.
    """
    residual, fresh = packed(residual), packed(fresh)
    out = torch.empty(residual.shape, dtype=residual.dtype, device=residual.device)
    (count, hidden), size = fresh.shape, 1024
    _join[(len(residual), parts(hidden, size))](
        residual, kept, fresh, rows, out, count, hidden, residual.stride(0), fresh.stride(0),
        COUNT=block(count), BLOCK=size,
    )  # fmt: skip
    return out


@no_type_check
@triton.jit
def _scatter(out, places, vectors, rows, heads, dim, vector_row, vector_head, HEADS: tl.constexpr, DIM: tl.constexpr):  # noqa: PLR0913
    row = tl.program_id(0).to(tl.int64)
    source = row if rows is None else tl.load(rows + row)
    head, column = tl.arange(0, HEADS), tl.arange(0, DIM)[None, :]
    place = tl.load(places + source * heads + head, mask=head < heads, other=0)[:, None]
    inside = (head[:, None] < heads) & (column < dim)
    read = tl.load(vectors + row * vector_row + head[:, None] * vector_head + column, mask=inside, other=0.0)
    tl.store(out + place * dim + column, read, mask=inside)


def scatter(
    out: Float[Tensor, "pairs head_dim"],
    places: Int[Tensor, "live kv_heads"],
    vectors: Float[Tensor, "rows kv_heads head_dim"],
    rows: Int[Tensor, " rows"] | None,
) -> None:
    """Write the heads of each vector to where `places` says for its row, which is `rows[i]` or i.

    `out` and `places` are contiguous.
    """
    vectors = packed(vectors)
    count, heads, dim = vectors.shape
    _scatter[(count,)](
        out, places, vectors, rows, heads, dim, vectors.stride(0), vectors.stride(1),
        HEADS=block(heads), DIM=block(dim),
    )  # fmt: skip
