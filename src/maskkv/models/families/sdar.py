"""SDAR (arXiv 2510.06303) and TraDo (arXiv 2509.06949): Qwen3 taught block diffusion.

Qwen3's network, block-causal: a row reads the rows of its own block and of the blocks before it, in blocks of the
config's `block_size` that count from the first token of the prompt.
"""

from __future__ import annotations

from maskkv.models import fields, qwen3
from maskkv.models.config import ModelConfig
from maskkv.models.fields import Raw
from maskkv.models.published import like_llama

MODEL_TYPES: tuple[str, ...] = ("sdar",)
MASK_TOKEN = None


def read_config(raw: Raw) -> ModelConfig:
    """Read an SDAR or TraDo `config.json`.

    Raises:
        CheckpointError: a field is missing, mistyped, or asks for what is not computed here.
    """
    mask_id = fields.token(raw, "mask_token_id", fields.count(raw, "vocab_size"))
    return qwen3.read(raw, "sdar", mask_id, causal_block=fields.count(raw, "block_size", fields.LONGEST_BLOCK))


def weight_names(config: ModelConfig) -> dict[str, str]:
    """Return the published tensor of each parameter of the transformer."""
    return like_llama(config)
