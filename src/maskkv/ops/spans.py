"""Rows in chunks, so that of what is computed row by row only one chunk is alive."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def spans(stop: int, chunk_rows: int, start: int = 0) -> list[slice]:
    """Cut rows into slices of at most `chunk_rows`; no rows make one empty slice.

    >>> spans(10, 4)
    [slice(0, 4, None), slice(4, 8, None), slice(8, 10, None)]
    """
    return [slice(first, min(first + chunk_rows, stop)) for first in range(start, max(stop, start + 1), chunk_rows)]


def over_spans(compute: Callable[[slice], Tensor], parts: list[slice]) -> Tensor:
    """Compute each span and lay the results end to end, with no second copy of the whole.

    A single span is returned as computed, which keeps autograd usable (training runs in one span).
    """
    if len(parts) == 1:
        return compute(parts[0])
    begin = parts[0].start
    first = compute(parts[0])
    out = first.new_empty((parts[-1].stop - begin, *first.shape[1:]))
    out[: len(first)] = first
    del first
    for span in parts[1:]:
        out[span.start - begin : span.stop - begin] = compute(span)
    return out
