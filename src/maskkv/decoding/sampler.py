"""Which masks become tokens in a step: LLaDA's sampler, A2D's, Dream's, and Fast-dLLM's parallel commits for all.

This module knows token ids and logits; it sees neither a model nor a cache. Positions count from the first
token of the response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkv.decoding.proposals import Draws, Proposals, propose_dream, propose_llada
from maskkv.errors import CheckpointError
from maskkv.generation import Generation, Shares
from maskkv.models.transformer import LOGIT_ROWS

_STRONGEST = 1e30
"""A guidance that no logit has a say beside, and that leaves every product of it finite."""

_RULE = (
    *("temperature", "remasking", "confidence_eos_eot_inf", "logits_eos_inf"),
    *("alg", "alg_temp", "top_p", "top_k", "min_confidence"),
)
"""The settings of a response that decide how logits become proposals."""


@dataclass(frozen=True)
class Commit:
    """Say which masks a step turns into tokens, in increasing order of position; there may be none.

    A confidence is the probability of the token, whatever the positions were ranked by. `proposals` are what all
    `candidates`, the committed ones among them, were about to become.
    """

    positions: Int[Tensor, " n"]
    tokens: Int[Tensor, " n"]
    confidences: Float[Tensor, " n"]
    candidates: Int[Tensor, " masks"]
    proposals: Proposals

    @classmethod
    def nothing(cls, proposals: Proposals) -> Commit:
        """Tell of a step that had nothing to choose from."""
        none = torch.zeros(0, dtype=torch.long)
        return cls(none, proposals.tokens, proposals.confidences, none, proposals)

    def within(self, length: int) -> Commit:
        """Leave out what lies behind the first `length` positions: the last block may be longer than the response."""
        if not len(self.candidates) or int(self.candidates[-1]) < length:
            return self
        own, all_ = int((self.positions < length).sum()), int((self.candidates < length).sum())
        first = self.proposals.split([all_, len(self.candidates) - all_])[0]
        return Commit(self.positions[:own], self.tokens[:own], self.confidences[:own], self.candidates[:all_], first)


class Sampler:
    """Choose the tokens of one sequence, step by step, from proposals for the masks that may be committed.

    Random numbers come from the sampler's own generator on `device`, so a sequence does not depend on those that run
    beside it. What it is given to choose from is on the host. `shares` is for a response that leaves it to the model.
    Block-causal models have rules of their own, and their first block is `begun` by so many tokens of the prompt.
    """

    def __init__(
        self,
        generation: Generation,
        *,
        mask_id: int,
        eos_ids: tuple[int, ...],
        device: torch.device | str = "cpu",
        shares: Shares = "largest_first",
        begun: int | None = None,
    ) -> None:
        self._generation = generation
        banned = [mask_id, *eos_ids[:1]] if generation.logits_eos_inf else [mask_id]
        self._banned = torch.tensor(banned, device=device)
        self._eos_ids = eos_ids
        self._generator = torch.Generator(device).manual_seed(generation.seed)
        self._share = rounded_count if (generation.shares or shares) == "rounded" else llada_count
        self._block_steps = generation.block_steps
        if begun is not None and generation.steps is not None:
            # Beside a threshold the schedule stays: it says what a step commits at least.
            self._block_steps = -(-generation.steps // generation.num_blocks)
        self._begun = begun
        self._rates = dream_rates(self._block_steps, generation.eps)
        self._block = -1
        self._block_masks = 0
        self._block_step = 0
        self._drawn_from: Tensor | None = None

    def begin(self) -> None:
        """Begin to draw for a step: the same numbers each time, until the step is committed."""
        if self._drawn_from is None:
            self._drawn_from = self._generator.get_state()
        else:
            self._generator.set_state(self._drawn_from)

    def candidates(self, masked: Bool[Tensor, " gen_length"]) -> Int[Tensor, " n"]:
        """Return the masks of the first unfinished block: the positions whose logits are needed."""
        positions = masked.nonzero().flatten()
        if len(positions) == 0:
            return positions
        end = (self._block_of(int(positions[0])) + 1) * self._generation.block_length - (self._begun or 0)
        return positions[positions < end]

    def _block_of(self, position: int) -> int:
        return (position + (self._begun or 0)) // self._generation.block_length

    @property
    def rule(self) -> tuple[object, ...]:
        """Return what decides how logits become proposals: samplers that agree in it can propose together."""
        return tuple(getattr(self._generation, name) for name in _RULE)

    def commit(self, proposals: Proposals, masked: Bool[Tensor, " gen_length"], *, put_off: bool = False) -> Commit:
        """Take one step: choose among `candidates(masked)`, given what they would become.

        A step that is `put_off` chooses nothing and counts for no schedule.

        Raises:
            CheckpointError: The logits were not numbers.
        """
        positions = self.candidates(masked)
        self._enter(self._block_of(int(positions[0])), len(positions))
        check_numbers(proposals)
        # A stable sort settles ties by position.
        ranked = proposals.scores.sort(descending=True, stable=True)
        chosen = ranked.indices[: 0 if put_off else self._count(ranked.values)].sort().values
        tokens, confidences = proposals.tokens[chosen], proposals.confidences[chosen]
        commit = Commit(positions[chosen], tokens, confidences, positions, proposals)
        # Only now: a step that failed can be taken again.
        self._block_step += not put_off
        self._drawn_from = None
        return commit

    def _enter(self, block: int, masks: int) -> None:
        if block != self._block:
            self._block, self._block_masks, self._block_step = block, masks, 0

    def _count(self, ranked: Float[Tensor, " n"]) -> int:
        generation, step = self._generation, self._block_step
        if self._begun is not None and generation.factor is None:
            return self._surest_of_block(ranked, step)
        if generation.threshold is not None:
            return max(1, int((ranked >= generation.threshold).sum()))
        if generation.factor is not None:
            return factor_count(ranked, generation.factor)
        if generation.alg is None:
            return self._share(self._block_masks, self._block_steps, step)
        if generation.alg == "origin":
            # The score of a position is minus a uniform number: it is transferred with probability `rate`.
            return int((-ranked < self._rates[step].item()).sum())
        return int(self._rates[step] * len(ranked))

    def _surest_of_block(self, ranked: Float[Tensor, " n"], step: int) -> int:
        """Count what SDAR commits (arXiv 2510.06303): a step's share of the block, or all surer than τ if more.

        The share is that of a block without a mask decided, which the first block is not if the prompt ends in it.
        """
        share = llada_count(self._generation.block_length, self._block_steps, step)
        threshold = self._generation.threshold
        surer = 0 if threshold is None else int((ranked > threshold).sum())
        return min(len(ranked), max(share, surer))


def check_numbers(proposals: Proposals) -> None:
    """Raise CheckpointError if the logits were not numbers."""
    if proposals.confidences.isnan().any():
        raise CheckpointError(
            "the model's logits are not numbers (NaN): its weights must be finite, and its dtype wide "
            "enough for its activations (bfloat16 or float32 rather than float16)"
        )


def propose(samplers: Sequence[Sampler], logits: Sequence[Float[Tensor, "_ vocab"]]) -> list[Proposals]:
    """Say what the candidates of several sequences would become, given each sequence's logits.

    The mask token's logit counts as minus infinity before anything else: it is never committed, and every probability
    is that of a model which cannot predict it. Sequences that sample alike are computed together.
    """
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, sampler in enumerate(samplers):
        alike.setdefault(sampler.rule, []).append(index)
    found: dict[int, Proposals] = {}
    for members in alike.values():
        together = _propose([samplers[index] for index in members], [logits[index] for index in members])
        found |= zip(members, together, strict=True)
    return [found[index] for index in range(len(samplers))]


def _propose(samplers: Sequence[Sampler], logits: Sequence[Float[Tensor, "_ vocab"]]) -> list[Proposals]:
    counts, first = [len(own) for own in logits], samplers[0]
    for sampler in samplers:
        sampler.begin()
    generation = first._generation
    joined = logits[0] if len(logits) == 1 else torch.cat(list(logits))
    wide = joined.float().index_fill(-1, first._banned, -torch.inf)
    draws = Draws([sampler._generator for sampler in samplers], counts)
    if generation.alg is None:
        proposals = propose_llada(wide, generation, first._eos_ids, draws)
    else:
        proposals = propose_dream(wide, generation, draws)
    if generation.min_confidence is not None:
        proposals = replace(proposals, surest=wide.softmax(-1).amax(-1))
    return proposals.split(counts)


def llada_count(masks: int, steps: int, step: int) -> int:
    """Spread a block's `masks` over its `steps`, the larger shares first, and return the share of `step`."""
    return masks // steps + (step < masks % steps)


