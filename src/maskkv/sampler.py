"""Which masks become tokens in a step: LLaDA's sampler, Dream's, and Fast-dLLM's parallel commits for both.

This module knows token ids and logits; it sees neither a model nor a cache. Positions count from the first
token of the response.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkv.errors import CheckpointError
from maskkv.generation import Generation
from maskkv.proposals import Proposals, propose_dream, propose_llada


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


class Sampler:
    """Choose the tokens of one sequence, step by step, from the logits of the masks that may be committed.

    The mask token's logit counts as minus infinity before anything else: it is never committed, and every
    probability is that of a model which cannot predict it. Random numbers come from the sampler's own
    generator, so a sequence does not depend on those that run beside it. All tensors are on `device`.
    """

    def __init__(
        self,
        generation: Generation,
        *,
        mask_id: int,
        eos_ids: tuple[int, ...],
        device: torch.device | str = "cpu",
    ) -> None:
        self._generation = generation
        banned = [mask_id, *eos_ids[:1]] if generation.logits_eos_inf else [mask_id]
        self._banned = torch.tensor(banned, device=device)
        self._eos_ids = eos_ids
        self._generator = torch.Generator(device).manual_seed(generation.seed)
        self._block_steps = generation.num_steps // generation.num_blocks
        self._rates = dream_rates(self._block_steps, generation.eps)
        self._block = -1
        self._block_masks = 0
        self._block_step = 0

    def candidates(self, masked: Bool[Tensor, " gen_length"]) -> Int[Tensor, " n"]:
        """Return the masks of the first unfinished block: the positions whose logits `commit` needs."""
        positions = masked.nonzero().flatten()
        if len(positions) == 0:
            return positions
        length = self._generation.block_length
        return positions[positions < (int(positions[0]) // length + 1) * length]

    def commit(
        self, logits: Float[Tensor, "n vocab"], masked: Bool[Tensor, " gen_length"], *, put_off: bool = False
    ) -> Commit:
        """Take one step: choose among `candidates(masked)`, at least one position, given their logits.

        A step that is `put_off` chooses nothing and counts for no schedule.

        Raises:
            CheckpointError: The logits are not numbers.
        """
        positions = self.candidates(masked)
        self._enter(int(positions[0]) // self._generation.block_length, len(positions))
        logits = logits.float().index_fill(-1, self._banned, -torch.inf)
        proposals = self._propose(logits)
        if proposals.confidences.isnan().any():
            raise CheckpointError(
                "the model's logits are not numbers (NaN): its weights must be finite, and its dtype wide "
                "enough for its activations (bfloat16 or float32 rather than float16)"
            )
        # A stable sort settles ties by position, on every device alike.
        ranked = proposals.scores.sort(descending=True, stable=True)
        chosen = ranked.indices[: 0 if put_off else self._count(ranked.values)].sort().values
        self._block_step += not put_off
        tokens, confidences = proposals.tokens[chosen], proposals.confidences[chosen]
        return Commit(positions[chosen], tokens, confidences, positions, proposals)

    def surest(self, logits: Float[Tensor, "n vocab"]) -> float:
        """Return the largest probability that any candidate gives to a token; draws nothing."""
        return float(logits.float().index_fill(-1, self._banned, -torch.inf).softmax(-1).max())

    def _enter(self, block: int, masks: int) -> None:
        if block != self._block:
            self._block, self._block_masks, self._block_step = block, masks, 0

    def _propose(self, logits: Float[Tensor, "n vocab"]) -> Proposals:
        if self._generation.alg is None:
            return propose_llada(logits, self._generation, self._eos_ids, self._generator)
        return propose_dream(logits, self._generation, self._generator)

    def _count(self, ranked: Float[Tensor, " n"]) -> int:
        generation, step = self._generation, self._block_step
        if generation.threshold is not None:
            return max(1, int((ranked >= generation.threshold).sum()))
        if generation.factor is not None:
            return factor_count(ranked, generation.factor)
        if generation.alg is None:
            return llada_count(self._block_masks, self._block_steps, step)
        if generation.alg == "origin":
            # The score of a position is minus a uniform number: it is transferred with probability `rate`.
            return int((-ranked < self._rates[step].item()).sum())
        return int(self._rates[step] * len(ranked))


def llada_count(masks: int, steps: int, step: int) -> int:
    """Spread a block's `masks` over its `steps`, the larger shares first, and return the share of `step`."""
    return masks // steps + (step < masks % steps)


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
    """Combine logits with and without the prompt (classifier-free guidance); scale 0 gives `conditional`."""
    return unconditional + (scale + 1) * (conditional - unconditional)


def finished(
    response: Int[Tensor, " gen_length"], masked: Bool[Tensor, " gen_length"], eos_ids: tuple[int, ...]
) -> bool:
    """Tell whether nothing is masked, or everything before a committed end token is committed."""
    masks = masked.nonzero().flatten()
    if len(masks) == 0:
        return True
    ends = torch.tensor(eos_ids, dtype=response.dtype, device=response.device)
    return bool(torch.isin(response[: int(masks[0])], ends).any())
