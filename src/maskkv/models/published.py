"""The names that parameters have in published files."""

from __future__ import annotations

from collections.abc import Mapping

from maskkv.models.config import ModelConfig

Names = Mapping[str, str | tuple[str, ...]]
"""The published tensor of each parameter of the transformer.

Parameters that share a published tensor lie in it below each other, in this order (one matrix for q, k and v). A
parameter with several published tensors is their stack (one tensor an expert).
"""

_QKV = ("q_proj", "k_proj", "v_proj")


def spread(model: Mapping[str, str], layer: Mapping[str, str], layers: str, config: ModelConfig) -> dict[str, str]:
    """Name every parameter after two tables of modules: those of the model, and those of each layer.

    Args:
        model: Published names of `embed`, `norm` and `head`.
        layer: Published names of a layer's modules, without the layer.
        layers: Published name of the list of layers.
        config: How many layers there are, and whether `q_proj`, `k_proj` and `v_proj` have biases.
    """
    names = {f"{ours}.weight": f"{published}.weight" for ours, published in model.items()}
    for index in range(config.num_layers):
        for ours, published in layer.items():
            for kind in ("weight", "bias") if config.qkv_bias and ours in _QKV else ("weight",):
                names[f"layers.{index}.{ours}.{kind}"] = f"{layers}.{index}.{published}.{kind}"
    return names


def send_to_experts(
    names: Mapping[str, str], config: ModelConfig, layers: str, shared: str, bias: str
) -> dict[str, str]:
    """Return the names with those of experts, a tensor each, in the place of the MLP's in layers that have them.

    Args:
        names: Those of a model with one MLP in every layer.
        config: Which layers have experts, and what they are made of.
        layers: Published name of the list of layers.
        shared: Published name of a layer's shared expert, without the layer.
        bias: Published name of its experts' biases.
    """
    found = dict(names)
    for layer in range(config.num_layers):
        experts = config.experts_of(layer)
        if experts is None:
            continue
        ours, published = f"layers.{layer}.mlp", f"{layers}.{layer}"
        for each in ("gate_proj", "up_proj", "down_proj"):
            del found[f"{ours}.{each}.weight"]
            for expert in range(experts.count):
                found[f"{ours}.experts.{expert}.{each}.weight"] = f"{published}.mlp.experts.{expert}.{each}.weight"
            if experts.shared_size:
                found[f"{ours}.shared.{each}.weight"] = f"{published}.{shared}.{each}.weight"
        found[f"{ours}.router.weight"] = f"{published}.mlp.gate.weight"
        if experts.bias:
            found[f"{ours}.expert_bias"] = f"{published}.{bias}"
    return found


def like_llama(config: ModelConfig) -> dict[str, str]:
    """Name every parameter as `transformers` does for Llama and Qwen, and for all that are made of these."""
    model = {"embed": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
    layer = {
        "attn_norm": "input_layernorm",
        "q_proj": "self_attn.q_proj",
        "k_proj": "self_attn.k_proj",
        "v_proj": "self_attn.v_proj",
        "o_proj": "self_attn.o_proj",
        "mlp_norm": "post_attention_layernorm",
        "mlp.gate_proj": "mlp.gate_proj",
        "mlp.up_proj": "mlp.up_proj",
        "mlp.down_proj": "mlp.down_proj",
    }
    if config.qk_norm:
        layer |= {"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"}
    return spread(model, layer, "model.layers", config)
