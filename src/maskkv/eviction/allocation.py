"""How a number of pairs is split exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence

from maskkv.errors import InputError


def allocate(shares: Sequence[float], total: int, high: int) -> list[int]:
    """Split `total` in proportion to `shares` into integers in [0, high] whose sum is exactly `total`.

    What a share would get above `high` goes to the others in proportion (water-filling); fractions are settled by
    largest remainder, ties by position. The shares have passed `checked`; if all are zero, they count as equal.

    >>> allocate([3.0, 2.0, 1.0], total=7, high=100)
    [4, 2, 1]
    >>> allocate([8.0, 1.0, 1.0], total=10, high=4)
    [4, 3, 3]
    """
    if not 0 <= total <= len(shares) * high:
        raise ValueError(f"{total} pairs do not fit into {len(shares)} segments of at most {high}")
    ideal = pour(shares, total, high)
    whole = [min(high, math.floor(amount)) for amount in ideal]
    by_remainder = sorted(
        (index for index, amount in enumerate(whole) if amount < high),
        key=lambda index: (whole[index] - ideal[index], index),
    )
    for index in by_remainder[: total - sum(whole)]:
        whole[index] += 1
    return whole


def checked(shares: Sequence[float], count: int, whose: str) -> Sequence[float]:
    """Return the shares that a layer or head budget gave, `whose` being its name in the error.

    Raises:
        InputError: They are not `count` numbers of at least 0 with a finite sum.
    """
    if len(shares) != count or not all(share >= 0 for share in shares) or math.isinf(sum(shares)):
        raise InputError(f"{whose}: expected {count} shares of at least 0 with a finite sum, not {shares}")
    return shares


def pour(shares: Sequence[float], total: int, high: int) -> list[float]:
    """Return the real amounts: proportional to the shares, none above `high`, summing to `total`."""
    amounts = [0.0] * len(shares)
    open_ = list(range(len(shares)))
    left = float(total)
    while open_:
        weight = math.fsum(shares[index] for index in open_)
        wanted = {index: left * shares[index] / weight if weight else left / len(open_) for index in open_}
        full = [index for index in open_ if wanted[index] >= high]
        for index in full or open_:
            amounts[index] = min(float(high), wanted[index])
        if not full:
            break
        left -= high * len(full)
        open_ = [index for index in open_ if index not in full]
    return amounts
