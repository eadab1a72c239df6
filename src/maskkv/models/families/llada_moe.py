"""LLaDA-MoE (arXiv 2509.24389): LLaDA-MoE-7B-A1B Base and Instruct.

Qwen3's attention, both ways, and a mixture of experts for an MLP. The published config has LLaDA's `model_type`, so
that its architecture tells, and names no mask token.
"""

from __future__ import annotations

from maskkv.models import fields
from maskkv.models.config import Experts, ModelConfig
from maskkv.models.fields import Raw
from maskkv.models.published import like_llama, send_to_experts

MODEL_TYPES: tuple[str, ...] = ("lladamoe", "LLaDAMoEModelLM")

MASK_TOKEN = "<|mask|>"

_HEADS = ("hidden_size", "num_attention_heads", "num_key_value_heads")
_NEEDED = {"hidden_act": "silu"}
_TOLERATED = {
    "attention_bias": False,
    # The published code reads these and computes the same whatever they say; refused is what would mean another thing.
    "moe_router_score_function": "softmax",
    "norm_topk_prob": False,
}
_MUST_BE_NULL = ("quantization_config", "router_num_group", "router_topk_group")


def read_config(raw: Raw) -> ModelConfig:
    """Read a LLaDA-MoE `config.json`.

    Raises:
        CheckpointError: a field is missing, mistyped, or asks for what is not computed here.
    """
    fields.require_switches(raw, _NEEDED, _TOLERATED)
    fields.require_null(raw, _MUST_BE_NULL)
    fields.require_one(raw, "routed_scaling_factor")
    fields.require_full_attention(raw)
    hidden, heads = fields.count(raw, "hidden_size"), fields.count(raw, "num_attention_heads")
    kv_heads, layers = fields.count(raw, "num_key_value_heads"), fields.layers(raw, "num_hidden_layers")
    fields.require_heads(hidden, heads, kv_heads, _HEADS)
    vocab = fields.count(raw, "vocab_size")
    experts = _experts(raw, layers)
    return ModelConfig(
        family="llada_moe",
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=hidden // heads,
        mlp_size=fields.count(raw, "dense_intermediate_size") if len(experts.layers) < layers else 0,
        vocab_size=vocab,
        rope_theta=fields.rope_theta(raw, partial=True),
        norm_eps=fields.real(raw, "rms_norm_eps"),
        qkv_bias=False,
        rope_dtype="model",
        trained_length=fields.positions(raw, "max_position_embeddings"),
        logit_shift=0,
        mask_id=fields.mask(raw, vocab, MASK_TOKEN),
        eos_ids=fields.tokens(raw, "eos_token_id", vocab),
        pad_id=fields.token(raw, "pad_token_id", vocab),
        tied_head=fields.flag(raw, "tie_word_embeddings"),
        qk_norm=fields.flag(raw, "qk_layernorm"),
        clip_qkv=fields.real(raw, "clip_qkv") if fields.given(raw, "clip_qkv") else None,
        rotary_dim=fields.rotary_dim(raw, hidden // heads),
        experts=experts,
    )


def _experts(raw: Raw, layers: int) -> Experts:
    number = fields.count(raw, "num_experts", fields.MOST_EXPERTS)
    shared, bias = "shared_expert_intermediate_size", "moe_router_enable_expert_bias"
    return Experts(
        layers=fields.choice_of_layers(raw, "moe_layer_freq", layers),
        count=number,
        chosen=fields.count(raw, "num_experts_per_tok", number),
        size=fields.count(raw, "expert_intermediate_size"),
        shared_size=fields.count(raw, shared) if fields.given(raw, shared) else 0,
        bias=fields.given(raw, bias) and fields.flag(raw, bias),
    )


def weight_names(config: ModelConfig) -> dict[str, str]:
    """Return the published tensor of each parameter of the transformer."""
    return send_to_experts(like_llama(config), config, "model.layers", shared="shared_expert", bias="mlp.expert_bias")
