import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers.models.glm4_moe.modeling_glm4_moe as glm4_moe
import transformers.models.llama.modeling_llama as llama
import transformers.models.qwen2.modeling_qwen2 as qwen2
import transformers.models.qwen3.modeling_qwen3 as qwen3
import transformers.models.qwen3_moe.modeling_qwen3_moe as qwen3_moe
from hypothesis import given
from hypothesis import strategies as st
from tests.saved_models import (
    A2D_QWEN3,
    DREAM_7B,
    ILLADA_8B,
    LLADA2_MINI,
    LLADA_8B,
    LLADA_MOE_7B,
    SDAR_8B,
    TINY,
    both_ways,
    published,
    reference,
    write,
)
from torch import Tensor
from transformers import LlamaConfig, Qwen2Config, Qwen3Config

from maskkv.bench.shapes import SHAPES
from maskkv.cache import NoCache
from maskkv.checkpoints import weights
from maskkv.errors import CheckpointError
from maskkv.models import families
from maskkv.models.config import Experts, Groups
from maskkv.models.transformer import Transformer

FAMILIES = sorted(TINY)
PARTIAL = ("llada_moe", "llada2_moe")
"""Families that may rotate a part of each head."""
A2D = A2D_QWEN3 | {"mask_token_id": 151669}
MOE = LLADA_MOE_7B | {"mask_token_id": 156895}
LLADA2 = LLADA2_MINI | {"mask_token_id": 156895}
TOKENS = torch.randint(0, 64, (37,), generator=torch.Generator().manual_seed(5))


def config_with(family: str, kv_heads: int) -> dict[str, Any]:
    return TINY[family] | {"n_kv_heads" if family == "llada" else "num_key_value_heads": kv_heads}


def logits(model: Transformer, positions: Tensor) -> Tensor:
    """Return the logits of all rows, each of which reads all: what else a family's rows read is not looked at here."""
    model.config = replace(model.config, causal_block=None)
    with torch.inference_mode():
        return model.logits(model(TOKENS, model.rotation(positions), NoCache()))


def test_every_file_is_a_family_and_every_family_is_tested() -> None:
    assert set(families.names()) == set(FAMILIES)
    found = {name: families.named(name) for name in families.names()}
    assert all(isinstance(family, families.Family) for family in found.values())
    kinds = [kind for family in found.values() for kind in family.MODEL_TYPES]
    assert len(set(kinds)) == len(kinds), "a model_type tells the family"
    for name in FAMILIES:
        assert TINY[name]["model_type"] in found[name].MODEL_TYPES
        assert families.read_config(TINY[name]).family == name


def test_the_published_configs_are_read() -> None:
    llada, dream, illada = map(families.read_config, (LLADA_8B, DREAM_7B, ILLADA_8B))
    assert (llada.mask_id, llada.eos_ids, llada.pad_id) == (126336, (126081, 126348), 126081)
    assert (dream.mask_id, dream.eos_ids, dream.pad_id) == (151666, (151643, 151645), 151643)
    assert (illada.mask_id, illada.eos_ids, illada.pad_id) == (5, (2,), 1)
    assert (llada.head_dim, dream.head_dim, illada.head_dim) == (128, 128, 128)
    assert (llada.num_kv_heads, dream.num_kv_heads, illada.num_kv_heads) == (32, 4, 8)
    assert (llada.trained_length, dream.trained_length, illada.trained_length) == (4096, 2048, 8192)
    assert (llada.rope_dtype, dream.rope_dtype, illada.rope_dtype) == ("float32", "model", "model")
    assert (llada.logit_shift, dream.logit_shift, illada.logit_shift) == (0, 1, 0)
    assert (llada.norm_eps, dream.norm_eps, llada.rope_theta, dream.rope_theta) == (1e-5, 1e-6, 5e5, 1e6)


