"""Tiny checkpoints in the published layouts, made without maskkv: `transformers` names, renamed by hand."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

LLADA_8B: dict[str, Any] = {
    "model_type": "llada",
    "architectures": ["LLaDAModelLM"],
    "activation_type": "silu",
    "alibi": False,
    "attention_layer_norm": False,
    "bias_for_layer_norm": False,
    "block_group_size": 1,
    "block_type": "llama",
    "d_model": 4096,
    "embedding_size": 126464,
    "eos_token_id": 126081,
    "include_bias": False,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "layer_norm_type": "rms",
    "layer_norm_with_affine": True,
    "mask_token_id": 126336,
    "max_sequence_length": 4096,
    "mlp_hidden_size": 12288,
    "mlp_ratio": 4,
    "multi_query_attention": None,
    "n_heads": 32,
    "n_kv_heads": 32,
    "n_layers": 32,
    "pad_token_id": 126081,
    "rms_norm_eps": 1e-05,
    "rope": True,
    "rope_full_precision": True,
    "rope_theta": 500000.0,
    "scale_logits": False,
    "vocab_size": 126464,
    "weight_tying": False,
}
DREAM_7B: dict[str, Any] = {
    "model_type": "Dream",
    "architectures": ["DreamModel"],
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "hidden_act": "silu",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "mask_token_id": 151666,
    "max_position_embeddings": 131072,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "pad_token_id": 151643,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 152064,
}
ILLADA_8B: dict[str, Any] = {
    "model_type": "illada",
    "architectures": ["ILLaDAForCausalLM"],
    "attention_bias": False,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "layer_norm_eps": None,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "pad_token_id": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "vocab_size": 155136,
}
A2D_QWEN3: dict[str, Any] = {
    "model_type": "a2d-qwen3",
    "architectures": ["A2DQwen3LMHeadModel"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "dtype": "bfloat16",
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "layer_types": ["full_attention"] * 28,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
"""Names no mask token: that is left to the tokenizer."""
SDAR_8B: dict[str, Any] = A2D_QWEN3 | {
    "model_type": "sdar",
    "architectures": ["SDARForCausalLM"],
    "block_size": 4,
    "eos_token_id": 151643,
    "head_dim": 128,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "layer_types": None,
    "mask_token_id": 151669,
    "max_position_embeddings": 32768,
    "num_attention_heads": 32,
    "num_hidden_layers": 36,
    "pad_token_id": 151643,
    "tie_word_embeddings": False,
}
"""Qwen3-8B's shape with what SDAR's published code reads beside it."""
LLADA_MOE_7B: dict[str, Any] = {
    "model_type": "llada",
    "architectures": ["LLaDAMoEModelLM"],
    "attention_bias": False,
    "clip_qkv": None,
    "dense_intermediate_size": 8192,
    "eos_token_id": 156892,
    "expert_intermediate_size": 1024,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "max_position_embeddings": 8192,
    "moe_layer_freq": [1] * 16,
    "moe_router_enable_expert_bias": False,
    "moe_router_score_function": "softmax",
    "norm_topk_prob": None,
    "num_attention_heads": 16,
    "num_experts": 64,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 16,
    "num_key_value_heads": 16,
    "pad_token_id": 156892,
    "partial_rotary_factor": 1,
    "qk_layernorm": True,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 50000,
    "routed_scaling_factor": 1,
    "router_num_group": None,
    "router_topk_group": None,
    "shared_expert_intermediate_size": None,
    "tie_word_embeddings": False,
    "vocab_size": 157184,
}
"""Put together from the published code's fields and what others report of its values: the file was not at hand."""
LLADA2_MINI: dict[str, Any] = {
    "model_type": "llada2_moe",
    "architectures": ["LLaDA2MoeModelLM"],
    "dtype": "bfloat16",
    "first_k_dense_replace": 1,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 5120,
    "max_position_embeddings": 32768,
    "moe_intermediate_size": 512,
    "moe_router_enable_expert_bias": True,
    "n_group": 8,
    "norm_head": False,
    "norm_topk_prob": True,
    "num_attention_heads": 16,
    "num_experts": 256,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 20,
    "num_key_value_heads": 4,
    "num_shared_experts": 1,
    "output_router_logits": False,
    "pad_token_id": 156892,
    "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 600000,
    "routed_scaling_factor": 2.5,
    "score_function": "sigmoid",
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "topk_group": 4,
    "use_bias": False,
    "use_qk_norm": True,
    "use_qkv_bias": False,
    "use_sliding_window": False,
    "vocab_size": 157184,
}
"""As others repeat it in their tests; names no mask token, no end, and no length of a block."""

_IDS = {"mask_token_id": 63, "eos_token_id": 2, "pad_token_id": 2}
_LLAMA_SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 64,
    "rope_theta": 10000.0,
}


def _without(raw: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in raw.items() if name != field}


