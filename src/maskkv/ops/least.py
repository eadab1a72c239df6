"""The rows of least value of several sequences, picked for all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.ops.fused import fused


class LeastRows:
    """Pick `counts[s]` of the `rows[s]` rows of each sequence s, laid end to end: those of least value.

    What follows from the numbers alone is worked out once, for all layers and steps.
    """

    def __init__(self, rows: Sequence[int], counts: Sequence[int], device: torch.device) -> None:
        self._longest, self._total = max(rows), sum(counts)
        self._offsets = torch.tensor([[0, *accumulate(each)] for each in (rows, counts)]).to(device, non_blocking=True)
        self._groups = _grouped(rows, counts, device)

    def __call__(self, values: Float[Tensor, " rows"]) -> Int[Tensor, " chosen"]:
        """Return the rows, in increasing order; ties go to the earlier row, and NaN counts as the largest."""
        if fused(values):
            from maskkv.ops import kernels

            if self._longest <= kernels.LONGEST:
                return kernels.least(values, self._offsets[0], self._offsets[1], self._longest, self._total)
        chosen = []
        for count, rows in self._groups:
            least = values[rows].sort(dim=1, stable=True).indices[:, :count]
            chosen.append(rows.gather(1, least).flatten())
        return torch.cat(chosen).sort().values


def _grouped(
    rows: Sequence[int], counts: Sequence[int], device: torch.device
) -> list[tuple[int, Int[Tensor, "sequences rows"]]]:
    """Group the sequences with equally many rows and chosen ones; return the number of the latter, and the rows."""
    starts = torch.tensor([0, *accumulate(rows)])
    kinds = list(zip(rows, counts, strict=True))
    groups = []
    for own, count in sorted(set(kinds)):
        members = [index for index, kind in enumerate(kinds) if kind == (own, count)]
        places = starts[members][:, None] + torch.arange(own)
        groups.append((count, places.to(device, non_blocking=True)))
    return groups
