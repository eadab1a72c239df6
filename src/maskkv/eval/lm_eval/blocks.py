"""The blocks of a block-causal model that hold an answer, and masked copies of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from maskkv.eval.lm_eval.likelihood import Likelihood
from maskkv.eval.lm_eval.masks import copies_of, draw
from maskkv.eval.lm_eval.pairs import Pair
from maskkv.models.config import ModelConfig


@dataclass(frozen=True)
class Copies:
    """Hold copies of blocks: their first rows, ascending, their tokens, and which of these are masked.

    The sum of the cross entropies at the masks, each multiplied with its copy's weight, is the estimate. Behind an
    answer its last block has masks, as where it is generated.
    """

    starts: Int[Tensor, " copies"]
    tokens: Int[Tensor, "copies block"]
    masked: Bool[Tensor, "copies block"]
    weights: Float64[Tensor, " copies"]

    def some(self, copies: slice) -> Copies:
        """Return some of the copies."""
        return Copies(self.starts[copies], self.tokens[copies], self.masked[copies], self.weights[copies])


def parts(pair: Pair, block: int) -> Iterator[range]:
    """Yield the rows of an answer block by block; blocks count from the first token of the context.

    >>> list(parts(Pair((1, 2, 3), (4, 5, 6)), 4))
    [range(3, 4), range(4, 6)]
    """
    first, end = len(pair.context), len(pair.context) + len(pair.answer)
    for start in range(first // block * block, end, block):
        yield range(max(first, start), min(end, start + block))


def count(pair: Pair, block: int, settings: Likelihood) -> int:
    """Return how many copies of blocks an answer's estimate is made of."""
    return sum(copies_of(len(rows), settings) for rows in parts(pair, block))


def copy_blocks(pair: Pair, config: ModelConfig, settings: Likelihood, generator: torch.Generator) -> Copies:
    """Mask the answer's tokens in copies of each of its blocks, drawn block by block, for a block-causal model."""
    block = config.causal_block
    assert block is not None
    whole = torch.tensor([*pair.context, *pair.answer])
    whole = F.pad(whole, (0, -len(whole) % block), value=config.mask_id)
    found: list[Copies] = []
    for rows in parts(pair, block):
        start, masks = rows.start // block * block, draw(len(rows), settings, generator)
        copies = len(masks.masked)
        found.append(
            Copies(
                torch.full((copies,), start),
                whole[start : start + block].expand(copies, block),
                F.pad(masks.masked, (rows.start - start, start + block - rows.stop)),
                masks.weights / copies,
            )
        )
    return Copies(
        torch.cat([each.starts for each in found]),
        torch.cat([each.tokens for each in found]),
        torch.cat([each.masked for each in found]),
        torch.cat([each.weights for each in found]),
    )