def rounded_count(masks: int, steps: int, step: int) -> int:
    """Let each of a block's `steps` take the masks left over the steps left, and return the share of number `step`.

    Halves are rounded to even, and steps that would take nothing are not counted (A2D's sampler, arXiv 2602.22661).
    """
    return _rounded_shares(masks, steps)[step]


@cache
def _rounded_shares(masks: int, steps: int) -> tuple[int, ...]:
    """Round as published: the part that stays masked is a ratio of noise levels in fp32, which decides some halves."""
    levels = 1 - (1 - (torch.arange(steps, -1, -1, dtype=torch.float64) / steps).float())
    shares = []
    for stays in (levels[1:] / levels[:-1]).tolist():
        shares.append(min(masks, round(masks * (1 - stays))))
        masks -= shares[-1]
    return tuple(share for share in shares if share)


def dream_rates(steps: int, eps: float) -> Float[Tensor, " steps"]:
    """Return the fraction 1 - s/t of the masks left that each step transfers, and 1 for the last step.

    The noise level falls linearly from 1 to `eps`. All of it is fp32, as published, since what is multiplied
    with it is rounded down: with a step per token the first step commits none and the last one two.
    """
    levels = torch.linspace(1, eps, steps + 1, dtype=torch.float32)
    rates = 1 - levels[1:] / levels[:-1]
    rates[-1] = 1
    return rates