def test_an_architecture_tells_before_a_model_type() -> None:
    """LLaDA-MoE's published config has LLaDA's model_type."""
    moe = families.read_config(MOE)
    assert (moe.family, moe.mask_id, moe.eos_ids, moe.pad_id) == ("llada_moe", 156895, (156892,), 156892)
    assert moe.experts == Experts(layers=tuple(range(16)), count=64, chosen=8, size=1024)
    assert (moe.head_dim, moe.rotary_dim, moe.clip_qkv, moe.qk_norm, moe.mlp_size) == (128, None, None, True, 0)
    assert (moe.rope_dtype, moe.logit_shift, moe.trained_length) == ("model", 0, 8192)
    for others in (["LLaDAModelLM"], ["Nobody's"], [], None, "LLaDAMoEModelLM", [["LLaDAMoEModelLM"]]):
        assert families.read_config(LLADA_8B | {"architectures": others}).family == "llada"


# LLaDA-MoE: 16 × (64 × 3 × 2048 × 1024 + 64 × 2048 + 4 × 2048² + 2 × 2048 + 2 × 128) + 2 × 157184 × 2048 + 2048
# LLaDA2-mini: 19 × (256 × 3 × 2048 × 512 + 3 × 2048 × 512 + 256 × 2048 + 256) + 3 × 2048 × 5120
# + 20 × (2048 × 24 × 128 + 2048² + 2 × 2048 + 2 × 128) + 2 × 157184 × 2048 + 2048
@pytest.mark.parametrize(
    ("raw", "tensors", "parameters"),
    [
        (LLADA_8B, 291, 8_015_581_184),
        (DREAM_7B, 339, 7_615_616_512),
        (ILLADA_8B, 291, 7_615_025_152 + 155136 * 4096),
        (A2D, 311, 596_049_920 + 151936 * 1024),
        (MOE, 3 + 16 * (9 + 3 * 64), 7_356_880_896),
        (LLADA2, 3 + 20 * 6 + 3 + 19 * (2 + 3 * 257), 16_255_643_392),
    ],
)
def test_the_published_shapes_give_the_published_counts(raw: dict[str, Any], tensors: int, parameters: int) -> None:
    config = families.read_config(raw)
    with torch.device("meta"):
        state = Transformer(config).state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == parameters
    names = families.weight_names(config)
    assert names.keys() == state.keys()
    assert len(set(names.values())) == tensors


def test_the_published_a2d_config_is_read() -> None:
    config = families.read_config(A2D)
    assert (config.hidden_size, config.num_heads, config.num_kv_heads, config.head_dim) == (1024, 16, 8, 128)
    assert (config.norm_eps, config.rope_theta, config.rope_dtype, config.logit_shift) == (1e-6, 1e6, "model", 0)
    assert (config.mask_id, config.eos_ids, config.pad_id) == (151669, (151645, 151643), 151643)
    assert (config.tied_head, config.qk_norm, config.shares, config.thinking) == (True, True, "rounded", False)
    assert config.trained_length == 32768
    assert families.read_config(A2D | {"max_position_embeddings": 8192}).trained_length == 8192
    assert config == SHAPES["qwen3-0.6b"]


def test_sdar_is_qwen3_in_blocks() -> None:
    config = families.read_config(SDAR_8B)
    assert (config.causal_block, config.mask_id, config.eos_ids) == (4, 151669, (151643, 151645))
    assert config == SHAPES["sdar-8b"]


def test_the_published_llada2_config_is_read() -> None:
    config = families.read_config(LLADA2)
    assert config == SHAPES["llada2-mini"]
    assert config.experts is not None
    assert (config.experts.layers, config.experts.groups) == (tuple(range(1, 20)), Groups(8, 4, 2.5))
    assert (config.experts.count, config.experts.chosen, config.experts.size, config.experts.shared_size) == (
        256, 8, 512, 512
    )  # fmt: skip
    assert (config.rotary_dim, config.head_dim, config.mlp_size, config.qk_norm) == (64, 128, 5120, True)
    assert (config.causal_block, config.trained_length, config.rope_dtype) == (32, 32768, "model")
    assert (config.mask_id, config.eos_ids, config.pad_id) == (156895, (156892,), 156892)
    assert families.mask_token(LLADA2_MINI) == "<|mask|>"
    assert families.read_config(LLADA2 | {"eos_token_id": [156892, 7]}).eos_ids == (156892, 7)
    assert families.read_config(LLADA2 | {"block_size": 32}) == config
    every = families.read_config(LLADA2 | {"first_k_dense_replace": 0, "num_shared_experts": 2})
    assert every.experts is not None
    assert (every.experts.layers, every.experts.shared_size, every.mlp_size) == (tuple(range(20)), 1024, 0)


