"""How far segments of unequal length are filled up, so that few kernel calls read few pairs."""

from __future__ import annotations

from collections.abc import Sequence

CALL_PAIRS = 512
"""What a kernel call costs beside the pairs that it reads, in pairs."""


def own_widths(lengths: Sequence[int], kv_heads: int) -> list[int]:
    """Say how far each segment is filled up, by nothing but the lengths of its own sequence.

    Not at all where they are equal; else to a multiple of 16, of 32 from 256 pairs on, and so forth (by less than 16
    pairs or an eighth), and further up to the width of a longer one if to read the filling takes less than another
    kernel call.

    >>> own_widths([30, 8, 16, 2000, 70, 70, 70, 70], 4)
    [32, 32, 32, 2048, 70, 70, 70, 70]
    """
    widths: list[int] = []
    for start in range(0, len(lengths), kv_heads):
        own = lengths[start : start + kv_heads]
        widths += own if min(own) == max(own) else _merged([_filled(length) for length in own])
    return widths


def _merged(widths: list[int]) -> list[int]:
    """Raise some widths to larger ones, so that pairs read and calls, each as many pairs as it costs, are fewest."""
    ranked = sorted(widths)
    cost, cut = [0.0], [0]
    for stop in range(1, len(ranked) + 1):
        costs = [cost[start] + (stop - start) * ranked[stop - 1] + CALL_PAIRS for start in range(stop)]
        cost.append(min(costs))
        cut.append(costs.index(cost[-1]))
    raised: dict[int, int] = {}
    stop = len(ranked)
    while stop:
        raised |= dict.fromkeys(ranked[cut[stop] : stop], ranked[stop - 1])
        stop = cut[stop]
    return [raised[width] for width in widths]


def _filled(length: int) -> int:
    unit = max(16, 1 << max(0, length.bit_length() - 4))
    return -(-length // unit) * unit
