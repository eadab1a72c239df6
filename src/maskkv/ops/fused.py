"""What a layer does to each row by itself, in one launch each where Triton can compile for the device.

Everywhere else, and while gradients are wanted or torch.compile traces, it is plain torch: the same rounding, and the
reference that the kernels are compared with.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def fused(tensor: Tensor) -> bool:
    """Tell whether the kernels can be used on this tensor now."""
    return tensor.is_cuda and not torch.is_grad_enabled() and not torch.compiler.is_compiling() and _has_triton()


def rms_norm(
    x: Float[Tensor, "all hidden"],
    weight: Float[Tensor, " hidden"],
    eps: float,
    taken: Int[Tensor, " rows"] | None = None,
) -> Float[Tensor, "rows hidden"]:
    """Normalise each row, or those `taken`: in fp32, then cast back, then times the weight (as both families do)."""
    if fused(x):
        from maskkv.ops import kernels

        return kernels.rms_norm(x, weight, eps, taken)
    wide = (x if taken is None else x.index_select(0, taken)).float()
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight * normed.to(x.dtype)


def swiglu(
    gate: Callable[[Tensor], Tensor], up: Callable[[Tensor], Tensor], x: Float[Tensor, "rows hidden"]
) -> Float[Tensor, "rows mlp"]:
    """Return `silu(gate(x)) · up(x)`, the first factor rounded before the product.

    The projections are given and not their results, so that none of these outlives its use.
    """
    if fused(x):
        from maskkv.ops import kernels

        return kernels.swiglu(gate(x), up(x))
    return F.silu(gate(x)) * up(x)


def similarity(
    before: Float[Tensor, "pairs head_dim"],
    places: Int[Tensor, "rows kv_heads"],
    values: Float[Tensor, "rows kv_heads head_dim"],
) -> Float[Tensor, " rows"]:
    """Return the cosine, in fp32, of each row's values with those that lie at its `places`, over all KV heads."""
    if fused(values):
        from maskkv.ops import kernels

        return kernels.moved(before, places, values)
    return F.cosine_similarity(before[places].flatten(1).float(), values.flatten(1).float(), dim=-1)


def products(
    before: Float[Tensor, "rows kv_heads head_dim"], after: Float[Tensor, "rows kv_heads head_dim"]
) -> Float[Tensor, "3 rows"]:
    """Return for each row before · after, before · before, after · after, over all KV heads, in fp32."""
    old, new = before.flatten(1).float(), after.flatten(1).float()
    return torch.stack([(a * b).sum(1) for a, b in ((old, new), (old, old), (new, new))])


def join(
    residual: Float[Tensor, "all hidden"],
    kept: Float[Tensor, "all hidden"],
    fresh: Float[Tensor, "rows hidden"],
    rows: Int[Tensor, " rows"] | None,
) -> Float[Tensor, "all hidden"]:
    """Write the fresh rows over the `kept` ones (None: over all), and return the residual plus all of these."""
    if fused(residual):
        from maskkv.ops import kernels

        return kernels.join(residual, kept, fresh, rows)
    if rows is None:
        kept.copy_(fresh)
        return residual + fresh
    kept.index_copy_(0, rows, fresh)
    return residual + kept


def scatter(
    out: Float[Tensor, "pairs head_dim"],
    places: Int[Tensor, "live kv_heads"],
    vectors: Float[Tensor, "rows kv_heads head_dim"],
    rows: Int[Tensor, " rows"] | None = None,
) -> None:
    """Write the heads of each vector to where `places` says for its row, which is `rows[i]` or i."""
    if fused(vectors):
        from maskkv.ops import kernels

        kernels.scatter(out, places, vectors, rows)
        return
    own = places if rows is None else places.index_select(0, rows)
    out.index_copy_(0, own.flatten(), vectors.flatten(0, 1))
