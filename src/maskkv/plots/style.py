"""How figures look: one colour per policy in all of them, told apart in grey by lightness, markers and dashes."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from maskkv.errors import InputError

SUFFIXES = (".png", ".svg")
MOST_COLUMNS, WIDEST = 4, 8.8
"""Panels side by side, and inches of a figure, at most: a page shows that at 100 pixels to the inch."""
NAMES = 1.8
"""Inches beside the panels for an axis and names of lines."""
COLOUR_MAP = "cividis"
"""Perceptually uniform, monotonous in lightness, the same to colour-blind readers."""
FAINT: Any = {"color": "0.78", "linewidth": 0.8, "zorder": 1}
"""A line that is context: it has no label."""

POLICIES = {
    "maskkv": "#c45600",
    "full": "#636363",
    "none": "#000000",
    "mask-voting": "#004699",
    "squeezeattention": "#13a77b",
    "sparse-dllm": "#571672",
    "snapkv": "#a21b6c",
    "pyramidkv": "#007998",
    "adakv": "#362800",
    "streamingllm": "#b08102",
    "h2o": "#6f2a1c",
    "prompt-voting": "#0e240e",
    "knorm": "#7e7e9e",
    "random": "#3d563d",
}
"""The colour of every bundled policy, in all figures. No two are of the same lightness."""

SETTINGS: Any = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "figure.titlesize": 9.0,
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
    "lines.dash_capstyle": "butt",
    "svg.hashsalt": "maskkv",  # the same records make the same file
    "svg.fonttype": "path",
    "text.parse_math": False,  # a dollar in a name is a dollar
}

_OTHERS = ("#2b3a67", "#b5651d", "#5a2a2a", "#5b8a00", "#16505c", "#b0506a")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*", "h", "d")
_DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = (
    "-", (0, (5, 2)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (8, 2))
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """Say how one series is drawn, whatever the kind of figure."""

    color: str
    marker: str
    linestyle: str | tuple[int, tuple[int, ...]]

    def line(self) -> dict[str, Any]:
        """Return the keywords of a line with markers."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.linestyle}

    def ink(self) -> tuple[float, ...]:
        """Return the colour of this series' name, dark enough to be read."""
        return tuple(0.75 * part for part in to_rgb(self.color))


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Give each series the colour of its policy, and markers with dashes that no other has, of some fifty.

    A policy that is not bundled gets its colour by order of appearance. Of several series of a policy the one with
    the shortest name gets the policy's own marker.
    """
    given = list(dict.fromkeys(names))
    known = list(POLICIES)
    new = iter(count(len(known)))
    colours = dict(POLICIES)
    places: dict[str, int] = {}
    for name in sorted(given, key=len):
        policy = policy_of(name)
        if policy not in colours:
            colours[policy] = _OTHERS[(len(colours) - len(known)) % len(_OTHERS)]
        own = policy in POLICIES and known.index(policy) not in places.values()
        places[name] = known.index(policy) if own else next(new)
    return {name: Look(colours[policy_of(name)], *_shape(places[name])) for name in given}


def policy_of(name: str) -> str:
    """Return the policy that a series is of, without changes, budget and dtype.

    >>> policy_of("maskkv(evicted=host) 64 int8"), policy_of("maskkv 64, one pass")
    ('maskkv', 'maskkv')
    """
    return re.split(r"[(, ]", name, maxsplit=1)[0]


def _shape(place: int) -> tuple[str, str | tuple[int, tuple[int, ...]]]:
    return _MARKERS[place % len(_MARKERS)], _DASHES[place % len(_DASHES)]


def sheet(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches, whose parts make room for each other."""
    return Figure(figsize=(width, height), layout="constrained")


def panel_grid(
    number: int, size: tuple[float, float], xlabel: str, ylabel: str, *, columns: int = MOST_COLUMNS, equal: bool = True
) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels of that size in inches, in rows, and the panels; `equal` gives them the same axes."""
    columns = max(1, min(columns, number, int(WIDEST / size[0])))
    rows = math.ceil(number / columns)
    figure = sheet(min(WIDEST, max(4.8, size[0] * columns + NAMES)), size[1] * rows + 0.8)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=equal, sharey=equal)
    axes: list[Axes] = grid.flatten().tolist()
    for index, axis in enumerate(axes):
        if index % columns == 0:
            axis.set_ylabel(ylabel)
        if index >= number - columns:
            axis.set_xlabel(xlabel)
            axis.tick_params(labelbottom=True)
        if index >= number:
            axis.remove()
    return figure, axes[:number]


def describe(figure: Figure, title: str, *caption: str) -> None:
    """Put a title above a figure, and below it what a reader must know: n, what bars are, what is grey."""
    figure.suptitle(title, x=0.01, ha="left")
    said = textwrap.fill(" ".join(f"{sentence}." for sentence in caption if sentence), int(19 * figure.get_figwidth()))
    figure.supxlabel(said, x=0.01, ha="left", color="0.3", fontsize=7.0)


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


def wrapped(label: str, width: int = 44) -> str:
    """Break a long label into lines, between words where it has some."""
    return textwrap.fill(label, width, break_on_hyphens=False)


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
