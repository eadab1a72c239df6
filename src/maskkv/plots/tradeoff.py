"""Score against what an answer costs, where the schedules differ in one rule: a panel per task and their mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from maskkv.json_lines import Record
from maskkv.plots.scores import Estimate, cells, estimate, label, quantity, setting, task_names
from maskkv.plots.source import check_alike, positive
from maskkv.plots.style import legend_below, log_ticks, looks, panel_grid

Rule = Callable[[Mapping[str, object]], str]
"""Names the rule that a schedule follows."""


def draw_tradeoff(records: Sequence[Record], rule: Rule, varied: Sequence[str], cost: str, xlabel: str) -> Figure:
    """Draw each policy and budget over the mean of the field `cost`, a series per rule, joined in order of cost.

    `varied` are the fields in which the schedules may differ.

    Raises:
        InputError: The schedules differ in something else, or a cell was measured twice.
    """
    measured = cells(records, ("policy_name", "budget", "task", "schedule", "kv_dtype"))
    check_alike([{"schedule": _rest(record, varied)} for record in measured], ["schedule"])
    tasks = task_names(measured)
    panels = [[task] for task in tasks] + ([tasks] if len(tasks) > 1 else [])
    policies, rules = looks(map(label, measured)), looks(_rule_of(record, rule) for record in measured)
    # Colour and dashes tell the policy, markers the rule.
    styles = {
        _name(record, rule): replace(policies[label(record)], marker=rules[_rule_of(record, rule)].marker)
        for record in measured
    }
    figure, axes = panel_grid(len(panels), (2.9, 2.3), xlabel, quantity(measured))
    entries: dict[str, Artist] = {}
    for panel, axis in zip(panels, axes, strict=True):
        axis.set_title(panel[0] if len(panel) == 1 else f"mean of {len(panel)} tasks")
        costs: list[float] = []
        for name, look in styles.items():
            points = _points([each for each in measured if _name(each, rule) == name], panel, cost)
            if points:
                places, scores = zip(*points, strict=True)
                bars = zip(*(score.error_bars() for score in scores), strict=True)
                axis.errorbar(places, [score.value for score in scores], yerr=list(bars), elinewidth=0.6, **look.line())
                entries[name] = Line2D([], [], **look.line())
                costs += places
        if costs:  # or else no schedule was measured on all tasks
            log_ticks(axis, [2.0**power for power in range(12) if min(costs) <= 2**power <= max(costs)] or costs)
    legend_below(figure, entries)
    figure.suptitle(setting(measured))
    return figure


def _points(records: Sequence[Record], panel: Sequence[str], cost: str) -> list[tuple[float, Estimate]]:
    """Return cost and score of each schedule that was measured on all tasks of the panel, the cheapest first."""
    by_schedule: dict[str, list[Record]] = {}
    for record in records:
        if record["task"] in panel:
            by_schedule.setdefault(str(record["schedule"]), []).append(record)
    complete = [some for some in by_schedule.values() if len(some) == len(panel)]
    points = [(sum(positive(each, cost) for each in some) / len(some), estimate(some)) for some in complete]
    return sorted(points, key=lambda point: point[0])


def _name(record: Record, rule: Rule) -> str:
    return f"{label(record)}: {_rule_of(record, rule)}"


def _rule_of(record: Record, rule: Rule) -> str:
    schedule = record["schedule"]
    return rule(schedule if isinstance(schedule, dict) else {})


def _rest(record: Record, varied: Sequence[str]) -> object:
    schedule = record["schedule"]
    return {name: value for name, value in schedule.items() if name not in varied} if isinstance(schedule, dict) else {}
