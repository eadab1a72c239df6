"""Names of lines stand beside the ends, one above the other, and move no further than they must."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskkv.plots.direct import label_ends, spread
from maskkv.plots.style import looks, panel_grid
from tests.plots.pictures import clashes, names

blocks = st.lists(st.tuples(st.floats(-100, 100), st.floats(0.1, 30)), min_size=1, max_size=8)


@given(blocks)
def test_blocks_do_not_overlap_and_keep_their_order(some):
    middles = spread(*map(list, zip(*some, strict=True)))
    placed = sorted(zip(middles, some, strict=True), key=lambda each: each[0])
    for (below, (wanted, height)), (above, (other, taller)) in itertools.pairwise(placed):
        assert above - below >= (height + taller) / 2 - 1e-6
        assert wanted <= other


@given(blocks, st.integers(0, 7), st.sampled_from([-0.01, 0.01]))
def test_no_block_and_no_stack_of_blocks_could_be_nearer(some, first, step):
    wanted, heights = map(list, zip(*some, strict=True))
    order = sorted(range(len(some)), key=lambda index: wanted[index])
    middles = spread(wanted, heights)
    total = sum((middle - place) ** 2 for middle, place in zip(middles, wanted, strict=True))
    for last in range(first, len(order)):
        moved = list(middles)
        for index in order[first : last + 1]:
            moved[index] += step
        gaps = [moved[b] - moved[a] - (heights[a] + heights[b]) / 2 for a, b in itertools.pairwise(order)]
        if all(gap >= -1e-9 for gap in gaps):
            assert sum((middle - place) ** 2 for middle, place in zip(moved, wanted, strict=True)) >= total - 1e-6


def test_names_in_a_crowd_do_not_lie_on_each_other_or_on_the_next_panel():
    figure, axes = panel_grid(2, (3.0, 2.0), "x", "y")
    crowd = looks([f"line {number} of those that end together" for number in range(6)])
    for axis in axes:
        for look in crowd.values():
            axis.plot([0, 1], [0, 1], **look.line())
    for axis in axes:
        label_ends(axis, {name: (1.0, 0.5, look) for name, look in crowd.items()})
    assert len(names(figure)) == 12
    assert clashes(figure) == []
    left, right = (axis.get_tightbbox() for axis in axes)
    assert left.x1 <= right.x0


@pytest.mark.parametrize("panels", [2, 3])
def test_names_take_no_room_from_panels_where_a_place_is_empty(panels):
    figure, axes = panel_grid(panels, (3.0, 2.0), "x", "y", columns=2)
    (look,) = looks(["line"]).values()
    label_ends(axes[-1], {"a name that is not short": (1.0, 0.5, look), "nowhere": (1.0, float("nan"), look)})
    (text,) = names(figure).values()
    assert text.get_in_layout() == (panels == 2)
    assert clashes(figure) == []
