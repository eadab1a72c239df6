"""LLaDA (arXiv 2502.09992): LLaDA-8B Base and Instruct, LLaDA-1.5, and the bundled model.

An OLMo-shaped config over a Llama-shaped network. The published code's defaults describe another network
(sequential blocks, learned positions, biases, a tied head), so the switches must be there.
"""

from __future__ import annotations

from maskkv.models import fields
from maskkv.models.config import ModelConfig
from maskkv.models.fields import Raw
from maskkv.models.published import spread

MODEL_TYPES: tuple[str, ...] = ("llada",)
MASK_TOKEN = None

_EOS, _EOT, _VOCAB = 126081, 126348, 126464
"""The published tokenizer's `<|endoftext|>` and `<|eot_id|>`; the config does not name the second."""

_HEADS = ("d_model", "n_heads", "n_kv_heads")
_NEEDED = {
    "activation_type": "silu",
    "block_type": "llama",
    "include_bias": False,
    "layer_norm_type": "rms",
    "rope": True,
    "weight_tying": False,
}
_TOLERATED = {
    "alibi": False,
    "attention_layer_norm": False,
    "bias_for_layer_norm": False,
    "block_group_size": 1,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "layer_norm_with_affine": True,
    "multi_query_attention": False,
    "scale_logits": False,
}
_MUST_BE_NULL = ("clip_qkv", "quantization_config")

_MODEL = {"embed": "model.transformer.wte", "norm": "model.transformer.ln_f", "head": "model.transformer.ff_out"}
_LAYER = {
    "attn_norm": "attn_norm",
    "q_proj": "q_proj",
    "k_proj": "k_proj",
    "v_proj": "v_proj",
    "o_proj": "attn_out",
    "mlp_norm": "ff_norm",
    "mlp.gate_proj": "ff_proj",
    "mlp.up_proj": "up_proj",
    "mlp.down_proj": "ff_out",
}


def read_config(raw: Raw) -> ModelConfig:
    """Read a LLaDA `config.json`.

    Raises:
        CheckpointError: a field is missing, mistyped, or asks for what is not computed here.
    """
    fields.require_switches(raw, _NEEDED, _TOLERATED)
    fields.require_null(raw, _MUST_BE_NULL)
    hidden, heads = fields.count(raw, "d_model"), fields.count(raw, "n_heads")
    kv_heads = fields.count(raw, "n_kv_heads") if fields.given(raw, "n_kv_heads") else heads
    fields.require_heads(hidden, heads, kv_heads, _HEADS)
    # The embedding may have more rows than the tokenizer has tokens; the matrices have the embedding's size.
    vocab = fields.count(raw, "embedding_size" if fields.given(raw, "embedding_size") else "vocab_size")
    eos = fields.tokens(raw, "eos_token_id", vocab)
    if vocab == _VOCAB and eos == (_EOS,):
        eos = (_EOS, _EOT)
    return ModelConfig(
        family="llada",
        hidden_size=hidden,
        num_layers=fields.layers(raw, "n_layers"),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=hidden // heads,
        mlp_size=fields.count(raw, "mlp_hidden_size"),
        vocab_size=vocab,
        rope_theta=fields.rope_theta(raw),
        norm_eps=fields.real(raw, "rms_norm_eps"),
        qkv_bias=False,
        rope_dtype="float32" if fields.flag(raw, "rope_full_precision") else "model",
        trained_length=fields.positions(raw, "max_sequence_length"),
        logit_shift=0,
        mask_id=fields.token(raw, "mask_token_id", vocab),
        eos_ids=eos,
        pad_id=fields.token(raw, "pad_token_id", vocab),
        tied_head=False,
    )


def weight_names(config: ModelConfig) -> dict[str, str]:
    """Return the published tensor of each parameter of the transformer."""
    return spread(_MODEL, _LAYER, "model.transformer.blocks", config)
