"""Score against what an answer costs, where the schedules differ in one rule: a panel per task and their mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maskkv.json_lines import Record
from maskkv.plots.direct import End, label_ends
from maskkv.plots.scores import (
    Estimate,
    cells,
    estimate,
    label,
    percent_axis,
    quantity,
    sampled,
    setting,
    task_names,
)
from maskkv.plots.source import check_alike, positive
from maskkv.plots.style import MOST_COLUMNS, describe, looks, panel_grid
from maskkv.plots.ticks import log_ticks

Rule = Callable[[Mapping[str, object]], str]
"""Names the rule that a schedule follows."""


def draw_tradeoff(records: Sequence[Record], rule: Rule, varied: Sequence[str], cost: str, xlabel: str) -> Figure:
    """Draw scores over the mean of the field `cost`: panels per policy, budget and task, a series per rule in each.

    `varied` are the fields in which the schedules may differ.

    Raises:
        InputError: The schedules differ in something else, or a cell was measured twice.
    """
    measured = cells(records, ("policy_name", "budget", "task", "schedule", "kv_dtype"))
    check_alike([{"schedule": _rest(record, varied)} for record in measured], ["schedule"])
    tasks = task_names(measured)
    panels = [[task] for task in tasks] + ([tasks] if len(tasks) > 1 else [])
    policies = looks(map(label, measured))
    shapes = looks(dict.fromkeys(_rule_of(record, rule) for record in measured))
    figure, axes = panel_grid(
        len(policies) * len(panels), (2.1, 1.75), xlabel, quantity(measured), columns=min(MOST_COLUMNS, len(panels))
    )
    named: list[tuple[Axes, dict[str, End]]] = []
    costs: list[float] = []
    for (policy, panel), axis in zip(product(policies, panels), axes, strict=True):
        what = panel[0] if len(panel) == 1 else f"mean of {len(panel)} tasks"
        axis.set_title(f"{policy}, {what}" if len(policies) > 1 else what)
        ends: dict[str, End] = {}
        for each, shape in shapes.items():
            own = [one for one in measured if label(one) == policy and _rule_of(one, rule) == each]
            points = _points(own, panel, cost)
            if points:  # or else no schedule was measured on all tasks
                look = replace(shape, color=policies[policy].color)
                places, scores = zip(*points, strict=True)
                bars = zip(*(score.error_bars() for score in scores), strict=True)
                axis.errorbar(places, [score.value for score in scores], yerr=list(bars), elinewidth=0.6, **look.line())
                ends[each] = (places[-1], scores[-1].value, look)
                costs += places
        named.append((axis, ends))
    if costs:
        log_ticks(axes[0], [2.0**power for power in range(12) if min(costs) <= 2**power <= max(costs)] or costs)
    percent_axis(axes)
    describe(figure, setting(measured), sampled(measured, "Error bars"))
    for axis, ends in named[len(panels) - 1 :: len(panels)]:
        label_ends(axis, ends)
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


def _rule_of(record: Record, rule: Rule) -> str:
    schedule = record["schedule"]
    return rule(schedule if isinstance(schedule, dict) else {})


def _rest(record: Record, varied: Sequence[str]) -> object:
    schedule = record["schedule"]
    return {name: value for name, value in schedule.items() if name not in varied} if isinstance(schedule, dict) else {}
