"""LLaDA2.0 and 2.1 (arXiv 2512.15745): LLaDA2.0-mini and LLaDA2.1-mini.

A mixture of many small experts and a shared one, chosen by group as in DeepSeek-V3, and half of each head rotated.
Block-causal: a row reads its own block and the blocks before it. The published config names neither the blocks' length,
nor the mask token, nor the end of a text.
"""

from __future__ import annotations

from maskkv.errors import CheckpointError
from maskkv.models import fields
from maskkv.models.config import Experts, Groups, ModelConfig
from maskkv.models.fields import Raw
from maskkv.models.published import send_to_experts, spread

MODEL_TYPES: tuple[str, ...] = ("llada2_moe",)
MASK_TOKEN = "<|mask|>"

CAUSAL_BLOCK = 32
"""What the models were trained with; the published code takes it as an argument of its sampler."""

_EOS, _VOCAB = 156892, 157184
"""The published tokenizer's `<|endoftext|>`, for configs with the published vocabulary and no `eos_token_id`."""

_NEEDED = {"hidden_act": "silu"}
_TOLERATED = {
    "block_size": CAUSAL_BLOCK,
    "norm_head": False,
    "use_bias": False,
    "use_qk_norm": True,
    "use_qkv_bias": False,
    "use_sliding_window": False,
    # The published code computes the same whatever these say; refused is what would mean another thing.
    "moe_router_enable_expert_bias": True,
    "norm_topk_prob": True,
    "router_dtype": "fp32",
    "score_function": "sigmoid",
}
_MUST_BE_NULL = ("quantization_config",)

_MODEL = {"embed": "model.word_embeddings", "norm": "model.norm", "head": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "q_proj": "attention.query_key_value",
    "k_proj": "attention.query_key_value",
    "v_proj": "attention.query_key_value",
    "q_norm": "attention.query_layernorm",
    "k_norm": "attention.key_layernorm",
    "o_proj": "attention.dense",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate_proj": "mlp.gate_proj",
    "mlp.up_proj": "mlp.up_proj",
    "mlp.down_proj": "mlp.down_proj",
}


def read_config(raw: Raw) -> ModelConfig:
    """Read a LLaDA2 `config.json`.

    Raises:
        CheckpointError: a field is missing, mistyped, or asks for what is not computed here.
    """
    fields.require_switches(raw, _NEEDED, _TOLERATED)
    fields.require_null(raw, _MUST_BE_NULL)
    fields.require_full_attention(raw)
    heads, kv_heads = fields.count(raw, "num_attention_heads"), fields.count(raw, "num_key_value_heads")
    fields.require_groups(heads, kv_heads, ("num_attention_heads", "num_key_value_heads"))
    layers, head_dim = fields.layers(raw, "num_hidden_layers"), fields.even(raw, "head_dim")
    vocab = fields.count(raw, "vocab_size")
    unnamed = vocab == _VOCAB and not fields.given(raw, "eos_token_id")
    experts = _experts(raw, layers)
    return ModelConfig(
        family="llada2_moe",
        hidden_size=fields.count(raw, "hidden_size"),
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        mlp_size=fields.count(raw, "intermediate_size") if len(experts.layers) < layers else 0,
        vocab_size=vocab,
        rope_theta=fields.rope_theta(raw, partial=True),
        norm_eps=fields.real(raw, "rms_norm_eps"),
        qkv_bias=False,
        rope_dtype="model",
        trained_length=fields.positions(raw, "max_position_embeddings"),
        logit_shift=0,
        mask_id=fields.mask(raw, vocab, MASK_TOKEN),
        eos_ids=(_EOS,) if unnamed else fields.tokens(raw, "eos_token_id", vocab),
        pad_id=fields.token(raw, "pad_token_id", vocab),
        tied_head=fields.flag(raw, "tie_word_embeddings"),
        qk_norm=True,
        rotary_dim=fields.rotary_dim(raw, head_dim),
        experts=experts,
        causal_block=CAUSAL_BLOCK,
    )


def _experts(raw: Raw, layers: int) -> Experts:
    number, groups = fields.count(raw, "num_experts", fields.MOST_EXPERTS), fields.count(raw, "n_group")
    if number % groups or number < 2 * groups:
        raise CheckpointError(
            f"config.json: num_experts {number} does not split into {groups} groups of at least 2 (n_group)"
        )
    open_, size = fields.count(raw, "topk_group", groups), fields.count(raw, "moe_intermediate_size")
    return Experts(
        layers=tuple(range(fields.count(raw, "first_k_dense_replace", layers - 1, least=0), layers)),
        count=number,
        chosen=fields.count(raw, "num_experts_per_tok", number // groups * open_),
        size=size,
        shared_size=size * fields.count(raw, "num_shared_experts", fields.MOST_EXPERTS, least=0),
        bias=True,
        groups=Groups(groups, open_, fields.real(raw, "routed_scaling_factor")),
    )


def weight_names(config: ModelConfig) -> dict[str, str]:
    """Return the published tensor of each parameter of the transformer; q, k and v lie below each other in one."""
    names = spread(_MODEL, _LAYER, "model.layers", config)
    return send_to_experts(names, config, "model.layers", shared="mlp.shared_experts", bias="mlp.gate.expert_bias")
