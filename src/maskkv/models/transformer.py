"""One Llama-shaped bidirectional transformer over packed rows, and the cache protocol that it asks.

There is no batch axis and no padding: rows of any number of sequences are packed along one axis, and which row
attends to what is the cache's business. Every token-wise intermediate is computed in chunks of rows, so that a
long prompt costs the residual stream, one layer's keys and values, and one chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from maskkv import memory
from maskkv.errors import InputError
from maskkv.models.config import ModelConfig
from maskkv.ops.attention import Queries, UnrotatedKeys
from maskkv.ops.fused import rms_norm, swiglu
from maskkv.ops.linear import Joined, PackedLinear, can_pack, is_plain
from maskkv.ops.rope import Rotation, rotate, rotation
from maskkv.ops.spans import over_spans, spans

CHUNK_ROWS = {"cpu": 1024, "cuda": 4096}
"""Rows whose token-wise intermediates are alive at a time, by kind of device: a GPU is kept waiting by fewer."""

LOGIT_ROWS = 256
"""Rows whose logits are alive at a time, unless one sequence asks for more."""


class Sublayer(Enum):
    """Name the two terms that a layer adds to the residual stream."""

    ATTENTION = 0
    MLP = 1


@runtime_checkable
class StepCache(Protocol):
    """Answer a layer's questions during one pass. `span` counts the pass's fresh rows."""

    def stale(self, layer: int, values: Float[Tensor, "rows kv_heads head_dim"]) -> Int[Tensor, " fresh"] | None:
        """Return the rows that must be recomputed, or None for all of them."""
        ...

    def hold(
        self,
        layer: int,
        keys: Float[Tensor, "fresh kv_heads head_dim"],
        values: Float[Tensor, "rows kv_heads head_dim"],
        queries: Queries,
        unrotated: UnrotatedKeys,
    ) -> None:
        """Take the keys of the fresh rows and the values of all rows; what is rotated has been."""
        ...

    def first(self, layer: int, sublayer: Sublayer) -> int:
        """Return the first row whose output of a sub-layer is needed; later ones are too. Asked if no row is stale."""
        ...

    def attend(
        self, layer: int, queries: Float[Tensor, "span heads head_dim"], span: slice
    ) -> Float[Tensor, "span heads head_dim"]:
        """Return what the fresh rows in `span` read."""
        ...

    def add(
        self,
        layer: int,
        sublayer: Sublayer,
        residual: Float[Tensor, "span hidden"],
        fresh: Float[Tensor, "taken hidden"],
        span: slice,
    ) -> Float[Tensor, "span hidden"]:
        """Return the residual with the sub-layer's output joined, reused for the rows that are not fresh."""
        ...


