"""How a sequence runs, and the prompts that it is read through."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from maskkv.cache import EvictingCache
from maskkv.decoding.canvas import Canvas
from maskkv.eviction.policy import Policy
from maskkv.generation import Generation


@dataclass(frozen=True)
class Settings:
    """Say how one sequence runs: sampling, eviction, how far positions are stretched, what kept pairs are stored in.

    Of what `generation` makes the first `length` tokens were asked for; None: all.
    """

    generation: Generation
    policy: Policy
    budget: int | None
    rope_scale: float
    kv_dtype: str = "auto"
    length: int | None = None


class Branch:
    """Read the canvas through one prompt, with a cache of its own.

    A sequence has one branch; guidance (`cfg_scale`) adds a second, whose prompt is all masks.
    """

    def __init__(self, mask_id: int | None, cache: EvictingCache | None) -> None:
        self._mask_id = mask_id
        self.cache = cache

    def tokens(self, canvas: Canvas, rows: slice) -> Int[Tensor, " rows"]:
        """Return the tokens of some rows, the prompt's replaced if this branch masks it, in host memory."""
        tokens = canvas.tokens[rows]
        if self._mask_id is None:
            return tokens
        prompt_rows = max(0, canvas.prompt_length - rows.start)
        return torch.cat((tokens.new_full((prompt_rows,), self._mask_id), tokens[prompt_rows:]))
