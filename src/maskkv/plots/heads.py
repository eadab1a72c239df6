"""What the mask queries of each head read, in the first step (Fig. 1c): prompt on the left, response on the right."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maskkv.json_lines import Record
from maskkv.plots.source import grid, observations, positive, subject
from maskkv.plots.style import COLOUR_MAP, describe, sheet

MOST_LAYERS = 4
SIDES = {"prompt": "prompt position", "response": "response position"}


def draw(records: Sequence[Record]) -> Figure:
    """Draw the first observation: a map, heads × positions, for each of a few layers, the first and last among them."""
    seen = observations(records)[0]
    values = {side: grid(seen, f"heads_{side}", 3) for side in SIDES}
    layers = spread(len(values["prompt"]), MOST_LAYERS)
    figure = sheet(7.2, 0.9 + 1.15 * len(layers))
    axes = figure.subplots(len(layers), 2, squeeze=False, sharex="col", width_ratios=[3, 1])
    norm = PowerNorm(0.5, 0, max(float(each.max()) for each in values.values()))
    for row, layer in zip(axes, layers, strict=True):
        for axis, (side, by_layer) in zip(row, values.items(), strict=True):
            heads, bins = by_layer[layer].shape
            edges = (0.0, bins * positive(seen, f"{side}_bin_tokens"), heads - 0.5, -0.5)
            drawn = axis.imshow(
                by_layer[layer], cmap=COLOUR_MAP, norm=norm, aspect="auto", extent=edges, interpolation="nearest"
            )
            axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            axis.xaxis.set_major_locator(MaxNLocator(6 if side == "prompt" else 3, integer=True))
            axis.grid(visible=False)
        row[0].set_ylabel(f"layer {layer}\nKV head")
        row[1].tick_params(labelleft=False)
    for axis, (side, label) in zip(axes[-1], SIDES.items(), strict=True):
        axis.set_xlabel(f"{label}, {positive(seen, f'{side}_bin_tokens'):g} to a bin")
    figure.colorbar(drawn, ax=axes, label="attention per bin", pad=0.02)
    describe(figure, f"{subject([seen])}\nmask queries, first step", "n = 1 document, so no intervals")
    return figure


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` numbers below `count`, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]
