"""Score, or retention, against budget (Fig. 3): a panel per task and their mean, the paper's curves beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from maskkv.json_lines import Record
from maskkv.plots import paper
from maskkv.plots.scores import RETENTION, Estimate, cells, draw_curve, over_tasks, quantity, setting, task_names
from maskkv.plots.source import text, whole
from maskkv.plots.style import Look, legend_below, log_ticks, looks, panel_grid

DODGE = 0.035
"""Octaves of budget by which policies are moved apart, so that each one's intervals show."""


def draw(records: Sequence[Record]) -> Figure:
    """Draw every policy over the budgets that it was measured at; one without a budget is a level line."""
    measured = cells(records)
    tasks = task_names(measured)
    panels = [[task] for task in tasks] + ([tasks] if len(tasks) > 1 else [])
    by_kind = sorted(measured, key=lambda record: record["budget"] is not None)
    styles = looks(text(record, "policy_name") for record in by_kind)
    figure, axes = panel_grid(len(panels), (2.4, 1.9), "budget, pairs per KV head", quantity(measured))
    entries: dict[str, Artist] = {}
    in_the_paper: dict[str, Artist] = {}
    for panel, axis in zip(panels, axes, strict=True):
        axis.set_title(panel[0] if len(panel) == 1 else f"mean of {len(panel)} tasks")
        inside = [record for record in measured if record["task"] in panel]
        stated = _stated(inside, panel)
        for index, (name, look) in enumerate(styles.items()):
            of_policy = [record for record in inside if record["policy_name"] == name]
            own = over_tasks(of_policy, lambda record: whole(record, "budget"), len(panel))
            shift = 2 ** (DODGE * (index - (len(styles) - 1) / 2))
            entries |= _draw_measured(axis, own, name, look, shift)
            in_the_paper |= _draw_stated(axis, stated.get(name, {}), look, shift)
        log_ticks(axis, _budgets(inside, stated))
    legend_below(figure, entries | in_the_paper)
    figure.suptitle(setting(measured))
    return figure


def _draw_measured(
    axis: Axes, own: Mapping[int | None, Estimate], name: str, look: Look, shift: float
) -> dict[str, Artist]:
    entry: dict[str, Artist] = {}
    level = own.get(None)
    if level is not None:
        entry[name] = axis.axhline(level.value, color=look.color, linestyle=look.linestyle, linewidth=0.9)
        axis.axhspan(level.low, level.high, color=look.color, alpha=0.08, linewidth=0)
    points = {budget * shift: point for budget, point in own.items() if budget is not None}
    if points:
        entry[name] = draw_curve(axis, points, look)
    return entry


def _draw_stated(axis: Axes, stated: paper.Curve, look: Look, shift: float) -> dict[str, Artist]:
    if not stated:
        return {}
    dotted: dict[str, Any] = {"linestyle": (0, (1, 2)), "linewidth": 0.8}
    hollow = {"markerfacecolor": "none", "markersize": 5.0, **dotted}
    if None in stated:
        axis.axhline(stated[None], color=look.color, **dotted)
    points = sorted((budget, score) for budget, score in stated.items() if budget is not None)
    if points:
        places, scores = zip(*((budget * shift, score) for budget, score in points), strict=True)
        axis.plot(places, scores, color=look.color, marker=look.marker, **hollow)
    return {f"the same in the paper ({paper.SOURCE})": Line2D([], [], color="0.4", marker="o", **hollow)}


def _stated(records: Sequence[Record], tasks: Sequence[str]) -> dict[str, paper.Curve]:
    stated = paper.curves(str(records[0].get("model")), tasks)
    reference = records[0].get(RETENTION)
    return stated if reference is None else paper.retained(stated, str(reference))


def _budgets(records: Iterable[Record], stated: Mapping[str, paper.Curve]) -> list[float]:
    ours = {whole(record, "budget") for record in records}
    return sorted(float(budget) for budget in ours.union(*stated.values()) if budget is not None)
