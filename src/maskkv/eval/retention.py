"""What eviction costs: scores relative to a reference on the same documents."""

from __future__ import annotations

import math
from collections.abc import Sequence


def retention(scores: Sequence[float], reference: Sequence[float]) -> tuple[float, float]:
    """Return the ratio of two mean scores on the same documents, and its standard error; NaN if the reference is 0.

    The error is the delta method's for a ratio of paired means: that of the differences `score − ratio × reference`.

    >>> ratio, error = retention([1.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0])
    >>> round(ratio, 2), round(error, 2)
    (0.75, 0.25)
    """
    if len(scores) != len(reference):
        raise ValueError("scores and reference must be on the same documents")
    n, base = len(scores), math.fsum(reference)
    if base == 0:
        return math.nan, math.nan
    ratio = math.fsum(scores) / base
    if n == 1:
        return ratio, math.nan
    residuals = [score - ratio * other for score, other in zip(scores, reference, strict=True)]
    variance = math.fsum(residual**2 for residual in residuals) / (n - 1)
    return ratio, math.sqrt(variance / n) / (base / n)
