"""Score against the passes that read the prompt: by the clock, in doubt, on drift, or only once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from maskkv.json_lines import Record
from maskkv.plots.tradeoff import draw_tradeoff

RULES = ("one_pass", "min_confidence", "value_drift")
CLOCK = "prompt_interval"


def draw(records: Sequence[Record]) -> Figure:
    """Draw a series for every policy, budget and rule for when the prompt is read again."""
    return draw_tradeoff(
        [record for record in records if record.get("mean_prompt_passes") is not None],
        _rule,
        (*RULES, CLOCK),
        "mean_prompt_passes",
        "passes over the prompt",
    )


def _rule(schedule: Mapping[str, object]) -> str:
    return next((name for name in RULES if schedule.get(name) not in (None, False)), CLOCK)