@pytest.mark.parametrize(
    ("eos", "vocab", "ends"),
    [
        (151643, 151936, (151643, 151645)),
        ([151645, 151643], 151936, (151645, 151643)),
        (7, 151936, (7,)),
        (151645, 152000, (151645,)),
    ],
)
def test_both_of_qwen3_s_end_tokens_end_a_response(eos: object, vocab: int, ends: tuple[int, ...]) -> None:
    config = families.read_config(A2D | {"eos_token_id": eos, "vocab_size": vocab})
    assert config.eos_ids == ends
    assert config.pad_id == (151643 if vocab == 151936 else ends[0])
    assert families.read_config(A2D | {"pad_token_id": 5}).pad_id == 5


def test_ids_come_from_the_config_and_not_from_the_family() -> None:
    config = families.read_config(LLADA_8B | {"mask_token_id": 5, "eos_token_id": 2, "pad_token_id": 1})
    assert (config.mask_id, config.eos_ids, config.pad_id) == (5, (2,), 1)
    assert families.read_config(DREAM_7B | {"eos_token_id": [7, 8]}).eos_ids == (7, 8)
    assert families.read_config(TINY["llada"]).eos_ids == (2,)
    assert families.read_config(TINY["llada"] | {"rope_full_precision": False}).rope_dtype == "model"


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_those_of_transformers(family: str, kv_heads: int, tmp_path: Path) -> None:
    theirs = reference(family, kv_heads)
    ours = weights.load(write(tmp_path, config_with(family, kv_heads), published(family, theirs)), device="cpu")
    expected = both_ways(theirs, TOKENS)
    for chunk_rows in (1024, 37, 16, 5):
        ours._chunk_rows = chunk_rows
        torch.testing.assert_close(logits(ours, torch.arange(37)), expected, atol=1e-5, rtol=1e-5)
    # Neither side is causal: the first row sees the last token.
    changed = TOKENS.clone()
    changed[-1] = (changed[-1] + 1) % 64
    assert not torch.allclose(both_ways(theirs, changed)[0], expected[0], atol=1e-4)


