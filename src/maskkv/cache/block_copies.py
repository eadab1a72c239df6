"""The cache of a block-causal sequence and of copies of its blocks, which a single pass computes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from maskkv.cache.plain import NoCache
from maskkv.ops.attention import attention
from maskkv.ops.blocks import block_causal_attention


class BlockCopies(NoCache):
    """Remember nothing, for a block-causal sequence and, laid behind it, copies of some of its blocks.

    A copy is `block` rows long. It attends to itself, and to the rows of the sequence before its own of `starts`: the
    sequence needs no rows past the last of these.
    """

    def __init__(self, starts: Sequence[int], block: int) -> None:
        super().__init__(block)
        self._starts = starts
        self._block = block

    def attend(
        self, layer: int, queries: Float[Tensor, "span heads head_dim"], span: slice
    ) -> Float[Tensor, "span heads head_dim"]:
        """Return what the rows in `span`, which may be of the sequence and of copies, read from their pairs."""
        assert self._pairs is not None
        (keys, values), block = self._pairs, self._block
        length = len(values) - len(self._starts) * block
        own = max(0, min(span.stop, length) - span.start)
        read: list[Tensor] = []
        if own:
            read.append(block_causal_attention(queries[:own], keys[:length], values[:length], span.start, block))
        for copy in range(max(0, span.start - length) // block, -(-(span.stop - length) // block)):
            start, first = self._starts[copy], length + copy * block
            rows = slice(max(first, span.start) - span.start, first + block - span.start)
            seen = [torch.cat((pairs[:start], pairs[first : first + block])) for pairs in (keys, values)]
            read.append(attention(queries[rows], seen[0], seen[1]))
        if span.stop == len(values):
            self._pairs = None
        return torch.cat(read)
