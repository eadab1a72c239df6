"""Dream (arXiv 2508.15487): Dream-v0 Base and Instruct, DiffuCoder, Dream-Coder.

Qwen2.5's network with full attention. Logits are shifted: the row before a token predicts it.
"""

from __future__ import annotations

from maskkv.models import fields
from maskkv.models.config import ModelConfig
from maskkv.models.fields import Raw
from maskkv.models.published import like_llama

MODEL_TYPES: tuple[str, ...] = ("Dream",)
MASK_TOKEN = None

TRAINED_LENGTH = 2048
"""What the model was trained at; the config's `max_position_embeddings` is inherited from Qwen2.5."""

_EOS, _IM_END, _VOCAB = 151643, 151645, 152064
"""The published tokenizer's `<|endoftext|>` and `<|im_end|>`; the config does not name the second."""

_HEADS = ("hidden_size", "num_attention_heads", "num_key_value_heads")
_NEEDED = {"hidden_act": "silu"}
_TOLERATED = {
    "attention_bias": True,
    "tie_word_embeddings": False,
    "use_mrope": False,
    "use_sliding_window": False,
}
_MUST_BE_NULL = ("quantization_config",)


def read_config(raw: Raw) -> ModelConfig:
    """Read a Dream `config.json`.

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
    eos = fields.tokens(raw, "eos_token_id", vocab)
    if vocab == _VOCAB and eos == (_EOS,):
        eos = (_EOS, _IM_END)
    return ModelConfig(
        family="dream",
        hidden_size=hidden,
        num_layers=fields.layers(raw, "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=hidden // heads,
        mlp_size=fields.count(raw, "intermediate_size"),
        vocab_size=vocab,
        rope_theta=fields.rope_theta(raw),
        norm_eps=fields.real(raw, "rms_norm_eps"),
        qkv_bias=True,
        rope_dtype="model",
        trained_length=min(TRAINED_LENGTH, fields.positions(raw, "max_position_embeddings")),
        logit_shift=1,
        mask_id=fields.token(raw, "mask_token_id", vocab),
        eos_ids=eos,
        pad_id=fields.token(raw, "pad_token_id", vocab),
        tied_head=False,
    )


def weight_names(config: ModelConfig) -> dict[str, str]:
    """Return the published tensor of each parameter of the transformer."""
    return like_llama(config)