def rotate_wide(monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    """Make a model of transformers rotate q and k in fp32 and cast them back."""
    angles = model.model.rotary_emb.forward

    def widened(narrow: Any) -> Any:
        def wide(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
            turned = narrow(q.float(), k.float(), cos, sin)
            return turned[0].to(q.dtype), turned[1].to(k.dtype)

        return wide

    monkeypatch.setattr(model.model.rotary_emb, "forward", lambda x, position_ids: angles(x.float(), position_ids))
    for module in (llama, qwen2, qwen3, qwen3_moe, glm4_moe):
        monkeypatch.setattr(module, "apply_rotary_pos_emb", widened(module.apply_rotary_pos_emb))


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_needs_the_family_s_own_rope_rule(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = reference(family, scale=0.3)
    inverse_frequencies = theirs.model.rotary_emb.inv_freq.clone()
    theirs = theirs.bfloat16()
    theirs.model.rotary_emb.inv_freq = inverse_frequencies  # a cast of the whole model takes it along
    folder = write(tmp_path, TINY[family], published(family, theirs))
    ours = weights.load(folder, device="cpu", dtype="bfloat16")
    positions = torch.arange(37) + 1000

    in_model_dtype = both_ways(theirs, TOKENS, positions).float()
    rotate_wide(monkeypatch, theirs)
    in_fp32 = both_ways(theirs, TOKENS, positions).float()
    right, wrong = (in_fp32, in_model_dtype) if family == "llada" else (in_model_dtype, in_fp32)

    found = logits(ours, positions).float()
    rounding = 2.0**-8 * right.abs().max()
    assert (found - right).abs().max() <= rounding
    assert (found - wrong).abs().max() > 3 * rounding


@pytest.mark.parametrize(
    ("family", "field", "value", "said"),
    [
        ("llada", "alibi", True, "alibi is true; supported: false"),
        ("llada", "include_bias", True, "include_bias is true; supported: false"),
        ("llada", "include_qkv_bias", True, "include_qkv_bias is true; supported: false"),
        ("llada", "block_type", "sequential", "block_type is 'sequential'; supported: 'llama'"),
        ("llada", "weight_tying", True, "weight_tying is true; supported: false"),
        ("llada", "layer_norm_type", "default", "layer_norm_type is 'default'; supported: 'rms'"),
        ("llada", "activation_type", "swiglu", "activation_type is 'swiglu'; supported: 'silu'"),
        ("llada", "rope", False, "rope is false; supported: true"),
        ("llada", "scale_logits", True, "scale_logits is true; supported: false"),
        ("llada", "clip_qkv", 8.0, "clip_qkv is 8.0; supported: null or no such field"),
        ("llada", "block_group_size", 2, "block_group_size is 2; supported: 1"),
        ("llada", "attention_layer_norm", True, "attention_layer_norm is true; supported: false"),
        ("llada", "bias_for_layer_norm", True, "bias_for_layer_norm is true; supported: false"),
        ("llada", "input_emb_norm", True, "input_emb_norm is true; supported: false"),
        ("llada", "layer_norm_with_affine", False, "layer_norm_with_affine is false; supported: true"),
        ("llada", "multi_query_attention", True, "multi_query_attention is true; supported: false"),
        ("llada", "quantization_config", {"bits": 4}, "quantization_config is {'bits': 4}; supported: null"),
        ("llada", "n_heads", 3, "d_model 32 does not split into 3 heads"),
        ("llada", "n_heads", 32, "d_model 32 does not split into 32 heads of even size"),
        ("llada", "n_kv_heads", 3, "n_heads 4 is not a multiple of n_kv_heads 3"),
        ("llada", "n_layers", 0, "n_layers is 0; supported: a whole number >= 1"),
        ("llada", "n_layers", 2.5, "n_layers is 2.5; supported: a whole number >= 1"),
        ("llada", "n_layers", True, "n_layers is true; supported: a whole number >= 1"),
        ("llada", "n_layers", 10**9, "n_layers is 1000000000; supported: a whole number <= 1000"),
        ("llada", "d_model", 2**62, "d_model is 4611686018427387904; supported: a whole number <= 16777216"),
        ("dream", "vocab_size", 10**400, "...; supported: a whole number <= 16777216"),
        ("illada", "max_position_embeddings", 2**31, "is 2147483648; supported: a whole number <= 2147483647"),
        ("dream", "rope_theta", 10**400, "...; supported: a finite number > 0"),
        ("llada", "rms_norm_eps", float("inf"), "rms_norm_eps is inf; supported: a finite number > 0"),
        ("llada", "eos_token_id", [1] * 10**6, "eos_token_id lists 1000000 token ids; supported: at most 100"),
        ("llada", "model_type", "x" * 10**6, "...; supported: 'a2d-qwen3', 'Dream'"),
        ("dream", "layer_types", ["full_attention", "sliding_attention"], "supported: 'full_attention' for every"),
        ("illada", "layer_types", "full_attention", "supported: 'full_attention' for every"),
        ("llada", "d_model", "32", "d_model is '32'; supported: a whole number >= 1"),
        ("llada", "rope_theta", float("nan"), "rope_theta is nan; supported: a finite number > 0"),
        ("llada", "rms_norm_eps", -1e-5, "rms_norm_eps is -1e-05; supported: a finite number > 0"),
        ("llada", "mask_token_id", 64, "mask_token_id is 64; supported: a token id in 0..63"),
        ("llada", "mask_token_id", None, "mask_token_id is null; supported: a token id in 0..63"),
        ("llada", "eos_token_id", [1, -1], "eos_token_id is [1, -1]; supported: a token id in 0..63"),
        ("llada", "rope_full_precision", "yes", "rope_full_precision is 'yes'; supported: true or false"),
        ("dream", "use_sliding_window", True, "use_sliding_window is true; supported: false"),
        ("dream", "rope_scaling", {"type": "yarn", "factor": 4.0}, "rope_scaling is {'type': 'yarn', 'factor': 4.0};"),
        ("dream", "tie_word_embeddings", True, "tie_word_embeddings is true; supported: false"),
        ("dream", "attention_bias", False, "attention_bias is false; supported: true"),
        ("dream", "hidden_act", "gelu", "hidden_act is 'gelu'; supported: 'silu'"),
        ("dream", "use_mrope", True, "use_mrope is true; supported: false"),
        ("dream", "quantization_config", {"bits": 4}, "quantization_config is {'bits': 4}; supported: null"),
        ("illada", "attention_bias", True, "attention_bias is true; supported: false"),
        ("illada", "mlp_bias", True, "mlp_bias is true; supported: false"),
        ("illada", "hidden_act", "gelu", "hidden_act is 'gelu'; supported: 'silu'"),
        ("illada", "quantization_config", {"bits": 4}, "quantization_config is {'bits': 4}; supported: null"),
        ("illada", "layer_norm_eps", 1e-5, "layer_norm_eps is 1e-05; supported: null"),
        ("illada", "mask_token_id", None, "mask_token_id is null"),
        ("dream", "model_type", "mystery", "'mystery'; supported: 'a2d-qwen3', 'Dream', 'illada', 'iLLaDA', 'llada', "),
        ("dream", "model_type", ["Dream"], "model_type is ['Dream']; supported: 'a2d-qwen3'"),
        ("a2d_qwen3", "attention_bias", True, "attention_bias is true; supported: false"),
        ("a2d_qwen3", "use_sliding_window", True, "use_sliding_window is true; supported: false"),
        ("a2d_qwen3", "layer_types", ["sliding_attention"] * 2, "supported: 'full_attention' for every"),
        ("a2d_qwen3", "hidden_act", "gelu", "hidden_act is 'gelu'; supported: 'silu'"),
        ("a2d_qwen3", "quantization_config", {"bits": 4}, "quantization_config is {'bits': 4}; supported: null"),
        ("a2d_qwen3", "rope_scaling", {"type": "yarn", "factor": 4.0}, "rope_scaling is {'type': 'yarn',"),
        ("a2d_qwen3", "head_dim", 13, "head_dim is 13; supported: an even number, since halves of it are rotated"),
        ("a2d_qwen3", "head_dim", None, "head_dim is null; supported: a whole number >= 1"),
        ("a2d_qwen3", "num_key_value_heads", 3, "num_attention_heads 4 is not a multiple of num_key_value_heads 3"),
        ("a2d_qwen3", "tie_word_embeddings", None, "tie_word_embeddings is null; supported: true or false"),
        ("sdar", "mask_token_id", None, "mask_token_id is null; supported: a token id in 0..63"),
        ("sdar", "block_size", None, "block_size is null; supported: a whole number >= 1"),
        ("sdar", "block_size", 0, "block_size is 0; supported: a whole number >= 1"),
        ("sdar", "block_size", 2**17, "block_size is 131072; supported: a whole number <= 65536"),
        ("sdar", "use_sliding_window", True, "use_sliding_window is true; supported: false"),
        ("a2d_qwen3", "mask_token_id", None, "there is no mask_token_id, and no tokenizer with <|mask|> beside it"),
        ("a2d_qwen3", "mask_token_id", 64, "mask_token_id is 64; supported: a token id in 0..63"),
        ("a2d_qwen3", "eos_token_id", 64, "eos_token_id is 64; supported: a token id in 0..63"),
        ("a2d_qwen3", "pad_token_id", 64, "pad_token_id is 64; supported: a token id in 0..63"),
        ("llada_moe", "moe_router_score_function", "sigmoid", "is 'sigmoid'; supported: 'softmax'"),
        ("llada_moe", "norm_topk_prob", True, "norm_topk_prob is true; supported: false"),
        ("llada_moe", "routed_scaling_factor", 2.5, "routed_scaling_factor is 2.5; supported: 1 or no such field"),
        ("llada_moe", "router_num_group", 8, "router_num_group is 8; supported: null or no such field"),
        ("llada_moe", "router_topk_group", 4, "router_topk_group is 4; supported: null or no such field"),
        ("llada_moe", "attention_bias", True, "attention_bias is true; supported: false"),
        ("llada_moe", "hidden_act", "gelu", "hidden_act is 'gelu'; supported: 'silu'"),
        ("llada_moe", "quantization_config", {"bits": 4}, "quantization_config is {'bits': 4}; supported: null"),
        ("llada_moe", "partial_rotary_factor", -1, "partial_rotary_factor is -1; supported: a finite number > 0"),
        ("llada_moe", "partial_rotary_factor", 1.5, "is 1.5; supported: a part of head size 8 that is an even number"),
        ("llada_moe", "partial_rotary_factor", 0.4, "is 0.4; supported: a part of head size 8 that is an even number"),
        ("llada_moe", "partial_rotary_factor", 0.2, "is 0.2; supported: a part of head size 8 that is an even number"),
        ("llada_moe", "clip_qkv", 0, "clip_qkv is 0; supported: a finite number > 0"),
        ("llada_moe", "qk_layernorm", None, "qk_layernorm is null; supported: true or false"),
        ("llada_moe", "moe_layer_freq", 1, "moe_layer_freq is 1; supported: a list of 2 that are 0 or 1"),
        ("llada_moe", "moe_layer_freq", [0, 1, 1], "is [0, 1, 1]; supported: a list of 2 that are 0 or 1"),
        ("llada_moe", "moe_layer_freq", [0, 2], "is [0, 2]; supported: a list of 2 that are 0 or 1"),
        ("llada_moe", "moe_layer_freq", [0, 0], "is [0, 0]; supported: a list of 2 that are 0 or 1"),
        ("llada_moe", "num_experts_per_tok", 8, "num_experts_per_tok is 8; supported: a whole number <= 7"),
        ("llada_moe", "num_experts", 10**6, "num_experts is 1000000; supported: a whole number <= 1000"),
        ("llada_moe", "shared_expert_intermediate_size", -1, "is -1; supported: a whole number >= 1"),
        ("llada_moe", "moe_router_enable_expert_bias", 1, "is 1; supported: true or false"),
        ("llada_moe", "dense_intermediate_size", None, "dense_intermediate_size is null; supported: a whole number"),
        ("llada2_moe", "score_function", "softmax", "is 'softmax'; supported: 'sigmoid'"),
        ("llada2_moe", "norm_topk_prob", False, "norm_topk_prob is false; supported: true"),
        ("llada2_moe", "router_dtype", "bf16", "router_dtype is 'bf16'; supported: 'fp32'"),
        ("llada2_moe", "moe_router_enable_expert_bias", False, "is false; supported: true"),
        ("llada2_moe", "use_qk_norm", False, "use_qk_norm is false; supported: true"),
        ("llada2_moe", "use_bias", True, "use_bias is true; supported: false"),
        ("llada2_moe", "use_qkv_bias", True, "use_qkv_bias is true; supported: false"),
        ("llada2_moe", "use_sliding_window", True, "use_sliding_window is true; supported: false"),
        ("llada2_moe", "norm_head", True, "norm_head is true; supported: false"),
        ("llada2_moe", "block_size", 16, "block_size is 16; supported: 32"),
        ("llada2_moe", "hidden_act", "gelu", "hidden_act is 'gelu'; supported: 'silu'"),
        ("llada2_moe", "quantization_config", {"bits": 4}, "quantization_config is {'bits': 4}; supported: null"),
        ("llada2_moe", "layer_types", ["sliding_attention"] * 2, "supported: 'full_attention' for every"),
        ("llada2_moe", "num_key_value_heads", 0, "num_key_value_heads is 0; supported: a whole number >= 1"),
        ("llada2_moe", "num_key_value_heads", 3, "num_attention_heads 4 is not a multiple of num_key_value_heads 3"),
        ("llada2_moe", "n_group", 3, "num_experts 8 does not split into 3 groups of at least 2 (n_group)"),
        ("llada2_moe", "n_group", 8, "num_experts 8 does not split into 8 groups of at least 2 (n_group)"),
        ("llada2_moe", "n_group", None, "n_group is null; supported: a whole number >= 1"),
        ("llada2_moe", "topk_group", 5, "topk_group is 5; supported: a whole number <= 4"),
        ("llada2_moe", "num_experts_per_tok", 5, "num_experts_per_tok is 5; supported: a whole number <= 4"),
        ("llada2_moe", "num_experts", 10**6, "num_experts is 1000000; supported: a whole number <= 1000"),
        ("llada2_moe", "num_shared_experts", -1, "num_shared_experts is -1; supported: a whole number >= 0"),
        ("llada2_moe", "first_k_dense_replace", 2, "first_k_dense_replace is 2; supported: a whole number <= 1"),
        ("llada2_moe", "routed_scaling_factor", 0, "routed_scaling_factor is 0; supported: a finite number > 0"),
        ("llada2_moe", "partial_rotary_factor", 0.25, "is 0.25; supported: a part of head size 12 that is an even"),
        ("llada2_moe", "rope_parameters", {"partial_rotary_factor": 1},
         "partial_rotary_factor is 0.5 and rope_parameters.partial_rotary_factor is 1.0; supported: one value"),
        ("llada2_moe", "eos_token_id", None, "eos_token_id is null; supported: a token id in 0..63"),
        ("llada2_moe", "mask_token_id", None, "there is no mask_token_id, and no tokenizer with <|mask|> beside it"),
        ("llada_moe", "mask_token_id", None,
         "there is no mask_token_id, and no tokenizer with <|mask|> beside it"),
    ],
)  # fmt: skip
def test_what_is_not_computed_is_refused(family: str, field: str, value: object, said: str) -> None:
    with pytest.raises(CheckpointError) as refusal:
        families.read_config(TINY[family] | {field: value})
    assert str(refusal.value).startswith("config.json: ")
    assert said in str(refusal.value)


@pytest.mark.parametrize("name", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rope_as_transformers_5_writes_it(family: str, name: str) -> None:
    plain = families.read_config(TINY[family])
    for asked in (None, {}, {"rope_type": "default"}, {"type": "default", "rope_type": "default", "factor": None}):
        assert families.read_config(TINY[family] | {name: asked}) == plain
    without = _without(TINY[family], "rope_theta")
    part = TINY[family].get("partial_rotary_factor", 1.0)
    written = {name: {"rope_theta": 5e4, "rope_type": "default", "partial_rotary_factor": part}}
    for theta in ({}, {"rope_theta": None}, {"rope_theta": 5e4}):
        assert families.read_config(without | theta | written) == replace(plain, rope_theta=5e4)
    with pytest.raises(CheckpointError) as refusal:
        families.read_config(TINY[family] | written)
    assert str(refusal.value) == (
        f"config.json: rope_theta is 10000.0 and {name}.rope_theta is 50000.0; supported: one value"
    )
    with pytest.raises(CheckpointError, match="rope_theta is nothing; supported: a finite number > 0"):
        families.read_config(without | {name: {"rope_type": "default"}})
    if family in PARTIAL:
        assert families.read_config(_without(without, "partial_rotary_factor") | written).rotary_dim == plain.rotary_dim


ROPE = (
    {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32768},
    {"type": "linear", "factor": 2.0},
    {"rope_type": "default", "type": "yarn"},
    {"rope_type": "dynamic", "factor": 2.0},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0]},
    {"rope_type": "default", "factor": 4.0},
    {"rope_type": ["default"]},
    {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}},
    "default",
    [],
    False,
)


@pytest.mark.parametrize("name", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize("asked", ROPE)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_refuses_rotations_that_are_not_computed(family: str, asked: object, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"^config.json: {name} is .*; supported: null, or rope_type 'default'"):
        families.read_config(TINY[family] | {name: asked})


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in PARTIAL])
def test_a_part_of_each_head_is_not_rotated_alone(family: str) -> None:
    with pytest.raises(CheckpointError, match=r"^config.json: rope_parameters is .*; supported: null, or rope_type"):
        families.read_config(TINY[family] | {"rope_parameters": {"partial_rotary_factor": 0.5}})
    assert families.read_config(TINY[family] | {"partial_rotary_factor": 1.0}) == families.read_config(TINY[family])
    with pytest.raises(CheckpointError, match=r"partial_rotary_factor is 0.5; supported: 1 or no such field"):
        families.read_config(TINY[family] | {"partial_rotary_factor": 0.5})


