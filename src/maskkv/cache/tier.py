"""The second tier: all evictable pairs of a prompt, in host memory or beside the kept ones; evicted ones come back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkv.eviction.ranking import Choice
from maskkv.eviction.recall import BlockVote, Recall
from maskkv.eviction.view import LayerView
from maskkv.ops.attention import attention
from maskkv.ops.host import DeviceVectors, HostVectors
from maskkv.ops.nibbles import Nibbles
from maskkv.ops.quantised import Quantised
from maskkv.ops.ranks import Ranks
from maskkv.ops.scan import scan
from maskkv.ops.segmented_kv import SegmentedKV
from maskkv.ops.selection import best

OnRecall = Callable[[int, Tensor, Tensor, Tensor], None]
"""Called with a layer and, for each pair that comes back, its KV head, its position and the live row that gave it most
weight."""


class Tier:
    """Hold all of a layer's evictable pairs, and know which of them its segments hold on the device.

    The kept pairs of a segment lie in slots. Which pair is in which slot changes; how many slots a KV head has is the
    policy's choice, and stays from one prompt refresh to the next. Pairs are counted as `Choice.cells` are.
    """

    def __init__(
        self,
        keys: Float[Tensor, "evictable kv_heads head_dim"],
        values: Float[Tensor, "evictable kv_heads head_dim"],
        recall: Recall | BlockVote,
        ranks: Ranks,
    ) -> None:
        self.came = 0
        """Pairs that came back in the latest recall, over all KV heads."""
        self._recall, self._ranks = recall, ranks
        self._device, self._dtype = keys.device, keys.dtype
        self._evictable, self._kv_heads = keys.shape[:2]
        cells = _by_cell(keys)
        self._keys, self._values = (_waiting(each, recall) for each in (cells, _by_cell(values)))
        self._index = None if recall.index == "none" else _indexed(cells, recall.index)
        self._counts: tuple[int, ...] = ()
        self._number: Int[Tensor, "kv_heads 1"]
        self._slots: Int[Tensor, " kept"]
        self._held: Bool[Tensor, "kv_heads evictable"]
        self._all_held: Bool[Tensor, "all_heads evictable"]

    def refill(
        self,
        keys: Float[Tensor, "evictable kv_heads head_dim"],
        values: Float[Tensor, "evictable kv_heads head_dim"],
    ) -> None:
        """Take the pairs of another prompt refresh, in the same memory."""
        cells = _by_cell(keys)
        self._keys.copy_(cells)
        self._values.copy_(_by_cell(values))
        if self._index is not None:
            # mypy cannot tell that both are of one kind.
            self._index.copy_(_indexed(cells, self._recall.index))  # type: ignore[arg-type]

    def settle(self, choice: Choice, own_heads: slice) -> None:
        """Take note of what the segments hold after a vote about all KV heads, of which this process has some."""
        own = choice.of_heads(own_heads)
        self._counts = own.counts
        self._number = torch.tensor(own.counts)[:, None].to(self._device)
        self._slots = own.cells.long()
        every = torch.zeros((len(choice.counts), self._evictable), dtype=torch.bool, device=self._device)
        every.view(-1)[choice.cells.long()] = True
        self._held, self._all_held = every[own_heads], every

    def recall(
        self,
        queries: Float[Tensor, "fresh heads head_dim"],
        pairs: SegmentedKV,
        voters: Bool[Tensor, " fresh"] | None,
    ) -> Int[Tensor, " recalled"]:
        """Let rows choose what the segments hold; return the cells that come back to the device, increasing."""
        self.came = 0
        if voters is not None and not voters.any():
            return self._slots[:0]
        scores = scan(queries, self._scanned(), pairs.own_keys(), tally=self._recall.recall_tally, voters=voters)
        chosen = best(scores.nan_to_num_(), self._number, max(self._counts))
        back = (chosen & ~self._held).view(-1).nonzero().view(-1)
        # As many leave a head as come to it, and both are in the order of the heads.
        places = (~chosen.view(-1)[self._slots]).nonzero().view(-1)
        self._slots[places], self._held, self._all_held = back, chosen, self._ranks.gather(chosen)
        self.came = self._ranks.total(len(back))
        pairs.exchange(places, self._keys.take(back, self._device), self._values.take(back, self._device))
        return back

    def read(
        self, queries: Float[Tensor, "fresh heads head_dim"], pairs: SegmentedKV
    ) -> Float[Tensor, "fresh heads head_dim"]:
        """Return what rows read from all pairs of the prompt, those of finished blocks, and each other's."""
        waiting = (self._scanned(), self._values.all(self._device).unflatten(0, (self._kv_heads, self._evictable)))
        both = zip(waiting, (pairs.own_keys(), pairs.own_values()), strict=True)
        keys, values = (torch.cat((prompt.transpose(0, 1), own)) for prompt, own in both)
        return attention(queries, keys, values)

    def asked_by(
        self,
        cells: Int[Tensor, " cells"],
        queries: Float[Tensor, "fresh heads head_dim"],
        pairs: SegmentedKV,
        voters: Bool[Tensor, " fresh"] | None,
    ) -> Int[Tensor, " cells"]:
        """Return which voter gives each pair the largest weight, by looking at one row after the other."""
        keys, beside = self._scanned(), pairs.own_keys()
        weights = torch.stack([scan(own, keys, beside).flatten()[cells] for own in queries.split(1)])
        return (weights if voters is None else weights.masked_fill(~voters[:, None], -torch.inf)).argmax(0)

    def places(self, cells: Int[Tensor, " cells"]) -> tuple[Int[Tensor, " cells"], Int[Tensor, " cells"]]:
        """Return the KV head and the position of each pair."""
        return cells // self._evictable, cells % self._evictable

    def positions(self) -> list[list[int]]:
        """List the positions that each KV head, here or elsewhere, holds on the device now, increasing."""
        return [held.nonzero().flatten().tolist() for held in self._all_held.cpu()]

    def slots(self) -> list[list[int]]:
        """List the positions that this process's KV heads hold on the device now, slot by slot."""
        return [own.tolist() for own in (self._slots % self._evictable).split(list(self._counts))]

    def holders(self) -> Int[Tensor, " evictable"]:
        """Count the KV heads that hold each position on the device now, in host memory."""
        return self._all_held.sum(0).cpu()

    @property
    def host_bytes(self) -> int:
        """Return the bytes of pairs in host memory."""
        return self._keys.nbytes + self._values.nbytes if self._recall.where == "host" else 0

    @property
    def device_bytes(self) -> int:
        """Return the bytes on the device: of the copy of the keys, or of all pairs if they wait there."""
        if self._recall.where == "device":
            return self._keys.nbytes + self._values.nbytes
        return 0 if self._index is None else self._index.nbytes

    def _scanned(self) -> Float[Tensor, "kv_heads evictable head_dim"]:
        """Return the keys that votes are counted over, on the device."""
        keys = self._keys.all(self._device) if self._index is None else self._index.all(self._dtype)
        return keys.unflatten(0, (self._kv_heads, self._evictable))


