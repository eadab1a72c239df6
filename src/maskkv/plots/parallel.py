"""Score against steps, where several tokens may be committed in one: by threshold, by factor, or so many a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from maskkv.json_lines import Record
from maskkv.plots.tradeoff import draw_tradeoff

RULES = ("threshold", "factor")
CLOCK = "steps"


def draw(records: Sequence[Record]) -> Figure:
    """Draw a series for every policy, budget and rule for how many tokens a step commits."""
    return draw_tradeoff(records, _rule, (*RULES, CLOCK), "mean_steps", "steps per answer")


def _rule(schedule: Mapping[str, object]) -> str:
    return next((name for name in RULES if schedule.get(name) is not None), CLOCK)
