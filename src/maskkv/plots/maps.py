"""Maps of numbers from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from maskkv.plots.style import COLOUR_MAP

MOST_NAMES = 16
"""Rows and columns of a map that are all named, with their numbers printed."""


def heat_map(axis: Axes, values: NDArray[np.float64], rows: Sequence[object], columns: Sequence[object]) -> AxesImage:
    """Draw numbers from 0 to 1, in print too where there is room; as many of the rows' and columns' names as fit."""
    drawn = axis.imshow(values, cmap=COLOUR_MAP, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axis.grid(visible=False)
    for ticks, names in ((axis.set_yticks, rows), (axis.set_xticks, columns)):
        every = math.ceil(len(names) / MOST_NAMES)
        ticks(range(0, len(names), every), [str(name) for name in names[::every]])
    if max(values.shape) <= MOST_NAMES:
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                ink = "white" if value < 0.5 else "black"
                axis.text(
                    column, row, f"{value:.2f}".replace("0.", "."), ha="center", va="center", color=ink, fontsize=5.5
                )
    return drawn
