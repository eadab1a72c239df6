"""Scores over what the schedules cost: passes over the prompt, or steps."""

import pytest

from maskkv.errors import InputError
from maskkv.plots import draw
from tests.plots.pictures import caption, cell, clashes, names

PLAIN = {
    "prompt_interval": 50,
    "one_pass": False,
    "min_confidence": None,
    "value_drift": None,
    "threshold": None,
    "steps": None,
}


def measured(scores, passes, task="multi-key", policy="maskkv", budget=16, steps=8.0, **schedule):
    fields = {"schedule": {**PLAIN, **schedule}, "mean_prompt_passes": passes, "mean_steps": steps}
    return cell(policy, budget, scores, task, **fields)


def lines(axis):
    """Return the series that were drawn: places and heights."""
    return [tuple(map(list, container.lines[0].get_data())) for container in axis.containers]


def test_a_rule_is_a_series_in_order_of_its_passes():
    records = [
        measured([1.0, 1.0], 6.0, prompt_interval=4),
        measured([0.0, 1.0], 1.0),
        measured([1.0, 1.0], 3.0, min_confidence=0.8),
        measured([0.0, 0.0], 1.0, one_pass=True),
    ]
    figure = draw("schedule", records)
    (axis,) = figure.axes
    assert lines(axis) == [([1.0, 6.0], [50.0, 100.0]), ([3.0], [100.0]), ([1.0], [0.0])]
    assert list(names(figure)) == ["0: prompt_interval", "0: min_confidence", "0: one_pass"]


def test_means_are_over_tasks_of_the_same_schedule():
    records = [
        measured([1.0], 2.0, "x", min_confidence=0.8),
        measured([0.0], 4.0, "y", min_confidence=0.8),
        measured([1.0], 9.0, "x", min_confidence=0.9),
    ]
    figure = draw("schedule", records)
    assert [axis.get_title() for axis in figure.axes] == ["x", "y", "mean of 2 tasks"]
    assert lines(figure.axes[2]) == [([3.0], [50.0])]


def test_every_policy_and_budget_has_a_row_of_panels_with_the_same_axes():
    records = [
        measured([score], passes, task, policy, budget, min_confidence=confidence)
        for task, score in (("x", 0.5), ("y", 0.9))
        for policy, budget, passes in (("full", None, 9.0), ("maskkv", 16, 3.0))
        for confidence in (0.8,)
    ]
    figure = draw("schedule", records)
    assert [axis.get_title() for axis in figure.axes] == [
        f"{policy}, {panel}" for policy in ("full", "maskkv 16") for panel in ("x", "y", "mean of 2 tasks")
    ]
    assert {(axis.get_xlim(), axis.get_ylim()) for axis in figure.axes} == {(figure.axes[0].get_xlim(), (0.0, 105.0))}
    assert list(names(figure)) == ["2: min_confidence", "5: min_confidence"]
    assert caption(figure) == "n = 1 documents per task. Error bars: 95 % intervals."


def test_without_a_schedule_of_all_tasks_their_mean_stays_empty():
    figure = draw(
        "schedule", [measured([1.0], 2.0, "x", min_confidence=0.8), measured([0.0], 4.0, "y", min_confidence=0.9)]
    )
    assert [len(lines(axis)) for axis in figure.axes] == [1, 1, 0]


def test_parallel_decoding_is_drawn_over_steps():
    records = [measured([1.0], 1.0, steps=8.0), measured([0.0], 1.0, steps=2.5, threshold=0.9)]
    figure = draw("parallel", records)
    assert lines(figure.axes[0]) == [([8.0], [100.0]), ([2.5], [0.0])]
    assert list(names(figure)) == ["0: steps", "0: threshold"]


def test_schedules_that_differ_in_more_are_refused():
    records = [measured([1.0], 1.0), measured([1.0], 1.0, transfer_ratio=0.5, min_confidence=0.8)]
    with pytest.raises(InputError, match=r"differ in schedule.transfer_ratio .*choose with --where"):
        draw("schedule", records)


def test_records_that_do_not_count_passes_are_left_out():
    uncounted = measured([1.0], None, prompt_interval=4)
    assert len(lines(draw("schedule", [uncounted, measured([1.0], 2.0)]).axes[0])) == 1
    with pytest.raises(InputError, match="no record here"):
        draw("schedule", [uncounted])


def test_nothing_is_printed_over_anything():
    rules = [{"prompt_interval": 4}, {"min_confidence": 0.8}, {"value_drift": 0.1}, {"one_pass": True}]
    records = [
        measured([0.0, 1.0], passes, task, budget=budget, **rule)
        for task in ("long-value", "multi-question-first")
        for budget in (16, 64)
        for passes, rule in enumerate(rules, 1)
    ]
    assert clashes(draw("schedule", records)) == []
