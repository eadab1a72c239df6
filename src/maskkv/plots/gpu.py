"""Speed-up over no cache and peak memory against prompt length on a GPU, from what `maskkv.bench.gpu` writes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maskkv.errors import InputError
from maskkv.json_lines import Record
from maskkv.labels import label
from maskkv.plots.direct import End, label_ends
from maskkv.plots.paper import SOURCE
from maskkv.plots.source import check_alike, check_distinct, having, look_up, number, positive, text, whole
from maskkv.plots.style import FAINT, POLICIES, Look, describe, looks, panel_grid
from maskkv.plots.ticks import log_ticks, size_ticks

SAME = ("shape", "dtype", "device", "gen_length")
"""What lines that share a picture agree in."""

PAPER_PROMPT = 32_768.0
PAPER_SPEEDUP = {"maskkv": 31.0}
"""Over LLaDA without a cache, on an A100 80GB (Fig. 4)."""
PAPER_PEAK_GB = {"full": 68.13, "maskkv": 23.42}
"""Of dLLM-Cache, and of MaskKV with layer budgets found offline (Table 5)."""

Points = dict[float, float]
"""A number by prompt length."""


def draw(records: Sequence[Record]) -> Figure:
    """Draw each policy over the prompt lengths, beside what the paper states for its longest prompt."""
    lines = having(records, ("response_s", "prompt_length", "policy"), "a comparison of `python -m maskkv.bench.gpu`")
    check_alike(lines, SAME)
    check_alike([line for line in lines if look_up(line, "budget") is not None], ("budget",))
    check_distinct(lines, ("prompt_length", "policy"))
    speedups, peaks = _speedups(lines), _peaks(lines)
    if not any(speedups.values()) and not any(peaks.values()):
        raise InputError("these lines hold no speed-up and no peak: expected those of a GPU, `none` among them")
    styles = looks([*peaks, *speedups])
    figure, (left, right) = panel_grid(2, (4.2, 3.2), "prompt length, tokens", "", equal=False)
    left.set_title("speed-up over no cache")
    right.set_title("peak memory, GB")
    weights = positive(lines[0], "weight_bytes") / 1e9
    right.axhline(weights, **FAINT)
    named = {
        left: _draw(left, speedups, styles, PAPER_SPEEDUP),
        right: _draw(right, peaks, styles, PAPER_PEAK_GB) | {"weights": (math.inf, weights, _WEIGHTS)},
    }
    for axis in named:
        log_ticks(axis, [*(positive(each, "prompt_length") for each in lines), PAPER_PROMPT])
    size_ticks(left, "×")
    right.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    right.set_ylim(0, right.get_yticks()[-1])
    describe(
        figure,
        _setting(lines[0]),
        "n = 1 run of each length, so no intervals; a response is the sum of its steps, each kind at its median",
        "none has no cache, full keeps every pair",
        f"Stars: stated by {SOURCE} for {PAPER_PROMPT:,.0f} tokens, Fig. 4 (A100 80GB) and Table 5",
    )
    for axis, ends in named.items():
        label_ends(axis, ends)
    return figure


_WEIGHTS = Look("0.5", "", "-")
_HOLLOW: dict[str, Any] = {"marker": "*", "markersize": 9.0, "markerfacecolor": "white", "linestyle": "none"}


def _speedups(lines: Sequence[Record]) -> dict[str, Points]:
    """Return the speed-ups on the paper's schedule and with a single pass over the prompt, where there are any."""
    found: dict[str, Points] = {}
    for policy, schedule, suffix in (
        ("full", "paper", ""),
        ("maskkv", "paper", ""),
        ("maskkv", "one_pass", ", one pass"),
    ):
        own = [line for line in lines if text(line, "policy") == policy]
        measured = [line for line in own if isinstance(look_up(line, "speedup"), dict)]
        for line in measured:
            points = found.setdefault(_label(line) + suffix, {})
            points[positive(line, "prompt_length")] = positive(line, f"speedup.{schedule}")
    return {name: dict(sorted(points.items())) for name, points in found.items()}


def _peaks(lines: Sequence[Record]) -> dict[str, Points]:
    """Return the peaks in GB, where the device counts them."""
    found: dict[str, Points] = {_label(line): {} for line in lines}
    for line in lines:
        if look_up(line, "peak_bytes") is not None:
            found[_label(line)][positive(line, "prompt_length")] = positive(line, "peak_bytes") / 1e9
    return {name: dict(sorted(points.items())) for name, points in found.items()}


def _label(line: Record) -> str:
    return label(text(line, "policy"), whole(line, "budget"), line.get("kv_dtype"))


def _draw(
    axis: Axes, series: Mapping[str, Points], styles: Mapping[str, Look], stated: Mapping[str, float]
) -> dict[str, End]:
    """Draw the measured curves, and in their colours what the paper states; return where the curves end."""
    ends: dict[str, End] = {}
    for name, points in series.items():
        if points:
            axis.plot(list(points), list(points.values()), **styles[name].line())
            last = max(points)
            ends[name] = (last, points[last], styles[name])
    for policy, value in stated.items():
        axis.plot([PAPER_PROMPT], [value], color=POLICIES[policy], zorder=3, **_HOLLOW)
        axis.annotate(f"{value:g}", (PAPER_PROMPT, value), (-6, 0), textcoords="offset points", ha="right", va="center")
    return ends


def _setting(line: Record) -> str:
    parts = [text(line, name) for name in ("device", "shape", "dtype")]
    return ", ".join([*parts, f"responses of {number(line, 'gen_length'):.0f} tokens"])
