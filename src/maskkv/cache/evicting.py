"""The cache of one sequence: the prompt pairs that its policy keeps, and its response's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkv.cache.plain import NoCache
from maskkv.eviction.policy import Policy
from maskkv.eviction.view import LayerView
from maskkv.models.config import ModelConfig
from maskkv.models.transformer import Sublayer
from maskkv.ops.attention import Queries
from maskkv.ops.ragged import RaggedKV


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

    `block_length` is that of the response's blocks; None: it is a single block.
    """

    prompt_length: int
    lookback: int
    gen_length: int
    block_length: int | None = None

    @property
    def live(self) -> int:
        """Return the number of live rows."""
        return self.lookback + self.gen_length

    @property
    def evictable(self) -> int:
        """Return the number of prompt pairs that a policy may drop."""
        return self.prompt_length - self.lookback


class EvictingCache:
    """Keep the policy's choice of prompt pairs and the live rows' features of one sequence.

    Stored: per layer the kept pairs with the live rows' keys and values behind them (`RaggedKV`), and in one tensor
    the live rows' attention and MLP outputs. Nothing else of the prompt outlives its refresh, and during a
    refresh only the running layer's prompt keys and values exist.
    """

    def __init__(
        self,
        config: ModelConfig,
        extent: Extent,
        policy: Policy,
        layer_pairs: Sequence[int],
        transfer_ratio: float,
    ) -> None:
        self.extent = extent
        self._config = config
        self._policy = policy
        self._layer_pairs = tuple(layer_pairs)
        self._transfer_ratio = transfer_ratio
        self._pairs: list[RaggedKV | None] = [None] * config.num_layers
        self._kept: list[Int[Tensor, "2 pairs"] | None] = [None] * config.num_layers
        self._features: Float[Tensor, "layers sublayers live hidden"] | None = None
        self._prompt_pass = NoCache()
        self._refresh = Refresh.PROMPT
        self._masked: Bool[Tensor, " gen_length"] | None = None
        self._stale: Int[Tensor, " fresh"] | None = None

    def begin(self, refresh: Refresh, masked: Bool[Tensor, " gen_length"]) -> None:
        """Say what the coming pass recomputes, and which response positions are undecided in it.

        A prompt refresh runs all rows of the sequence, any other pass its live rows.
        """
        self._refresh = refresh
        self._masked = masked

    def stale(self, layer: int, values: Float[Tensor, "rows kv_heads head_dim"]) -> Int[Tensor, " fresh"] | None:
        """Pick the `⌊ρ · live⌋` live rows whose values moved most since the last step; layer 0 recomputes all."""
        self._stale = None
        if self._refresh is Refresh.PARTIAL and layer > 0:
            before = self._stored(layer).tail_values().flatten(1).float()
            similarity = F.cosine_similarity(before, values.flatten(1).float(), dim=-1)
            count = int(self.extent.live * self._transfer_ratio)
            self._stale = similarity.sort(stable=True).indices[:count].sort().values
        return self._stale

    def hold(
        self,
        layer: int,
        keys: Float[Tensor, "fresh kv_heads head_dim"],
        values: Float[Tensor, "rows kv_heads head_dim"],
        queries: Queries,
    ) -> None:
        """Store the live rows' new keys and values; in a prompt refresh choose what stays of the prompt first."""
        if self._refresh is Refresh.PROMPT:
            self._prompt_pass.hold(layer, keys, values, queries)
            self.choose(self.view(layer, keys, values, queries))
            return
        self._stored(layer).write_keys(keys, self._stale)
        self._stored(layer).write_values(values)

    def attend(
        self, layer: int, queries: Float[Tensor, "span heads head_dim"], span: slice
    ) -> Float[Tensor, "span heads head_dim"]:
        """Attend to the whole sequence in a prompt refresh, else to the kept pairs and the response."""
        if self._refresh is Refresh.PROMPT:
            return self._prompt_pass.attend(layer, queries, span)
        return self._stored(layer).attend(queries)

    def add(
        self,
        layer: int,
        sublayer: Sublayer,
        residual: Float[Tensor, "span hidden"],
        fresh: Float[Tensor, "taken hidden"],
        span: slice,
    ) -> Float[Tensor, "span hidden"]:
        """Remember the live rows' outputs, and reuse the remembered ones for rows that are not fresh."""
        if self._stale is not None:
            features = self._features_like(fresh)[layer, sublayer.value]
            features[self._stale] = fresh
            return residual + features
        self.remember(layer, sublayer, fresh, span)
        return residual + fresh

    def view(
        self,
        layer: int,
        keys: Float[Tensor, "rows kv_heads head_dim"],
        values: Float[Tensor, "rows kv_heads head_dim"],
        queries: Queries,
    ) -> LayerView:
        """Show a layer of a prompt refresh as policies see it."""
        assert self._masked is not None, "a pass begins before it runs"
        return LayerView(
            layer=layer,
            num_layers=self._config.num_layers,
            keys=keys,
            values=values,
            queries=queries,
            evictable=self.extent.evictable,
            masked=self._masked,
            block_length=self.extent.block_length,
        )

    def choose(self, view: LayerView) -> None:
        """Copy the pairs that the policy keeps of a layer, and the live rows' own."""
        self._pairs[view.layer] = RaggedKV(view.keys, view.values, self._keep(view))

    def remember(self, layer: int, sublayer: Sublayer, fresh: Float[Tensor, "span hidden"], span: slice) -> None:
        """Keep the outputs of the live rows in `span`, all of them fresh."""
        features = self._features_like(fresh)[layer, sublayer.value]
        first_live = self.extent.evictable if self._refresh is Refresh.PROMPT else 0
        start = max(span.start, first_live)
        if start < span.stop:
            features[start - first_live : span.stop - first_live] = fresh[start - span.start :]

    @property
    def nbytes(self) -> int:
        """Return the bytes of the stored pairs and response features."""
        features = 0 if self._features is None else self._features.nbytes
        return features + sum(pairs.nbytes for pairs in self._pairs if pairs is not None)

    def kept(self) -> list[list[list[int]]]:
        """Return the prompt positions kept by the latest vote: per layer and KV head, sorted."""
        return [self._kept_positions(layer) for layer in range(self._config.num_layers)]

    def _kept_positions(self, layer: int) -> list[list[int]]:
        kept = self._kept[layer]
        if kept is None:
            return [list(range(self.extent.evictable)) for _ in range(self._config.num_kv_heads)]
        return [kept[1, kept[0] == head].tolist() for head in range(self._config.num_kv_heads)]

    def _stored(self, layer: int) -> RaggedKV:
        pairs = self._pairs[layer]
        assert pairs is not None, "the first pass of a sequence must be a prompt refresh"
        return pairs

    def _keep(self, view: LayerView) -> Bool[Tensor, "kv_heads evictable"]:
        first_choice = self._kept[view.layer]
        if first_choice is not None and not self._policy.revote:
            keep = view.keys.new_zeros((view.kv_heads, view.evictable), dtype=torch.bool)
            keep[first_choice[0].to(keep.device), first_choice[1].to(keep.device)] = True
            return keep
        keep = self._policy.keep(view, self._layer_pairs[view.layer])
        everything = self._layer_pairs[view.layer] == keep.numel()
        self._kept[view.layer] = None if everything else keep.nonzero().T.cpu()
        return keep

    def _features_like(self, fresh: Tensor) -> Float[Tensor, "layers sublayers live hidden"]:
        if self._features is None:
            shape = (self._config.num_layers, len(Sublayer), self.extent.live, self._config.hidden_size)
            self._features = fresh.new_zeros(shape)
        return self._features
