"""What a checkpoint's `config.json` says, in one vocabulary for all families."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from maskkv.generation import Shares


@dataclass(frozen=True)
class Groups:
    """Describe a choice among groups of experts: of `count` groups the best `chosen` are left to choose from."""

    count: int
    chosen: int
    scale: float
    """What the weights of a row's experts add up to."""


@dataclass(frozen=True)
class Experts:
    """Describe the layers whose MLP is a mixture of experts.

    A row goes to `chosen` of `count` MLPs of `size`, and to a shared one of `shared_size` (0: there is none).
    """

    layers: tuple[int, ...]
    """Their indexes; the other layers have one MLP of the config's `mlp_size`."""
    count: int
    chosen: int
    size: int
    shared_size: int = 0
    bias: bool = False
    """The router adds a bias of its own for each expert to what it gives it."""
    groups: Groups | None = None
    """None: a row's experts are chosen among all."""
    held: tuple[int, int] | None = None
    """The first expert of this part of the model, and the one behind its last; None: all are here."""

    @property
    def here(self) -> range:
        """Return the experts of this part of the model."""
        return range(self.count) if self.held is None else range(*self.held)


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
    clip_qkv: float | None = None
    """The largest size of a number in queries, keys (after their norm) and values; None: any."""
    rotary_dim: int | None = None
    """How many numbers of each head are rotated, the first ones; None: all."""
    experts: Experts | None = None
    """None: every layer has one MLP of `mlp_size`."""
    causal_block: int | None = None
    """Block-causal: rows read their own block of so many, counted from the prompt's first, and the blocks before it.

    None: every row reads every row (bidirectional).
    """

    @property
    def rotated(self) -> int:
        """Return how many numbers of each head are rotated."""
        return self.rotary_dim or self.head_dim

    def experts_of(self, layer: int) -> Experts | None:
        """Return the experts of a layer's MLP; None if it is a single one."""
        return self.experts if self.experts is not None and layer in self.experts.layers else None
