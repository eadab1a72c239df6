"""Score against the base rates α of the head budgets and β of the layer budgets (Fig. 5)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from maskkv.errors import InputError
from maskkv.json_lines import Record
from maskkv.plots.direct import MOST_LABELLED, End, label_ends
from maskkv.plots.scores import (
    Estimate,
    cells,
    draw_curve,
    over_tasks,
    quantity,
    sampled,
    setting,
    task_names,
)
from maskkv.plots.source import look_up, text, whole
from maskkv.plots.style import FAINT, describe, looks, panel_grid, policy_of

RATES = {"head_base": ("α", 0.1), "layer_base": ("β", 0.4)}
"""The base rates by their names in a policy's `repr`: the paper's letter, and its choice."""

Sweeps = dict[tuple[int | None, float], dict[float, Estimate]]
"""By budget and the other base rate: the scores over one rate."""


def draw(records: Sequence[Record]) -> Figure:
    """Draw a panel per base rate that was swept, a line per budget and other rate; means over the tasks."""
    measured = cells(
        [record for record in records if _rates(record) and record.get("budget") is not None],
        ("policy", "budget", "task"),
    )
    if len({_rest(record) for record in measured}) > 1:
        names = ", ".join(dict.fromkeys(str(record["policy_name"]) for record in measured))
        raise InputError(
            f"the policies differ in more than their base rates ({names}): choose with --where policy_name=…"
        )
    panels = {rate: found for rate in RATES if (found := sweeps(measured, rate))}
    if not panels:
        raise InputError("there is no sweep: expected records whose policies differ in head_base or layer_base")
    figure, axes = panel_grid(len(panels), (4.2, 2.9), "", quantity(measured))
    named: list[dict[str, End]] = []
    for axis, (rate, found) in zip(axes, panels.items(), strict=True):
        letter, choice = RATES[rate]
        lines = _labels(measured, found, rate)
        styles = looks(lines[:MOST_LABELLED])
        ends: dict[str, End] = {}
        for name, points in zip(lines, found.values(), strict=True):
            last = max(points)
            if name in styles:
                draw_curve(axis, points, styles[name])
                ends[name] = (last, points[last].value, styles[name])
            else:
                axis.plot(sorted(points), [points[place].value for place in sorted(points)], **FAINT)
        named.append(ends)
        axis.axvline(choice, color="0.5", linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
        axis.set_xlabel(f"{letter} ({rate})")
    axes[0].set_ylim(bottom=0)
    tasks = task_names(measured)
    what = tasks[0] if len(tasks) == 1 else f"mean of {len(tasks)} tasks"
    describe(figure, f"{setting(measured)}, {what}", sampled(measured, "Error bars"), "Dotted: the paper's choice")
    for axis, ends in zip(axes, named, strict=True):
        label_ends(axis, ends)
    return figure


def sweeps(records: Sequence[Record], rate: str) -> Sweeps:
    """Group the scores by what does not change while `rate` does; groups of a single value are left out."""
    (other,) = RATES.keys() - {rate}
    points = over_tasks(
        records,
        lambda record: (whole(record, "budget"), _rates(record)[other], _rates(record)[rate]),
        len(task_names(records)),
    )
    found: Sweeps = {}
    for (budget, held, value), point in points.items():
        found.setdefault((budget, held), {})[value] = point
    return {key: swept for key, swept in sorted(found.items(), key=str) if len(swept) > 1}


def _labels(records: Sequence[Record], found: Mapping[tuple[int | None, float], object], rate: str) -> list[str]:
    (other,) = RATES.keys() - {rate}
    policy = policy_of(text(records[0], "policy_name"))
    return [f"{policy} {budget}, {RATES[other][0]} = {held:g}" for budget, held in found]


def _rates(record: Record) -> dict[str, float]:
    """Read the base rates off the policy's `repr`; empty unless both are there."""
    policy = str(look_up(record, "policy"))
    stated = {rate: re.search(rf"\b{rate}=([0-9.e-]+)", policy) for rate in RATES}
    return {rate: float(match[1]) for rate, match in stated.items() if match} if all(stated.values()) else {}


def _rest(record: Record) -> str:
    """Return the policy's `repr` without its base rates and its name, which may state them too."""
    return re.sub(rf"name='[^']*'|name=\"[^\"]*\"|\b({'|'.join(RATES)})=[0-9.e-]+", "", str(record["policy"]))
