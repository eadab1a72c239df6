"""A2D Qwen3 (dLLM, arXiv 2602.22661): Qwen3-0.6B taught masked diffusion.

Qwen3's network with full attention. Converted configs name no mask token. Those trained for block diffusion (BD3LM)
have the same `model_type`, and nothing in their files tells them apart: they are not what is computed here.
"""

from __future__ import annotations

from maskkv.models import fields, qwen3
from maskkv.models.config import ModelConfig
from maskkv.models.fields import Raw
from maskkv.models.published import like_llama

MODEL_TYPES: tuple[str, ...] = ("a2d-qwen3",)
MASK_TOKEN = "<|mask|>"


def read_config(raw: Raw) -> ModelConfig:
    """Read an A2D Qwen3 `config.json`, to which the mask token's id was added.

    Raises:
        CheckpointError: a field is missing, mistyped, or asks for what is not computed here.
    """
    mask_id = fields.mask(raw, fields.count(raw, "vocab_size"), MASK_TOKEN)
    return qwen3.read(raw, "a2d_qwen3", mask_id, shares="rounded", thinking=False)


def weight_names(config: ModelConfig) -> dict[str, str]:
    """Return the published tensor of each parameter of the transformer."""
    return like_llama(config)
