"""The passes over live rows between prompt refreshes, captured as CUDA graphs where the device can replay them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.cache import EvictingCache, PackedCache, Refresh
from maskkv.models.transformer import Transformer
from maskkv.ops.rope import Rotation


@cache
def capture_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream that graphs are captured on: cuBLAS keeps memory for every stream that it has met."""
    return torch.cuda.Stream(device)


@dataclass
class Captured:
    """Hold a graph, and the tensor that a replay writes its result to."""

    graph: Any
    hidden: Tensor


@dataclass
class LivePass:
    """Run the live rows of the same sequences, laid end to end, through one pass after the other.

    While the sequences stay the same nothing changes but numbers: shapes and addresses stay, over prompt refreshes too,
    and no layer asks the host for anything. So a pass of each kind (which sequences refresh their response in it) is
    captured as a CUDA graph and replayed from then on, which takes the host one call instead of one for every
    operation. A model's first pass of a shape runs as it is, since kernels are compiled in it, and so does the first
    pass of several sequences, which may part at the next step. Without a `stream` every pass runs as it is.
    """

    model: Transformer
    cache: PackedCache
    rotation: Rotation
    stream: torch.cuda.Stream | None
    _ran: set[tuple[object, ...]] = field(default_factory=set)
    _tokens: Tensor | None = None
    _graphs: dict[tuple[Refresh, ...], Captured] = field(default_factory=dict)
    _pool: Any = None
    """The memory that all of these graphs compute in; it is gone with the last of them."""

    @classmethod
    def of(
        cls,
        model: Transformer,
        parts: Sequence[EvictingCache],
        rotations: Sequence[Rotation],
        stream: torch.cuda.Stream | None,
    ) -> LivePass:
        """Lay the caches and the rotations of their live rows end to end."""
        return cls(model, PackedCache(parts), Rotation.join(rotations), stream)

    def turn(self, rotations: Sequence[Rotation]) -> None:
        """Take other positions for the live rows, in the same memory."""
        other = Rotation.join(rotations)
        self.rotation.cos.copy_(other.cos)
        self.rotation.sin.copy_(other.sin)

    def __call__(self, tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows hidden"]:
        """Return the residual stream of the live rows, given their tokens; the next call may overwrite it."""
        if not self.cache.follow():
            self._graphs.clear()
        if self.stream is None or self.cache.recalls:
            return self.model(tokens, self.rotation, self.cache)
        if self._tokens is None:
            self._tokens = torch.empty_like(tokens, device=self.model.device)
        self._tokens.copy_(tokens, non_blocking=True)
        kinds, shape = self.cache.kinds, self.cache.shape
        ran = self.model.ran if len(kinds) == 1 else self._ran
        if shape not in ran:
            hidden = self.model(self._tokens, self.rotation, self.cache)
            ran.add(shape)
            return hidden
        if kinds not in self._graphs:
            try:
                self._graphs[kinds] = self._capture(self.stream, self._tokens)
            except torch.OutOfMemoryError:
                # A graph has memory of its own, which a pass that runs as it is can do without.
                self.stream = None
                self._graphs.clear()
                return self.model(self._tokens, self.rotation, self.cache)
        self._graphs[kinds].graph.replay()
        return self._graphs[kinds].hidden

    def _capture(self, stream: torch.cuda.Stream, tokens: Tensor) -> Captured:
        """Record the pass without running it."""
        self.cache.prepare(self.model.config.num_heads, self.model.chunk_rows)
        if not self._graphs:
            # A pool is gone with its last graph; and memory that is cached elsewhere cannot be had during a capture.
            self._pool = torch.cuda.graph_pool_handle()
            torch.cuda.empty_cache()
        graph, now = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.model.device)
        stream.wait_stream(now)
        with torch.cuda.stream(stream):
            # Other threads of this process may allocate meanwhile.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                hidden = self.model(tokens, self.rotation, self.cache)
            finally:
                graph.capture_end()
        now.wait_stream(stream)
        return Captured(graph, hidden)
