"""What a check found, and the two comparisons that checks make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Verdict:
    """Say whether a check passed (None: it was skipped), and what was measured."""

    passed: bool | None
    detail: float | str


Found = Iterator[tuple[str, Verdict]]
"""Verdicts by the name of what was looked at."""


def close(found: Tensor, expected: Tensor, tolerance: float) -> Verdict:
    """Pass if the norm of the difference over that of what is expected is below `tolerance`."""
    wide = expected.double()
    error = float((found.double() - wide).norm() / wide.norm())
    return Verdict(error < tolerance, error)


def same(found: Sequence[int], expected: Sequence[int]) -> Verdict:
    """Pass if all numbers are the same."""
    different = count_different(found, expected)
    return Verdict(different == 0, f"{different} of {len(expected)} differ")


def count_different(one: Sequence[int], other: Sequence[int]) -> int:
    """Count the places at which two sequences of one length differ."""
    return sum(a != b for a, b in zip(one, other, strict=True))
