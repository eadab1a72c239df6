"""What a checkpoint's `config.json` says, in one vocabulary for all families."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from maskkv.generation import Shares


@dataclass(frozen=True)
class ModelConfig:
    """Describe a checkpoint: its shape, its numerics and its special tokens.

    A field that is new gets a default, which describes the families before it: fingerprints leave it out there.

    `rope_dtype` is the dtype q and k are rotated in: `"float32"` (LLaDA) or `"model"` (Dream). `logit_shift` is how
    many rows before a token its logits are read (Dream: 1), hence how many last prompt rows stay live.
    """

    family: str
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_size: int
    vocab_size: int
    rope_theta: float
    norm_eps: float
    qkv_bias: bool
    rope_dtype: Literal["float32", "model"]
    trained_length: int
    logit_shift: int
    mask_id: int
    eos_ids: tuple[int, ...]
    """Every token that ends a response; the first one is the tokenizer's end of sequence."""
    pad_id: int
    tied_head: bool
    """The head is the embedding itself, whether or not the file repeats it."""
    qk_norm: bool = False
    """Each head of the queries and of the keys is normalised before it is rotated (Qwen3)."""
    shares: Shares = "largest_first"
    """How the masks of a block are shared out over its steps where a response does not say it."""
    thinking: bool | None = None
    """What the chat template is told as `enable_thinking`; None: nothing."""
