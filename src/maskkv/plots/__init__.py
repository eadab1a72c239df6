"""The figures, drawn from records alone: nothing here imports torch."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maskkv.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from maskkv.json_lines import Record

FIGURES = {
    "attention": "Fig. 1a: what mask and prompt queries read of the prompt, by step",
    "similarity": "Fig. 1b: how little each layer turns the residual stream",
    "heads": "Fig. 1c: what the mask queries of each head read",
    "budget": "Fig. 3: score against budget per task, with the paper's curves",
    "quality": "Fig. 3 in one panel: mean of the tasks, in % of full",
    "cost": "Fig. 4: speed and memory against prompt length",
    "gpu": "Fig. 4 on a GPU: speed-up over no cache, peak memory",
    "base-rates": "Fig. 5: score against the base rates α and β",
    "needle": "Figs. 6 and 8: needle in a haystack, length × depth",
    "preference": "Fig. 7: prompt preference of each layer and head",
    "schedule": "score against passes over the prompt, by the rule that triggers them",
    "parallel": "score against steps, by the rule that commits several tokens in one",
    "ablation": "Tables 2, 7 and 8: one bar per policy",
}
"""Every figure, with what it shows; each is drawn by the module of its name."""

RELATIVE = ("budget", "quality", "base-rates", "ablation")
"""The figures whose scores may be in percent of a reference's."""


def write(
    figure: str, source: Path, out: Path, conditions: Sequence[str] = (), reference: str | None = None
) -> list[Path]:
    """Draw a figure from the records in `source` into the files that `out` names, and return those.

    `conditions` (`FIELD=VALUE`) choose among the records; with a `reference` scores are in percent of that policy's.

    Raises:
        InputError: matplotlib is missing, the records do not make this figure, or `out` cannot be written.
    """
    if reference is not None and figure in FIGURES and figure not in RELATIVE:
        raise InputError(f"{figure} does not show retention: --retention is for {', '.join(RELATIVE)}")
    _need_matplotlib()
    from maskkv.plots.scores import against
    from maskkv.plots.source import load, where
    from maskkv.plots.style import files, save

    made = files(out)
    records = load(source)
    chosen = where(records, conditions)
    if not chosen:
        raise InputError(f"none of the {len(records)} records in {source} has {' and '.join(conditions)}")
    drawn = draw(figure, chosen if reference is None else against(chosen, reference))
    for file in made:
        save(drawn, file)
    return made


def draw(figure: str, records: Sequence[Record]) -> Figure:
    """Draw a figure from the records that concern it.

    Raises:
        InputError: There is no such figure, matplotlib is missing, or the records do not make this figure.
    """
    if figure not in FIGURES:
        raise InputError(f"unknown figure {figure!r}: expected one of {', '.join(FIGURES)}")
    _need_matplotlib()
    from maskkv.plots.source import drawable
    from maskkv.plots.style import settled

    with settled():
        module = importlib.import_module(f"{__name__}.{figure.replace('-', '_')}")
        drawn: Figure = module.draw([drawable(record) for record in records])
        return drawn


def _need_matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("figures need matplotlib: pip install 'maskkv[plot]'")