LLADA = LLADA_8B | _IDS | {
    "d_model": 32,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "mlp_hidden_size": 48,
    "vocab_size": 64,
    "embedding_size": 64,
    "rope_theta": 10000.0,
}  # fmt: skip
DREAM = DREAM_7B | _IDS | _LLAMA_SHAPE
ILLADA = ILLADA_8B | _IDS | _LLAMA_SHAPE
A2D = A2D_QWEN3 | _IDS | _LLAMA_SHAPE | {"head_dim": 12, "layer_types": ["full_attention"] * 2}
SDAR = SDAR_8B | _IDS | _LLAMA_SHAPE | {"head_dim": 12}
LLADA_MOE = _without(LLADA_MOE_7B, "architectures") | _IDS | _without(_LLAMA_SHAPE, "intermediate_size") | {
    "model_type": "lladamoe",
    "num_hidden_layers": 2,
    "moe_layer_freq": [0, 1],
    "dense_intermediate_size": 48,
    "expert_intermediate_size": 12,
    "num_experts": 7,
    "num_experts_per_tok": 3,
}  # fmt: skip
"""The first layer is dense."""
LLADA2 = LLADA2_MINI | _IDS | _LLAMA_SHAPE | {
    "head_dim": 12,
    "moe_intermediate_size": 12,
    "num_experts": 8,
    "n_group": 4,
    "topk_group": 2,
    "num_experts_per_tok": 3,
}  # fmt: skip
"""The first layer is dense; 6 numbers of each head are rotated."""
TINY = {
    "llada": LLADA,
    "dream": DREAM,
    "illada": ILLADA,
    "a2d_qwen3": A2D,
    "sdar": SDAR,
    "llada_moe": LLADA_MOE,
    "llada2_moe": LLADA2,
}

_LLADA2_NAMES = (
    (r"model\.embed_tokens", "model.word_embeddings"),
    (r"self_attn\.q_norm", "attention.query_layernorm"),
    (r"self_attn\.k_norm", "attention.key_layernorm"),
    (r"self_attn\.o_proj", "attention.dense"),
    (r"e_score_correction_bias", "expert_bias"),
)
_LLADA_NAMES = (
    (r"model\.embed_tokens", "model.transformer.wte"),
    (r"model\.norm", "model.transformer.ln_f"),
    (r"lm_head", "model.transformer.ff_out"),
    (r"model\.layers", "model.transformer.blocks"),
    (r"input_layernorm", "attn_norm"),
    (r"post_attention_layernorm", "ff_norm"),
    (r"self_attn\.o_proj", "attn_out"),
    (r"self_attn\.", ""),
    (r"mlp\.gate_proj", "ff_proj"),
    (r"mlp\.up_proj", "up_proj"),
    (r"mlp\.down_proj", "ff_out"),
)


def reference(
    family: str, kv_heads: int = 2, scale: float = 0.15, seed: int = 0, layers: int = 2, tied: bool | None = None
) -> Any:
    """Make the tiny model of `transformers` that a family equals once attention looks both ways.

    LLaDA2 is GLM-4.5's network, but that experts are added up in fp32.
    """
    shape = {key: value for key, value in _LLAMA_SHAPE.items() if key != "rope_theta"} | {
        "num_key_value_heads": kv_heads,
        "num_hidden_layers": layers,
    }
    options = {
        "rms_norm_eps": TINY[family]["rms_norm_eps"],
        "rope_parameters": {"rope_type": "default", "rope_theta": _LLAMA_SHAPE["rope_theta"]},
        "tie_word_embeddings": bool(TINY[family].get("tie_word_embeddings")) if tied is None else tied,
    }
    made: Any
    if family in ("a2d_qwen3", "sdar"):
        made = Qwen3ForCausalLM(Qwen3Config(**shape, **options, head_dim=TINY[family]["head_dim"]))
    elif family == "dream":
        made = Qwen2ForCausalLM(Qwen2Config(**shape, **options))
    elif family == "llada_moe":
        made = Qwen3MoeForCausalLM(
            Qwen3MoeConfig(
                **shape,
                **options,
                head_dim=_LLAMA_SHAPE["hidden_size"] // _LLAMA_SHAPE["num_attention_heads"],
                moe_intermediate_size=LLADA_MOE["expert_intermediate_size"],
                num_experts=LLADA_MOE["num_experts"],
                num_experts_per_tok=LLADA_MOE["num_experts_per_tok"],
                norm_topk_prob=False,
                experts_implementation="eager",
                mlp_only_layers=[0] if layers > 1 else [],
            )
        )
    elif family == "llada2_moe":
        made = Glm4MoeForCausalLM(_like_glm(LLADA2, shape | options))
        for layer in made.model.layers[made.config.first_k_dense_replace :]:
            layer.mlp.experts.forward = partial(_summed_in_fp32, layer.mlp.experts)
    else:
        made = LlamaForCausalLM(LlamaConfig(**shape, **options))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, scale, generator=generator)
        for name, buffer in made.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.normal_(0.0, scale, generator=generator)
    return made.eval().requires_grad_(False)


