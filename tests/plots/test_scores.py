"""Estimates and intervals, worked by hand and against the retention that evaluation prints."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskkv.errors import InputError
from maskkv.plots.scores import against, cells, estimate, leading, quantity, sampled, setting
from maskkv.statistics import Z, retention
from tests.plots.pictures import cell


def test_right_and_wrong_get_wilsons_interval():
    # p = 3/4, n = 4: z² = 3.8416; centre (0.75 + 0.4802) / 1.9604, half 1.96 / 1.9604 · √(0.046875 + 0.060025)
    point = estimate([cell("maskkv", 4, [1.0, 1.0, 1.0, 0.0])])
    assert point.value == 75.0
    assert (point.low, point.high) == pytest.approx((62.7525 - 32.6891, 62.7525 + 32.6891), abs=2e-3)


def test_a_score_that_is_not_its_scores_mean_breaks_no_interval():
    assert estimate([cell("a", 4, [1.0, 0.0]) | {"score": -1}]).low == estimate([cell("a", 4, [1.0, 0.0])]).low


def test_graded_scores_get_their_standard_error():
    point = estimate([cell("maskkv", 4, [0.2, 0.4])])  # deviation √0.02, error 0.1
    assert (point.value, point.low, point.high) == pytest.approx((30.0, 30 - 19.6, 30 + 19.6))


def test_a_mean_over_tasks_adds_the_variances():
    some = [cell("maskkv", 4, [1.0, 1.0], "a"), cell("maskkv", 4, [0.2, 0.4], "b")]
    point = estimate(some)  # (1 + 0.3) / 2, √(0² + 0.1²) / 2
    assert (point.value, point.high - point.value) == pytest.approx((65.0, 9.8))


scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1)), min_size=2, max_size=20)


@given(scores)
def test_retention_of_one_task_is_the_ratio_that_evaluation_prints(pairs):
    own, other = (list(each) for each in zip(*pairs, strict=True))
    point = estimate(against([cell("full", None, other), cell("maskkv", 4, own)], "full")[1:])
    ratio, error = retention(own, other)
    assert point.value == pytest.approx(100 * ratio)
    assert point.high == pytest.approx(100 * (ratio + Z * error))
    assert 0 <= point.low <= point.value + 1e-9


def test_retention_over_tasks_is_the_ratio_of_the_means():
    records = [
        cell("full", None, [1.0, 1.0], "a"), cell("full", None, [0.0, 0.5], "b"),
        cell("maskkv", 4, [1.0, 0.0], "a"), cell("maskkv", 4, [0.5, 0.5], "b"),
    ]  # fmt: skip
    point = estimate(against(records, "full")[2:])
    assert point.value == pytest.approx(100 * (0.5 + 0.5) / (1.0 + 0.25))
    # Residuals own − 0.8 · full: a 0.2, −0.8 (variance 0.5), b 0.5, 0.1 (variance 0.08).
    assert point.high == pytest.approx(80 + 196 * math.sqrt(0.5 / 2 + 0.08 / 2) / 1.25)
    assert quantity(against(records, "full")) == "% of the score of full"
    assert quantity(records) == "score, %"
    assert quantity([record | {"metric": "exact match"} for record in records]) == "exact match, %"


@pytest.mark.parametrize("nothing", [0.0, 5e-324])
def test_a_reference_of_nothing_leaves_no_number(nothing):
    point = estimate(against([cell("full", None, [0.0, nothing]), cell("maskkv", 4, [1.0, 0.0])], "full")[1:])
    assert math.isnan(point.value)


def test_scores_beyond_any_number_are_refused():
    with pytest.raises(InputError, match=r"a record's field scores holds 1e\+300: expected scores from 0 to 1"):
        estimate(against([cell("full", None, [1.0]), cell("maskkv", 4, [1.0]) | {"scores": [1e300]}], "full")[1:])


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([], "no record here is a measured cell"),
        ([{"benchmark": "policies", "cases": []}], "no record here is a measured cell"),
        ([cell("a", 4, [1.0]), cell("a", 4, [1.0], length=9)], "in length (64, 9): choose with --where length=64"),
        ([cell("a", 4, [1.0]), cell("b", 4, [1.0], first_seed=9)], "differ in first_seed (0, 9)"),
        ([cell("a", 4, [1.0]), cell("b", 4, [1.0], fingerprint="g")], "differ in fingerprint (f, g)"),
        ([cell("a", 4, [1.0]), cell("a", 4, [1.0], "b", benchmark="ruler")], "--where benchmark=mini"),
        ([cell("a", 4, [1.0]), cell("a", 4, [1.0, 1.0])], "differ in n (1, 2): choose with --where n=1"),
        ([cell("a", [4], [1.0])], "a record's field budget is [4]: expected an integer from 1 on, or null"),
        ([cell("a", 4, [1.0]) | {"policy_name": ["a"]}], "a record's field policy_name is [\"a\"]: expected text"),
        ([cell("a", 4, [1.0]), cell("a", 4, [0.0])], "two records of policy_name a, budget 4, task multi-key"),
        (
            [cell("a", 4, [1.0], schedule={"x": 1, "y": 2}), cell("a", 4, [1.0], schedule={"x": 1, "y": 3})],
            "differ in schedule.y (2, 3): choose with --where schedule.y=2",
        ),
    ],
)  # fmt: skip
def test_cells_that_make_no_picture_are_refused(records, says):
    with pytest.raises(InputError) as caught:
        cells(records)
    assert says in str(caught.value)


def test_lengths_may_differ_from_task_to_task():
    assert len(cells([cell("a", 4, [1.0]), cell("a", 4, [1.0], "b", length=9)])) == 2


def test_a_missing_reference_is_named_with_its_command():
    records = [cell("full", None, [1.0], n=1), cell("maskkv", 4, [1.0], "two-hop")]
    with pytest.raises(InputError, match=r"no record of policy full .* `maskkv eval two-hop --policy full`"):
        against(records, "full")


def test_a_setting_says_what_all_records_share():
    assert setting([cell("a", 4, [1.0])]) == "mini, prompts of 64 tokens"
    assert setting([cell("a", 4, [1.0]), cell("a", 4, [1.0, 1.0], length=9)]) == "mini"


def test_a_caption_says_of_how_many_documents_an_estimate_is():
    one, two = cell("a", 4, [1.0]), cell("a", 4, [1.0, 1.0])
    assert sampled([one]) == "n = 1 documents per task. Error bars and bands: 95 % intervals"
    assert sampled([one, two], "Error bars") == "n = 1 to 2 documents per task. Error bars: 95 % intervals"
    assert sampled([{**one, "n": None}]) == "Error bars and bands: 95 % intervals"


def test_those_that_keep_everything_lead_then_maskkv_then_the_best():
    records = [
        cell("snapkv", 4, [0.5]), cell("snapkv", 8, [0.1]), cell("h2o", 4, [0.4]), cell("maskkv", 4, [0.1]),
        cell("full", None, [0.2]), cell("none", None, [0.3]), cell("knorm", 4, [0.0]), cell("adakv", 4, [0.2]),
    ]  # fmt: skip
    assert leading(records) == ["none", "full", "maskkv", "h2o", "snapkv", "adakv"]
