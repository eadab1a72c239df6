"""The denoising loop: a set of sequences, each advanced by one step per call. Knows token ids only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from maskkv.budget import Budget, check_budget, pairs_of
from maskkv.cache import Prefix, Refresh
from maskkv.checks import KV_DTYPES, check_kv_dtype, quoted
from maskkv.decoding.blame import Blame, let_go
from maskkv.decoding.branch import Settings
from maskkv.decoding.canvas import check_prompt
from maskkv.decoding.fitting import for_model
from maskkv.decoding.passes import Passes
from maskkv.decoding.proposals import Proposals
from maskkv.decoding.resuming import hand_over
from maskkv.decoding.sampler import Commit, guide, limited, propose
from maskkv.decoding.sequence import RunningSequence
from maskkv.decoding.turns import Turns
from maskkv.errors import InputError, ProfileError
from maskkv.eviction.policy import Policy
from maskkv.eviction.profile import LayerProfile
from maskkv.generation import Generation
from maskkv.models.stretch import stretch
from maskkv.models.transformer import Transformer
from maskkv.ops.host import on_host


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
        self._finished: set[int] = set()
        self._untold: list[Step] = []
        """Steps taken in a call that could not return them."""
        self._turns = Turns(most_prompts)
        self._passes = Passes(model, profile, self._sequences, cuda_graphs=cuda_graphs)
        self._mirrored = model.ranks.mirrored("engine", profile, most_prompts)
        """What the processes that hold the other parts of a model do as well, with an engine of theirs."""

    def add(
        self,
        prompt: Sequence[int],
        generation: Generation,
        policy: Policy,
        budget: Budget = None,
        rope_scale: float | None = None,
        kv_dtype: str = "auto",
        prefix: Prefix | None = None,
    ) -> int:
        """Take in a sequence and return its number; `rope_scale` None stretches RoPE as its length needs.

        `kv_dtype` is what the kept prompt pairs are stored in: the model's own dtype (`auto`), `int8` or `fp8`. What a
        `prefix` holds of a block-causal model's prompt is not computed again, and it takes the sequence's own pairs.
        What is generated stays the same. Without a cache (`none`) it is left alone.

        Raises:
            InputError: The prompt is empty or has ids outside the vocabulary, the budget or `rope_scale` is unusable,
                there is no such `kv_dtype`, or the response or a `prefix` is asked for in a way that is not the
                model's.
        """
        config = self.model.config
        ids, made = check_prompt(prompt, config.vocab_size), for_model(generation, policy, config)
        rope_scale = stretch(config, len(ids) + generation.gen_length, rope_scale)
        pairs = pairs_of(check_budget(budget), len(ids))
        settings = Settings(made, policy, pairs, rope_scale, check_kv_dtype(kv_dtype), generation.gen_length)
        if prefix is not None:
            if not isinstance(prefix, Prefix):
                raise InputError(f"prefix {quoted(prefix)}: expected a maskkv.Prefix")
            prefix.bind(self.model)
        sequence = RunningSequence(ids, settings, config, self.model.device, prefix, self.model.ranks)
        with self._mirrored("add", ids, generation, policy, budget, rope_scale, kv_dtype):
            number, self._next = self._next, self._next + 1
            self._sequences[number] = sequence
        return number

    def __getitem__(self, number: int) -> RunningSequence:
        """Return a sequence by its number."""
        return self._sequences[number]

    def remove(self, number: int) -> None:
        """Forget a sequence and all its memory."""
        if number not in self._sequences:
            raise KeyError(number)  # before others are asked
        with self._mirrored("remove", number):
            self._remove(number)

    def _remove(self, number: int) -> None:
        del self._sequences[number]
        self._finished.discard(number)
        self._untold = [step for step in self._untold if step.sequence != number]
        self._passes.part()

    @torch.inference_mode()
    def step(self, on_failure: Callable[[int, Exception], None] | None = None) -> list[Step]:
        """Advance every unfinished sequence by one step, but those that wait for their prompt's turn.

        A sequence that fails harms no other: what fails for many at once is done for each alone. Once `on_failure` was
        told its number and error it is removed. Without `on_failure` the first error is raised and nobody is removed:
        the next call tries again, and also returns the steps that others took in this one.
        """
        with self._mirrored("step", on_failure is not None):
            return self._step(on_failure)

    def _step(self, on_failure: Callable[[int, Exception], None] | None) -> list[Step]:
        blame = Blame(self.model.ranks)
        self._advance({number: each for number, each in self._sequences.items() if number not in self._finished}, blame)
        for number, error in blame.failed.items():
            let_go(error)
            if on_failure is None:
                raise error
            try:
                on_failure(number, error)
            finally:
                self._remove(number)
        steps, self._untold = self._untold, []
        return steps

    def _advance(self, unfinished: dict[int, RunningSequence], blame: Blame) -> None:
        turn = self._turns.next(unfinished)
        found: dict[int, list[Tensor]] = {}
        for kind in KV_DTYPES:
            alike_stored = {number: each for number, each in unfinished.items() if each.settings.kv_dtype == kind}
            found |= self._run_live(kind, alike_stored, blame)
        for alike in turn:
            found |= blame.together(alike, lambda numbers: self._passes.whole([self[number] for number in numbers]))
        hidden = {number: found[number] for number in unfinished if number in found}
        running, proposals = list(hidden), dict[int, Proposals]()
        for members in limited([sum(map(len, own)) for own in hidden.values()]):
            proposals |= blame.together(running[members.start : members.stop], partial(self._propose, hidden))
        arrived = blame.together(list(proposals), partial(self._fetch, proposals))
        done = blame.apart(list(arrived), partial(self._commit, arrived))
        if any(step.finished for step in done.values()):
            self._passes.part()

    def _run_live(self, kv_dtype: str, sequences: dict[int, RunningSequence], blame: Blame) -> dict[int, list[Tensor]]:
        """Run the live rows of the sequences whose prompt is not due, in one pass if that can be done."""
        live = [number for number, each in sequences.items() if not each.reads_everything]
        alone = [number for number in live if self[number].apart or self[number].interrupted]
        joint = [number for number in live if number not in alone]
        members = [each for number, each in sequences.items() if number not in alone]
        hidden = blame.apart(alone, lambda number: self._passes.alone(self[number]))
        hidden |= blame.together(joint, lambda _: self._passes.together(kv_dtype, members), self._part)
        if not blame.failed.keys().isdisjoint(joint):
            # It was not that they ran together: without those to blame the others can again.
            for number in joint:
                self[number].apart = False
        return hidden

    def _part(self, number: int) -> list[Tensor]:
        """Run the live rows of a sequence alone, here and until its prompt is read again."""
        self[number].apart = True
        return self._passes.alone(self[number])

    def _propose(self, hidden: dict[int, list[Tensor]], numbers: Sequence[int]) -> list[Proposals]:
        """Say what each sequence's candidates would become, from the hidden rows of its branches.

        The vocabulary matrix is read once for all of them.
        """
        rows = [each for number in numbers for each in hidden[number]]
        joined = rows[0] if len(rows) == 1 else torch.cat(rows)
        logits = iter(self.model.logits(joined).split([len(own) for own in rows]))
        guided = [_guided(self[number], [next(logits) for _ in hidden[number]]) for number in numbers]
        return propose([self[number].sampler for number in numbers], guided)

    def _fetch(self, proposals: dict[int, Proposals], numbers: Sequence[int]) -> list[tuple[Proposals, list[float]]]:
        """Bring to the host, in one copy, what is proposed and how far each sequence's values have moved."""
        moved = [self[number].moved for number in numbers]
        wanted = [[*proposals[number].columns, *own] for number, own in zip(numbers, moved, strict=True)]
        here = iter(self.model.ranks.agreed(on_host([each for own in wanted for each in own])))
        return [
            (Proposals(*islice(here, len(own) - len(also))), [float(next(here)) for _ in also])
            for own, also in zip(wanted, moved, strict=True)
        ]

    def _commit(self, arrived: dict[int, tuple[Proposals, list[float]]], number: int) -> Step:
        step = _committed(number, self[number], *arrived[number])
        self._untold.append(step)
        if step.finished:
            self._finished.add(number)
        return step


def _guided(sequence: RunningSequence, logits: list[Tensor]) -> Float[Tensor, "candidates vocab"]:
    scale = sequence.settings.generation.cfg_scale
    return guide(logits[0], logits[1], scale) if scale else logits[0]


def _committed(number: int, sequence: RunningSequence, proposals: Proposals, moved: Sequence[float]) -> Step:
    refresh, index = sequence.refresh, sequence.index
    hand_over(sequence)
    commit = sequence.commit(proposals, moved)
    return Step(
        sequence=number,
        index=index,
        refresh=refresh,
        positions=tuple(commit.positions.tolist()),
        tokens=tuple(commit.tokens.tolist()),
        confidences=tuple(commit.confidences.tolist()),
        masks_left=sequence.masks_left,
        finished=sequence.finished,
        commit=commit,
    )
