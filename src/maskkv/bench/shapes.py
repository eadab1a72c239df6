"""Shapes of models to measure, and random weights for them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from maskkv.errors import InputError
from maskkv.models.config import Experts, Groups, ModelConfig
from maskkv.models.transformer import Transformer

_MID = ModelConfig(
    family="llada",
    hidden_size=512,
    num_layers=8,
    num_heads=8,
    num_kv_heads=8,
    head_dim=64,
    mlp_size=1024,
    vocab_size=4096,
    rope_theta=500_000.0,
    norm_eps=1e-5,
    qkv_bias=False,
    rope_dtype="float32",
    trained_length=4096,
    logit_shift=0,
    mask_id=4095,
    eos_ids=(4094,),
    pad_id=4094,
    tied_head=False,
)

_QWEN3 = replace(
    _MID,
    num_layers=28,
    num_heads=16,
    num_kv_heads=8,
    head_dim=128,
    vocab_size=151_936,
    rope_theta=1e6,
    norm_eps=1e-6,
    rope_dtype="model",
    trained_length=32_768,
    mask_id=151_669,
    pad_id=151_643,
    qk_norm=True,
)
_SDAR = replace(_QWEN3, family="sdar", eos_ids=(151_643, 151_645), causal_block=4)

SHAPES = {
    "llada-8b": replace(
        _MID,
        hidden_size=4096,
        num_layers=32,
        num_heads=32,
        num_kv_heads=32,
        head_dim=128,
        mlp_size=12288,
        vocab_size=126_464,
        mask_id=126_336,
        eos_ids=(126_081,),
        pad_id=126_081,
    ),
    "dream-7b": replace(
        _MID,
        family="dream",
        hidden_size=3584,
        num_layers=28,
        num_heads=28,
        num_kv_heads=4,
        head_dim=128,
        mlp_size=18_944,
        vocab_size=152_064,
        rope_theta=1e6,
        norm_eps=1e-6,
        qkv_bias=True,
        rope_dtype="model",
        trained_length=2048,
        logit_shift=1,
        mask_id=151_666,
        eos_ids=(151_643, 151_645),
        pad_id=151_643,
    ),
    "qwen3-0.6b": replace(
        _QWEN3,
        family="a2d_qwen3",
        hidden_size=1024,
        mlp_size=3072,
        eos_ids=(151_645, 151_643),
        tied_head=True,
        shares="rounded",
        thinking=False,
    ),
    "llada-moe": replace(
        _MID,
        family="llada_moe",
        hidden_size=2048,
        num_layers=16,
        num_heads=16,
        num_kv_heads=16,
        head_dim=128,
        mlp_size=0,
        vocab_size=157_184,
        rope_theta=50_000.0,
        rope_dtype="model",
        mask_id=156_895,
        eos_ids=(156_892,),
        pad_id=156_892,
        qk_norm=True,
        experts=Experts(layers=tuple(range(16)), count=64, chosen=8, size=1024),
    ),
    "llada2-mini": replace(
        _MID,
        family="llada2_moe",
        hidden_size=2048,
        num_layers=20,
        num_heads=16,
        num_kv_heads=4,
        head_dim=128,
        mlp_size=5120,
        vocab_size=157_184,
        rope_theta=600_000.0,
        norm_eps=1e-6,
        rope_dtype="model",
        trained_length=32_768,
        mask_id=156_895,
        eos_ids=(156_892,),
        pad_id=156_892,
        qk_norm=True,
        rotary_dim=64,
        experts=Experts(
            layers=tuple(range(1, 20)),
            count=256,
            chosen=8,
            size=512,
            shared_size=512,
            bias=True,
            groups=Groups(count=8, chosen=4, scale=2.5),
        ),
        causal_block=32,
    ),
    "sdar-1.7b": replace(_SDAR, hidden_size=2048, mlp_size=6144, tied_head=True),
    "sdar-8b": replace(_SDAR, hidden_size=4096, num_layers=36, num_heads=32, mlp_size=12_288),
    "mid": _MID,
    "mid-blocks": replace(_MID, family="sdar", causal_block=32),
    "mini": replace(
        _MID,
        hidden_size=192,
        num_layers=6,
        num_heads=6,
        num_kv_heads=6,
        head_dim=32,
        mlp_size=384,
        vocab_size=656,
        mask_id=655,
        eos_ids=(654,),
        pad_id=654,
    ),
    "tiny": replace(
        _MID,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        mlp_size=64,
        vocab_size=64,
        mask_id=63,
        eos_ids=(62,),
        pad_id=62,
    ),
}
"""Five published models, and three of LLaDA's kind: `mid` has 25,174,528 parameters, `mini` is about the bundled dLLM,
`tiny` is for trying things out."""


def shape(name: str) -> ModelConfig:
    """Return the shape with this name; InputError if there is none."""
    if name not in SHAPES:
        raise InputError(f"unknown shape {name!r}: expected one of {', '.join(SHAPES)}")
    return SHAPES[name]


def random_model(
    config: ModelConfig,
    seed: int,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Transformer:
    """Make a model with random weights that keep its activations around one.

    Matrices are normal with variance 1 / fan-in, the two that add to the residual stream divided by the square root of
    the number of terms added, so the stream grows by a constant factor whatever the depth.
    """
    device = torch.device(device)
    generator = torch.Generator(device).manual_seed(seed)
    with torch.device("meta"):
        model = Transformer(config).to(dtype)
    model.to_empty(device=device)
    terms = 2 * config.num_layers
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if parameter.ndim == 1:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            std = 1.0 if name == "embed.weight" else parameter.shape[-1] ** -0.5
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                std *= terms**-0.5
            # Drawn in fp32 and row by row: a large model has no room for a second copy of its own.
            for row in parameter.split(4096):
                row.copy_(torch.empty_like(row, dtype=torch.float32).normal_(0.0, std, generator=generator))
    return model.requires_grad_(False).eval()


def random_tokens(config: ModelConfig, length: int, generator: torch.Generator) -> list[int]:
    """Draw tokens uniformly from a vocabulary without its mask, end and padding tokens."""
    special = torch.tensor([config.mask_id, config.pad_id, *config.eos_ids])
    every = torch.arange(config.vocab_size)
    plain = every[~torch.isin(every, special)]
    return plain[torch.randint(len(plain), (length,), generator=generator)].tolist()


def parameter_count(model: nn.Module) -> int:
    """Count the numbers in the model's weights."""
    return sum(parameter.numel() for parameter in model.parameters())
