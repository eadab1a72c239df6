"""The logits of every row, with nothing cached: what all caches are compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from maskkv.cache import NoCache
from maskkv.models.transformer import Transformer


@torch.inference_mode()
def logits(model: Transformer, ids: Sequence[int], rope_scale: float) -> Float[Tensor, "length vocab"]:
    """Return the logits of every row of a sequence, RoPE stretched by `rope_scale`."""
    tokens = torch.tensor(list(ids), device=model.device)
    rotation = model.rotation(torch.arange(len(tokens), device=model.device), rope_scale)
    with model.ranks.mirrored("model")("logits", list(ids), rope_scale):
        return model.logits(model(tokens, rotation, NoCache(model.config.causal_block)))
