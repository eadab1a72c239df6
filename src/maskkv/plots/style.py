"""How figures look: told apart in grey too, by markers, dashes and hatches, and by lightness."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

from maskkv.errors import InputError

SUFFIXES = (".png", ".svg")
MOST_COLUMNS, WIDEST = 4, 9.8
"""Panels side by side, and inches of them, at most."""
MOST_NAMES = 16
"""Rows and columns of a map that are all named, with their numbers printed."""
COLOUR_MAP = "cividis"
"""Perceptually uniform, monotonous in lightness, the same to colour-blind readers."""

SETTINGS: Any = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "figure.titlesize": 9.0,
    "legend.fontsize": 7.5,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "errorbar.capsize": 1.5,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "maskkv",  # the same records make the same file
    "svg.fonttype": "path",
    "text.parse_math": False,  # a dollar in a name is a dollar
}

_COLOURS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#8c510a", "#999933", "#666666")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*", "h", "d")
_DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", (0, (5, 2)), (0, (1, 1)), (0, (4, 1, 1, 1)))
_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "+++", "ooo")


@dataclass(frozen=True)
class Look:
    """Say how one series is drawn, whatever the kind of figure."""

    color: str
    marker: str
    linestyle: str | tuple[int, tuple[int, ...]]
    hatch: str

    def line(self) -> dict[str, Any]:
        """Return the keywords of a line with markers."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.linestyle}


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Give each series a look of its own: by order of first appearance, no two alike for a hundred series."""
    return {
        name: Look(*(cycle[index % len(cycle)] for cycle in (_COLOURS, _MARKERS, _DASHES, _HATCHES)))  # type: ignore[arg-type]
        for index, name in enumerate(dict.fromkeys(names))
    }


def sheet(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches, whose parts make room for each other."""
    return Figure(figsize=(width, height), layout="constrained")


def panel_grid(count: int, size: tuple[float, float], xlabel: str, ylabel: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels of that size in inches, in rows, and the panels."""
    columns = max(1, min(MOST_COLUMNS, count, int(WIDEST / size[0])))
    rows = math.ceil(count / columns)
    figure = sheet(max(4.8, size[0] * columns + 0.4), size[1] * rows + 0.7)
    axes: list[Axes] = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for index, axis in enumerate(axes):
        if index % columns == 0:
            axis.set_ylabel(ylabel)
        if index >= count - columns:
            axis.set_xlabel(xlabel)
        if index >= count:
            axis.remove()
    return figure, axes[:count]


def legend_below(figure: Figure, entries: Mapping[str, Artist]) -> None:
    """Put one legend for all panels below them, in as many columns as there is room for; the figure grows to fit."""
    labels = [wrapped(label) for label in entries]
    lines = [line for label in labels for line in label.splitlines()]
    inches = 0.55 + 0.065 * max(map(len, lines))  # a handle, and letters of mean width
    columns = max(1, min(len(labels), int(figure.get_figwidth() / inches)))
    figure.set_figheight(figure.get_figheight() + 0.15 * math.ceil(len(lines) / columns) + 0.1)
    figure.legend(entries.values(), labels, loc="outside lower center", ncols=columns, frameon=False)


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


def files(out: Path) -> list[Path]:
    """Return what will be written: `out`, or a PNG and an SVG of that name if it has no suffix.

    Raises:
        InputError: The suffix is another one, or there is no such folder.
    """
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(f"cannot write {out}: expected the name of a file in a folder that exists")
    if out.suffix in SUFFIXES:
        return [out]
    if out.suffix:
        raise InputError(f"cannot write {out}: expected a name that ends in .png or .svg, or without an ending (both)")
    return [out.with_suffix(suffix) for suffix in SUFFIXES]


def heat_map(axis: Axes, values: NDArray[np.float64], rows: Sequence[object], columns: Sequence[object]) -> AxesImage:
    """Draw numbers from 0 to 1, in print too where there is room; as many of the rows' and columns' names as fit."""
    drawn = axis.imshow(values, cmap=COLOUR_MAP, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axis.grid(visible=False)
    for ticks, names in ((axis.set_yticks, rows), (axis.set_xticks, columns)):
        every = math.ceil(len(names) / MOST_NAMES)
        ticks(range(0, len(names), every), [str(name) for name in names[::every]])
    if max(values.shape) <= MOST_NAMES:
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                ink = "white" if value < 0.5 else "black"
                axis.text(
                    column, row, f"{value:.2f}".replace("0.", "."), ha="center", va="center", color=ink, fontsize=5.5
                )
    return drawn


def size_ticks(axis: Axes, unit: str) -> None:
    """Scale the y axis by powers of ten, with few ticks; those of a unit in its thousands, millions and so on."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    whole = [10.0**decade for decade in decades if low <= 10.0**decade <= high]
    fine = [step * 10.0**decade for decade in decades for step in (1, 2, 5) if low <= step * 10.0**decade <= high]
    axis.yaxis.set_major_locator(FixedLocator(whole if len(fine) > 8 else fine))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(EngFormatter(unit) if unit else StrMethodFormatter("{x:g}"))


def wrapped(label: str) -> str:
    """Break a long label into lines, between words where it has some."""
    return textwrap.fill(label, 40, break_on_hyphens=False)


def settled() -> AbstractContextManager[None]:
    """Return a context in which matplotlib draws and writes with these settings."""
    return mpl.rc_context(SETTINGS)


def save(figure: Figure, file: Path) -> None:
    """Write a figure; the suffix says in which format."""
    # A date, or a version, would make it another file every time.
    metadata = {"Date": None} if file.suffix == ".svg" else {"Software": None}
    with settled():
        try:
            figure.savefig(file, dpi=200, metadata=metadata)
        except OSError as error:
            raise InputError(f"cannot write {file}: {error.strerror}") from None
