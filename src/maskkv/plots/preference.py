"""The prompt preference of each layer and KV head (Fig. 7; Eq. 14): how much its masks read the prompt, not masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from maskkv.json_lines import Record
from maskkv.plots.maps import heat_map
from maskkv.plots.source import check_alike, counted, grid, observations, subject
from maskkv.plots.style import describe, sheet


def draw(records: Sequence[Record]) -> Figure:
    """Draw the mean over the observations, layers from the top."""
    seen = observations(records)
    check_alike(seen, ("model", "fingerprint"))
    mean = np.mean([grid(each, "preference", 2) for each in seen], axis=0)
    layers, heads = mean.shape
    figure = sheet(max(3.6, 1.4 + 0.22 * heads), max(2.2, 1.4 + 0.18 * layers))
    axis = figure.subplots()
    drawn = heat_map(axis, mean, range(layers), range(heads))
    axis.set(xlabel="KV head", ylabel="layer")
    figure.colorbar(drawn, ax=axis, label="prompt preference")
    describe(figure, subject(seen), f"Means over n = {counted(seen)}, first step, no intervals")
    return figure
