"""What a check says of what it looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Verdict:
    """Say whether a check passed (None: it was not done), and what was measured."""

    passed: bool | None
    detail: float | str


Found = Iterator[tuple[str, Verdict]]
"""Verdicts by the name of what was looked at."""


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference over that of what is expected."""
    wide = expected.double()
    return float((found.double() - wide).norm() / wide.norm())
