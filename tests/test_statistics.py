"""Intervals and errors of means, worked by hand and against what they claim."""

import math
import random

import pytest

from maskkv.statistics import Z, pooled_retention, retention, standard_error, wilson


def test_the_standard_error_of_right_and_wrong_is_binomial():
    assert standard_error([1.0, 0.0, 0.0, 0.0]) == pytest.approx((0.25 * 0.75 / 4) ** 0.5)


def test_the_standard_error_of_graded_scores_is_their_spread():
    assert standard_error([0.2, 0.6]) == pytest.approx(0.2 / 2**0.5)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"), [(0, 10, 0.0, 0.278), (5, 10, 0.237, 0.763), (10, 10, 0.722, 1)]
)
def test_wilsons_interval_as_published(right, n, low, high):
    """Wilson 1927; the numbers are those of Brown, Cai and DasGupta's tables."""
    assert wilson(right, n) == pytest.approx((low, high), abs=5e-4)


@pytest.mark.parametrize("n", [1, 5, 64])
def test_wilsons_interval_ends_where_the_share_is_a_critical_distance_away(n):
    for right in range(n + 1):
        for end in wilson(right, n):
            if 0 < end < 1:
                assert abs(right / n - end) == pytest.approx(Z * math.sqrt(end * (1 - end) / n))


def test_the_same_scores_retain_everything_without_error():
    assert retention([1.0, 0.0, 1.0], [1.0, 0.0, 1.0]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("scores", "reference", "ratio", "error"),
    [
        # Residuals 1/4, 1/4, −3/4, 1/4; their squares add up to 3/4; √(3/4 / 3 / 4) is 1/4, and the reference's mean 1.
        ([1.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0], 0.75, 0.25),
        # Residuals 1/2, −1/2; squares 1/2; √(1/2 / 1 / 2) is 1/2. Divided by n, not n − 1, it would be 0.354.
        ([1.0, 0.0], [1.0, 1.0], 0.5, 0.5),
        # Residuals 1/2, −1/2, 0; squares 1/2; √(1/2 / 2 / 3) is 1/√12, over the reference's mean of 2/3: √3/4.
        ([1.0, 0.0, 0.0], [1.0, 1.0, 0.0], 0.5, math.sqrt(3) / 4),
        # Graded scores. Ratio 0.6/1.2; residuals 0.15, 0.05, −0.2; squares 0.065; √(0.065 / 2 / 3) / 0.4.
        ([0.4, 0.2, 0.0], [0.5, 0.3, 0.4], 0.5, math.sqrt(0.065 / 6) / 0.4),
    ],
)
def test_the_ratio_and_its_error_worked_by_hand(scores, reference, ratio, error):
    assert retention(scores, reference) == (pytest.approx(ratio), pytest.approx(error))


def test_one_document_has_a_ratio_without_an_error():
    ratio, error = retention([0.5], [1.0])
    assert ratio == 0.5
    assert math.isnan(error)


def test_a_reference_of_zero_has_no_ratio():
    assert all(math.isnan(value) for value in retention([1.0, 0.0], [0.0, 0.0]))


def test_other_documents_are_refused():
    with pytest.raises(ValueError, match="same documents"):
        retention([1.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="same documents"):
        pooled_retention([([1.0], [1.0]), ([1.0], [1.0, 1.0])])


def test_one_task_pooled_is_that_task():
    own, other = [0.4, 0.2, 0.0], [0.5, 0.3, 0.4]
    assert pooled_retention([(own, other)]) == pytest.approx(retention(own, other))


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