class Tiers:
    """Hold the second tier of one sequence, layer by layer, and say when its fresh rows choose from it.

    A layer that keeps everything has none.
    """

    def __init__(self, recall: Recall | BlockVote, num_layers: int) -> None:
        self.recalled = 0
        """Pairs that came back in the steps that were committed, over all layers and KV heads."""
        self._coming = 0
        """Those of the pass that runs, or that ran last."""
        self.on_recall: OnRecall | None = None
        """Who is told what comes back; finding out which row asked takes longer than all the rest."""
        self._recall = recall
        self._layers: list[Tier | None] = [None] * num_layers
        self._since = 0
        """Passes over the live rows since the prompt was read."""
        self._begins = self._rides = False

    def emptied(self) -> Tiers:
        """Return the same without a pair."""
        empty = Tiers(self._recall, len(self._layers))
        empty.recalled, empty.on_recall = self.recalled, self.on_recall
        return empty

    def __getitem__(self, layer: int) -> Tier | None:
        """Return the tier of a layer."""
        return self._layers[layer]

    def begin(self, *, prompt: bool, block: bool, rides: bool) -> None:
        """Say whether the coming pass reads the prompt, begins a block, or is one of which nobody reads what comes."""
        self._since = 0 if prompt else self._since + 1
        self._begins, self._rides, self._coming = block, rides, 0

    def commit(self) -> None:
        """Count what came back in the latest pass: it was not in vain."""
        self.recalled += self._coming

    def fill(self, view: LayerView) -> None:
        """Take a layer's pairs before they are freed."""
        keys, values = view.keys[: view.evictable], view.values[: view.evictable]
        tier = self._layers[view.layer]
        if tier is None:
            self._layers[view.layer] = Tier(keys, values, self._recall, view.ranks)
        else:
            tier.refill(keys, values)

    def settle(self, layer: int, choice: Choice, own_heads: slice) -> None:
        """Take note of what a layer's segments hold after a vote about all KV heads."""
        tier = self._layers[layer]
        assert tier is not None, "a layer is filled before it settles"
        if choice.is_everything:
            self._layers[layer] = None
        else:
            tier.settle(choice, own_heads)

    def due(self, layer: int) -> bool:
        """Tell whether the rows that a layer recomputes in this pass choose what it holds."""
        asks = not self._rides and self._recall.due(self._since, begins=self._begins)
        return asks and self._layers[layer] is not None

    def read(
        self, layer: int, queries: Float[Tensor, "fresh heads head_dim"], pairs: SegmentedKV
    ) -> Float[Tensor, "fresh heads head_dim"] | None:
        """Return what rows that choose read of a layer, if that is everything; None if it is what they chose."""
        tier = self._layers[layer]
        return None if tier is None or self._recall.where != "device" else tier.read(queries, pairs)

    def recall(
        self,
        layer: int,
        queries: Float[Tensor, "fresh heads head_dim"],
        pairs: SegmentedKV,
        rows: Int[Tensor, " fresh"] | None,
        masked: Bool[Tensor, " live"],
    ) -> None:
        """Let fresh rows choose what a layer holds: `rows` of the live ones (None: all), of which some are `masked`."""
        tier, voters = self._layers[layer], None
        assert tier is not None, "only a layer that recalls is asked"
        if self._recall.recall_voters == "mask":
            voters = masked.to(queries.device, non_blocking=True)
            voters = voters if rows is None else voters[rows]
        back = tier.recall(queries, pairs, voters)
        self._coming += tier.came
        if self.on_recall is not None and len(back):
            asked_by = tier.asked_by(back, queries, pairs, voters)
            self.on_recall(layer, *tier.places(back), asked_by if rows is None else rows[asked_by])

    @property
    def host_bytes(self) -> int:
        """Return the bytes of the pairs that wait in host memory."""
        return sum(tier.host_bytes for tier in self._layers if tier is not None)

    @property
    def device_bytes(self) -> int:
        """Return the bytes on the device, of keys' copies or of pairs that wait there."""
        return sum(tier.device_bytes for tier in self._layers if tier is not None)


def _by_cell(vectors: Float[Tensor, "evictable kv_heads head_dim"]) -> Float[Tensor, "cells head_dim"]:
    """Copy vectors so that those of a KV head lie side by side."""
    return vectors.transpose(0, 1).clone(memory_format=torch.contiguous_format).flatten(0, 1)


def _waiting(vectors: Float[Tensor, "cells head_dim"], recall: Recall | BlockVote) -> HostVectors | DeviceVectors:
    return DeviceVectors(vectors) if recall.where == "device" else HostVectors(vectors, recall.host_dtype)


def _indexed(vectors: Float[Tensor, "cells head_dim"], kind: str) -> Quantised | Nibbles:
    return Nibbles.of(vectors) if kind == "int4" else Quantised.of(vectors, kind)
