"""What the configs of models made of dense Qwen3 have in common."""

from __future__ import annotations

from typing import Any

from maskkv.models import fields
from maskkv.models.config import ModelConfig
from maskkv.models.fields import Raw

TRAINED_LENGTH = 32_768
"""What Qwen3 was trained at; the config's `max_position_embeddings` may count room for an answer on top."""

_ENDS, _PAD, _VOCAB = (151645, 151643), 151643, 151936
"""The published tokenizer's `<|im_end|>` and `<|endoftext|>`; a config names one of the two, and no padding."""

_NEEDED = {"hidden_act": "silu"}
_TOLERATED = {"attention_bias": False, "use_sliding_window": False}
_MUST_BE_NULL = ("quantization_config",)


def read(raw: Raw, family: str, mask_id: int, **own: Any) -> ModelConfig:
    """Read a `config.json` with Qwen3's fields; `own` are fields of the `ModelConfig` that a family adds.

    Queries and keys are normalised per head, and heads need not add up to the stream's width. Logits are not shifted.

    Raises:
        CheckpointError: a field is missing, mistyped, or asks for what is not computed here.
    """
    fields.require_switches(raw, _NEEDED, _TOLERATED)
    fields.require_null(raw, _MUST_BE_NULL)
    fields.require_full_attention(raw)
    heads, kv_heads = fields.count(raw, "num_attention_heads"), fields.count(raw, "num_key_value_heads")
    fields.require_groups(heads, kv_heads, ("num_attention_heads", "num_key_value_heads"))
    vocab = fields.count(raw, "vocab_size")
    eos = fields.tokens(raw, "eos_token_id", vocab)
    if vocab == _VOCAB and set(eos) <= set(_ENDS):
        eos = (*eos, *(end for end in _ENDS if end not in eos))
    unpadded = _PAD if vocab == _VOCAB else eos[0]
    return ModelConfig(
        family=family,
        hidden_size=fields.count(raw, "hidden_size"),
        num_layers=fields.layers(raw, "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=fields.even(raw, "head_dim"),
        mlp_size=fields.count(raw, "intermediate_size"),
        vocab_size=vocab,
        rope_theta=fields.rope_theta(raw),
        norm_eps=fields.real(raw, "rms_norm_eps"),
        qkv_bias=False,
        rope_dtype="model",
        trained_length=min(TRAINED_LENGTH, fields.positions(raw, "max_position_embeddings")),
        logit_shift=0,
        mask_id=mask_id,
        eos_ids=eos,
        pad_id=fields.token(raw, "pad_token_id", vocab) if fields.given(raw, "pad_token_id") else unpadded,
        tied_head=fields.flag(raw, "tie_word_embeddings"),
        qk_norm=True,
        **own,
    )
