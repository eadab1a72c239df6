"""What a response takes in bytes, told from the model's shape alone: no weights, no device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace

import torch

from maskkv import memory
from maskkv.budget import Budget, pairs_of
from maskkv.cache import Extent
from maskkv.cache.state import NARROWED
from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.eviction.recall import BlockVote, Recall
from maskkv.generation import Generation
from maskkv.models import sizes
from maskkv.models.config import ModelConfig
from maskkv.models.transformer import CHUNK_ROWS, LOGIT_ROWS, Transformer
from maskkv.ops.attention import TILE_ELEMENTS

_FP32, _INT32, _INT64 = 4, 4, 8
_SCALE = 2
"""Bytes of the scale of a vector that is stored in 8 or 4 bits."""
_QUANTISING = {"int8": 2 * _FP32 + 1, "int4": 3 * _FP32}
"""Bytes per number that are alive while vectors are quantised, beside them in fp32."""
LONGEST = 1 << 24
"""Prompt tokens, and sequences, beyond which nothing is planned."""


@dataclass(frozen=True)
class Workload:
    """Say what is to run: prompts of one length, each answered under the same settings, which were checked."""

    prompt_length: int
    generation: Generation
    policy: Policy
    budget: Budget = None
    kv_dtype: str = "auto"

    @property
    def pairs(self) -> int | None:
        """Return the budget in pairs, of a prompt of this length; None if nothing is evicted."""
        return pairs_of(self.budget, self.prompt_length) if self.policy.can_evict else None

    @property
    def branches(self) -> int:
        """Return how often the prompt is held: guidance reads a second one."""
        return 2 if self.generation.cfg_scale else 1


@dataclass(frozen=True)
class Need:
    """Say how many bytes a sequence holds between steps, and how many more are alive while its prompt is read.

    Prompts are read one after the other: of several sequences the first numbers add up, of the second the largest
    counts. `host` is held in host memory: the second tier, where evicted pairs wait.
    """

    held: int
    reading: int
    host: int = 0

    @property
    def alone(self) -> int:
        """Return what the sequence takes of the device if no other runs."""
        return self.held + self.reading

    @classmethod
    def largest(cls, needs: Sequence[Need]) -> Need:
        """Return what serves each of several that run one after the other."""
        return cls(*(max(each) for each in zip(*map(astuple, needs), strict=True)))

    def on(self, device: torch.device) -> Need:
        """Return the same for a device; a CPU's own memory is host memory, so `held` has all of it there."""
        return replace(self, held=self.held + self.host, host=0) if device.type == "cpu" else self