def factor_count(ranked: Float[Tensor, " n"], factor: float) -> int:
    """Count the confidences, in falling order, with (n + 1)(1 - c_n) <= factor; at least one."""
    ranks = torch.arange(1, len(ranked) + 1, device=ranked.device)
    # The left side only grows with n, so counting is the same as going on while it holds.
    return max(1, int(((ranks + 1) * (1 - ranked.double()) <= factor).sum()))


def guide(
    conditional: Float[Tensor, "n vocab"], unconditional: Float[Tensor, "n vocab"], scale: float
) -> Float[Tensor, "n vocab"]:
    """Combine logits with and without the prompt (classifier-free guidance); scale 0 gives `conditional`.

    What the prompt makes impossible stays so, and a scale beyond all numbers prefers what the prompt makes likelier.
    """
    guided = unconditional + min(scale + 1, _STRONGEST) * (conditional - unconditional)
    return torch.where(conditional == -torch.inf, conditional, guided)


def finished(
    response: Int[Tensor, " gen_length"], masked: Bool[Tensor, " gen_length"], eos_ids: tuple[int, ...]
) -> bool:
    """Tell whether nothing is masked, or everything before a committed end token is committed."""
    open_ = masked.tolist()
    if True not in open_:
        return True
    return not set(eos_ids).isdisjoint(response[: open_.index(True)].tolist())


def limited(counts: Sequence[int]) -> list[range]:
    """Cut a list into runs whose counts sum to at most `LOGIT_ROWS`, unless a run has one member."""
    runs: list[range] = []
    start = total = 0
    for index, count in enumerate(counts):
        if index > start and total + count > LOGIT_ROWS:
            runs.append(range(start, index))
            start, total = index, 0
        total += count
    return [*runs, range(start, len(counts))] if counts else []
