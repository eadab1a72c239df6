"""Blocks whose written tokens may still be replaced (LLaDA2.1, arXiv 2602.08676)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from maskkv.decoding.proposals import Proposals
from maskkv.generation import Generation


@dataclass
class Editor:
    """Choose what a pass changes in a block, and say when the block is finished.

    Of the masks those surer than τ (`threshold`) become tokens, at least the `min_transfer` surest. In the same pass
    tokens of the block give way to others that are surer than `edit_threshold`; the prompt's stay. Once no mask is left
    passes go on until one changes nothing, but at most `max_post_steps`.
    """

    generation: Generation
    _post_steps: int = 0

    def choose(self, proposals: Proposals, tokens: Int[Tensor, " n"], masked: Bool[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Tell which of a block's positions get the proposed token, given their tokens and which are masked."""
        generation = self.generation
        assert generation.edit_threshold is not None, "a response that is not edited has no editor"
        surest = proposals.scores.masked_fill(~masked, -torch.inf).sort(descending=True, stable=True).indices
        placed = torch.zeros_like(masked)
        placed[surest[: min(generation.min_transfer, int(masked.sum()))]] = True
        if generation.threshold is not None:
            placed |= masked & (proposals.scores > generation.threshold)
        other = ~masked & (proposals.tokens != tokens)
        return placed | (other & (proposals.confidences > generation.edit_threshold))

    def finishes(self, *, masks_before: bool, masks_left: bool, changed: bool) -> bool:
        """Count a pass in, and tell whether the block is finished with it."""
        if masks_left:
            return False
        self._post_steps += not masks_before
        finished = (not masks_before and not changed) or self._post_steps >= self.generation.max_post_steps
        if finished:
            self._post_steps = 0
        return finished
