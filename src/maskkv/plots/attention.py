"""What mask queries and prompt queries read of the prompt, step by step (Fig. 1a), and how concentrated that is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from maskkv.json_lines import Record
from maskkv.plots.direct import End, label_ends
from maskkv.plots.source import grid, observations, positive, subject
from maskkv.plots.style import COLOUR_MAP, describe, looks, sheet

QUERIES = {"mask": "mask queries", "prompt": "prompt queries"}
MOST_MARKERS = 16
TOP = 0.05
"""The part of the prompt's bins, those that get most, whose share is drawn."""


def draw(records: Sequence[Record]) -> Figure:
    """Draw the first observation: two maps, prompt × steps, and the share of the attention that few places get."""
    seen = observations(records)[0]
    width = positive(seen, "prompt_bin_tokens")
    maps = {name: grid(seen, name, 2) for name in QUERIES}
    figure = sheet(7.2, 3.0)
    axes = figure.subplot_mosaic([["mask", "share"], ["prompt", "share"]], width_ratios=[1.9, 1])
    norm = PowerNorm(0.5, 0, max(float(each.max()) for each in maps.values()))
    for name, values in maps.items():
        axis = axes[name]
        steps, bins = values.shape
        edges = (0.0, bins * width, steps - 0.5, -0.5)
        drawn = axis.imshow(values, cmap=COLOUR_MAP, norm=norm, aspect="auto", extent=edges, interpolation="nearest")
        axis.set(title=QUERIES[name], ylabel="step", xlabel="prompt position" if name == "prompt" else "")
        axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.grid(visible=False)
    figure.colorbar(drawn, ax=[axes[name] for name in QUERIES], label=f"attention per {width:g} tokens", pad=0.02)
    ends = _draw_shares(axes["share"], maps)
    describe(figure, subject([seen]), "n = 1 document, so no intervals; means over layers and heads")
    label_ends(axes["share"], ends, letters=8)
    return figure


def top_share(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, per step, the part of the prompt's attention that its `TOP` best bins get."""
    best = max(1, round(TOP * values.shape[1]))
    return np.sort(values, axis=1)[:, -best:].sum(axis=1) / values.sum(axis=1)


def _draw_shares(axis: Axes, maps: dict[str, NDArray[np.float64]]) -> dict[str, End]:
    """Draw both lines; return where they end."""
    ends: dict[str, End] = {}
    for (name, values), look in zip(maps.items(), looks(maps).values(), strict=True):
        sparse = math.ceil(len(values) / MOST_MARKERS)
        shares = 100 * top_share(values)
        axis.plot(shares, **look.line(), markevery=sparse)
        ends[QUERIES[name]] = (len(shares) - 1.0, float(shares[-1]), look)
    axis.set(title=f"share of the prompt's top {TOP:.0%}", xlabel="step", ylabel="%", ylim=(0, 100))
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return ends
