"""How long a cached sequence is, and what a step of it recomputes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from maskkv.models.config import ModelConfig


class Refresh(Enum):
    """Say what a step recomputes."""

    PROMPT = "prompt"
    """Prompt and response."""
    RESPONSE = "response"
    """All live rows."""
    PARTIAL = "partial"
    """The values of all live rows, and the rest of the drifted ones."""


@dataclass(frozen=True)
class Extent:
    """Give the lengths of one cached sequence: its prompt, the last prompt rows that stay live, its response.

    `block_length` is that of the response's blocks; None: it is a single block. Of a block-causal sequence
    the prompt is the whole blocks of it, the response is one block at a time, and there is `room` for the rows to come.
    """

    prompt_length: int
    logit_shift: int
    gen_length: int
    block_length: int | None = None
    room: int = 0

    @classmethod
    def of(cls, config: ModelConfig, prompt_length: int, gen_length: int, block_length: int | None = None) -> Extent:
        """Return the lengths of a sequence under a model; `block_length` is for bidirectional ones."""
        block = config.causal_block
        if block is None:
            return cls(prompt_length, config.logit_shift, gen_length, block_length)
        # Whole blocks of the prompt, then the one with the first mask, then all others.
        whole = prompt_length // block * block
        return cls(whole, 0, block, room=-(-(prompt_length + gen_length) // block) * block - whole - block)

    @property
    def end(self) -> int:
        """Return the number of rows of prompt and response."""
        return self.evictable + self.live + self.room

    @property
    def live(self) -> int:
        """Return the number of live rows."""
        return self.logit_shift + self.gen_length

    @property
    def evictable(self) -> int:
        """Return the number of prompt pairs that a policy may drop."""
        return self.prompt_length - self.logit_shift

    def numbers(self, config: ModelConfig) -> int:
        """Count the numbers that a cache holds which evicts nothing: all pairs, and the live rows' outputs."""
        pairs = 2 * config.num_kv_heads * config.head_dim * self.end
        return config.num_layers * (pairs + 2 * config.hidden_size * self.live)