class RMSNorm(nn.Module):
    """Normalise in fp32, cast back, then multiply by the weight (in this order, as both families do)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(
        self, x: Float[Tensor, "all hidden"], taken: Int[Tensor, " rows"] | None = None
    ) -> Float[Tensor, "rows hidden"]:
        """Normalise each row, or those `taken`."""
        return rms_norm(x, self.weight, self.eps, taken)


class Layer(nn.Module):
    """Attention and SwiGLU MLP, each behind an RMSNorm and added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden, head_dim = config.hidden_size, config.head_dim
        self.head_dim = head_dim
        self.attn_norm = RMSNorm(hidden, config.norm_eps)
        self.q_proj = nn.Linear(hidden, config.num_heads * head_dim, bias=config.qkv_bias)
        self.k_proj = nn.Linear(hidden, config.num_kv_heads * head_dim, bias=config.qkv_bias)
        self.v_proj = nn.Linear(hidden, config.num_kv_heads * head_dim, bias=config.qkv_bias)
        self.o_proj = nn.Linear(config.num_heads * head_dim, hidden, bias=False)
        self.mlp_norm = RMSNorm(hidden, config.norm_eps)
        self.gate_proj = nn.Linear(hidden, config.mlp_size, bias=False)
        self.up_proj = nn.Linear(hidden, config.mlp_size, bias=False)
        self.down_proj = nn.Linear(config.mlp_size, hidden, bias=False)
        self._q_k: Joined | None = None
        self._gate_up: Joined | None = None

    def join_projections(self) -> None:
        """Compute queries and keys in one product, and what the MLP multiplies in another (see `Joined`)."""
        self._q_k = Joined.of((self.q_proj, self.k_proj))
        self._gate_up = Joined.of((self.gate_proj, self.up_proj))

    def forward(
        self,
        x: Float[Tensor, "rows hidden"],
        rotation: Rotation,
        cache: StepCache,
        index: int,
        chunk_rows: int,
    ) -> Float[Tensor, "needed hidden"]:
        """Run the layer over all rows, recomputing those that the cache calls stale; return those that are needed."""
        every = spans(len(x), chunk_rows)
        # What fits into one span is normed once. A long prompt is normed for values, keys and queries each: to keep it
        # would take as much memory as the stream.
        rows, norm = (self.attn_norm(x), _as_it_is) if len(every) == 1 else (x, self.attn_norm)
        values = over_spans(lambda span: self._heads(self.v_proj, norm(rows[span])), every)
        stale = cache.stale(index, values)
        fresh, turned = (rows, rotation) if stale is None else (rows.index_select(0, stale), rotation[stale])

        queries, keys = self._queries_and_keys(fresh, norm, turned, spans(len(fresh), chunk_rows))
        cache.hold(index, keys, values, queries, partial(self._unrotated, fresh, norm))
        del values, keys

        def attended(span: slice) -> Tensor:
            read = cache.attend(index, queries(span), span).flatten(1)
            residual = x[span] if stale is None else x
            return cache.add(index, Sublayer.ATTENTION, residual, self.o_proj(read), span)

        def output(span: slice) -> Tensor:
            residual = attended(span)
            return cache.add(index, Sublayer.MLP, residual, self._mlp(residual, stale), span)

        if stale is not None:
            # Rows that are not stale join no chunk, so a partial step (few rows by nature) runs in one span.
            return output(slice(0, len(fresh)))
        start, first = cache.first(index, Sublayer.ATTENTION), cache.first(index, Sublayer.MLP)
        for span in spans(first, chunk_rows, start) if start < first else ():
            attended(span)
        return over_spans(output, spans(len(x), chunk_rows, first))

    def _queries_and_keys(
        self, x: Tensor, norm: Callable[[Tensor], Tensor], rotation: Rotation, parts: list[slice]
    ) -> tuple[Queries, Float[Tensor, "rows kv_heads head_dim"]]:
        """Return how to compute the queries of some rows, and the keys of all."""
        if self._q_k is not None and len(parts) == 1:
            asked, told = (rotate(self._by_head(each), rotation) for each in self._q_k(norm(x)))
            return (lambda span: asked[span]), told

        def projected(projection: nn.Linear, span: slice) -> Tensor:
            return self._turned(projection, norm(x[span]), rotation[span])

        return partial(projected, self.q_proj), over_spans(partial(projected, self.k_proj), parts)

    def _unrotated(
        self, x: Tensor, norm: Callable[[Tensor], Tensor], span: slice
    ) -> Float[Tensor, "span kv_heads head_dim"]:
        return self._heads(self.k_proj, norm(x[span]))

    def _by_head(self, projected: Tensor) -> Float[Tensor, "rows heads head_dim"]:
        return projected.unflatten(-1, (-1, self.head_dim))

    def _heads(self, projection: nn.Linear, x: Tensor) -> Float[Tensor, "rows heads head_dim"]:
        return self._by_head(projection(x))

    def _turned(self, projection: nn.Linear, x: Tensor, rotation: Rotation) -> Float[Tensor, "rows heads head_dim"]:
        return rotate(self._heads(projection, x), rotation)

    def _mlp(self, x: Tensor, taken: Tensor | None) -> Float[Tensor, "rows hidden"]:
        x = self.mlp_norm(x, taken)
        if self._gate_up is None:
            return self.down_proj(swiglu(self.gate_proj, self.up_proj, x))
        gate, up = self._gate_up(x)
        return self.down_proj(swiglu(lambda _: gate, lambda _: up, x))


