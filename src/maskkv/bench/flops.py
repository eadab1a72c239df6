"""Floating-point operations of a step, counted while it runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.attention.varlen  # defines an operator that is counted
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode


def count_flops(run: Callable[[], object]) -> int:
    """Return the operations of the matrix products and attentions in `run`; one multiply-add is two."""
    # torch has no formulas for these, and counts 0.
    formulas: dict[Any, Callable[..., int]] = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops
    }
    if hasattr(torch.ops.torch_attn, "_varlen_attn"):  # torch 2.11 has none for it, later ones do
        formulas[torch.ops.torch_attn._varlen_attn] = SegmentFlops()
    if torch.backends.mkldnn.is_available():
        formulas[torch.ops.mkldnn._linear_pointwise] = _packed_flops
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        run()
    return int(counter.get_total_flops())


def _attention_flops(queries: Sequence[int], keys: Sequence[int], values: Sequence[int], *_: Any, **__: Any) -> int:
    batch, heads, rows, head_dim = queries
    return 2 * batch * heads * rows * keys[2] * (head_dim + values[3])


class SegmentFlops:
    """Count variable-length attention: each segment's rows times its own pairs."""

    _get_raw = True
    """Asks torch for the tensors instead of their shapes: the lengths are numbers in them."""

    def __call__(
        self,
        queries: Shaped[Tensor, "rows heads head_dim"],
        keys: Shaped[Tensor, "pairs kv_heads head_dim"],
        values: Shaped[Tensor, "pairs kv_heads value_dim"],
        row_offsets: Int[Tensor, " offsets"],
        pair_offsets: Int[Tensor, " offsets"] | None,
        *_: Any,
        **__: Any,
    ) -> int:
        """Return the operations of one call."""
        rows = row_offsets.diff()
        pairs = rows if pair_offsets is None else pair_offsets.diff()
        scores = int((rows.long() * pairs.long()).sum()) * queries.shape[1]
        return 2 * scores * (queries.shape[2] + values.shape[2])


def _packed_flops(rows: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * math.prod(rows) * weight[0]
