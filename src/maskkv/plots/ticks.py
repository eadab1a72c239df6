"""Where ticks stand: at powers of two, at round numbers of tokens, at few sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, NullLocator, StrMethodFormatter


def log_ticks(axis: Axes, values: Sequence[float]) -> None:
    """Scale the x axis by powers of two, with ticks at those of the values that lie far enough apart to be read.

    From 1,024 on they are counted in units of that.
    """
    if not values:
        axis.set_xticks([])
        return
    apart = 0.13 * math.log2(max(values) / min(values))
    shown: list[float] = []
    for value in sorted(values):
        if not shown or math.log2(value / shown[-1]) >= apart:
            shown.append(value)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(FixedLocator(shown))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value / 1024:g}k" if value >= 1024 else f"{value:g}")
    )


def size_ticks(axis: Axes, unit: str) -> None:
    """Scale the y axis by powers of ten, from tick to tick; sizes of a unit in its thousands, millions and so on."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    shown = _around(fine, low, high)
    axis.yaxis.set_major_locator(
        FixedLocator(_around([10.0**decade for decade in decades], low, high) if len(shown) > 8 else shown)
    )
    axis.set_ylim(shown[0], shown[-1])
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(EngFormatter(unit) if unit else StrMethodFormatter("{x:g}"))


def _around(steps: Sequence[float], low: float, high: float) -> list[float]:
    """Return the steps between two values, and the next one on either side."""
    first = max((index for index, step in enumerate(steps) if step <= low), default=0)
    last = min((index for index, step in enumerate(steps) if step >= high), default=len(steps) - 1)
    return list(steps[first : last + 1])