class Transformer(nn.Module):
    """Embed rows, run the layers, normalise; `logits` is a separate call for the few rows that need it."""

    def __init__(self, config: ModelConfig, chunk_rows: int | None = None) -> None:
        super().__init__()
        self.config = config
        self._chunk_rows = chunk_rows
        self.ran: set[tuple[object, ...]] = set()
        """Shapes of passes over one sequence's live rows that have run, and so have had their kernels compiled."""
        # Weights come from elsewhere; and for a normal draw on the meta device torch would import its whole compiler.
        self.embed = nn.Embedding.from_pretrained(torch.empty(config.vocab_size, config.hidden_size), freeze=False)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the weights and of the residual stream."""
        return self.embed.weight.dtype

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return self.embed.weight.device

    @property
    def chunk_rows(self) -> int:
        """Return how many rows a layer computes at a time in a pass over many."""
        return self._chunk_rows or CHUNK_ROWS.get(self.device.type, min(CHUNK_ROWS.values()))

    def rotation(self, positions: Int[Tensor, " rows"], rope_scale: float = 1.0) -> Rotation:
        """Compute the rotation of `positions` under the family's dtype rule, `rope_theta` times `rope_scale`."""
        dtype = torch.float32 if self.config.rope_dtype == "float32" else self.dtype
        return rotation(positions, self.config.head_dim, self.config.rope_theta * rope_scale, dtype)

    def compile_rows(self) -> None:
        """Compile what the layers do to each row by itself; attention and the caches stay as they are.

        Between prompt refreshes the number of rows does not change, so each function is compiled for it once.

        Raises:
            InputError: This machine cannot compile for the model's device.
        """
        try:
            torch.compile(torch.neg)(torch.ones(2, device=self.device))
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            expected = "a C++ compiler (g++)" if self.device.type == "cpu" else "triton"
            raise InputError(f"compile: expected {expected}, or leave it out ({reason})") from None
        for layer in self.layers:
            for name in ("attn_norm", "_heads", "_turned", "_mlp"):
                setattr(layer, name, torch.compile(getattr(layer, name)))

    def pack_weights(self) -> None:
        """Lay the matrices out as the device reads them fastest: on a CPU if it has room for a second copy of them."""
        if self.device.type == "cuda":
            for layer in self.layers:
                if all(is_plain(parameter) for parameter in layer.parameters()):
                    cast("Layer", layer).join_projections()
            # Each matrix was copied: without this there would be room for two models in the allocator.
            torch.cuda.empty_cache()
            return
        linears = [
            (parent, name, child)
            for parent in (self, *self.layers)
            for name, child in parent.named_children()
            if isinstance(child, nn.Linear) and can_pack(child.weight)
        ]
        if 2 * sum(linear.weight.nbytes for _, _, linear in linears) > memory.available(self.device):
            return
        for parent, name, linear in linears:
            setattr(parent, name, PackedLinear.of(linear))

    def forward(
        self, tokens: Int[Tensor, " rows"], rotation: Rotation, cache: StepCache
    ) -> Float[Tensor, "needed hidden"]:
        """Return the residual stream after the last layer, before the final norm, of the rows that the cache needs.

        `tokens` may be on the host.
        """
        x = self.embed(tokens.to(self.device, non_blocking=True))
        for index, layer in enumerate(self.layers):
            x = layer(x, rotation, cache, index, self.chunk_rows)
        return x

    def logits(self, hidden: Float[Tensor, "rows hidden"]) -> Float[Tensor, "rows vocab"]:
        """Apply the final norm and the vocabulary matrix to the rows that need them."""
        return self.head(self.norm(hidden))


def _as_it_is(x: Tensor) -> Tensor:
    return x
