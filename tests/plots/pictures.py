"""What tests look at in a picture, and records to draw."""

import math
from collections.abc import Iterator
from itertools import combinations
from random import Random
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

Record = dict[str, Any]

LONG = "maskkv(layer_budget=pyramidkv, head_budget=squeezeattention, voters=mask-last:16)"
UNBROKEN = "somebodys.own.package.of.policies:" + "A" * 60
POLICIES = [
    "none", "full", "maskkv", "snapkv", "pyramidkv", "squeezeattention", "adakv", "streamingllm", "h2o",
    "prompt-voting", "sparse-dllm", LONG,
]  # fmt: skip


def cell(policy: str, budget: int | None, scores: list[float], task: str = "multi-key", **fields: Any) -> Record:
    """Make the record of a measured cell, its statistics worked out here."""
    n = len(scores)
    mean = sum(scores) / n
    spread = sum((score - mean) ** 2 for score in scores) / (n - 1) if n > 1 else 0.0
    return {
        "benchmark": "mini", "model": "mini", "fingerprint": "f", "task": task, "length": 64, "first_seed": 0,
        "policy": f"Policy(name={policy!r})", "policy_name": policy, "budget": budget, "n": n,
        "score": mean, "standard_error": math.sqrt(spread / n), "scores": scores, **fields,
    }  # fmt: skip


def numbers(count: int, seed: str) -> list[float]:
    """Return numbers from 0 to 1 that depend on the seed."""
    rng = Random(seed)
    return [rng.random() for _ in range(count)]


def names(figure: Figure) -> dict[str, Annotation]:
    """Return the names of lines, as they were before long ones were broken, and what was drawn; a panel's as `2: x`."""
    found: dict[str, Annotation] = {}
    for number, axis in enumerate(figure.axes):
        for text in axis.texts:
            if text.get_gid() == "name of a line" and isinstance(text, Annotation):
                found[f"{number}: {' '.join(text.get_text().split())}"] = text
    return found


def notes(axis: Axes) -> list[str]:
    """Return what is printed in a panel but the names of lines."""
    return [text.get_text() for text in axis.texts if text.get_gid() != "name of a line"]


def caption(figure: Figure) -> str:
    """Return what is said below a figure, in one line."""
    return " ".join(figure.get_supxlabel().split())


def clashes(figure: Figure) -> list[tuple[str, str]]:
    """Return the pairs of texts that overlap, and texts that stick out of the figure, as they would be printed."""
    figure.draw_without_rendering()
    boxes = [
        (text.get_text(), Text.get_window_extent(text))  # without the line to what it names
        for text in _texts(figure)
    ]
    outside = [(text, "the edge") for text, box in boxes if not _inside(box, figure.bbox)]
    return outside + [(one, other) for (one, a), (other, b) in combinations(boxes, 2) if _overlap(a, b)]


def _texts(figure: Figure) -> Iterator[Text]:
    """Yield what is printed: an axis holds labels of ticks out of sight too."""
    hidden: set[Text] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            hidden |= {tick.label1 for tick in ticks if not low <= tick.get_loc() <= high}
    for text in figure.findobj(Text):
        if text.get_text().strip() and text.get_visible() and text not in hidden:
            yield text


def _overlap(a: Bbox, b: Bbox) -> bool:
    # Half a pixel is what rounding to pixels does.
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5


def _inside(box: Bbox, page: Bbox) -> bool:
    return box.x0 >= page.x0 - 1 and box.y0 >= page.y0 - 1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1


def luminance(color: tuple[float, ...]) -> float:
    """Return the relative luminance of an sRGB colour (IEC 61966-2-1)."""
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def lightness(color: Any) -> float:
    """Return a colour's L* (CIE 1976): 0 is black, 100 white, equal steps look equal."""
    y = luminance(to_rgb(color))
    return 116 * y ** (1 / 3) - 16 if y > (6 / 29) ** 3 else y * (29 / 3) ** 3
