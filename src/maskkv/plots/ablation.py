"""One bar per policy (Tables 2, 7 and 8): the mean over the tasks, with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from maskkv.errors import InputError
from maskkv.json_lines import Record
from maskkv.plots.scores import (
    RETENTION,
    Estimate,
    cells,
    label,
    over_tasks,
    quantity,
    sampled,
    setting,
    task_names,
)
from maskkv.plots.source import text
from maskkv.plots.style import POLICIES, Look, describe, looks, policy_of, sheet, wrapped

REFERENCE = "maskkv"
"""The policy whose score is a line through all bars."""
FILL = 0.55
"""Opacity of a bar, so that what lies on it is seen."""
PATCH = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
"""What lies behind a number, so that the line does not run through it."""


def draw(records: Sequence[Record]) -> Figure:
    """Draw a bar for every policy and budget, from the top: those that keep everything, then the others."""
    measured = cells(records)
    tasks = task_names(measured)
    budgets = {record["budget"] for record in measured} - {None}
    name_of = label if len(budgets) > 1 else _policy
    bars = over_tasks(measured, name_of, len(tasks))
    missing = [name for name in map(name_of, measured) if name not in bars]
    if missing:
        raise InputError(f"{missing[0]} was not measured on all of {', '.join(tasks)}: choose with --where task=…")
    if any(math.isnan(bar.value) for bar in bars.values()):
        raise InputError(f"{measured[0][RETENTION]} scores 0 here, and nothing is in percent of that")
    keeping = {name_of(record) for record in measured if record["budget"] is None}
    names = sorted(bars, key=lambda name: (name not in keeping, -bars[name].value))
    pitches = [max(1.0, 0.65 * len(wrapped(name).splitlines())) for name in names]
    places = [end - pitch / 2 for end, pitch in zip(accumulate(pitches), pitches, strict=True)]
    figure = sheet(7.4, 1.0 + 0.23 * sum(pitches))
    axis = figure.subplots()
    styles = looks(names)
    for name, place in zip(names, places, strict=True):
        _draw(axis, bars[name], place, styles[name], name in keeping)
    axis.set_yticks(places, [wrapped(name) for name in names])
    axis.set_ylim(sum(pitches), 0)
    axis.set_xlim(0, max(1.0, 1.12 * max(bar.high for bar in bars.values())))
    axis.set_xlabel(quantity(measured))
    axis.grid(visible=False, axis="y")
    what = [tasks[0] if len(tasks) == 1 else f"mean of {len(tasks)} tasks", *(f"budget {each}" for each in budgets)]
    title = f"{setting(measured)}\n{', '.join(what) if len(budgets) == 1 else what[0]}"
    describe(figure, title, sampled(measured, "Error bars"), _reference(axis, bars), "Hatched: keeps every pair")
    return figure


def _draw(axis: Axes, bar: Estimate, place: float, look: Look, keeps: bool) -> None:
    color, hatch = ("white", "////") if keeps else (to_rgba(look.color, FILL), "")
    axis.barh(place, bar.value, height=0.7, color=color, hatch=hatch, edgecolor="black", linewidth=0.6)
    axis.errorbar(bar.value, place, xerr=[[end] for end in bar.error_bars()], color="black", elinewidth=0.8)
    axis.annotate(f"{bar.value:.1f}", (bar.high, place), (4, 0), textcoords="offset points", va="center", bbox=PATCH)


def _reference(axis: Axes, bars: Mapping[str, Estimate]) -> str:
    """Draw a line down from the bar of the policy that others are measured by, if it is there, and say whose it is."""
    name = next((name for name in bars if policy_of(name) == name.split()[0] == REFERENCE), None)
    if name is None:
        return ""
    axis.axvline(bars[name].value, color=POLICIES[REFERENCE], linewidth=1.0, linestyle=(0, (5, 2)), zorder=0.5)
    return f"Dashed line: {name}"


def _policy(record: Record) -> str:
    return text(record, "policy_name")
