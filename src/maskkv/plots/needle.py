"""Needle in a haystack (Figs. 6 and 8): a map per policy and budget, context length × depth of the needle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from maskkv.json_lines import Record
from maskkv.plots.maps import heat_map
from maskkv.plots.scores import FIELDS
from maskkv.plots.source import check_alike, check_distinct, having, number, text, whole
from maskkv.plots.style import describe, panel_grid, wrapped


def draw(records: Sequence[Record]) -> Figure:
    """Draw the scores of every policy and budget, with their mean in the title; what was not measured stays white."""
    found = having(records, (*FIELDS, "length", "depth"), "a measured cell of `maskkv eval niah`")
    check_alike(found, ("model", "fingerprint", "task"))
    check_distinct(found, ("policy_name", "budget", "length", "depth"))
    lengths = sorted({number(record, "length") for record in found})
    depths = sorted({number(record, "depth") for record in found})
    panels: dict[tuple[str, int | None], list[Record]] = {}
    for record in sorted(found, key=lambda record: record["budget"] is not None):
        panels.setdefault((text(record, "policy_name"), whole(record, "budget")), []).append(record)
    size = (max(2.8, 1.0 + 0.27 * len(lengths)), 0.9 + 0.17 * len(depths))
    figure, axes = panel_grid(len(panels), size, "context length, tokens", "depth, %", equal=False)
    for axis, ((policy, budget), cells) in zip(axes, panels.items(), strict=True):
        scores = np.full((len(depths), len(lengths)), np.nan)
        for cell in cells:
            scores[depths.index(number(cell, "depth")), lengths.index(number(cell, "length"))] = number(cell, "score")
        drawn = heat_map(axis, scores, [f"{depth:g}" for depth in depths], [_tokens(length) for length in lengths])
        within = "" if budget is None else f"budget {budget}, "
        axis.set_title(f"{wrapped(policy)}\n{within}mean {np.nanmean(scores):.3f}")
    figure.colorbar(drawn, ax=axes, label="score", shrink=0.8)
    n = [f"{number(found[0], 'n'):g} documents"] if found[0].get("n") is not None else []
    describe(
        figure,
        f"{found[0].get('model', 'unnamed model')}, {text(found[0], 'task')}",
        ", ".join(["Each number is a mean score", *(f"of n = {each}" for each in n), "without its interval"]),
        "White: not measured" if any(len(some) < len(lengths) * len(depths) for some in panels.values()) else "",
    )
    return figure


def _tokens(length: float) -> str:
    return f"{length / 1024:g}k" if length % 1024 == 0 else f"{length:g}"
