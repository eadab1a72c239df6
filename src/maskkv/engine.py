"""The denoising loop: a set of sequences, each advanced by one step per call. Knows token ids only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice

import torch
from jaxtyping import Float
from torch import Tensor

from maskkv.cache import EvictingCache, ImportanceProbe, Refresh, SharedRefresh
from maskkv.canvas import check_prompt
from maskkv.errors import InputError, ProfileError
from maskkv.eviction.policy import Policy
from maskkv.eviction.profile import LayerProfile
from maskkv.generation import Generation
from maskkv.models.transformer import StepCache, Transformer
from maskkv.ops.host import on_host
from maskkv.ops.quantised import KV_DTYPES, check_kv_dtype
from maskkv.ops.rope import Rotation, ntk_scale
from maskkv.proposals import Proposals
from maskkv.replay import LivePass, capture_stream
from maskkv.sampler import Commit, guide, limited, propose
from maskkv.sequence import Branch, RunningSequence, Settings


@dataclass(frozen=True)
class Step:
    """Tell what one denoising step did to one sequence.

    `positions` are response positions in increasing order, with the committed `tokens` and their `confidences`.
    `refresh` says what was recomputed; None means everything, without a cache.
    """

    sequence: int
    index: int
    refresh: Refresh | None
    positions: tuple[int, ...]
    tokens: tuple[int, ...]
    confidences: tuple[float, ...]
    masks_left: int
    finished: bool
    commit: Commit = field(repr=False, compare=False)
    """The sampler's own account."""

    def proposals(self) -> list[tuple[int, int, float]]:
        """List what the masks of the block, the committed ones included, were about to become, with confidences.

        Each is a response position, a token and its probability.
        """
        proposals = self.commit.proposals
        columns = (self.commit.candidates, proposals.tokens, proposals.confidences)
        return list(zip(*(column.tolist() for column in columns), strict=True))


