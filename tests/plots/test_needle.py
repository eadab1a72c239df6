"""A needle's score stands at its length and depth."""

import numpy as np
import pytest

from maskkv.errors import InputError
from maskkv.plots import draw
from tests.plots.pictures import LONG, cell, clashes, numbers


def needle(length, depth, score, policy="maskkv", budget=64, **fields):
    return cell(policy, budget, [score], "niah", length=length, depth=depth, **fields)


def test_each_policy_and_budget_is_a_map_with_its_mean():
    records = [
        needle(2048, 0, 1.0), needle(2048, 50, 0.25), needle(1024, 0, 0.5),
        needle(1024, 0, 0.75, "none", None), needle(1024, 0, 0.0, budget=128),
    ]  # fmt: skip
    none, ours, more, _ = draw("needle", records).axes
    titles = [axis.get_title() for axis in (none, ours, more)]
    assert titles == ["none\nmean 0.750", "maskkv\nbudget 64, mean 0.583", "maskkv\nbudget 128, mean 0.000"]
    drawn = ours.get_images()[0].get_array()
    assert np.array_equal(np.ma.filled(drawn, np.nan), [[0.5, 1.0], [np.nan, 0.25]], equal_nan=True)
    assert [label.get_text() for label in ours.get_xticklabels()] == ["1k", "2k"]
    assert [label.get_text() for label in ours.get_yticklabels()] == ["0", "50"]
    assert {text.get_position(): text.get_text() for text in ours.texts} == {
        (0, 0): ".50",
        (1, 0): "1.00",
        (1, 1): ".25",
    }


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([cell("maskkv", 4, [1.0])], "no record here is a measured cell of `maskkv eval niah`"),
        ([needle(1024, 0, 1.0), needle(1024, 0, 0.5, n=2)], "differ in n"),
        ([needle(1024, 0, 1.0), needle(1024, 50, 0.5, fingerprint="g")], "differ in fingerprint"),
        ([needle(1024, "deep", 1.0)], "field depth is deep: expected a number"),
    ],
)
def test_what_makes_no_map_is_refused(records, says):
    with pytest.raises(InputError, match=says):
        draw("needle", records)


def test_needles_are_no_part_of_the_figures_of_scores():
    with pytest.raises(InputError, match="no record here is a measured cell of `maskkv eval`"):
        draw("budget", [needle(1024, 0, 1.0)])


@pytest.mark.parametrize(("lengths", "depths"), [(13, 10), (2, 2), (20, 40)])
def test_nothing_is_printed_over_anything(lengths, depths):
    records = [
        needle(1024 * (number + 1), round(100 * place / (depths - 1)), score, policy, budget)
        for policy, budget in (("none", None), ("maskkv", 64), (LONG, 64))
        for number in range(lengths)
        for place, score in enumerate(numbers(depths, seed=f"{policy}{number}"))
    ]
    assert clashes(draw("needle", records)) == []
