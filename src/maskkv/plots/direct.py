"""Names of lines beside the places where the lines end, in place of a legend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maskkv.plots.style import Look, wrapped

MOST_LABELLED = 6
"""Lines of a panel that have a colour and a name, at most; others are faint."""
WIDTH = 26
"""Letters in a line of a name, at most."""
SIZE, LEADING, AWAY = 7.5, 1.25, 7.0
"""Points of the letters; lines of them are so many times as far apart; points between a panel and its names."""

End = tuple[float, float, Look]
"""Where a line ends, in the panel's units, and how it is drawn; an infinite place is the panel's right edge."""


def label_ends(axis: Axes, ends: Mapping[str, End], letters: int = WIDTH) -> None:
    """Name lines to the right of a panel, in their colours, each as near to its end as the others allow.

    A name of more than so many `letters` is broken into lines.
    Call it once all panels are drawn: where a name stands depends on how large the panel is and on its limits.
    """
    ends = {name: end for name, end in ends.items() if not math.isnan(end[1])}
    figure = axis.get_figure()
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()  # only then the layout is known
    box = axis.get_window_extent()
    points = 72 / figure.dpi
    width, height = box.width * points, box.height * points
    edge = axis.get_xlim()[1]
    places = {name: (min(x, edge), y) for name, (x, y, _) in ends.items()}
    wanted = [(axis.transData.transform(place)[1] - box.y0) * points for place in places.values()]
    names = [wrapped(name, letters) for name in ends]
    heights = [SIZE * LEADING * len(name.splitlines()) for name in names]
    free = _free(axis, figure)
    for (own, place), name, middle in zip(places.items(), names, spread(wanted, heights), strict=True):
        look = ends[own][2]
        text = axis.annotate(
            name, place, (1 + AWAY / width, middle / height), textcoords="axes fraction", annotation_clip=False,
            color=look.ink(), fontsize=SIZE, va="center", gid="name of a line",
            arrowprops={
                "arrowstyle": "-", "color": look.color, "linewidth": 0.5, "relpos": (0, 0.5), "shrinkA": 0, "shrinkB": 2
            },
        )  # fmt: skip
        if free:  # no room needs to be made
            text.set_in_layout(False)
            assert text.arrow_patch is not None
            text.arrow_patch.set_in_layout(False)


def _free(axis: Axes, figure: Figure) -> bool:
    """Say whether the place to the right of a panel belongs to the grid and holds no panel."""
    spec = axis.get_subplotspec()
    if spec is None or spec.colspan.stop == spec.get_gridspec().ncols:
        return False
    others = [other for each in figure.axes if (other := each.get_subplotspec()) is not None]
    return all((other.rowspan, other.colspan.start) != (spec.rowspan, spec.colspan.stop) for other in others)


def spread(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Return the middles of blocks of these heights, none on another, with the least squares from where they should be.

    >>> spread([0.0, 1.0, 20.0], [4.0, 4.0, 4.0])
    [-1.5, 2.5, 20.0]
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    # Without the blocks below it each place may be anywhere from its neighbour's on: isotonic regression.
    below = 0.0
    offsets: list[float] = []
    pools: list[tuple[float, int]] = []  # sums and numbers of places that ended up as one
    for index in order:
        offsets.append(below + heights[index] / 2)
        below += heights[index]
        pools.append((wanted[index] - offsets[-1], 1))
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            (total, number), (other, others) = pools.pop(), pools.pop()
            pools.append((total + other, number + others))
    starts = [total / number for total, number in pools for _ in range(number)]
    middles = dict(zip(order, (start + offset for start, offset in zip(starts, offsets, strict=True)), strict=True))
    return [middles[index] for index in range(len(wanted))]
