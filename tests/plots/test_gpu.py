"""Speed-ups and peaks stand at their prompt lengths, and the paper's beside them."""

import pytest

from maskkv.errors import InputError
from maskkv.plots import draw
from tests.plots.pictures import caption, clashes, names, notes

WEIGHTS = 16.0e9


def line(length, policy, paper, one_pass, peak, **fields):
    return {
        "benchmark": "gpu", "item": "side by side", "device": "NVIDIA H200", "shape": "llada-8b", "dtype": "bfloat16",
        "gen_length": 128, "prompt_length": length, "policy": policy, "budget": 256 if policy == "maskkv" else None,
        "response_s": {"paper": 1.0, "one_pass": 1.0}, "speedup": {"paper": paper, "one_pass": one_pass},
        "peak_bytes": peak, "weight_bytes": WEIGHTS, **fields,
    }  # fmt: skip


LINES = [
    line(16384, "none", 1.0, 1.0, 18.5e9), line(8192, "none", 1.0, 1.0, 17.5e9),
    line(8192, "full", 3.0, 4.0, 22.0e9), line(16384, "full", 4.0, 5.0, 27.0e9),
    line(8192, "maskkv", 20.0, 50.0, 16.5e9), line(16384, "maskkv", 30.0, 70.0, 17.0e9),
]  # fmt: skip
OTHERS = [{"benchmark": "gpu", "item": "card"}, {"item": "side by side", "prompt_length": 32768, "skipped": "no time"}]


def drawn(axis):
    return [[*map(list, each.get_data())] for each in axis.get_lines()]


def test_numbers_stand_at_their_lengths_beside_the_papers():
    figure = draw("gpu", [*OTHERS, *LINES])
    left, right = figure.axes
    assert drawn(left) == [
        [[8192, 16384], [3.0, 4.0]],
        [[8192, 16384], [20.0, 30.0]],
        [[8192, 16384], [50.0, 70.0]],
        [[32768], [31.0]],
    ]
    assert drawn(right) == [
        [[0, 1], [16.0, 16.0]],
        [[8192, 16384], [17.5, 18.5]],
        [[8192, 16384], [22.0, 27.0]],
        [[8192, 16384], [16.5, 17.0]],
        [[32768], [68.13]],
        [[32768], [23.42]],
    ]
    assert [label.get_text() for label in left.get_xticklabels()] == ["8k", "16k", "32k"]
    assert [*notes(left), *notes(right)] == ["31", "68.13", "23.42"]
    assert list(names(figure)) == [
        "0: full", "0: maskkv 256", "0: maskkv 256, one pass", "1: none", "1: full", "1: maskkv 256", "1: weights",
    ]  # fmt: skip
    assert caption(figure).startswith("n = 1 run of each length, so no intervals;")
    assert "Stars: stated by arXiv 2510.09309" in caption(figure)
    assert figure.get_suptitle() == "NVIDIA H200, llada-8b, bfloat16, responses of 128 tokens"


def test_what_the_paper_states_has_the_colour_of_the_policy_that_it_is_about():
    left, right = draw("gpu", LINES).axes
    maskkv, stated = left.get_lines()[1], left.get_lines()[3]
    assert stated.get_color() == maskkv.get_color() == right.get_lines()[5].get_color()
    assert right.get_lines()[4].get_color() == right.get_lines()[2].get_color()


def test_what_was_not_measured_leaves_a_gap():
    lacking = [line(8192, "none", 1.0, 1.0, None), {**line(8192, "maskkv", 0, 0, 17.0e9), "speedup": None}]
    left, right = draw("gpu", lacking).axes
    assert drawn(left) == [[[32768], [31.0]]]
    assert drawn(right)[1] == [[8192], [17.0]]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "no record here is a comparison of `python -m maskkv.bench.gpu`"),
        ([*LINES, line(32768, "none", 1.0, 1.0, 1, dtype="float16")], "differ in dtype"),
        ([*LINES, line(32768, "maskkv", 1.0, 1.0, 1, budget=64)], "differ in budget"),
        ([*LINES, LINES[0]], "two records of prompt_length 16384, policy none"),
        ([{**LINES[0], "speedup": None, "peak_bytes": None}], "hold no speed-up and no peak"),
        ([line(8192, "maskkv", "fast", 1.0, 1)], "field speedup.paper is fast"),
    ],
)
def test_what_makes_no_figure_is_refused(lines, says):
    with pytest.raises(InputError, match=says):
        draw("gpu", lines)


def test_nothing_is_printed_over_anything():
    assert clashes(draw("gpu", [*LINES, line(32768, "maskkv", 40.0, 90.0, 18e9)])) == []
    assert clashes(draw("gpu", LINES[:1])) == []
