"""Passes over all rows with nothing cached: what all caches are compared with, and what each layer changes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from maskkv.cache import NoCache, measure_importance
from maskkv.models.transformer import Transformer
from maskkv.ops.ranks import unbroken
from maskkv.ops.rope import Rotation


@torch.inference_mode()
def logits(model: Transformer, ids: Sequence[int], rope_scale: float) -> Float[Tensor, "length vocab"]:
    """Return the logits of every row of a sequence, RoPE stretched by `rope_scale`."""
    with model.ranks.mirrored("model")("logits", list(ids), rope_scale), unbroken(model.ranks):
        return model.logits(model(*_rows(model, ids, rope_scale), NoCache(model.config.causal_block)))


def importance(model: Transformer, ids: Sequence[int], rope_scale: float) -> tuple[float, ...]:
    """Return each layer's importance for a sequence (Eq. 8), RoPE stretched by `rope_scale`."""
    with model.ranks.mirrored("model")("importance", list(ids), rope_scale), unbroken(model.ranks):
        return measure_importance(model, *_rows(model, ids, rope_scale))


def _rows(model: Transformer, ids: Sequence[int], rope_scale: float) -> tuple[Tensor, Rotation]:
    tokens = torch.tensor(list(ids), device=model.device)
    return tokens, model.rotation(torch.arange(len(tokens), device=model.device), rope_scale)
