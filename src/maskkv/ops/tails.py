"""What lies behind the kept pairs of a sequence's segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Tail:
    """Count the pairs that follow a segment's kept ones, in their order.

    Those of `done` rows, of finished blocks, stay as they are, those of the `live` rows are written in every pass,
    and `room` slots are free.
    """

    live: int
    done: int = 0
    room: int = 0

    @property
    def own(self) -> int:
        """Return how many pairs there are."""
        return self.done + self.live

    @property
    def slots(self) -> int:
        """Return how many there can be."""
        return self.own + self.room

    def advanced(self) -> Tail:
        """Return the tail once the live rows' block is finished and others have taken their place."""
        assert self.live <= self.room, "there is room for every block of the response"
        return Tail(self.live, self.own, self.room - self.live)


def grow(tails: Sequence[Tail]) -> bool:
    """Tell whether some are of responses in blocks, whose segments grow."""
    return any(tail.slots > tail.live for tail in tails)


def ends_of(starts: Sequence[int], lengths: Sequence[int]) -> Int[Tensor, " both"]:
    """Return where segments start and stop, one after the other, as the variable-length kernel takes them.

    What lies behind each is then a segment of its own, which no row reads (`Folding.gaps`). The last of `starts` is the
    end of all.
    """
    both = [place for start, length in zip(starts, lengths, strict=False) for place in (start, start + length)]
    return torch.tensor([*both, starts[-1]], dtype=torch.int32)


def segment_ends(lengths: Sequence[int], slots: Sequence[int], *, gaps: bool) -> Int[Tensor, " ends"]:
    """Return where segments of so many pairs start and stop that have so many slots, with or without gaps."""
    starts = [0, *accumulate(slots)]
    return ends_of(starts, lengths) if gaps else torch.tensor(starts, dtype=torch.int32)
