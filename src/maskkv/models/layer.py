"""One layer: attention and an MLP, each behind a norm and added to the residual stream.

Every token-wise intermediate is computed in chunks of rows, so that a long prompt costs the residual stream, one
layer's keys and values, and one chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from maskkv.models.config import ModelConfig
from maskkv.models.experts import ExpertsMLP
from maskkv.models.mlp import GatedMLP
from maskkv.models.norm import Clip, HeadNorm, RMSNorm
from maskkv.models.step_cache import StepCache, Sublayer
from maskkv.ops.attention import Queries
from maskkv.ops.linear import Joined, is_plain
from maskkv.ops.rope import Rotation, rotate
from maskkv.ops.spans import over_spans, spans


class Layer(nn.Module):
    """Add attention and then an MLP to the residual stream, each computed from the normalised stream."""

    def __init__(self, config: ModelConfig, mlp: GatedMLP | ExpertsMLP) -> None:
        super().__init__()
        hidden, head_dim, eps = config.hidden_size, config.head_dim, config.norm_eps
        self.head_dim = head_dim
        self.attn_norm = RMSNorm(hidden, eps)
        self.q_proj = nn.Linear(hidden, config.num_heads * head_dim, bias=config.qkv_bias)
        self.k_proj = nn.Linear(hidden, config.num_kv_heads * head_dim, bias=config.qkv_bias)
        self.v_proj = nn.Linear(hidden, config.num_kv_heads * head_dim, bias=config.qkv_bias)
        self.q_norm = HeadNorm(head_dim, eps) if config.qk_norm else nn.Identity()
        self.k_norm = HeadNorm(head_dim, eps) if config.qk_norm else nn.Identity()
        self.clip = nn.Identity() if config.clip_qkv is None else Clip(config.clip_qkv)
        self.o_proj: nn.Linear = nn.Linear(config.num_heads * head_dim, hidden, bias=False)
        self.mlp_norm = RMSNorm(hidden, eps)
        self.mlp = mlp
        self._q_k: Joined | None = None

    def join_projections(self) -> None:
        """Compute queries and keys in one product, and what the MLP multiplies in another (see `Joined`).

        Weights that are stored in another way than as plain numbers (in 8 bits) stay as they are.
        """
        if all(is_plain(parameter) for parameter in self.parameters()):
            self._q_k = Joined.of((self.q_proj, self.k_proj))
            value = self.v_proj.weight
            if value.untyped_storage().nbytes() > value.nbytes:
                # A part of a file's one matrix for all three, which would stay in memory whole.
                self.v_proj.weight = nn.Parameter(value.detach().clone(), requires_grad=False)
            self.mlp.join_projections()

    def compile_rows(self) -> None:
        """Compile what is done to each row by itself; attention and the caches stay as they are."""
        # How many rows an expert gets differs from pass to pass.
        mlp = () if isinstance(self.mlp, ExpertsMLP) else ("_mlp_output",)
        for name in ("attn_norm", "_heads", "_rotated", *mlp):
            setattr(self, name, torch.compile(getattr(self, name)))

    def forward(
        self,
        x: Float[Tensor, "rows hidden"],
        rotation: Rotation,
        cache: StepCache,
        index: int,
        chunk_rows: int,
    ) -> Float[Tensor, "needed hidden"]:
        """Run layer number `index` over all rows; return the rows that the cache needs.

        1. The values of all rows are projected, and the cache says which rows are stale: must be recomputed.
        2. The keys of the stale rows are projected and rotated. The cache takes keys and values.
        3. In chunks: queries, what they read from the cache, the residual plus that, the MLP, the residual plus that.
        """
        every = spans(len(x), chunk_rows)
        # What fits into one span is normed once. A long prompt is normed for values, keys and queries each: to keep it
        # would take as much memory as the stream.
        rows, norm = (self.attn_norm(x), _as_it_is) if len(every) == 1 else (x, self.attn_norm)
        values = over_spans(lambda span: self.clip(self._heads(self.v_proj, norm(rows[span]))), every)
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
            return cache.add(index, Sublayer.MLP, residual, self._mlp_output(residual, stale), span)

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
            asked, told = (self._by_head(each) for each in self._q_k(norm(x)))
            queries = rotate(self.clip(self.q_norm(asked)), rotation)
            keys = rotate(self.clip(self.k_norm(told)), rotation)
            return (lambda span: queries[span]), keys

        def projected(projection: nn.Linear, head_norm: nn.Module, span: slice) -> Tensor:
            return self._rotated(projection, head_norm, norm(x[span]), rotation[span])

        return (
            partial(projected, self.q_proj, self.q_norm),
            over_spans(partial(projected, self.k_proj, self.k_norm), parts),
        )

    def _unrotated(
        self, x: Tensor, norm: Callable[[Tensor], Tensor], span: slice
    ) -> Float[Tensor, "span kv_heads head_dim"]:
        return self.clip(self.k_norm(self._heads(self.k_proj, norm(x[span]))))

    def _by_head(self, projected: Tensor) -> Float[Tensor, "rows heads head_dim"]:
        return projected.unflatten(-1, (-1, self.head_dim))

    def _heads(self, projection: nn.Linear, x: Tensor) -> Float[Tensor, "rows heads head_dim"]:
        return self._by_head(projection(x))

    def _rotated(
        self, projection: nn.Linear, head_norm: nn.Module, x: Tensor, rotation: Rotation
    ) -> Float[Tensor, "rows heads head_dim"]:
        return rotate(self.clip(head_norm(self._heads(projection, x))), rotation)

    def _mlp_output(self, x: Tensor, taken: Tensor | None) -> Float[Tensor, "rows hidden"]:
        return self.mlp(self.mlp_norm(x, taken))


def _as_it_is(x: Tensor) -> Tensor:
    return x
