"""How little each layer's attention turns the residual stream (Fig. 1b): one minus the layer's importance (Eq. 8)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from maskkv.json_lines import Record
from maskkv.plots.scores import Estimate, draw_curve
from maskkv.plots.source import check_alike, grid, observations, subject
from maskkv.plots.style import legend_below, looks, sheet
from maskkv.statistics import Z

STEPS = {"first step": 0, "last step": -1}


def draw(records: Sequence[Record]) -> Figure:
    """Draw the mean over the observations, with 95 % intervals if there are several."""
    seen = observations(records)
    check_alike(seen, ("model", "fingerprint"))
    figure = sheet(4.6, 2.8)
    axis = figure.subplots()
    entries = {}
    for (name, step), look in zip(STEPS.items(), looks(STEPS).values(), strict=True):
        by_layer = np.stack([grid(each, "similarity", 2)[step] for each in seen], axis=1)
        entries[name] = draw_curve(axis, {float(layer): _mean(values) for layer, values in enumerate(by_layer)}, look)
    axis.set(xlabel="layer", ylabel="cosine similarity")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, entries)
    figure.suptitle(subject(seen))
    return figure


def _mean(values: NDArray[np.float64]) -> Estimate:
    middle = float(values.mean())
    half = Z * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Estimate(middle, middle - half, middle + half)