@dataclass(frozen=True)
class Shape:
    """Describe a model by what decides its memory, on a GPU unless told; `itemsize` is the bytes of a weight."""

    config: ModelConfig
    itemsize: int
    chunk_rows: int = CHUNK_ROWS["cuda"]
    quantize: str | None = None
    """What the layers' matrices are stored in, on a GPU; None: as they are."""

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of the weights."""
        return sizes.weight_bytes(self.config, self.itemsize, self.quantize)

    @classmethod
    def of(cls, model: Transformer) -> Shape:
        """Describe a loaded model."""
        return cls(model.config, model.dtype.itemsize, model.chunk_rows)

    def need(self, work: Workload, batch_size: int = 1) -> Need:
        """Return what one of so many sequences takes beside the weights; what kernels use inside is not in it.

        It is assumed that there is no layer profile; with one, reading a prompt may take a little less. A recall, which
        brings one layer's keys to the device, takes less than reading.
        """
        reading = max(self._reading(work), self._sampling(work, batch_size))
        return Need(self._held(work), reading, self._waiting_bytes(work, "host"))

    def peak(self, work: Workload, batch_size: int = 1) -> int:
        """Return the most bytes alive at once on a GPU, weights included, with so many sequences."""
        need = self.need(work, batch_size)
        return self.weight_bytes + batch_size * need.held + need.reading

    def _held(self, work: Workload) -> int:
        """Count kept pairs, the live rows' pairs and outputs, and what of evicted pairs is on the device too."""
        if not work.policy.cached:
            return 0
        config, extent = self.config, self._extent(work)
        live_pair = 2 * config.num_kv_heads * config.head_dim * self.itemsize
        outputs = 2 * config.hidden_size * self.itemsize
        waiting = self._waiting_bytes(work, "device")
        live = (extent.live + extent.room) * live_pair + extent.live * outputs
        return work.branches * (self._kept(work) + config.num_layers * live) + waiting

    def _waiting_bytes(self, work: Workload, where: str) -> int:
        """Count evictable pairs of layers that evict, if they wait there, and on the device an index of their keys."""
        recall = self._recall(work)
        if recall is None:
            return 0
        pair = 2 * self._vector(recall.host_dtype) if recall.where == where else 0
        index = self._vector(recall.index) if where == "device" else 0
        return work.branches * self._tier_vectors(work) * (pair + index)

    def _recall(self, work: Workload) -> Recall | BlockVote | None:
        """Return how evicted pairs come back; None if none are evicted, or those that are never do."""
        return work.policy.recall if work.policy.evicts(work.pairs, self._extent(work).evictable) else None

    def _tier_vectors(self, work: Workload) -> int:
        """Count the evictable keys of a prompt in the layers that evict: in all where only importance tells which."""
        layers, heads, evictable = self.config.num_layers, self.config.num_kv_heads, self._extent(work).evictable
        every = heads * evictable
        if work.policy.needs_importance(work.pairs, evictable):
            return layers * every
        own = work.policy.layer_pairs(work.pairs, num_layers=layers, kv_heads=heads, evictable=evictable)
        return every * sum(pairs < every for pairs in own)

    def _extent(self, work: Workload) -> Extent:
        return Extent.of(self.config, work.prompt_length, work.generation.gen_length)

    def _rows(self, work: Workload) -> int:
        """Count the rows of a pass over everything: without a cache the last block is run beside all others."""
        return self._extent(work).end - (self._extent(work).room if work.policy.cached else 0)

    def _vector(self, stored: str) -> int:
        """Return the bytes of a KV head's key or value, stored as it is (`auto`), in 8 bits, in 4 (`int4`) or not."""
        numbers = self.config.head_dim
        own = {"none": 0, "auto": numbers * self.itemsize, "int4": numbers // 2 + _SCALE}
        return own.get(stored, numbers + _SCALE)

    def _kept(self, work: Workload) -> int:
        """Count the pairs kept of one prompt."""
        config, evictable = self.config, self._extent(work).evictable
        kept = evictable if work.pairs is None else min(evictable, work.pairs)
        return config.num_layers * kept * 2 * config.num_kv_heads * self._vector(work.kv_dtype)

    def _waiting(self, work: Workload, running: int) -> int:
        """Count what the first `running` layers hold beyond the pairs kept, until their importance is known.

        That is pairs with their places.
        """
        config, budget = self.config, work.pairs
        layers, heads = config.num_layers, config.num_kv_heads
        evictable = self._extent(work).evictable
        if budget is None or not work.policy.needs_importance(budget, evictable):
            return 0

        def most(known: int) -> list[int]:
            # The most is held if no two layers are equally important.
            sizes = {"num_layers": layers, "kv_heads": heads, "evictable": evictable}
            importance = [float(layer) for layer in range(known)]
            return [
                min(own + 2 * heads, heads * evictable)
                for own in work.policy.most_pairs(budget, **sizes, importance=importance)
            ]

        first = most(0)
        held = (
            sum(min(own, int(later / NARROWED)) for own, later in zip(first[: known + 1], most(known), strict=False))
            for known in range(running)
        )
        pairs = max(held, default=0) * (2 * config.head_dim * self.itemsize + _INT32)
        return max(0, pairs - work.branches * self._kept(work))

    def _reading(self, work: Workload) -> int:
        """Count a pass over all rows in one layer: while the policy chooses, or while the rows are computed."""
        config, rows, live = self.config, self._rows(work), self._extent(work).live
        stream = rows * config.hidden_size * self.itemsize
        pairs = 2 * rows * config.num_kv_heads * config.head_dim * self.itemsize
        rotation = rows * config.head_dim * (_FP32 if config.rope_dtype == "float32" else self.itemsize)
        evicts = work.policy.evicts(work.pairs, self._extent(work).evictable)
        # A second stream: what one chunk was normed to, which stays, or what many are written into, once one is done.
        chosen = max(self._choosing(work), self._filling(work))
        choosing = chosen + (stream if rows <= self.chunk_rows else 0) if evicts else 0
        # Of block-causal attention a tile says who reads what.
        seen = TILE_ELEMENTS * (1 + _FP32) if config.causal_block is not None else 0
        computing = self._computing(rows) + stream + seen
        # Of the last layer only live rows are computed.
        layers = config.num_layers
        before = self._waiting(work, layers - 1) + max(choosing, computing)
        last = self._waiting(work, layers) + self._computing(live)
        return stream + pairs + rotation + rows * _INT64 + max(before, last)

    def _choosing(self, work: Workload) -> int:
        """Count votes, their ranks, and two tiles of attention scores."""
        config, rows = self.config, self._rows(work)
        voters = min(work.generation.gen_length, self._extent(work).live) * (config.num_heads // config.num_kv_heads)
        tile = min(rows * config.num_kv_heads * max(voters, config.head_dim), TILE_ELEMENTS)
        votes = rows * config.num_kv_heads * (3 * _FP32 + 2 * _INT64)
        return max(votes, rows * config.num_kv_heads * _FP32 + 2 * tile * _FP32)

    def _filling(self, work: Workload) -> int:
        """Count what fills a layer's second tier: its keys by head, and beside them its values or the keys' index."""
        recall = self._recall(work)
        if recall is None:
            return 0
        numbers = self.config.num_kv_heads * self._extent(work).evictable * self.config.head_dim
        values = self.itemsize + self._quantising(recall.host_dtype)
        return numbers * (self.itemsize + max(values, self._quantising(recall.index)))

    def _quantising(self, stored: str) -> int:
        """Return the bytes that are alive per number while vectors are quantised; none if they are not."""
        wide = _FP32 if self.itemsize < _FP32 else 0
        return wide + _QUANTISING[stored] if stored in _QUANTISING else 0

    def _computing(self, rows: int) -> int:
        """Count the token-wise numbers of a chunk: in an RMSNorm, around the attention, or in the MLP.

        Of several chunks each is a part of its own of the stream until it is written into the whole. A single one has
        its pairs no more when it comes to the MLP.
        """
        config = self.config
        stream = config.hidden_size * self.itemsize
        queries = config.num_heads * config.head_dim
        several = rows > self.chunk_rows
        norm = (stream if several else 0) + stream + 3 * config.hidden_size * _FP32
        attention = 2 * queries * self.itemsize + 3 * queries * _FP32
        pairs = 2 * config.num_kv_heads * config.head_dim * self.itemsize
        mlp = 2 * stream + sizes.mlp_row_bytes(config, self.itemsize) - (0 if several else pairs)
        return min(rows, self.chunk_rows) * max(norm, attention, mlp)

    def _sampling(self, work: Workload, batch_size: int) -> int:
        """Count the stream and the logits of blocks, in the model's numbers and several times in wider ones."""
        block = self.config.causal_block or work.generation.block_length
        candidates = max(block, min(batch_size * block, LOGIT_ROWS))
        wide = 4 * _FP32 if work.generation.temperature == 0 else 4 * _FP32 + 4 * _INT64
        stream = self._rows(work) * self.config.hidden_size * self.itemsize
        return stream + candidates * self.config.vocab_size * (self.itemsize + wide)


def longest_prompt(peak: Callable[[int], int], memory: int) -> int:
    """Return the longest prompt of which `peak` is at most `memory` bytes; 0 if there is none.

    >>> longest_prompt(lambda tokens: 10 + 3 * tokens, 40)
    10
    """
    if peak(1) > memory:
        return 0
    fits, fails = 1, LONGEST
    while fails - fits > 1:
        middle = (fits + fails) // 2
        fits, fails = (middle, fails) if peak(middle) <= memory else (fits, middle)
    return fits


def check_fits(model: Transformer, work: Workload) -> None:
    """Raise InputError if a response needs more memory beside the weights than is free now.

    That is on the model's device, and in host memory for what waits there.
    """
    shape, device = Shape.of(model), model.device

    def need(length: int) -> Need:
        return shape.need(replace(work, prompt_length=length)).on(device)

    own = need(work.prompt_length)
    free, beside = memory.available(device), memory.available(torch.device("cpu"))
    for needed, there, what in (
        (own.alone, free, "beside the weights"),
        (own.host, beside, "of host memory, where evicted pairs wait"),
    ):
        if needed > there:
            fits = longest_prompt(lambda length: need(length).alone, free)
            fits = min(fits, longest_prompt(lambda length: need(length).host, beside))
            raise InputError(
                f"a prompt of {work.prompt_length:,} tokens with a response of {work.generation.gen_length:,} needs "
                f"about {needed / 1e9:,.1f} GB {what}, and {there / 1e9:,.1f} GB are free: "
                + (f"with these settings at most {fits:,} tokens fit" if fits else "a smaller gen_length needs less")
            )
