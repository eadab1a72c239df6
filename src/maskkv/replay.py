"""The passes over live rows between prompt refreshes, captured as CUDA graphs where the device can replay them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.cache import EvictingCache, PackedCache, Refresh
from maskkv.models.transformer import Transformer
from maskkv.ops.rope import Rotation


@dataclass
class Capturing:
    """Hold what all graphs of an engine share: the stream they are captured on and the memory they compute in."""

    stream: Any
    pool: Any

    @classmethod
    def on(cls, device: torch.device) -> Capturing | None:
        """Make one for a CUDA device; None elsewhere: there every pass runs as it is."""
        if device.type != "cuda":
            return None
        return cls(torch.cuda.Stream(device), torch.cuda.graph_pool_handle())


@dataclass
class Captured:
    """Hold a graph, and the tensor that a replay writes its result to."""

    graph: Any
    hidden: Tensor


@dataclass
class LivePass:
    """Run the live rows of the same sequences, laid end to end, through one pass after the other.

    From one prompt refresh to the next nothing changes but numbers: shapes and addresses stay, and no layer asks the
    host for anything. So the first pass of a kind (which sequences refresh their response in it) runs as it is and
    fills what is computed once, the second is captured as a CUDA graph, and from then on it is replayed, which takes
    the host one call instead of one for every operation. `capturing` None runs every pass as it is.
    """

    model: Transformer
    cache: PackedCache
    rotation: Rotation
    capturing: Capturing | None
    _tokens: Tensor | None = None
    _graphs: dict[tuple[Refresh, ...], Captured | None] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: Transformer,
        parts: Sequence[EvictingCache],
        rotations: Sequence[Rotation],
        capturing: Capturing | None,
    ) -> LivePass:
        """Lay the caches and the rotations of their live rows end to end."""
        return cls(model, PackedCache(parts), Rotation.join(rotations), capturing)

    def __call__(self, tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows hidden"]:
        """Return the residual stream of the live rows, given their tokens; the next call may overwrite it."""
        if self.capturing is None:
            return self.model(tokens, self.rotation, self.cache)
        if self._tokens is None:
            self._tokens = torch.empty_like(tokens, device=self.model.device)
        self._tokens.copy_(tokens, non_blocking=True)
        kinds = self.cache.kinds
        if kinds not in self._graphs:
            self._graphs[kinds] = None
            return self.model(self._tokens, self.rotation, self.cache)
        captured = self._graphs[kinds]
        if captured is None:
            captured = self._graphs[kinds] = self._capture(self.capturing, self._tokens)
        captured.graph.replay()
        return captured.hidden

    def _capture(self, capturing: Capturing, tokens: Tensor) -> Captured:
        """Record the pass without running it."""
        graph = torch.cuda.CUDAGraph()
        now = torch.cuda.current_stream(self.model.device)
        capturing.stream.wait_stream(now)
        with torch.cuda.stream(capturing.stream):
            # Other threads of this process may allocate meanwhile.
            graph.capture_begin(pool=capturing.pool, capture_error_mode="thread_local")
            try:
                hidden = self.model(tokens, self.rotation, self.cache)
            finally:
                graph.capture_end()
        now.wait_stream(capturing.stream)
        return Captured(graph, hidden)