@pytest.mark.parametrize(
    ("family", "kind"),
    [("dream", Qwen2Config), ("illada", LlamaConfig), ("a2d_qwen3", Qwen3Config)],
)
def test_a_config_that_transformers_saved_means_what_it_meant(family: str, kind: Any, tmp_path: Path) -> None:
    theirs = {**TINY[family]}
    kind(**theirs).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["rope_parameters"]["rope_theta"] == TINY[family]["rope_theta"]
    saved["model_type"] = TINY[family]["model_type"]
    assert families.read_config(saved) == families.read_config(TINY[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_no_field_that_matters_has_a_default(family: str) -> None:
    raw = TINY[family]
    needed = {field for field in raw if not reads(_without(raw, field))}
    shape = {"vocab_size", "rope_theta", "rms_norm_eps", "mask_token_id", "eos_token_id", "pad_token_id", "model_type"}
    if family == "llada":
        shape |= {"d_model", "n_layers", "n_heads", "mlp_hidden_size", "max_sequence_length", "rope_full_precision"}
        shape |= {"activation_type", "block_type", "include_bias", "layer_norm_type", "rope", "weight_tying"}
        shape -= {"vocab_size"}  # the embedding's size counts
        assert not reads(_without(_without(raw, "vocab_size"), "embedding_size"))
    else:
        shape |= {"hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"}
        shape |= {"max_position_embeddings", "hidden_act"}
        shape |= set() if family == "dream" else {"tie_word_embeddings"}
        shape |= {"intermediate_size"} if family != "llada_moe" else {
            *("dense_intermediate_size", "expert_intermediate_size", "moe_layer_freq", "num_experts"),
            *("num_experts_per_tok", "partial_rotary_factor", "qk_layernorm"),
        }  # fmt: skip
        if family == "llada2_moe":
            shape |= {"head_dim", "partial_rotary_factor", "first_k_dense_replace", "num_experts", "num_shared_experts"}
            shape |= {"moe_intermediate_size", "num_experts_per_tok", "n_group", "topk_group", "routed_scaling_factor"}
        if family in ("a2d_qwen3", "sdar"):
            shape = (shape | {"head_dim"}) - {"pad_token_id"}  # published configs of the one name no padding
            shape |= {"block_size"} if family == "sdar" else set()
    assert needed == shape


def _without(raw: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in raw.items() if name != field}


def reads(raw: dict[str, Any]) -> bool:
    try:
        families.read_config(raw)
    except CheckpointError as error:
        said = str(error)
    else:
        return True
    assert "\n" not in said
    return False


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(FAMILIES), st.data())
def test_any_value_in_any_field_is_read_or_refused(family: str, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(sorted(TINY[family])))
    reads(TINY[family] | {field: data.draw(JSON)})
