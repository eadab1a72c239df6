"""The mean over the tasks, in percent of the full cache's, against budget: one panel to be read at a glance."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from maskkv.json_lines import Record
from maskkv.plots.budget import by_policy, draw_faint, draw_policy, unnamed
from maskkv.plots.direct import End, label_ends
from maskkv.plots.scores import RETENTION, against, cells, leading, quantity, sampled, setting, task_names
from maskkv.plots.source import number, whole
from maskkv.plots.style import describe, looks, sheet
from maskkv.plots.ticks import log_ticks

REFERENCE = "full"
KEPT = "none has no cache, full keeps every pair"


def draw(records: Sequence[Record]) -> Figure:
    """Draw every policy that was measured on all tasks, in percent of `full` unless another reference was chosen."""
    measured = cells(records)
    if RETENTION not in measured[0]:
        measured = against(measured, REFERENCE)
    tasks = task_names(measured)
    named = leading(measured)
    curves = by_policy(measured, len(tasks))
    figure = sheet(8.8, 4.6)
    axis = figure.subplots()
    for name in sorted(curves.keys() - set(named)):
        draw_faint(axis, curves[name])
    ends: dict[str, End] = {}
    for name, look in looks(named).items():
        ends |= draw_policy(axis, curves.get(name, {}), name, look)
    budgets = sorted({float(budget) for record in measured if (budget := whole(record, "budget")) is not None})
    log_ticks(axis, budgets)
    axis.set_ylim(0, max(110.0, *(1.05 * end[1] for end in ends.values())))
    axis.set(xlabel=_pairs(measured), ylabel=quantity(measured))
    what = tasks[0] if len(tasks) == 1 else f"mean of {len(tasks)} tasks"
    describe(figure, f"{setting(measured)}, {what}", sampled(measured), KEPT, unnamed(measured, named))
    label_ends(axis, ends)
    return figure


def _pairs(records: Sequence[Record]) -> str:
    lengths = {number(record, "length") for record in records if record.get("length") is not None}
    return "prompt pairs that a KV head keeps" + (f", of {lengths.pop():,.0f}" if len(lengths) == 1 else "")
