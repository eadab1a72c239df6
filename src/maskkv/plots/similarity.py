"""How little each layer's attention turns the residual stream (Fig. 1b): one minus the layer's importance (Eq. 8)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from maskkv.json_lines import Record
from maskkv.plots.direct import End, label_ends
from maskkv.plots.scores import Estimate, draw_curve
from maskkv.plots.source import check_alike, counted, grid, observations, subject
from maskkv.plots.style import describe, looks, sheet
from maskkv.statistics import Z

STEPS = {"first step": 0, "last step": -1}


def draw(records: Sequence[Record]) -> Figure:
    """Draw the mean over the observations, with 95 % intervals if there are several."""
    seen = observations(records)
    check_alike(seen, ("model", "fingerprint"))
    figure = sheet(4.6, 2.8)
    axis = figure.subplots()
    ends: dict[str, End] = {}
    for (name, step), look in zip(STEPS.items(), looks(STEPS).values(), strict=True):
        by_layer = np.stack([grid(each, "similarity", 2)[step] for each in seen], axis=1)
        points = {float(layer): _mean(values) for layer, values in enumerate(by_layer)}
        draw_curve(axis, points, look)
        last = max(points)
        ends[name] = (last, points[last].value, look)
    axis.set(xlabel="layer", ylabel="cosine similarity")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    bars = "error bars are 95 % intervals of the mean over them" if len(seen) > 1 else "no intervals"
    describe(figure, subject(seen), f"n = {counted(seen)}; {bars}")
    label_ends(axis, ends)
    return figure


def _mean(values: NDArray[np.float64]) -> Estimate:
    middle = float(values.mean())
    half = Z * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Estimate(middle, middle - half, middle + half)
