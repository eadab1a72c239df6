"""One sequence on its way from masks to text: its tokens, its clock, its sampler and its caches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.cache import EvictingCache, Extent, Prefix, Refresh, Tiers
from maskkv.decoding.branch import Branch, Settings
from maskkv.decoding.canvas import Canvas, Taken
from maskkv.decoding.editing import Editor
from maskkv.decoding.proposals import Proposals
from maskkv.decoding.sampler import Commit, Sampler, finished
from maskkv.decoding.window import Window
from maskkv.models.config import ModelConfig
from maskkv.ops.ranks import ALONE, Ranks
from maskkv.ops.rope import Rotation


class RunningSequence:
    """Hold the state of one sequence between steps.

    A bidirectional model's live rows are the response's. A block-causal one's are those of one block, then of the next:
    once no row is masked, a step that commits nothing leaves the block's final pairs in the cache.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        settings: Settings,
        config: ModelConfig,
        device: torch.device,
        prefix: Prefix | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        generation, block = settings.generation, config.causal_block
        self._ranks = ranks
        self.settings = settings
        length = settings.length or generation.gen_length
        self.config = config
        self.extent = Extent.of(config, len(prompt), length, generation.block_length)
        self.canvas = Canvas(prompt, self.extent.end - len(prompt), config.mask_id)
        editor = None if generation.edit_threshold is None else Editor(generation)
        self.window = Window(self.canvas, self.extent, length, causal=block is not None, editor=editor)
        self.sampler = Sampler(
            generation,
            mask_id=config.mask_id,
            eos_ids=config.eos_ids,
            device=device,
            shares=config.shares,
            begun=None if block is None else len(prompt) % block,
        )
        self.prefix = prefix if settings.policy.cached else None
        """Where pairs of its first rows may be held, and its own are left."""
        self.reused = 0
        """Rows before the first that ran when the prompt was read."""
        self.branches: tuple[Branch, ...] = ()
        self.live_rotation: Rotation | None = None
        """Of the live rows, once they have run."""
        self.index = 0
        self.prompt_passes = 0
        """Steps that have read the prompt: all of them without a cache."""
        self._read_again = False
        self.interrupted = False
        """Whether a pass began and no commit followed: what the caches remember may be of no step at all."""
        self.moves_on = False
        """Of a step that is taken again, whether the next block's rows became live with it."""
        self.apart = False
        """Whether to run alone until the prompt is read again."""
        self._since: list[Taken] = []
        """The steps since the prompt was read, that step included."""

    def open_branches(self) -> None:
        """Set up the caches."""
        masks = (None, self.config.mask_id) if self.settings.generation.cfg_scale else (None,)
        self.branches = tuple(Branch(mask_id, self._cache()) for mask_id in masks)

    def forget(self) -> None:
        """Let go of what the caches remember; the passes since the prompt was read make it anew."""
        self.interrupted = True
        for branch in self.branches:
            if branch.cache is not None:
                branch.cache = branch.cache.emptied()

    def past(self) -> Iterator[RunningSequence]:
        """Return this sequence as it was before each step since its prompt was read; the caches are its own."""
        for steps_back in range(len(self._since), 0, -1):
            earlier = copy(self)
            later = self._since[-steps_back:]
            earlier.canvas = self.canvas.before([taken.change for taken in later])
            earlier.window = self.window.at(earlier.canvas, later[0].live_start, closed=later[0].stored)
            earlier.live_rotation, earlier.moves_on = None, later[0].moved_on
            earlier.index = self.index - steps_back
            earlier._read_again = steps_back == len(self._since)
            yield earlier

    @property
    def caches(self) -> list[EvictingCache]:
        """Return the caches, one per branch; none if nothing is remembered between steps."""
        return [branch.cache for branch in self.branches if branch.cache is not None]

    @property
    def waits(self) -> bool:
        """Tell whether the layers' importance must be found out for what this sequence keeps."""
        return any(cache.waits for cache in self.caches)

    def learn(self, importance: Sequence[float]) -> None:
        """Tell the caches every layer's importance."""
        for cache in self.caches:
            cache.learn(importance)

    def begin(self) -> None:
        """Tell the caches that the prompt is read."""
        self.apart = False
        self._begin(Refresh.PROMPT)

    def begin_live(self) -> None:
        """Tell the caches what the coming pass over the live rows recomputes."""
        self._begin(self._live_refresh, rides=self.reads_everything)

    def _begin(self, refresh: Refresh, *, rides: bool = False) -> None:
        self.interrupted = True
        for cache in self.caches:
            cache.begin(refresh, self.window.masked, rides=rides)

    def advance_caches(self) -> None:
        """Tell the caches that the block is finished whose final pairs they hold."""
        for cache in self.caches:
            cache.advance()

    def _cache(self) -> EvictingCache | None:
        settings, generation = self.settings, self.settings.generation
        if not settings.policy.cached:
            return None
        return EvictingCache(
            self.config,
            self.extent,
            settings.policy,
            settings.budget,
            generation.transfer_ratio,
            kv_dtype=settings.kv_dtype,
            watched=generation.value_drift is not None,
            ranks=self._ranks,
        )

    @property
    def _live_refresh(self) -> Refresh:
        often = self.settings.generation.response_interval if self.config.causal_block is None else 1
        return Refresh.RESPONSE if self.index % often == 0 else Refresh.PARTIAL

    @property
    def refresh(self) -> Refresh | None:
        """Return what the next step recomputes; None without a cache, which is everything."""
        generation = self.settings.generation
        if not self.settings.policy.cached:
            return None
        clocked = generation.by_the_clock and self.config.causal_block is None
        due = clocked and self.index % generation.prompt_interval == 0
        if self.index == 0 or self._read_again or due:
            return Refresh.PROMPT
        return self._live_refresh

    def reads_like(self, other: RunningSequence) -> bool:
        """Tell whether a pass over all rows is the same for both: equal tokens, blocks, positions, branches."""
        own, its = (
            (each.extent, each.settings.rope_scale, each.settings.generation.cfg_scale > 0) for each in (self, other)
        )
        # No mask is ever committed, so equal tokens of equal lengths are masked alike.
        return own == its and self.prefix is other.prefix and torch.equal(self.canvas.tokens, other.canvas.tokens)

    @property
    def reads_everything(self) -> bool:
        """Tell whether the next pass runs all rows, the prompt's included."""
        return self.refresh in (None, Refresh.PROMPT)

    @property
    def rows(self) -> slice:
        """Return the rows of the next pass: the live ones, after those before them that run if the prompt is read."""
        return slice(self.reused if self.reads_everything else self.window.start, self.window.rows.stop)

    def logit_rows(self) -> Int[Tensor, " candidates"]:
        """Return the rows, counted in the next pass, that predict the positions which may be committed in it."""
        candidates = self.window.candidates(self.sampler)
        return candidates + self.canvas.prompt_length - self.config.logit_shift - self.rows.start

    @property
    def moved(self) -> list[Float[Tensor, ""]]:
        """Return how far the live rows' values have moved since the prompt was read, per branch, if it matters."""
        if self.settings.generation.value_drift is None:
            return []
        return [cache.moved for cache in self.caches]

    def commit(self, proposals: Proposals, moved: Sequence[float] = ()) -> Commit:
        """Decide some positions, or none if the prompt must be read again first, and let the clock tick.

        The proposals, and what has `moved`, are in host memory.
        """
        doubted, drifted = self._doubted(proposals), self._drifted(moved)
        stored, start, masks_before = self.window.closed, self.window.start, bool(self.window.masked.any())
        commit = self.window.choose(self.sampler, proposals, put_off=doubted)
        if self.reads_everything:
            self.prompt_passes += 1
            self._since.clear()
        self._read_again = doubted or drifted
        change = self.canvas.commit(commit.positions, commit.tokens)
        for tiers in self._tiers():
            tiers.commit()
        self.index += 1
        self.interrupted = False
        told = self.window.close(commit, masks_before=masks_before, cached=self.settings.policy.cached)
        moved_on = self.window.start > start
        if moved_on:
            self.advance_caches()
            self.live_rotation = None
        self._since.append(Taken(change, start, stored, moved_on))
        return told

    def _doubted(self, proposals: Proposals) -> bool:
        min_confidence = self.settings.generation.min_confidence
        if min_confidence is None or proposals.surest is None or self.reads_everything:
            return False
        return float(proposals.surest.max()) < min_confidence

    def _drifted(self, moved: Sequence[float]) -> bool:
        value_drift = self.settings.generation.value_drift
        return value_drift is not None and any(each > value_drift for each in moved)

    @property
    def finished(self) -> bool:
        """Tell whether nothing is left to decide (or nothing before a committed end token)."""
        ends = self.config.eos_ids if self.settings.generation.stop_at_eos else ()
        return finished(self.canvas.response[: self.window.length], self.window.open, ends)

    @property
    def masks_left(self) -> int:
        """Count the positions of the response that are undecided."""
        return int(self.window.open.sum())

    def response(self) -> list[int]:
        """Return the response tokens, untrimmed; what an early stop left undecided reads as the end token."""
        tokens = self.canvas.response.clone()
        tokens[self.canvas.masked] = self.config.eos_ids[0]
        return tokens[: self.window.length].tolist()

    @property
    def cache_bytes(self) -> int:
        """Return the bytes of all pairs and response features held now."""
        return sum(cache.nbytes for cache in self.caches)

    @property
    def host_bytes(self) -> int:
        """Return the bytes of the prompt pairs that wait in host memory."""
        return sum(each.host_bytes for each in self._tiers())

    @property
    def recalled(self) -> int:
        """Return how many evicted pairs have come back so far, over all layers, KV heads and branches."""
        return sum(each.recalled for each in self._tiers())

    def _tiers(self) -> list[Tiers]:
        return [cache.tiers for cache in self.caches if cache.tiers is not None]

    def full_cache_bytes(self, itemsize: int) -> int:
        """Return what `cache_bytes` would be if nothing were evicted, in a dtype of `itemsize` bytes."""
        branches = 2 if self.settings.generation.cfg_scale else 1
        return branches * self.extent.numbers(self.config) * itemsize

    def kept(self) -> list[list[list[int]]]:
        """Return the prompt positions kept now, per layer and KV head; empty without a cache."""
        return self.caches[0].kept() if self.caches else []

    def holders(self) -> Int[Tensor, "layers evictable"] | None:
        """Count the KV heads that keep each prompt position now, per layer; None without a cache."""
        return self.caches[0].holders() if self.caches else None
