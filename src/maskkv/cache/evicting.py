"""The cache of one sequence: the prompt pairs that its policy keeps, and its response's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkv.eviction.policy import Policy
from maskkv.eviction.view import LayerView
from maskkv.models.config import ModelConfig
from maskkv.models.transformer import Sublayer
from maskkv.ops.attention import Queries
from maskkv.ops.quantised import QuantisedKV
from maskkv.ops.ragged import RaggedKV, SegmentedKV


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


@dataclass(eq=False)
class LiveState:
    """Hold what one layer remembers: the kept pairs with the live rows' behind them, and the live rows' outputs."""

    pairs: SegmentedKV
    outputs: Float[Tensor, "sublayers live hidden"]

    @classmethod
    def join(cls, parts: Sequence[LiveState]) -> LiveState:
        """Lay the states of several sequences end to end; each part becomes a view of the whole."""
        if len(parts) == 1:
            return parts[0]
        pairs = parts[0].pairs.join([part.pairs for part in parts[1:]])
        outputs = torch.cat([part.outputs for part in parts], dim=1)
        for part, own in zip(parts, outputs.split([part.outputs.shape[1] for part in parts], dim=1), strict=True):
            part.outputs = own
        return cls(pairs, outputs)

    def leave(self) -> None:
        """Copy what is a view of a larger whole."""
        self.pairs.leave()
        if self.outputs.untyped_storage().nbytes() > self.outputs.nbytes:
            self.outputs = self.outputs.clone()

    @property
    def nbytes(self) -> int:
        """Return the bytes of pairs and outputs."""
        return self.pairs.nbytes + self.outputs.nbytes


class EvictingCache:
    """Keep the policy's choice of prompt pairs and the live rows' features of one sequence.

    Stored per layer: the kept pairs with the live rows' keys and values behind them, and the live rows' attention and
    MLP outputs. Nothing else of the prompt outlives its refresh. A prompt refresh (`SharedRefresh`) fills the cache,
    between refreshes `PackedCache` reads and writes it.
    """

    def __init__(
        self,
        config: ModelConfig,
        extent: Extent,
        policy: Policy,
        layer_pairs: Sequence[int],
        transfer_ratio: float,
        *,
        kv_dtype: str = "auto",
        watched: bool = False,
    ) -> None:
        self.extent = extent
        self.refresh = Refresh.PROMPT
        self.watched = watched
        """Whether to measure how far the live rows' values move."""
        self.moved: Float[Tensor, ""] = torch.zeros(())
        """How far they moved since the last prompt refresh: one minus the mean cosine, summed over the steps."""
        self.votes = 0
        """Prompt refreshes so far, the coming one included."""
        self.layers: list[LiveState | None] = [None] * config.num_layers
        self._config = config
        self._policy = policy
        self._layer_pairs = tuple(layer_pairs)
        self._transfer_ratio = transfer_ratio
        self.kv_dtype = kv_dtype
        self._kept: list[Int[Tensor, "2 pairs"] | None] = [None] * config.num_layers
        self._masked: Bool[Tensor, " gen_length"] | None = None

    def begin(self, refresh: Refresh, masked: Bool[Tensor, " gen_length"]) -> None:
        """Say what the coming pass recomputes, and which response positions are undecided in it.

        A prompt refresh runs all rows of the sequence and writes over all that was remembered, in the same memory; any
        other pass runs its live rows.
        """
        self.refresh = refresh
        self._masked = masked
        if refresh is Refresh.PROMPT:
            self.votes += 1
            self.moved.zero_()

    @property
    def fresh(self) -> int:
        """Return how many live rows a layer past the first recomputes: all, or in a partial step `⌊ρ · live⌋`."""
        partial = self.refresh is Refresh.PARTIAL
        return int(self.extent.live * self._transfer_ratio) if partial else self.extent.live

    def state(self, layer: int) -> LiveState:
        """Return what a layer remembers."""
        state = self.layers[layer]
        assert state is not None, "the first pass of a sequence must be a prompt refresh"
        return state

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
        keep = self._keep(view)
        held = self.layers[view.layer]
        if held is not None:
            held.pairs.refill(view.keys, view.values, keep)
            return
        pairs: SegmentedKV = (
            RaggedKV.pack(view.keys, view.values, keep)
            if self.kv_dtype == "auto"
            else QuantisedKV.pack(view.keys, view.values, keep, self.kv_dtype)
        )
        outputs = view.keys.new_empty((len(Sublayer), self.extent.live, self._config.hidden_size))
        self.layers[view.layer] = LiveState(pairs, outputs)
        self.moved = self.moved.to(view.keys.device, non_blocking=True)

    def remember(self, layer: int, sublayer: Sublayer, fresh: Float[Tensor, "span hidden"], span: slice) -> None:
        """Keep the outputs of the live rows in `span`, which counts all rows of a prompt refresh."""
        outputs, first_live = self.state(layer).outputs[sublayer.value], self.extent.evictable
        start = max(span.start, first_live)
        if start < span.stop:
            outputs[start - first_live : span.stop - first_live] = fresh[start - span.start :]

    @property
    def nbytes(self) -> int:
        """Return the bytes of the stored pairs and response features."""
        return sum(state.nbytes for state in self.layers if state is not None)

    def kept(self) -> list[list[list[int]]]:
        """Return the prompt positions kept by the latest vote: per layer and KV head, sorted."""
        return [self._kept_positions(layer) for layer in range(self._config.num_layers)]

    def holders(self) -> Int[Tensor, "layers evictable"]:
        """Count the KV heads that keep each prompt position, per layer."""
        shape = (self._config.num_layers, self.extent.evictable)
        counts = torch.full(shape, self._config.num_kv_heads)
        for layer, kept in enumerate(self._kept):
            if kept is not None:
                counts[layer] = torch.bincount(kept[1], minlength=self.extent.evictable)
        return counts

    def _kept_positions(self, layer: int) -> list[list[int]]:
        kept = self._kept[layer]
        if kept is None:
            return [list(range(self.extent.evictable)) for _ in range(self._config.num_kv_heads)]
        return [kept[1, kept[0] == head].tolist() for head in range(self._config.num_kv_heads)]

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
