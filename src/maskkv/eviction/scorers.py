"""Scorers that more than one policy uses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from maskkv.errors import InputError
from maskkv.eviction.view import LayerView, check_tally, check_voters
from maskkv.ops.wide import wide, widest

POOLINGS = ("max", "avg")


@dataclass(frozen=True)
class Votes:
    """Rank pairs by the attention that the voters give them (Eq. 6–7).

    `tally` says how a pair's votes become one number, `value_weighted` multiplies it by ‖v‖₂, `pooled` ranks by the
    sum over all KV heads ("universal ranking") instead of per head, and a `kernel` above 1 max-pools the votes over
    that many neighbours.
    """

    voters: str
    tally: str = "sum"
    value_weighted: bool = False
    pooled: bool = False
    kernel: int = 1

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_voters(self.voters)
        check_tally(self.tally)
        check_pooling(self.kernel)

    def __str__(self) -> str:
        counted = {
            "sum": "Σ A_ij",
            "max": "max A_ij",
            "rising": "Σ A_ij, later i more",
            "falling": "Σ A_ij, earlier i more",
        }
        weighted = ", × ‖v_j‖₂" if self.value_weighted else ""
        pooled = ", summed over heads" if self.pooled else ""
        return f"{counted[self.tally]}, i in {self.voters}{weighted}{pooled}{_pooled(self.kernel, 'max')}"

    def __call__(self, view: LayerView) -> Float[Tensor, "kv_heads evictable"]:
        """Return each pair's votes."""
        votes = view.votes(self.voters, self.tally)
        if self.value_weighted:
            votes = votes * view.value_lengths()
        if self.pooled:
            votes = votes.sum(0, keepdim=True).expand_as(votes)
        return pool(votes, self.kernel)


@dataclass(frozen=True)
class ObservationWindow:
    """Rank pairs by the pooled attention that the last `window` prompt rows give them (SnapKV, arXiv 2404.14469).

    `protect_window` ranks the window's own pairs above all others, the latest first, and pools the votes of the others
    only, as the original does; they count towards the budget like any pair.
    """

    window: int = 32
    kernel: int = 7
    pooling: str = "max"
    protect_window: bool = False

    def __post_init__(self) -> None:
        """Check the parameters."""
        if not 1 <= self.window < 10**9:
            raise InputError(f"window {self.window}: expected from 1 to 999,999,999 rows")
        check_pooling(self.kernel, self.pooling)

    def __str__(self) -> str:
        protected = ", the window itself first" if self.protect_window else ""
        return f"Σ A_ij, i in last:{self.window}{_pooled(self.kernel, self.pooling)}{protected}"

    def __call__(self, view: LayerView) -> Float[Tensor, "kv_heads evictable"]:
        """Return each pair's pooled votes."""
        votes = view.votes(f"last:{self.window}")
        if not self.protect_window:
            return pool(votes, self.kernel, self.pooling)
        start = max(0, view.prompt_length - self.window)
        others = wide(pool(votes[:, :start], self.kernel, self.pooling))
        above = 1 + votes.sum() + torch.arange(view.evictable - start, device=votes.device)
        return torch.cat((others, wide(above).expand(view.kv_heads, -1)), dim=1)


def _pooled(kernel: int, pooling: str) -> str:
    return f", {pooling}-pooled over {kernel}" if kernel > 1 else ""


def check_pooling(kernel: int, pooling: str = "max") -> None:
    """Raise InputError unless `kernel` is odd and `pooling` is known."""
    if kernel < 1 or kernel % 2 == 0:
        raise InputError(f"kernel {kernel}: expected an odd number of pairs")
    if pooling not in POOLINGS:
        raise InputError(f"pooling {pooling!r}: expected one of {', '.join(POOLINGS)}")


def pool(scores: Float[Tensor, "kv_heads pairs"], kernel: int, pooling: str = "max") -> Float[Tensor, "kv_heads pairs"]:
    """Replace each fp32 score by the largest or mean of the `kernel` around it; a mean counts zeros past the ends.

    Max pooling makes plateaus: of two equal scores the one that was larger before is returned larger, by less than
    fp32 resolves.
    """
    if kernel == 1 or scores.shape[1] == 0:
        return scores
    width = min(kernel, 2 * scores.shape[1] - 1)  # what reaches past both ends from everywhere finds nothing new
    if pooling == "max":
        pooled = F.max_pool1d(scores, width, stride=1, padding=width // 2)
    else:
        pooled = F.avg_pool1d(scores, width, stride=1, padding=width // 2) * (width / kernel)
    # Where there are no wider numbers equal scores stay equal, and the earlier pair counts.
    return _settle_ties(pooled, scores) if widest(scores.device) == torch.float64 else pooled


def _settle_ties(
    scores: Float[Tensor, "kv_heads pairs"], by: Float[Tensor, "kv_heads pairs"]
) -> Float[Tensor, "kv_heads pairs"]:
    """Return fp32 scores in fp64, nudged so that equal ones are in the order of `by`.

    Between two neighbouring fp32 numbers lie at least 2²⁹ fp64 numbers, and their order is that of their bits: the rank
    of `by` is added to the bits.
    """
    rank = by.unique(return_inverse=True)[1]
    wide = scores.double() + 0.0  # no negative zero, whose bits are out of order
    bits = wide.view(torch.int64) + torch.where(wide >= 0, rank, -rank)
    return bits.view(torch.float64)
