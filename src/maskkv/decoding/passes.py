"""Sequences on their way through the model: whole prompts, the live rows of many, and what is made anew of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor

from maskkv.cache import EvictingCache, ImportanceProbe, NotHeldError, SharedRefresh, WatchingCache
from maskkv.decoding.branch import Branch
from maskkv.decoding.replay import LivePass, capture_stream
from maskkv.decoding.resuming import resume, resumed
from maskkv.decoding.sequence import RunningSequence
from maskkv.eviction.profile import LayerProfile
from maskkv.models.step_cache import StepCache
from maskkv.models.transformer import Transformer
from maskkv.ops.rope import Rotation


class Passes:
    """Run passes of an engine's sequences, and hold those over live rows that can be run again.

    Every pass returns, for each of its sequences and for each branch, the hidden rows that the logits need. Sequences
    whose pass fails forget what their caches remember.
    """

    def __init__(
        self,
        model: Transformer,
        profile: LayerProfile | None,
        sequences: Mapping[int, RunningSequence],
        *,
        cuda_graphs: bool,
    ) -> None:
        self._model = model
        self._profile = profile
        self._sequences = sequences
        captured = cuda_graphs and model.device.type == "cuda" and not model.asks_host
        self._stream = capture_stream(model.device) if captured else None
        self._joint: dict[str, LivePass] = {}

    def whole(self, alike: Sequence[RunningSequence]) -> list[list[Tensor]]:
        """Run all rows of sequences with equal tokens, once per branch."""
        try:
            return self._whole(alike)
        except BaseException:
            _forget(alike)
            raise

    def together(self, kv_dtype: str, sequences: Sequence[RunningSequence]) -> list[list[Tensor]]:
        """Run the live rows of many sequences in one pass, and return the rows of those whose prompt is not due.

        A sequence whose prompt is due needs no pass over its live rows. It rides along if it did before: the pass stays
        what it was, with all that was captured, and the prompt refresh writes over what comes of it.
        """
        members: list[RunningSequence] = []
        try:
            members += [each for each in sequences if not each.reads_everything or self._rides(kv_dtype, each)]
            for each in members:
                each.begin_live()
            return self._live(self._joined(kv_dtype, members), members)
        except BaseException:
            # How far the layers came is not known. What was captured goes, and what was joined, uncopied.
            self._joint.pop(kv_dtype, None)
            _forget(members)
            raise

    def alone(self, sequence: RunningSequence) -> list[Tensor]:
        """Run the live rows of one sequence; if it was interrupted, make what its caches remember anew before."""
        try:
            if sequence.interrupted:
                sequence.forget()
                for earlier in sequence.past():
                    if earlier.reads_everything:
                        self._whole([earlier])
                    else:
                        self._by_itself(earlier)
                    if earlier.moves_on:
                        earlier.advance_caches()
            return self._by_itself(sequence)
        except BaseException:
            sequence.forget()
            raise

    def part(self) -> None:
        """End the passes over the live rows of many; each cache gets memory of its own, or forgets if there is none."""
        for kv_dtype, ended in tuple(self._joint.items()):
            try:
                self._part(kv_dtype)
            except (RuntimeError, MemoryError):
                # torch.OutOfMemoryError is one, and so is what the CPU's allocator raises.
                _forget(each for each in self._sequences.values() if ended.cache.has(each.caches))

    def _part(self, kv_dtype: str) -> None:
        ended = self._joint.pop(kv_dtype, None)
        if ended is not None:
            ended.cache.part([cache for each in self._sequences.values() for cache in each.caches])

    def _whole(self, alike: Sequence[RunningSequence]) -> list[list[Tensor]]:
        for each in alike:
            if not each.branches:
                each.open_branches()
            if self._profile is not None and each.waits:
                each.learn(self._profile.importance)
            resume(each)
        while True:
            try:
                return self._read(alike)
            except NotHeldError as missing:
                # A policy looks at rows that have not run. What layers took by then is taken anew.
                for each in alike:
                    resume(each, missing.row)

    def _read(self, alike: Sequence[RunningSequence]) -> list[list[Tensor]]:
        """Run the rows of a prompt that are not held, and the live ones."""
        first, rotation = alike[0], self._rotation(alike[0])
        for each in alike:
            each.begin()
        hidden: list[list[Tensor]] = [[] for _ in alike]
        for index, branch in enumerate(first.branches):
            caches = [cache for each in alike if (cache := each.branches[index].cache) is not None]
            whole = self._refresh(branch.tokens(first.canvas, first.rows), rotation, caches, alike)
            for own, each in zip(hidden, alike, strict=True):
                from_the_end = each.logit_rows() - (each.rows.stop - each.rows.start)
                own.append(whole[from_the_end.to(whole.device, non_blocking=True)])
        return hidden

    def _refresh(
        self, tokens: Tensor, rotation: Rotation, caches: list[EvictingCache], alike: Sequence[RunningSequence]
    ) -> Float[Tensor, "needed hidden"]:
        """Run the rows and refresh the caches; measure the layers' importance if a sequence waits for it, or may."""
        config, behind = self._model.config, resumed(alike[0])
        shared = SharedRefresh(caches, config.num_layers - 1, alike[0].window.start, config.causal_block, behind)
        waits = any(each.waits for each in alike)
        if not waits and behind is None:
            return self._model(tokens, rotation, shared)
        probe = ImportanceProbe(config.num_layers, self._model.device) if behind is None else behind.probe
        # Before a layer's pairs come, the caches learn the importance of the layers before it.
        learn = (lambda *_: shared.learn(probe.importance)) if waits else None
        cache: StepCache = WatchingCache(shared, on_pairs=learn, on_attention=probe.compare)
        whole = self._model(tokens, rotation, cache)
        if behind is not None:
            behind.finish()
        for each in alike:
            if each.waits:
                each.learn(probe.importance)
        return whole

    def _live(self, live_pass: LivePass, members: Sequence[RunningSequence]) -> list[list[Tensor]]:
        branches = _branches(members)
        tokens = [branch.tokens(each.canvas, each.window.rows) for each, branch in branches]
        hidden = live_pass(torch.cat(tokens))
        # The device is at work: what is needed afterwards is prepared meanwhile.
        live = [each for each in members if not each.reads_everything]
        starts = list(accumulate([len(own) for own in tokens], initial=0))
        rows = [start + each.logit_rows() for start, (each, _) in zip(starts, branches, strict=False) if each in live]
        taken = iter(hidden[torch.cat(rows).to(hidden.device, non_blocking=True)].split([len(own) for own in rows]))
        return [[next(taken) for _ in each.branches] for each in live]

    def _by_itself(self, sequence: RunningSequence) -> list[Tensor]:
        sequence.begin_live()
        rotations = [self._live_rotation(sequence) for _ in sequence.branches]
        return self._live(LivePass.of(self._model, sequence.caches, rotations, None), [sequence])[0]

    def _rides(self, kv_dtype: str, sequence: RunningSequence) -> bool:
        return kv_dtype in self._joint and self._joint[kv_dtype].cache.has(sequence.caches)

    def _joined(self, kv_dtype: str, members: Sequence[RunningSequence]) -> LivePass:
        """Return the pass over these sequences' live rows, the one of before if they are the same."""
        caches = [cache for each in members for cache in each.caches]
        if kv_dtype not in self._joint or not self._joint[kv_dtype].cache.holds(caches):
            # The old one goes first: what it joined must not be held twice.
            self._part(kv_dtype)
            rotations = [self._live_rotation(each) for each, _ in _branches(members)]
            self._joint[kv_dtype] = LivePass.of(self._model, caches, rotations, self._stream)
        elif any(each.live_rotation is None for each in members):
            # A block has been finished: its rows gave way to those of the next.
            self._joint[kv_dtype].turn([self._live_rotation(each) for each, _ in _branches(members)])
        return self._joint[kv_dtype]

    def _rotation(self, sequence: RunningSequence) -> Rotation:
        rows = sequence.rows
        positions = torch.arange(rows.start, rows.stop, device=self._model.device)
        return self._model.rotation(positions, sequence.settings.rope_scale)

    def _live_rotation(self, sequence: RunningSequence) -> Rotation:
        if sequence.live_rotation is None:
            sequence.live_rotation = self._rotation(sequence)
        return sequence.live_rotation


def _branches(sequences: Sequence[RunningSequence]) -> list[tuple[RunningSequence, Branch]]:
    return [(each, branch) for each in sequences for branch in each.branches]


def _forget(sequences: Iterable[RunningSequence]) -> None:
    for each in sequences:
        each.forget()
