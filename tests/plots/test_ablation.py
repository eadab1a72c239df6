"""One bar per policy, as long as its score."""

import pytest
from matplotlib.colors import to_hex

from maskkv.errors import InputError
from maskkv.plots import draw
from maskkv.plots.scores import against, estimate
from maskkv.plots.style import POLICIES
from tests.plots.pictures import POLICIES as DRAWN
from tests.plots.pictures import UNBROKEN, caption, cell, clashes, notes, numbers


def bars(axis):
    """Return the bars by the labels beside them, from the top: their length, and whether they are hatched."""
    labels = [label.get_text() for label in axis.get_yticklabels()]
    middles = [bar.get_y() + bar.get_height() / 2 for bar in axis.patches]
    assert middles == pytest.approx(list(axis.get_yticks()))
    assert middles == sorted(middles)
    return {label: (bar.get_width(), bool(bar.get_hatch())) for label, bar in zip(labels, axis.patches, strict=True)}


def test_bars_are_scores_and_what_keeps_everything_comes_first_and_hatched():
    records = [cell("maskkv", 8, [1.0, 0.0]), cell("snapkv", 8, [1.0, 0.0, 0.0, 0.0]), cell("full", None, [1.0, 1.0])]
    figure = draw("ablation", records)
    (axis,) = figure.axes
    assert list(bars(axis).items()) == [("full", (100.0, True)), ("maskkv", (50.0, False)), ("snapkv", (25.0, False))]
    assert notes(axis) == ["100.0", "50.0", "25.0"]
    assert caption(figure).startswith("n = 2 to 4 documents per task. Error bars: 95 % intervals. Dashed line: maskkv.")
    assert caption(figure).endswith("Hatched: keeps every pair.")
    assert figure.get_suptitle().endswith("\nmulti-key, budget 8")


def test_bars_are_sorted_and_coloured_by_policy_with_a_line_at_maskkv():
    scores = {"snapkv": 0.25, "maskkv(tally=max)": 0.75, "maskkv": 0.5, "mask-voting": 1.0}
    (axis,) = draw("ablation", [cell(policy, 8, [score]) for policy, score in scores.items()]).axes
    assert [name for name, _ in bars(axis).items()] == ["mask-voting", "maskkv(tally=max)", "maskkv", "snapkv"]
    assert [to_hex(bar.get_facecolor()) for bar in axis.patches] == [
        POLICIES[name] for name in ("mask-voting", "maskkv", "maskkv", "snapkv")
    ]
    assert [list(line.get_xdata()) for line in axis.get_lines() if line.get_linestyle() == "--"] == [[50.0, 50.0]]


def test_error_bars_are_the_intervals():
    record = cell("maskkv", 8, [1.0, 0.0, 0.0])
    (axis,) = draw("ablation", [record]).axes
    (segment,) = axis.containers[1].lines[2][0].get_segments()
    point = estimate([record])
    assert list(segment[:, 0]) == pytest.approx([point.low, point.high])


def test_several_budgets_are_named_at_each_bar():
    figure = draw("ablation", [cell("maskkv", 8, [1.0]), cell("maskkv", 4, [0.0])])
    assert list(bars(figure.axes[0])) == ["maskkv 8", "maskkv 4"]
    assert figure.get_suptitle().endswith("\nmulti-key")


def test_means_are_over_all_tasks_or_refused():
    complete = [cell("a", 4, [1.0, 1.0], "x"), cell("a", 4, [0.0, 1.0], "y")]
    figure = draw("ablation", complete)
    assert bars(figure.axes[0]) == {"a": (75.0, False)}
    assert figure.get_suptitle().endswith("\nmean of 2 tasks, budget 4")
    with pytest.raises(InputError, match="b was not measured on all of x, y: choose with --where task="):
        draw("ablation", [*complete, cell("b", 4, [1.0], "x")])


def test_retention_has_its_own_label():
    (axis,) = draw("ablation", against([cell("full", None, [1.0, 1.0]), cell("a", 4, [1.0, 0.0])], "full")).axes
    assert bars(axis) == {"full": (100.0, True), "a": (50.0, False)}
    assert axis.get_xlabel() == "% of the score of full"


def test_scores_of_nothing_are_bars_of_nothing_and_no_number_is_none():
    graded = cell("a", 4, [0.0, 0.0])
    del graded["scores"]  # or 0 of 2 right would get an interval
    (axis,) = draw("ablation", [graded]).axes
    assert bars(axis) == {"a": (0.0, False)}
    records = against([cell("full", None, [0.0, 0.0]), cell("a", 4, [0.0, 1.0])], "full")
    with pytest.raises(InputError, match="full scores 0 here"):
        draw("ablation", records)


@pytest.mark.parametrize("budgets", [[32], [32, 512]], ids=len)
def test_nothing_is_printed_over_anything(budgets):
    records = [
        cell(policy, budget, numbers(5, seed=f"{policy}/{budget}"))
        for policy in [*DRAWN, UNBROKEN]
        for budget in ([None] if policy in ("none", "full") else budgets)
    ]
    assert clashes(draw("ablation", records)) == []
