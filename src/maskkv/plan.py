"""What a response takes in bytes, told from the model's shape alone: no weights, no device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from maskkv import memory
from maskkv.budget import Budget, pairs_of
from maskkv.cache.state import NARROWED
from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.generation import Generation
from maskkv.models.config import ModelConfig
from maskkv.models.transformer import CHUNK_ROWS, LOGIT_ROWS, Transformer
from maskkv.ops.attention import TILE_ELEMENTS

_FP32, _INT32, _INT64 = 4, 4, 8
_SCALE = 2
"""Bytes of the scale of a vector that is stored in 8 bits."""
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
    def rows(self) -> int:
        """Return the rows of a pass over everything."""
        return self.prompt_length + self.generation.gen_length

    @property
    def branches(self) -> int:
        """Return how often the prompt is held: guidance reads a second one."""
        return 2 if self.generation.cfg_scale else 1


@dataclass(frozen=True)
class Need:
    """Say how many bytes a sequence holds between steps, and how many more are alive while its prompt is read.

    Prompts are read one after the other: of several sequences the first numbers add up, of the second the largest
    counts.
    """

    held: int
    reading: int

    @property
    def alone(self) -> int:
        """Return what the sequence takes if no other runs."""
        return self.held + self.reading


@dataclass(frozen=True)
class Shape:
    """Describe a model by what decides its memory, on a GPU unless told; `itemsize` is the bytes of a weight."""

    config: ModelConfig
    itemsize: int
    chunk_rows: int = CHUNK_ROWS["cuda"]

    @property
    def parameters(self) -> int:
        """Count the weights."""
        config = self.config
        queries, pairs = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        attention = config.hidden_size * (2 * queries + 2 * pairs) + (queries + 2 * pairs) * config.qkv_bias
        norms = 2 * config.hidden_size + 2 * config.head_dim * config.qk_norm
        layer = attention + norms + 3 * config.hidden_size * config.mlp_size
        vocabulary = config.vocab_size * config.hidden_size * (1 if config.tied_head else 2)
        return config.num_layers * layer + vocabulary + config.hidden_size

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of the weights."""
        return self.parameters * self.itemsize

    @classmethod
    def of(cls, model: Transformer) -> Shape:
        """Describe a loaded model."""
        return cls(model.config, model.dtype.itemsize, model.chunk_rows)

    def need(self, work: Workload, batch_size: int = 1) -> Need:
        """Return what one of so many sequences takes beside the weights; what kernels use inside is not in it.

        It is assumed that there is no layer profile; with one, reading a prompt may take a little less.
        """
        return Need(self._held(work), max(self._reading(work), self._sampling(work, batch_size)))

    def peak(self, work: Workload, batch_size: int = 1) -> int:
        """Return the most bytes alive at once, weights included, with so many sequences."""
        need = self.need(work, batch_size)
        return self.weight_bytes + batch_size * need.held + need.reading

    def _held(self, work: Workload) -> int:
        """Count kept pairs, and the live rows' pairs and outputs."""
        if not work.policy.cached:
            return 0
        config = self.config
        live = config.logit_shift + work.generation.gen_length
        live_pair = 2 * config.num_kv_heads * config.head_dim * self.itemsize
        outputs = 2 * config.hidden_size * self.itemsize
        return work.branches * (self._kept(work) + config.num_layers * live * (live_pair + outputs))

    def _kept(self, work: Workload) -> int:
        """Count the pairs kept of one prompt."""
        config = self.config
        evictable = work.prompt_length - config.logit_shift
        kept = evictable if work.pairs is None else min(evictable, work.pairs)
        exact, stored = config.head_dim * self.itemsize, config.head_dim + _SCALE
        return config.num_layers * kept * 2 * config.num_kv_heads * (exact if work.kv_dtype == "auto" else stored)

    def _waiting(self, work: Workload, running: int) -> int:
        """Count what the first `running` layers hold beyond the pairs kept, until their importance is known.

        That is pairs with their places.
        """
        config, budget = self.config, work.pairs
        layers, heads = config.num_layers, config.num_kv_heads
        evictable = work.prompt_length - config.logit_shift
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
        config, rows = self.config, work.rows
        stream = rows * config.hidden_size * self.itemsize
        pairs = 2 * rows * config.num_kv_heads * config.head_dim * self.itemsize
        rotation = rows * config.head_dim * (_FP32 if config.rope_dtype == "float32" else self.itemsize)
        evicts = work.policy.evicts(work.pairs, work.prompt_length - config.logit_shift)
        # A second stream: what one chunk was normed to, which stays, or what many are written into, once one is done.
        choosing = self._choosing(work) + (stream if rows <= self.chunk_rows else 0) if evicts else 0
        computing = self._computing(rows) + stream
        # Of the last layer only live rows are computed.
        layers, live = config.num_layers, config.logit_shift + work.generation.gen_length
        before = self._waiting(work, layers - 1) + max(choosing, computing)
        last = self._waiting(work, layers) + self._computing(live)
        return stream + pairs + rotation + rows * _INT64 + max(before, last)

    def _choosing(self, work: Workload) -> int:
        """Count votes, their ranks, and two tiles of attention scores."""
        config = self.config
        voters = work.generation.gen_length * (config.num_heads // config.num_kv_heads)
        tile = min(work.rows * config.num_kv_heads * max(voters, config.head_dim), TILE_ELEMENTS)
        votes = work.rows * config.num_kv_heads * (3 * _FP32 + 2 * _INT64)
        return max(votes, work.rows * config.num_kv_heads * _FP32 + 2 * tile * _FP32)

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
        mlp = 2 * stream + 3 * config.mlp_size * self.itemsize - (0 if several else pairs)
        return min(rows, self.chunk_rows) * max(norm, attention, mlp)

    def _sampling(self, work: Workload, batch_size: int) -> int:
        """Count the stream and the logits of blocks, in the model's numbers and several times in wider ones."""
        block = work.generation.block_length
        candidates = max(block, min(batch_size * block, LOGIT_ROWS))
        wide = 4 * _FP32 if work.generation.temperature == 0 else 4 * _FP32 + 4 * _INT64
        stream = work.rows * self.config.hidden_size * self.itemsize
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
    """Raise InputError if a response needs more memory beside the weights than is free now on the model's device."""
    shape, free = Shape.of(model), memory.available(model.device)
    needed = shape.need(work).alone
    if needed <= free:
        return
    fits = longest_prompt(lambda length: shape.need(replace(work, prompt_length=length)).alone, free)
    raise InputError(
        f"a prompt of {work.prompt_length:,} tokens with a response of {work.generation.gen_length:,} needs about "
        f"{needed / 1e9:,.1f} GB beside the weights, and {free / 1e9:,.1f} GB are free: "
        + (f"with these settings at most {fits:,} tokens fit" if fits else "a smaller gen_length needs less")
    )
