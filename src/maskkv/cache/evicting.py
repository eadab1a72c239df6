"""The cache of one sequence: the prompt pairs that its policy keeps, and its response's features."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkv.cache.extent import Extent, Refresh
from maskkv.cache.state import NARROWED, LiveState, WaitingState
from maskkv.cache.tier import Tier, Tiers
from maskkv.eviction.policy import Policy
from maskkv.eviction.ranking import Choice
from maskkv.eviction.view import LayerView
from maskkv.models.config import ModelConfig
from maskkv.models.step_cache import Sublayer
from maskkv.ops.attention import Queries, UnrotatedKeys
from maskkv.ops.quantised_kv import QuantisedKV
from maskkv.ops.ragged import RaggedKV
from maskkv.ops.ranks import ALONE, Ranks
from maskkv.ops.segmented_kv import SegmentedKV
from maskkv.ops.selection import Selection


class EvictingCache:
    """Keep the policy's choice of prompt pairs and the live rows' features of one sequence.

    Stored per layer: the kept pairs with the live rows' keys and values behind them, and the live rows' attention and
    MLP outputs. Of the prompt nothing else stays, but what waits in `tiers`. A prompt refresh (`SharedRefresh`) fills
    the cache, between refreshes `PackedCache` reads and writes it.
    """

    def __init__(  # noqa: PLR0913 (what decides, then how it is stored)
        self,
        config: ModelConfig,
        extent: Extent,
        policy: Policy,
        budget: int | None,
        transfer_ratio: float,
        *,
        kv_dtype: str = "auto",
        watched: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        self.extent = extent
        self.refresh = Refresh.PROMPT
        self.watched = watched
        """Whether to measure how far the live rows' values move."""
        self.moved: Float[Tensor, ""] = torch.zeros(())
        """How far they moved since the last prompt refresh: one minus the mean cosine, summed over the steps."""
        self.changes = 0
        """Prompt refreshes so far, the coming one included, and finished blocks: each changes the segments."""
        self.layers: list[LiveState | None] = [None] * config.num_layers
        recall = policy.recall if policy.evicts(budget, extent.evictable) else None
        self.tiers = None if recall is None else Tiers(recall, config.num_layers)
        self._config = config
        self._policy = policy
        self._budget = budget
        self._layer_pairs: list[int] | None = None
        self._importance: Sequence[float] = ()
        self._waiting: dict[int, WaitingState] = {}
        self._transfer_ratio = transfer_ratio
        self.kv_dtype = kv_dtype
        self.ranks = ranks
        """The processes that hold the pairs of the other KV heads."""
        self._kept: list[Choice | None] = [None] * config.num_layers
        self._block_begins = False
        """Whether the next pass is the first one over a block other than the prompt's last."""
        self._masked: Bool[Tensor, " gen_length"] | None = None
        if not policy.needs_importance(budget, extent.evictable):
            self._layer_pairs = self._pairs(None)

    def emptied(self) -> EvictingCache:
        """Return a cache that remembers nothing, and knows what is decided once: importance and votes that stay."""
        empty = copy(self)
        empty.layers = [None] * len(self.layers)
        empty.tiers = None if self.tiers is None else self.tiers.emptied()
        empty.moved = torch.zeros(())
        empty._kept = list(self._kept)
        empty._waiting = {}
        return empty

    @property
    def exact(self) -> bool:
        """Tell whether live rows read every pair, and as it was computed."""
        return self.kv_dtype == "auto" and not self._policy.evicts(self._budget, self.extent.evictable)

    @property
    def waits(self) -> bool:
        """Tell whether the layers' importance must be found out."""
        return self._layer_pairs is None

    def learn(self, importance: Sequence[float]) -> None:
        """Take the importance of the first layers, or of all: then each layer keeps as many pairs as it is to."""
        if not self.waits:
            return
        self._importance = importance
        if len(importance) == self._config.num_layers:
            self._layer_pairs = self._pairs(importance)
            for layer in tuple(self._waiting):
                self._settle(layer, self._waiting.pop(layer), self._layer_pairs[layer])
            return
        most = self._most_pairs()
        for layer, state in self._waiting.items():
            if most[layer] <= NARROWED * state.most:
                self._waiting[layer] = state.narrowed(most[layer])

    def begin(self, refresh: Refresh, masked: Bool[Tensor, " gen_length"], *, rides: bool = False) -> None:
        """Say what the coming pass recomputes, and which response positions are undecided in it.

        A prompt refresh runs all rows of the sequence and writes over all that was remembered, in the same memory; any
        other pass runs its live rows. A sequence `rides` along whose prompt is read next: nothing of the pass is used.
        """
        self.refresh = refresh
        self._masked = masked
        if self.tiers is not None:
            self.tiers.begin(prompt=refresh is Refresh.PROMPT, block=self._block_begins, rides=rides)
        self._block_begins = False
        if refresh is Refresh.PROMPT:
            self.changes += 1
            self.moved.zero_()
            self._waiting.clear()

    def advance(self) -> None:
        """Keep the live rows' pairs as they are: their block is finished, and those of the next take its place."""
        self.changes += 1
        self._block_begins = True
        for layer in range(len(self.layers)):
            self.state(layer).pairs.advance()

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
        unrotated: UnrotatedKeys,
    ) -> LayerView:
        """Show a layer of a prompt refresh as policies see it."""
        assert self._masked is not None, "a pass begins before it runs"
        return LayerView(
            layer=layer,
            num_layers=self._config.num_layers,
            keys=keys,
            values=values,
            queries=queries,
            unrotated=unrotated,
            evictable=self.extent.evictable,
            masked=self._masked,
            block_length=self.extent.block_length,
            causal_block=self._config.causal_block,
            ranks=self.ranks,
        )

    def choose(self, view: LayerView) -> None:
        """Copy the pairs that the policy keeps of a layer, or may come to keep, and the live rows' own."""
        layer = view.layer
        if self.tiers is not None:
            self.tiers.fill(view)
        if self._layer_pairs is None:
            most = self._most_pairs()[layer]
            self._waiting[layer] = WaitingState.of(view, self._policy.rank(view, most), most, self._outputs(view.keys))
            return
        choice = self._choice(view, self._layer_pairs[layer])
        own = choice.of_heads(view.own_heads)
        chosen = Selection(own.rows(), own.counts, view.live_rows())
        self._store(layer, view.keys.flatten(0, 1), view.values.flatten(0, 1), chosen)
        self._settle_tier(layer, choice, view.own_heads)

    def _choice(self, view: LayerView, pairs: int) -> Choice:
        first = self._kept[view.layer]
        if first is not None and not self._policy.revote:
            return first
        choice = self._policy.choose(view, pairs)
        self._note(view.layer, choice)
        return choice

    def _note(self, layer: int, choice: Choice) -> None:
        self._kept[layer] = None if choice.is_everything else choice

    def _settle(self, layer: int, state: WaitingState, pairs: int) -> None:
        choice, chosen = state.best(pairs)
        self._note(layer, choice)
        self._store(layer, state.keys, state.values, chosen, state.outputs)
        self._settle_tier(layer, choice, state.heads)

    def _settle_tier(self, layer: int, choice: Choice, own_heads: slice) -> None:
        if self.tiers is not None:
            self.tiers.settle(layer, choice, own_heads)

    def _store(
        self,
        layer: int,
        keys: Float[Tensor, "vectors head_dim"],
        values: Float[Tensor, "vectors head_dim"],
        chosen: Selection,
        outputs: Float[Tensor, "sublayers live hidden"] | None = None,
    ) -> None:
        held = self.layers[layer]
        # Segments that grow are packed anew: their prompt is read once, or again after a failure. So are those of one
        # process whose heads now have more pairs, or fewer, than before.
        if held is not None and not self.extent.room and held.kept == len(chosen.kept):
            held.pairs.refill(keys, values, chosen)
            return
        pairs: SegmentedKV = (
            RaggedKV.pack(keys, values, chosen, self.extent.room)
            if self.kv_dtype == "auto"
            else QuantisedKV.pack(keys, values, chosen, self.kv_dtype, self.extent.room)
        )
        self.layers[layer] = LiveState(pairs, self._outputs(keys) if outputs is None else outputs, len(chosen.kept))
        self.moved = self.moved.to(keys.device, non_blocking=True)

    def _outputs(self, like: Tensor) -> Float[Tensor, "sublayers live hidden"]:
        return like.new_empty((len(Sublayer), self.extent.live, self._config.hidden_size))

    @property
    def _sizes(self) -> dict[str, int]:
        return {"num_layers": self._config.num_layers, "kv_heads": self._heads, "evictable": self.extent.evictable}

    @property
    def _heads(self) -> int:
        """Return the number of KV heads of a layer, over all processes."""
        return self._config.num_kv_heads * self.ranks.count

    def _pairs(self, importance: Sequence[float] | None) -> list[int]:
        return self._policy.layer_pairs(self._budget, **self._sizes, importance=importance)

    def _most_pairs(self) -> list[int]:
        assert self._budget is not None, "without a budget nobody waits"
        return self._policy.most_pairs(self._budget, **self._sizes, importance=self._importance)

    def recall(
        self, layer: int, queries: Float[Tensor, "fresh heads head_dim"], rows: Int[Tensor, " fresh"] | None
    ) -> None:
        """Let fresh rows choose what a layer keeps: `rows` of the live ones, or (None) all of them."""
        assert self.tiers is not None, "only a sequence that recalls is asked"
        assert self._masked is not None, "a pass begins before it runs"
        masked = F.pad(self._masked, (self.extent.logit_shift, 0), value=False)
        self.tiers.recall(layer, queries, self.state(layer).pairs, rows, masked)

    def read_all(
        self, layer: int, queries: Float[Tensor, "fresh heads head_dim"]
    ) -> Float[Tensor, "fresh heads head_dim"] | None:
        """Return what fresh rows that choose read of a layer, if that is every pair, evicted or not; else None."""
        assert self.tiers is not None, "only a sequence that recalls is asked"
        return self.tiers.read(layer, queries, self.state(layer).pairs)

    def remember(self, layer: int, sublayer: Sublayer, fresh: Float[Tensor, "span hidden"], span: slice) -> None:
        """Keep the outputs of the live rows in `span`, which counts all rows of a prompt refresh."""
        state = self._waiting[layer] if layer in self._waiting else self.state(layer)
        outputs, first_live = state.outputs[sublayer.value], self.extent.evictable
        start = max(span.start, first_live)
        if start < span.stop:
            outputs[start - first_live : span.stop - first_live] = fresh[start - span.start :]

    @property
    def nbytes(self) -> int:
        """Return the bytes of stored pairs, response features, and what of the second tier is on the device."""
        waiting = 0 if self.tiers is None else self.tiers.device_bytes
        return waiting + sum(state.nbytes for state in self.layers if state is not None)

    def kept(self) -> list[list[list[int]]]:
        """Return the prompt positions kept now, by the latest vote or recall: per layer and KV head, sorted."""
        return [self._kept_positions(layer) for layer in range(self._config.num_layers)]

    def holders(self) -> Int[Tensor, "layers evictable"]:
        """Count the KV heads that keep each prompt position, per layer."""
        shape = (self._config.num_layers, self.extent.evictable)
        counts = torch.full(shape, self._heads)
        for layer, kept in enumerate(self._kept):
            holding = self._tier(layer) or kept
            if holding is not None:
                counts[layer] = holding.holders()
        return counts

    def _kept_positions(self, layer: int) -> list[list[int]]:
        holding = self._tier(layer) or self._kept[layer]
        if holding is None:
            return [list(range(self.extent.evictable)) for _ in range(self._heads)]
        return holding.positions()

    def _tier(self, layer: int) -> Tier | None:
        return None if self.tiers is None else self.tiers[layer]