class Engine:
    """Advance sequences step by step; each has its own lengths, policy, schedule and phase.

    Prompt refreshes (and sequences without a cache) run one sequence at a time, since they set the memory peak, except
    that sequences with equal tokens (one prompt under several policies) share a pass; the live rows of all other
    sequences run together in one pass. On a CUDA device those passes are captured as CUDA graphs and replayed, unless
    `cuda_graphs` is False.

    A step reads at most `most_prompts` prompts, if that is not None. Sequences whose prompt is due and that find no
    place wait, first come first read; what they generate stays the same.
    """

    def __init__(
        self,
        model: Transformer,
        profile: LayerProfile | None = None,
        *,
        cuda_graphs: bool = True,
        most_prompts: int | None = None,
    ) -> None:
        if profile is not None and len(profile.importance) != model.config.num_layers:
            raise ProfileError(
                f"the layer profile has {len(profile.importance)} layers, the model {model.config.num_layers}"
            )
        self.model = model
        self.profile = profile
        self._sequences: dict[int, RunningSequence] = {}
        self._next = 0
        self._stream = capture_stream(model.device) if cuda_graphs and model.device.type == "cuda" else None
        self._finished: set[int] = set()
        self._most_prompts = most_prompts
        self._due: list[int] = []
        """The sequences whose prompt is due, the longest waiting first."""
        self._passes: dict[str, LivePass] = {}

    def add(
        self,
        prompt: Sequence[int],
        generation: Generation,
        policy: Policy,
        budget: int | None = None,
        rope_scale: float | None = None,
        kv_dtype: str = "auto",
    ) -> int:
        """Take in a sequence and return its number; `rope_scale` None stretches RoPE as its length needs.

        `kv_dtype` is what the kept prompt pairs are stored in: the model's own dtype (`auto`), `int8` or `fp8`.

        Raises:
            InputError: The prompt is empty or has ids outside the vocabulary, the budget is below 1, or there is no
                such `kv_dtype`.
        """
        config = self.model.config
        check_prompt(prompt, config.vocab_size)
        if budget is not None and budget < 1:
            raise InputError(f"budget {budget}: expected at least 1 pair per KV head and layer")
        if rope_scale is None:
            length = len(prompt) + generation.gen_length
            rope_scale = ntk_scale(config.head_dim, config.rope_theta, config.trained_length, length)
        elif not 1 <= rope_scale < float("inf"):
            raise InputError(f"rope_scale {rope_scale}: expected a factor of at least 1")
        settings = Settings(generation, policy, budget, rope_scale, check_kv_dtype(kv_dtype))
        number, self._next = self._next, self._next + 1
        self._sequences[number] = RunningSequence(prompt, settings, config, self.model.device)
        return number

    def __getitem__(self, number: int) -> RunningSequence:
        """Return a sequence by its number."""
        return self._sequences[number]

    def remove(self, number: int) -> None:
        """Forget a sequence and all its memory."""
        del self._sequences[number]
        self._finished.discard(number)
        self._part()

    @torch.inference_mode()
    def step(self) -> list[Step]:
        """Advance every unfinished sequence by one step, but those that wait for their prompt's turn."""
        unfinished = {number: each for number, each in self._sequences.items() if number not in self._finished}
        hidden: dict[int, list[Tensor]] = {}
        turn = self._turn(unfinished)
        for kind in KV_DTYPES:
            alike_stored = {number: each for number, each in unfinished.items() if each.settings.kv_dtype == kind}
            live = [number for number, each in alike_stored.items() if not each.reads_everything]
            hidden |= zip(live, self._run_together(kind, list(alike_stored.values())), strict=True)
        for alike in turn:
            hidden |= zip(alike, self._run_whole(list(alike.values())), strict=True)
        running = {number: each for number, each in unfinished.items() if number in hidden}
        proposals = self._propose(list(running.values()), [hidden[number] for number in running])
        moved = [each.moved for each in running.values()]
        here = iter(
            on_host([each for own, also in zip(proposals, moved, strict=True) for each in (*own.columns, *also)])
        )
        steps = []
        for (number, each), own, also in zip(running.items(), proposals, moved, strict=True):
            arrived = Proposals(*islice(here, len(own.columns)))
            steps.append(_commit(number, each, arrived, [float(next(here)) for _ in also]))
            if steps[-1].finished:
                self._finished.add(number)
        if any(step.finished for step in steps):
            self._part()
        return steps

    def _turn(self, unfinished: dict[int, RunningSequence]) -> list[dict[int, RunningSequence]]:
        """Return the sequences whose prompt is read in this step, in groups that share a pass."""
        due = {number: each for number, each in unfinished.items() if each.reads_everything}
        queue = [number for number in self._due if number in due]
        queue += [number for number in due if number not in queue]
        turn: list[dict[int, RunningSequence]] = []
        self._due = []
        for number in queue:
            alike = next((own for own in turn if next(iter(own.values())).reads_like(due[number])), None)
            if alike is not None:
                alike[number] = due[number]
            elif self._most_prompts is None or len(turn) < self._most_prompts:
                turn.append({number: due[number]})
            else:
                self._due.append(number)
        return turn

    def _run_whole(self, alike: list[RunningSequence]) -> list[list[Tensor]]:
        """Run all rows of sequences with equal tokens, once per branch; return the hidden rows that each one needs."""
        first, rotation = alike[0], self._rotation(alike[0])
        for each in alike:
            if not each.branches:
                each.open_branches()
                if self.profile is not None:
                    each.learn(self.profile.importance)
            each.begin()
        hidden: list[list[Tensor]] = [[] for _ in alike]
        for index, branch in enumerate(first.branches):
            caches = [cache for each in alike if (cache := each.branches[index].cache) is not None]
            whole = self._refresh(branch.tokens(0), rotation, caches, alike)
            for own, each in zip(hidden, alike, strict=True):
                from_the_end = each.logit_rows() - len(each.canvas.tokens)
                own.append(whole[from_the_end.to(whole.device, non_blocking=True)])
        return hidden

    def _refresh(
        self, tokens: Tensor, rotation: Rotation, caches: list[EvictingCache], alike: list[RunningSequence]
    ) -> Float[Tensor, "needed hidden"]:
        """Run all rows and refresh the caches; find out the layers' importance if a sequence waits for it."""
        shared = SharedRefresh(caches, self.model.config.num_layers - 1, alike[0].extent.evictable)
        if not any(each.waits for each in alike):
            return self.model(tokens, rotation, shared)
        probe = ImportanceProbe(shared, self.model.config.num_layers, self.model.device, shared.learn)
        watched: StepCache = probe
        whole = self.model(tokens, rotation, watched)
        for each in alike:
            each.learn(probe.importance)
        return whole

    def _run_together(self, kv_dtype: str, sequences: list[RunningSequence]) -> list[list[Tensor]]:
        """Run the live rows of many sequences in one pass, and return the hidden rows that their logits need.

        A sequence whose prompt is due needs no pass over its live rows. It rides along if it did before: the pass stays
        what it was, with all that was captured, and the prompt refresh writes over what comes of it.
        """
        live = [each for each in sequences if not each.reads_everything]
        if not live:
            return []
        riding = [each for each in sequences if each.reads_everything and self._rides(kv_dtype, each)]
        members = [each for each in sequences if each in live or each in riding]
        for each in members:
            each.begin_live()
        branches = [(each, branch) for each in members for branch in each.branches]
        live_pass = self._joined(kv_dtype, branches)
        tokens = [branch.tokens(each.extent.evictable) for each, branch in branches]
        hidden = live_pass(torch.cat(tokens))
        # The device is at work: what is needed afterwards is prepared meanwhile.
        starts = list(accumulate([len(own) for own in tokens], initial=0))
        rows = [start + each.logit_rows() for start, (each, _) in zip(starts, branches, strict=False) if each in live]
        taken = iter(hidden[torch.cat(rows).to(hidden.device, non_blocking=True)].split([len(own) for own in rows]))
        return [[next(taken) for _ in each.branches] for each in live]

    def _rides(self, kv_dtype: str, sequence: RunningSequence) -> bool:
        caches = [branch.cache for branch in sequence.branches if branch.cache is not None]
        return kv_dtype in self._passes and self._passes[kv_dtype].cache.has(caches)

    def _joined(self, kv_dtype: str, branches: list[tuple[RunningSequence, Branch]]) -> LivePass:
        """Return the pass over these branches' live rows, the one of before if they are the same."""
        caches = [branch.cache for _, branch in branches if branch.cache is not None]
        if kv_dtype not in self._passes or not self._passes[kv_dtype].cache.holds(caches):
            # The old one goes first: what it joined must not be held twice.
            self._part(kv_dtype)
            rotations = [self._live_rotation(each) for each, _ in branches]
            self._passes[kv_dtype] = LivePass.of(self.model, caches, rotations, self._stream)
        return self._passes[kv_dtype]

    def _part(self, *kv_dtypes: str) -> None:
        """End the passes over live rows of these dtypes, or all of them; each cache gets memory of its own."""
        for kind in kv_dtypes or tuple(self._passes):
            ended = self._passes.pop(kind, None)
            if ended is not None:
                branches = [branch for each in self._sequences.values() for branch in each.branches]
                ended.cache.part([branch.cache for branch in branches if branch.cache is not None])

    def _rotation(self, sequence: RunningSequence) -> Rotation:
        end = len(sequence.canvas.tokens)
        positions = torch.arange(sequence.first_row(), end, device=self.model.device)
        return self.model.rotation(positions, sequence.settings.rope_scale)

    def _live_rotation(self, sequence: RunningSequence) -> Rotation:
        if sequence.live_rotation is None:
            sequence.live_rotation = self._rotation(sequence)
        return sequence.live_rotation

    def _propose(self, sequences: list[RunningSequence], hidden: list[list[Tensor]]) -> list[Proposals]:
        """Say what each sequence's candidates would become, from the hidden rows of its branches.

        The vocabulary matrix is read once for many sequences, whose candidates are limited by what their logits take.
        """
        found: list[Proposals] = []
        for members in limited([sum(map(len, own)) for own in hidden]):
            rows = [each for index in members for each in hidden[index]]
            joined = rows[0] if len(rows) == 1 else torch.cat(rows)
            logits = iter(self.model.logits(joined).split([len(own) for own in rows]))
            guided = [_guided(sequences[index], [next(logits) for _ in hidden[index]]) for index in members]
            found += propose([sequences[index].sampler for index in members], guided)
        return found


def _guided(sequence: RunningSequence, logits: list[Tensor]) -> Float[Tensor, "candidates vocab"]:
    scale = sequence.settings.generation.cfg_scale
    return guide(logits[0], logits[1], scale) if scale else logits[0]


def _commit(number: int, sequence: RunningSequence, proposals: Proposals, moved: Sequence[float]) -> Step:
    refresh, index = sequence.refresh, sequence.index
    commit = sequence.commit(proposals, moved)
    return Step(
        sequence=number,
        index=index,
        refresh=refresh,
        positions=tuple(commit.positions.tolist()),
        tokens=tuple(commit.tokens.tolist()),
        confidences=tuple(commit.confidences.tolist()),
        masks_left=int(sequence.canvas.masked.sum()),
        finished=sequence.finished,
        commit=commit,
    )
