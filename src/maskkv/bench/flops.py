"""Floating-point operations of a step: counted while it runs, and predicted from its shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.attention.varlen  # defines an operator that is counted
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from maskkv.cache import Extent, Refresh
from maskkv.models.config import ModelConfig


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


def step_flops(
    config: ModelConfig,
    extent: Extent,
    refresh: Refresh | None,
    *,
    layer_pairs: Sequence[int],
    transfer_ratio: float,
    candidates: int,
) -> int:
    """Predict the operations of a step: 2 × rows × parameters, attention over pairs, the candidates' logits.

    `layer_pairs` are the kept prompt pairs of each layer over all its KV heads (as `Policy.layer_pairs` returns
    them), which matter between prompt refreshes. `refresh` None is a step without a cache. The votes of a prompt
    refresh are left out: a share of about voters / rows.
    """
    whole = refresh in (None, Refresh.PROMPT)
    rows = extent.prompt_length + extent.gen_length if whole else extent.live
    flops = 2 * candidates * config.hidden_size * config.vocab_size
    for layer in range(config.num_layers):
        # Nobody reads what the last layer makes of a prompt's rows but their pairs.
        last = whole and layer == config.num_layers - 1
        # Layer 0 reads the embedding, which changes with every commit: it recomputes all its rows.
        partial = refresh is Refresh.PARTIAL and layer > 0
        fresh = int(extent.gen_length * transfer_ratio) if partial else extent.live if last else rows
        pairs = rows * config.num_kv_heads + (0 if whole else layer_pairs[layer])
        flops += _layer_flops(config, rows, fresh, pairs)
        if last:
            flops += 2 * (rows - fresh) * config.hidden_size * config.num_kv_heads * config.head_dim
    return flops


def _layer_flops(config: ModelConfig, rows: int, fresh: int, pairs: int) -> int:
    """Count a layer that projects the values of `rows`, and the rest of `fresh` rows that read `pairs` in all."""
    all_heads = config.num_heads * config.head_dim
    kv_heads = config.num_kv_heads * config.head_dim
    values = config.hidden_size * kv_heads
    others = config.hidden_size * (2 * all_heads + kv_heads + 3 * config.mlp_size)
    group = config.num_heads // config.num_kv_heads
    return 2 * (rows * values + fresh * others) + 4 * fresh * group * pairs * config.head_dim


def _attention_flops(queries: Sequence[int], keys: Sequence[int], values: Sequence[int], *_: Any, **__: Any) -> int:
    batch, heads, rows, head_dim = queries
    return 2 * batch * heads * rows * keys[2] * (head_dim + values[3])


class SegmentFlops:
    """Count variable-length attention: each segment's rows times its own pairs."""

    _get_raw = True
    """What tells torch to hand over tensors, not shapes: the lengths are numbers in them."""

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
