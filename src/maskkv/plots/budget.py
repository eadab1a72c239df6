"""Score, or retention, against budget (Fig. 3): a panel per task and their mean, the paper's curves beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maskkv.json_lines import Record
from maskkv.plots import paper
from maskkv.plots.direct import End, label_ends
from maskkv.plots.scores import (
    RETENTION,
    Estimate,
    cells,
    draw_curve,
    leading,
    over_tasks,
    percent_axis,
    quantity,
    sampled,
    setting,
    task_names,
)
from maskkv.plots.source import text, whole
from maskkv.plots.style import FAINT, Look, describe, looks, panel_grid
from maskkv.plots.ticks import log_ticks

DODGE = 0.035
"""Octaves of budget by which policies are moved apart, so that each one's intervals show."""

Curve = Mapping[int | None, Estimate]
"""Estimates by budget; None is no eviction."""


def draw(records: Sequence[Record]) -> Figure:
    """Draw every policy over the budgets that it was measured at; one without a budget is a level line."""
    measured = cells(records)
    tasks = task_names(measured)
    panels = [[task] for task in tasks] + ([tasks] if len(tasks) > 1 else [])
    named = leading(measured)
    styles = looks(named)
    figure, axes = panel_grid(len(panels), (2.1, 1.75), "pairs per KV head", quantity(measured))
    ends: dict[str, End] = {}
    budgets: set[float] = set()
    compared = False
    for panel, axis in zip(panels, axes, strict=True):
        axis.set_title(panel[0] if len(panel) == 1 else f"mean of {len(panel)} tasks")
        inside = [record for record in measured if record["task"] in panel]
        stated = _stated(inside, panel)
        curves = by_policy(inside, len(panel))
        for name in sorted(curves.keys() - styles.keys()):  # of lines that cross the later one shows
            draw_faint(axis, curves[name])
        ends = {}
        for index, (name, look) in enumerate(styles.items()):
            shift = 2 ** (DODGE * (index - (len(styles) - 1) / 2))
            ends |= draw_policy(axis, curves.get(name, {}), name, look, shift)
            compared |= _draw_stated(axis, stated.get(name, {}), look, shift)
        budgets |= _budgets(inside, stated)
    log_ticks(axes[0], sorted(budgets))
    percent_axis(axes)
    in_the_paper = f"Dotted, hollow markers: the same in the paper ({paper.SOURCE})" if compared else ""
    describe(figure, setting(measured), sampled(measured), unnamed(measured, named), in_the_paper)
    label_ends(axes[-1], ends)
    return figure


def by_policy(records: Iterable[Record], tasks: int) -> dict[str, Curve]:
    """Return each policy's curve over so many tasks, where all of them were measured."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(text(record, "policy_name"), []).append(record)
    return {name: over_tasks(own, lambda record: whole(record, "budget"), tasks) for name, own in sorted(found.items())}


def draw_policy(axis: Axes, own: Curve, name: str, look: Look, shift: float = 1.0) -> dict[str, End]:
    """Draw a policy's curve, or its level, with intervals; return where it ends."""
    end: dict[str, End] = {}
    level = own.get(None)
    if level is not None:
        axis.axhline(level.value, color=look.color, linestyle=look.linestyle, linewidth=0.9)
        axis.axhspan(level.low, level.high, color=look.color, alpha=0.08, linewidth=0)
        end[name] = (float("inf"), level.value, look)
    points = {budget * shift: point for budget, point in own.items() if budget is not None}
    if points:
        draw_curve(axis, points, look)
        last = max(points)
        end[name] = (last, points[last].value, look)
    return end


def draw_faint(axis: Axes, own: Curve) -> None:
    """Draw a policy's curve, or its level, as context."""
    places = sorted(budget for budget in own if budget is not None)
    if places:
        axis.plot(places, [own[place].value for place in places], **FAINT)
    elif own:
        axis.axhline(own[None].value, **FAINT)


def unnamed(records: Iterable[Record], named: Sequence[str]) -> str:
    """Say which policies are drawn without a name."""
    others = sorted({text(record, "policy_name") for record in records} - set(named))
    return f"Grey lines: {', '.join(others)}" if others else ""


def _draw_stated(axis: Axes, stated: paper.Curve, look: Look, shift: float) -> bool:
    """Draw the paper's curve, if it has one; say so."""
    dotted: dict[str, Any] = {"color": look.color, "linestyle": (0, (1, 2)), "linewidth": 0.8}
    if None in stated:
        axis.axhline(stated[None], **dotted)
    points = sorted((budget, score) for budget, score in stated.items() if budget is not None)
    if points:
        places, scores = zip(*((budget * shift, score) for budget, score in points), strict=True)
        axis.plot(places, scores, marker=look.marker, markerfacecolor="none", markersize=5.0, **dotted)
    return bool(stated)


def _stated(records: Sequence[Record], tasks: Sequence[str]) -> dict[str, paper.Curve]:
    stated = paper.curves(str(records[0].get("model")), tasks)
    reference = records[0].get(RETENTION)
    return stated if reference is None else paper.retained(stated, str(reference))


def _budgets(records: Iterable[Record], stated: Mapping[str, paper.Curve]) -> set[float]:
    ours = {whole(record, "budget") for record in records}
    return {float(budget) for budget in ours.union(*stated.values()) if budget is not None}
