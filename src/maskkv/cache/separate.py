"""The cache of several sequences that a single pass computes, each for itself."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from maskkv.cache.plain import NoCache
from maskkv.ops.attention import attention


class SeparateSequences(NoCache):
    """Remember nothing, for sequences of one length laid end to end: each attends to itself alone."""

    def __init__(self, sequences: int) -> None:
        super().__init__()
        self._sequences = sequences

    def attend(
        self, layer: int, queries: Float[Tensor, "span heads head_dim"], span: slice
    ) -> Float[Tensor, "span heads head_dim"]:
        """Return what the rows in `span`, which may be of several sequences, read from their own pairs."""
        assert self._pairs is not None
        keys, values = self._pairs
        length = len(values) // self._sequences
        read: list[Tensor] = []
        for first in range(span.start // length * length, span.stop, length):
            rows = slice(max(first, span.start) - span.start, min(first + length, span.stop) - span.start)
            own = slice(first, first + length)
            read.append(attention(queries[rows], keys[own], values[own]))
        if span.stop == len(values):
            self._pairs = None
        return torch.cat(read)