def _like_glm(raw: dict[str, Any], options: dict[str, Any]) -> Glm4MoeConfig:
    rope = options.pop("rope_parameters") | {"partial_rotary_factor": raw["partial_rotary_factor"]}
    return Glm4MoeConfig(
        **options,
        rope_parameters=rope,
        head_dim=raw["head_dim"],
        moe_intermediate_size=raw["moe_intermediate_size"],
        n_routed_experts=raw["num_experts"],
        n_shared_experts=raw["num_shared_experts"],
        num_experts_per_tok=raw["num_experts_per_tok"],
        n_group=raw["n_group"],
        topk_group=raw["topk_group"],
        routed_scaling_factor=raw["routed_scaling_factor"],
        first_k_dense_replace=int(options["num_hidden_layers"] > 1),
        use_qk_norm=True,
    )


def _summed_in_fp32(experts: Any, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """Compute each expert for all rows, and add up those that a row is sent to."""
    gates, ups = (torch.einsum("rh,eih->eri", x, half) for half in experts.gate_up_proj.chunk(2, dim=1))
    outputs = torch.einsum("eri,ehi->erh", F.silu(gates) * ups, experts.down_proj)
    rows = torch.arange(len(x))[:, None]
    return (outputs[chosen, rows].float() * weights[..., None]).sum(1).to(x.dtype)


def both_ways(model: Any, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
    """Return the logits of a causal model of `transformers` that a zero mask makes look both ways."""
    length = len(tokens)
    mask = torch.zeros(1, 1, length, length, dtype=model.dtype)
    return with_mask(model, tokens, mask, positions)


def in_blocks(model: Any, tokens: Tensor, block: int) -> Tensor:
    """Return the logits of such a model whose rows are let read their own block and those before it."""
    place = torch.arange(len(tokens)) // block
    unseen = place[None, :] > place[:, None]
    mask = torch.zeros(unseen.shape, dtype=model.dtype).masked_fill(unseen, torch.finfo(model.dtype).min)
    return with_mask(model, tokens, mask[None, None])


def with_mask(model: Any, tokens: Tensor, mask: Tensor, positions: Tensor | None = None) -> Tensor:
    """Return the logits of a model of `transformers` under a mask that is added to its scores."""
    positions = torch.arange(len(tokens)) if positions is None else positions
    logits: Tensor = model(
        input_ids=tokens[None], position_ids=positions[None], attention_mask=mask, use_cache=False
    ).logits
    return logits[0]


def published(family: str, model: Any, tied: bool | None = None) -> dict[str, Tensor]:
    """Return a model's tensors under the names that the family's published files have."""
    tensors = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    if TINY[family].get("tie_word_embeddings") if tied is None else tied:
        tensors.pop("lm_head.weight")
    if family in ("llada_moe", "llada2_moe"):
        tensors = _experts_apart(tensors)
    if family == "llada2_moe":
        tensors = _attention_joined(tensors)
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in {"llada": _LLADA_NAMES, "llada2_moe": _LLADA2_NAMES}.get(family, ()):
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def _attention_joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put the rows for queries, keys and values of a layer into one matrix, in this order."""
    found = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.partition(".self_attn.")
        if kind == "q_proj.weight":
            parts = [tensors[f"{layer}.self_attn.{each}_proj.weight"] for each in "qkv"]
            found[f"{layer}.attention.query_key_value.weight"] = torch.cat(parts)
        elif kind not in ("k_proj.weight", "v_proj.weight"):
            found[name] = tensor
    return found


def _experts_apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give each expert tensors of its own; `transformers` holds those of a layer in two."""
    found = {}
    for name, tensor in tensors.items():
        if ".mlp.experts." not in name:
            found[name] = tensor
            continue
        mlp, kind = name.split(".experts.")
        for expert, own in enumerate(tensor):
            parts = {"gate_proj": own.chunk(2)[0], "up_proj": own.chunk(2)[1]} if "gate" in kind else {"down_proj": own}
            found |= {f"{mlp}.experts.{expert}.{each}.weight": part.clone() for each, part in parts.items()}
    return found


def write(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], shards: int = 1) -> Path:
    """Write a checkpoint folder with the safetensors library alone."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    names = sorted(tensors)
    files = {name: f"model-{1 + index % shards:05d}-of-{shards:05d}.safetensors" for index, name in enumerate(names)}
    for file in sorted(set(files.values())):
        save_file({name: tensors[name] for name in names if files[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return folder


def write_tiny(folder: Path, family: str, shards: int = 1, seed: int = 0) -> Path:
    """Write a family's tiny checkpoint."""
    return write(folder, TINY[family], published(family, reference(family, seed=seed)), shards)
