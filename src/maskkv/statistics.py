"""Means with their errors: what scores on a sample of documents say about all documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance

Z = 1.96
"""Standard errors on either side of an estimate that make a 95 % interval."""


def standard_error(scores: Sequence[float]) -> float:
    """Return the standard error of the mean: sqrt(Σ (x − mean)² / n²); of zeros and ones, sqrt(p (1 − p) / n).

    >>> standard_error([1.0, 0.0, 1.0, 0.0])
    0.25
    """
    mean = fmean(scores)
    return math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / len(scores) / len(scores))


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share, after `right` of `n` were right.

    >>> [round(end, 3) for end in wilson(8, 10)]
    [0.49, 0.943]
    """
    centre = (right + Z * Z / 2) / (n + Z * Z)
    half = Z / (n + Z * Z) * math.sqrt(right * (n - right) / n + Z * Z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def retention(scores: Sequence[float], reference: Sequence[float]) -> tuple[float, float]:
    """Return the ratio of two mean scores on the same documents and its standard error; NaN if the reference is 0.

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
    squares = math.fsum(residual**2 for residual in _residuals(scores, reference, ratio))  # their mean is 0
    return ratio, math.sqrt(squares / (n - 1) / n) / (base / n)


def pooled_retention(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[float, float]:
    """Return `retention` over several tasks, given as pairs of scores and reference.

    The ratio is that of the mean scores over the tasks. Tasks are independent, so their variances add up.

    >>> ratio, error = pooled_retention([([1.0, 0.0], [1.0, 1.0]), ([0.5, 0.5], [0.0, 0.5])])
    >>> round(ratio, 2), round(error, 2)
    (0.8, 0.43)
    """
    if any(len(own) != len(other) for own, other in pairs):
        raise ValueError("scores and reference must be on the same documents")
    base = math.fsum(fmean(other) for _, other in pairs)
    ratio = math.fsum(fmean(own) for own, _ in pairs) / base if base else math.nan
    if not math.isfinite(ratio):  # a reference next to 0 is no better
        return math.nan, math.nan
    if any(len(own) == 1 for own, _ in pairs):
        return ratio, math.nan
    variances = [variance(_residuals(own, other, ratio)) / len(own) for own, other in pairs]
    return ratio, math.sqrt(math.fsum(variances)) / base


def _residuals(scores: Sequence[float], reference: Sequence[float], ratio: float) -> list[float]:
    return [score - ratio * other for score, other in zip(scores, reference, strict=True)]
