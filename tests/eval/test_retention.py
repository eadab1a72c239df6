"""Scores relative to a reference on the same documents."""

import math
import random

import pytest

from maskkv.eval.retention import retention


def test_the_same_scores_retain_everything_without_error():
    assert retention([1.0, 0.0, 1.0], [1.0, 0.0, 1.0]) == (1.0, 0.0)


def test_a_reference_of_zero_has_no_ratio():
    assert all(math.isnan(value) for value in retention([1.0, 0.0], [0.0, 0.0]))


def test_other_documents_are_refused():
    with pytest.raises(ValueError, match="same documents"):
        retention([1.0], [1.0, 1.0])


def test_the_error_is_the_spread_of_the_ratio_over_redrawn_documents():
    # The standard error claims to be the standard deviation of the ratio over samples of documents: draw many.
    rng = random.Random(0)

    def draw():
        reference = [float(rng.random() < 0.8) for _ in range(200)]
        return [base * (rng.random() < 0.7) + (1 - base) * (rng.random() < 0.1) for base in reference], reference

    ratios = [retention(*draw())[0] for _ in range(2000)]
    mean = sum(ratios) / len(ratios)
    spread = math.sqrt(sum((ratio - mean) ** 2 for ratio in ratios) / len(ratios))
    errors = [retention(*draw())[1] for _ in range(200)]
    assert sum(errors) / len(errors) == pytest.approx(spread, rel=0.05)
