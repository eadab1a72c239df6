"""Speed and memory against prompt length (Fig. 4), from the lines that `maskkv bench` writes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maskkv.errors import InputError
from maskkv.json_lines import Record
from maskkv.labels import label
from maskkv.plots.direct import MOST_LABELLED, End, label_ends
from maskkv.plots.source import MISSING, check_alike, check_distinct, having, look_up, positive, text, whole
from maskkv.plots.style import FAINT, Look, describe, looks, panel_grid
from maskkv.plots.ticks import log_ticks, size_ticks

PANELS = {
    "steps_per_s": ("denoising steps per second", ""),
    "peak_live_bytes": ("peak of live tensors, weights excluded", "B"),
    "cache_bytes": ("cache", "B"),
}
"""The measured fields of a case, with the titles of their panels and their units."""

SAME = (
    "shape",
    "model",
    "fingerprint",
    "dtype",
    "kv_dtype",
    "device",
    "batch_size",
    "gen_length",
    "schedule",
    "environment.machine",
    "environment.threads",
)
"""What runs that share a picture agree in."""

Points = dict[float, tuple[float, float, float]]
"""By prompt length: median, least and most of the repeats."""


def draw(records: Sequence[Record]) -> Figure:
    """Draw each policy and budget over the prompt lengths; error bars span the repeats, zeros have no place."""
    runs = having(_flat(records), ("cases", "prompt_length"), "a run of `maskkv bench`")
    check_alike(runs, SAME)
    cases = [case for run in runs for case in _cases(run)]
    check_distinct(cases, ("prompt_length", "case.policy", "case.budget", "case.profiled"))
    styles = looks(map(_label, cases))
    series = {field: {name: points(cases, name, field) for name in styles} for field in PANELS}
    shown = {field: drawn for field, drawn in series.items() if any(drawn.values())}
    if not shown:
        raise InputError(f"the cases of these runs hold no numbers: expected {', '.join(PANELS)}")
    named = list(styles)[:MOST_LABELLED]
    figure, axes = panel_grid(len(shown), (2.9, 2.9), "prompt length, tokens", "", equal=False)
    by_field = dict(zip(shown, axes, strict=True))
    ends: dict[str, dict[str, End]] = {field: {} for field in shown}
    for field, drawn in shown.items():
        for name, own in drawn.items():
            if own and name in named:
                ends[field][name] = _draw(by_field[field], own, styles[name])
            elif own:
                by_field[field].plot(list(own), [middle for middle, _, _ in own.values()], **FAINT)
    for field, axis in by_field.items():
        axis.set_title(PANELS[field][0])
        log_ticks(axis, [positive(run, "prompt_length") for run in runs])
    sizes = [axis for field, axis in by_field.items() if PANELS[field][1]]
    for axis in sizes:  # bytes are compared with bytes
        axis.set_ylim(min(each.dataLim.y0 for each in sizes), max(each.dataLim.y1 for each in sizes))
    for field, axis in by_field.items():
        size_ticks(axis, PANELS[field][1])
    others = [name for name in styles if name not in named]
    grey = f"Grey lines: {', '.join(others)}" if others else ""
    describe(figure, _setting(runs[0]), _repeats(runs), "none has no cache, full keeps every pair", grey)
    for field, axis in by_field.items():
        label_ends(axis, ends[field], letters=15)
    return figure


def points(cases: Sequence[Record], name: str, field: str) -> Points:
    """Return one case's numbers by prompt length, where it has any; one number counts as median, least and most."""
    found: Points = {}
    for case in cases:
        value = look_up(case, f"case.{field}")
        if _label(case) != name or value is MISSING or not value:
            continue
        ends = (".median", ".min", ".max") if isinstance(value, dict) else ("", "", "")
        median, least, most = (positive(case, f"case.{field}{end}") for end in ends)
        found[positive(case, "prompt_length")] = (median, least, most)
    return dict(sorted(found.items()))


def _flat(records: Sequence[Record]) -> list[Record]:
    """Return a record per prompt length and batch size, of which `maskkv bench` puts several into one line."""
    found: list[Record] = []
    for record in records:
        runs = record.get("runs", [record])
        if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
            raise InputError("a record's field runs is no list of runs: expected what `maskkv bench` writes")
        found += [{**record, "runs": None, **run} for run in runs]
    return found


def _cases(run: Record) -> list[Record]:
    """Return a record per case: the run's, with the case in place of them all."""
    cases = run["cases"]
    if not isinstance(cases, list):
        raise InputError("a run's field cases is no list: expected what `maskkv bench` writes")
    return [{**run, "cases": None, "case": case} for case in cases]


def _label(case: Record) -> str:
    named = label(text(case, "case.policy"), whole(case, "case.budget"), case.get("kv_dtype"))
    return named if look_up(case, "case.profiled") in (True, MISSING) else f"{named}, no profile"


def _draw(axis: Axes, own: Points, look: Look) -> End:
    """Draw a case's numbers and return where its line ends."""
    middle, least, most = zip(*own.values(), strict=True)
    below = [a - b for a, b in zip(middle, least, strict=True)]
    above = [b - a for a, b in zip(middle, most, strict=True)]
    axis.errorbar(list(own), middle, yerr=[below, above], elinewidth=0.6, **look.line())
    return max(own), middle[-1], look


def _repeats(runs: Sequence[Record]) -> str:
    repeats = sorted({positive(run, "repeats") for run in runs if "repeats" in run})
    if not repeats:
        return "Points are medians, bars from the least to the most"
    n = " to ".join(f"{each:g}" for each in dict.fromkeys((repeats[0], repeats[-1])))
    return f"n = {n} repeats; points are medians, bars from the least to the most"


def _setting(run: Record) -> str:
    named = {"shape": "{}", "model": "{}", "parameters": "{:,} parameters", "dtype": "{}", "device": "{}"}
    parts = [form.format(run[field]) for field, form in named.items() if run.get(field) is not None]
    return ", ".join([*parts, f"responses of {run['gen_length']} tokens"] if "gen_length" in run else parts)
