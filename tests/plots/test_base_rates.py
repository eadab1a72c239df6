"""Policies that differ in a base rate only make a curve over it."""

import pytest

from maskkv.errors import InputError
from maskkv.plots import draw
from maskkv.plots.base_rates import sweeps
from maskkv.policies import named
from tests.plots.pictures import caption, cell, clashes, names, numbers


def rated(alpha, beta, scores, budget=16, task="multi-key", **changes):
    """Make the record of MaskKV with other base rates, its `repr` as the policy itself states it."""
    stated = repr(named("maskkv"))
    assert "head_base=0.1" in stated
    assert "layer_base=0.4" in stated
    for old, new in {"head_base=0.1": f"head_base={alpha}", "layer_base=0.4": f"layer_base={beta}", **changes}.items():
        stated = stated.replace(old, new)
    name = f"maskkv(head_base={alpha}, layer_base={beta})"
    return cell(name, budget, scores, task) | {"policy": stated.replace("name='maskkv'", f"name={name!r}")}


def curves(axis):
    lines = [line for line in axis.get_lines() if line.get_marker() not in ("_", "|", "None")]
    return [[*map(list, line.get_data())] for line in lines]


def test_each_rate_gets_a_panel_with_its_curve_in_order():
    records = [
        rated(0.5, 0.4, [1.0, 0.0]), rated(0.1, 0.4, [1.0, 1.0]), rated(0.0, 0.4, [0.0, 0.0]),
        rated(0.1, 1.0, [0.0, 1.0]),
    ]  # fmt: skip
    figure = draw("base-rates", records)
    alpha, beta = figure.axes
    assert (alpha.get_xlabel(), beta.get_xlabel()) == ("α (head_base)", "β (layer_base)")
    assert curves(alpha) == [[[0.0, 0.1, 0.5], [0.0, 100.0, 50.0]]]
    assert curves(beta) == [[[0.4, 1.0], [100.0, 50.0]]]
    assert list(names(figure)) == ["0: maskkv 16, β = 0.4", "1: maskkv 16, α = 0.1"]
    assert caption(figure) == "n = 2 documents per task. Error bars: 95 % intervals. Dotted: the paper's choice."
    assert alpha.get_ylim() == beta.get_ylim()
    assert alpha.get_ylim()[0] == 0


def test_budgets_make_curves_of_their_own_and_tasks_are_averaged():
    records = [
        rated(alpha, 0.4, [score, 1.0], budget, task)
        for budget in (16, 32)
        for task, score in (("a", 0.0), ("b", 1.0))
        for alpha in (0.1, 0.2)
    ]
    (axis,) = draw("base-rates", records).axes
    assert curves(axis) == [[[0.1, 0.2], [75.0, 75.0]]] * 2


def test_a_point_that_is_not_measured_on_every_task_is_no_point():
    records = [rated(alpha, 0.4, [1.0], task=task) for alpha in (0.1, 0.2) for task in "ab"]
    swept = sweeps([*records, rated(0.3, 0.4, [1.0], task="a")], "head_base")
    assert [list(points) for points in swept.values()] == [[0.1, 0.2]]


def test_other_policies_are_left_out():
    records = [rated(0.1, 0.4, [1.0]), rated(0.2, 0.4, [0.0]), cell("snapkv", 16, [1.0]), cell("full", None, [1.0])]
    (axis,) = draw("base-rates", records).axes
    assert curves(axis) == [[[0.1, 0.2], [100.0, 0.0]]]


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([cell("snapkv", 16, [1.0])], "no record here is a measured cell"),
        ([rated(0.1, 0.4, [1.0])], "there is no sweep"),
        ([rated(0.1, 0.4, [1.0]), rated(0.2, 0.5, [1.0])], "there is no sweep"),
        (
            [rated(0.1, 0.4, [1.0]), rated(0.2, 0.4, [1.0], **{"boundary_layers=1": "boundary_layers=2"})],
            "differ in more than their base rates",
        ),
    ],
)
def test_what_is_no_sweep_is_refused(records, says):
    with pytest.raises(InputError, match=says):
        draw("base-rates", records)


def test_nothing_is_printed_over_anything():
    rates = [(round(0.1 * step, 1), 0.4) for step in range(11)] + [(0.1, round(0.1 * step, 1)) for step in range(11)]
    records = [
        rated(alpha, beta, numbers(4, seed=f"{alpha}/{beta}/{budget}"), budget)
        for alpha, beta in dict.fromkeys(rates)
        for budget in (4, 16, 64, 256)
    ]
    assert clashes(draw("base-rates", records)) == []
