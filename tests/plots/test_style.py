"""A policy looks the same in all figures, and unlike others without colour too."""

from itertools import combinations, pairwise

import pytest
from matplotlib.colors import to_rgb

from maskkv import policies
from maskkv.plots import draw
from maskkv.plots.budget import by_policy
from maskkv.plots.direct import MOST_LABELLED
from maskkv.plots.scores import against, leading
from maskkv.plots.style import _OTHERS, FAINT, POLICIES, looks, policy_of
from tests.plots.pictures import LONG, caption, cell, clashes, lightness, luminance, names, numbers
from tests.plots.pictures import POLICIES as DRAWN

BUDGETS = [4, 16, 64]


def test_every_bundled_policy_has_a_colour():
    assert set(POLICIES) == set(policies.names())


def test_colours_differ_in_lightness_and_stand_out_from_paper():
    light = sorted(map(lightness, POLICIES.values()))
    assert min(b - a for a, b in pairwise(light)) > 2
    for color in (*POLICIES.values(), *_OTHERS):
        assert 1.05 / (luminance(to_rgb(color)) + 0.05) > 3
    for look in looks([*POLICIES, *map(str, range(len(_OTHERS)))]).values():
        assert 1.05 / (luminance(look.ink()) + 0.05) > 4.5


def test_those_that_are_most_often_together_are_far_apart_in_grey():
    often = ["none", "full", "maskkv", "mask-voting", "squeezeattention", "sparse-dllm"]
    for one, other in combinations(often, 2):
        assert abs(lightness(POLICIES[one]) - lightness(POLICIES[other])) > 7.5


def test_a_policy_looks_the_same_whatever_stands_beside_it():
    alone = looks(["maskkv"])["maskkv"]
    for others in (["full", "maskkv"], ["somebody:ELSE", "maskkv(tally=max)", "maskkv", "none"]):
        assert looks(others)["maskkv"] == alone
    assert looks(["maskkv 64", "maskkv 64, one pass"])["maskkv 64"] == alone


def test_what_is_changed_keeps_the_colour_and_changes_the_shape():
    styles = looks(["maskkv", "maskkv(evicted=host)", "maskkv 64 int8", LONG])
    assert {look.color for look in styles.values()} == {POLICIES["maskkv"]}
    assert len({(look.marker, look.linestyle) for look in styles.values()}) == 4


def test_series_can_be_told_apart_without_colour():
    some = [*POLICIES, *(f"policy-{number}" for number in range(50))]
    assert len({(look.marker, look.linestyle) for look in looks(some).values()}) == len(some)


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("full", "full"),
        ("mask-voting(kernel=3) 16", "mask-voting"),
        ("a.b:C", "a.b:C"),
        ("maskkv 4, β = 0.4", "maskkv"),
    ],
)
def test_a_series_is_of_a_policy(name, policy):
    assert policy_of(name) == policy


RECORDS = [
    cell(policy, budget, numbers(6, seed=f"{task}/{policy}/{budget}"), task)
    for task in ("multi-key", "two-hop")
    for policy in DRAWN
    for budget in ([None] if policy in ("none", "full") else BUDGETS)
]


@pytest.mark.parametrize("figure", ["budget", "quality"])
def test_six_lines_at_most_have_a_name_and_the_rest_is_faint(figure):
    drawn = draw(figure, RECORDS)
    last = len(drawn.axes) - 1
    shown = {name.removeprefix(f"{last}: ") for name in names(drawn)}
    assert len(shown) == MOST_LABELLED
    assert {"none", "full", "maskkv"} <= shown
    for axis in drawn.axes:
        lines = [line for line in axis.get_lines() if line.get_marker() not in ("_", "|")]
        faint = [line for line in lines if line.get_color() == FAINT["color"]]
        assert (len(lines) - len(faint), len(faint)) == (MOST_LABELLED, len(DRAWN) - MOST_LABELLED)
    grey = caption(drawn).rpartition("Grey lines: ")[2].removesuffix(".")
    assert set(grey.replace(LONG, "").split(", ")) - {""} == set(DRAWN) - shown - {LONG}
    assert clashes(drawn) == []


def test_faint_lines_are_drawn_in_the_order_of_their_names():
    drawn = draw("quality", RECORDS)
    curves = by_policy(against(RECORDS, "full"), 2)
    faint = [list(line.get_ydata()) for line in drawn.axes[0].get_lines() if line.get_color() == FAINT["color"]]
    others = sorted(curves.keys() - set(leading(RECORDS)))
    assert faint == [[curves[name][budget].value for budget in BUDGETS] for name in others]


@pytest.mark.parametrize("figure", ["budget", "quality"])
def test_names_lead_to_their_lines_in_the_policys_colour(figure):
    drawn = draw(figure, RECORDS)
    axis = drawn.axes[-1]
    for name, text in names(drawn).items():
        policy = policy_of(name.partition(": ")[2])
        assert text.arrow_patch.get_edgecolor()[:3] == to_rgb(POLICIES[policy])
        color, end = POLICIES[policy], text.xy
        ends = [(line.get_xdata()[-1], line.get_ydata()[-1]) for line in axis.get_lines() if line.get_color() == color]
        assert any(end[1] == y and (end[0] == x or x == 1) for x, y in ends)


def test_panels_of_tasks_have_the_same_axes():
    axes = draw("budget", RECORDS).axes
    assert {(axis.get_xlim(), axis.get_ylim()) for axis in axes} == {(axes[0].get_xlim(), axes[0].get_ylim())}
    assert axes[0].get_ylim()[0] == 0
    assert axes[0].get_ylim()[1] >= 100
    assert list(axes[0].get_xticks()) == BUDGETS
