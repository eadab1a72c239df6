"""Lines go through the measured scores, the paper's beside them, and nothing is printed over anything."""

import math

import pytest

from maskkv.errors import InputError
from maskkv.plots import draw
from maskkv.plots.budget import DODGE
from maskkv.plots.paper import curves
from maskkv.plots.scores import against, estimate
from tests.plots.pictures import POLICIES, UNBROKEN, caption, cell, clashes, names, numbers

NONE = cell("none", None, [1.0, 1.0, 1.0, 1.0])
MASKKV_16 = cell("maskkv", 16, [1.0, 1.0, 0.0, 1.0])
MASKKV_4 = cell("maskkv", 4, [0.0, 1.0, 0.0, 0.0])
SNAPKV_4 = cell("snapkv", 4, [0.0, 0.0, 0.0, 0.0])


def drawn(axis):
    """Return the lines through policies' scores: neither the ends of error bars nor entries of a legend."""
    return [[*map(list, line.get_data())] for line in axis.get_lines() if line.get_marker() not in ("_", "|")]


def test_one_task_is_one_panel_with_a_line_per_policy():
    figure = draw("budget", [MASKKV_16, MASKKV_4, NONE, SNAPKV_4])
    (axis,) = figure.axes
    level, maskkv, snapkv = drawn(axis)
    assert axis.get_title() == "multi-key"
    assert level == [[0, 1], [100.0, 100.0]]
    assert maskkv == [pytest.approx([4.0, 16.0]), [25.0, 75.0]]
    assert snapkv == [pytest.approx([4 * 2**DODGE]), [0.0]]
    assert list(axis.get_xticks()) == [4.0, 16.0]
    assert list(names(figure)) == ["0: none", "0: maskkv", "0: snapkv"]
    assert caption(figure) == "n = 4 documents per task. Error bars and bands: 95 % intervals."


def test_error_bars_are_the_intervals():
    (axis,) = draw("budget", [MASKKV_16, MASKKV_4]).axes
    (bars,) = axis.containers
    points = [estimate([MASKKV_4]), estimate([MASKKV_16])]
    ends = [sorted(segment[:, 1]) for segment in bars.lines[2][0].get_segments()]
    assert ends == [pytest.approx([point.low, point.high]) for point in points]


def test_several_tasks_get_a_panel_each_and_their_mean_where_it_is_complete():
    other = cell("maskkv", 4, [1.0, 1.0, 0.0, 1.0], "two-hop")
    figure = draw("budget", [MASKKV_16, MASKKV_4, other, NONE])
    assert [axis.get_title() for axis in figure.axes] == ["multi-key", "two-hop", "mean of 2 tasks"]
    # Budget 16, and the policy none, were measured on one of the two tasks only.
    assert drawn(figure.axes[2]) == [[pytest.approx([4 * 2 ** (DODGE / 2)]), [50.0]]]


def test_retention_is_in_percent_of_the_reference():
    figure = draw("budget", against([MASKKV_4, MASKKV_16, cell("full", None, [1.0, 0.0, 0.0, 1.0])], "full"))
    assert [points for _, points in drawn(figure.axes[0])] == [[100.0, 100.0], [50.0, 150.0]]
    assert figure.axes[0].get_ylabel() == "% of the score of full"


def test_a_reference_of_nothing_leaves_gaps():
    nothing = [cell("full", None, [0.0] * 4), MASKKV_4, MASKKV_16]
    figure = draw("budget", against([*nothing, cell("full", None, [1.0], "b"), cell("maskkv", 4, [0.5], "b")], "full"))
    first, second, mean = figure.axes
    assert all(math.isnan(score) for _, scores in drawn(first) for score in scores)
    assert [scores for _, scores in drawn(second)] == [[100.0, 100.0], [50.0]]
    assert [scores for _, scores in drawn(mean)] == [[100.0, 100.0], [75.0]]
    assert clashes(figure) == []


def on_longbench(*tasks, model="GSAI-ML/LLaDA-8B-Instruct", budgets=(16, 32)):
    return [
        cell(policy, budget, [0.25, 0.75], task, model=model)
        for task in tasks
        for policy, some in (("full", [None]), ("maskkv", budgets))
        for budget in some
    ]


def test_the_papers_curve_is_beside_ours_on_its_tasks_and_models():
    figure = draw("budget", on_longbench("trec", "lcc"))
    for axis, tasks in zip(figure.axes, (["trec"], ["lcc"], ["trec", "lcc"]), strict=True):
        stated = curves("LLaDA-8B-Instruct", tasks)
        level, level_stated, maskkv, maskkv_stated = drawn(axis)
        assert level[1] == [50.0, 50.0]
        assert level_stated[1] == [stated["full"][None]] * 2
        assert maskkv[1] == [50.0, 50.0]
        assert maskkv_stated[1] == [stated["maskkv"][budget] for budget in (16, 32, 64, 128, 256, 512)]
    assert "Dotted, hollow markers: the same in the paper (arXiv 2510.09309)." in caption(figure)


def test_the_papers_retention_is_beside_ours():
    (axis,) = draw("budget", against(on_longbench("trec"), "full")).axes
    stated = curves("LLaDA-8B-Instruct", ["trec"])
    assert drawn(axis)[3][1][0] == pytest.approx(100 * stated["maskkv"][16] / stated["full"][None])


@pytest.mark.parametrize(("task", "model"), [("multi-key", "LLaDA-8B-Instruct"), ("trec", "mini")])
def test_there_is_no_curve_of_the_paper_elsewhere(task, model):
    figure = draw("budget", on_longbench(task, model=model))
    assert len(drawn(figure.axes[0])) == 2
    assert list(names(figure)) == ["0: full", "0: maskkv"]
    assert "paper" not in caption(figure)


def test_two_models_make_no_picture():
    with pytest.raises(InputError, match="differ in model"):
        draw("budget", [MASKKV_4, cell("maskkv", 16, [1.0], model="another")])


TASKS = [
    "single-key", "multi-key", "multi-key-first", "multi-key-middle", "multi-key-instructed", "long-value",
    "long-value-first", "multi-value", "multi-question", "multi-question-first", "few-shot", "two-hop", "passage",
]  # fmt: skip
BUDGETS = [4, 8, 16, 32, 64, 128, 256, 512]


@pytest.mark.parametrize("tasks", [TASKS, TASKS[:2], TASKS[:1]], ids=len)
@pytest.mark.parametrize("policies", [POLICIES, [UNBROKEN]], ids=len)
def test_nothing_is_printed_over_anything(tasks, policies):
    records = [
        cell(policy, budget, numbers(6, seed=f"{task}/{policy}/{budget}"), task, length=1024)
        for task in tasks
        for policy in policies
        for budget in ([None] if policy in ("none", "full") else BUDGETS)
    ]
    assert clashes(draw("budget", records)) == []
