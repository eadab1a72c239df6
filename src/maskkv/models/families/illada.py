"""iLLaDA (arXiv 2606.25331): iLLaDA-8B Base and Instruct.

Named after LLaDA but laid out like Llama: grouped-query attention, a tied head, q and k rotated in the model's
dtype. The published config names no mask token.
"""

from __future__ import annotations

from maskkv.models import fields
from maskkv.models.config import ModelConfig
from maskkv.models.fields import Raw
from maskkv.models.published import like_llama

MODEL_TYPES: tuple[str, ...] = ("illada", "iLLaDA")
MASK_TOKEN = None

_MASK, _VOCAB = 5, 155136
"""The published tokenizer's `<[MASK]>`, for configs with the published vocabulary and no `mask_token_id`."""

_HEADS = ("hidden_size", "num_attention_heads", "num_key_value_heads")
_NEEDED = {"hidden_act": "silu"}
_TOLERATED = {"attention_bias": False, "mlp_bias": False}
_MUST_BE_NULL = ("layer_norm_eps", "quantization_config")


def read_config(raw: Raw) -> ModelConfig:
    """Read an iLLaDA `config.json`.

    Raises:
        CheckpointError: a field is missing, mistyped, or asks for what is not computed here.
    """
    fields.require_switches(raw, _NEEDED, _TOLERATED)
    fields.require_null(raw, _MUST_BE_NULL)
    fields.require_full_attention(raw)
    hidden, heads = fields.count(raw, "hidden_size"), fields.count(raw, "num_attention_heads")
    kv_heads = fields.count(raw, "num_key_value_heads")
    fields.require_heads(hidden, heads, kv_heads, _HEADS)
    vocab = fields.count(raw, "vocab_size")
    unnamed = vocab == _VOCAB and not fields.given(raw, "mask_token_id")
    return ModelConfig(
        family="illada",
        hidden_size=hidden,
        num_layers=fields.layers(raw, "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=hidden // heads,
        mlp_size=fields.count(raw, "intermediate_size"),
        vocab_size=vocab,
        rope_theta=fields.rope_theta(raw),
        norm_eps=fields.real(raw, "rms_norm_eps"),
        qkv_bias=False,
        rope_dtype="model",
        trained_length=fields.positions(raw, "max_position_embeddings"),
        logit_shift=0,
        mask_id=_MASK if unnamed else fields.token(raw, "mask_token_id", vocab),
        eos_ids=fields.tokens(raw, "eos_token_id", vocab),
        pad_id=fields.token(raw, "pad_token_id", vocab),
        tied_head=fields.flag(raw, "tie_word_embeddings"),
    )


def weight_names(config: ModelConfig) -> dict[str, str]:
    """Return the published tensor of each parameter of the transformer."""
    return like_llama(config)
