"""Scores of measured cells, or what they retain of a reference policy's, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from matplotlib.axes import Axes

from maskkv import labels
from maskkv.errors import InputError
from maskkv.json_lines import Record
from maskkv.plots.direct import MOST_LABELLED
from maskkv.plots.source import LARGEST, check_alike, check_distinct, grid, having, look_up, number, text, whole
from maskkv.plots.style import Look
from maskkv.statistics import Z, pooled_retention, wilson

Key = TypeVar("Key", bound=Hashable)

FIELDS = ("policy_name", "policy", "budget", "task", "score")
REFERENCE = "reference_scores"
RETENTION = "retention_of"


@dataclass(frozen=True)
class Estimate:
    """Give a score in percent, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def error_bars(self) -> tuple[float, float]:
        """Return how far the interval reaches below and above."""
        return max(0.0, self.value - self.low), max(0.0, self.high - self.value)


def cells(records: Iterable[Record], identity: Sequence[str] = ("policy_name", "budget", "task")) -> list[Record]:
    """Return the records of measured cells of one model and benchmark, each identity once.

    Those of a task are on the same documents. Needles, which have a depth, have a figure of their own.

    Raises:
        InputError: There are none, or they cannot be compared.
    """
    found = having((each for each in records if "depth" not in each), FIELDS, "a measured cell of `maskkv eval`")
    for record in found:
        label(record)  # refuses what is no policy's name or no budget
    check_alike(found, ("model", "fingerprint", "benchmark"))
    for task in task_names(found):
        check_alike([record for record in found if record["task"] == task], ("length", "first_seed"))
    check_distinct(found, identity)
    return found


def against(records: Sequence[Record], reference: str) -> list[Record]:
    """Put beside each cell's scores those of the policy `reference` on the same documents.

    Raises:
        InputError: A cell has no counterpart, so nothing can be said of it.
    """
    found = having(records, (*FIELDS, "scores"), "a measured cell with the scores of its documents")
    same = ("fingerprint", "dtype", "task", "length", "depth", "settings", "n", "first_seed", "schedule")
    scores = {
        tuple(str(look_up(record, name)) for name in same): record["scores"]
        for record in found
        if record["policy_name"] == reference
    }
    paired: list[Record] = []
    for record in found:
        key = tuple(str(look_up(record, name)) for name in same)
        if key not in scores:
            raise InputError(
                f"no record of policy {reference} on the documents of {label(record)}, task {text(record, 'task')}: "
                f"measure it with `maskkv eval {text(record, 'task')} --policy {reference}`"
            )
        paired.append({**record, REFERENCE: scores[key], RETENTION: reference})
    return paired


def quantity(records: Sequence[Record]) -> str:
    """Say what the estimates of these records are."""
    reference = records[0].get(RETENTION)
    metrics = {str(record.get("metric", "score")) for record in records}
    measured = metrics.pop() if len(metrics) == 1 else "score"
    return f"{measured}, %" if reference is None else f"% of the {measured} of {reference}"


def estimate(records: Sequence[Record]) -> Estimate:
    """Return the mean score over records of several tasks, or its ratio to the reference's mean score.

    A single task whose documents are right or wrong gets Wilson's interval, anything else ± 1.96 standard errors: of a
    mean over tasks, with the tasks as given; of a ratio, by the delta method on paired documents.
    """
    if RETENTION in records[0]:
        ratio, error = _ratio(records)
        return Estimate(100 * ratio, 100 * max(0.0, ratio - Z * error), 100 * (ratio + Z * error))
    mean = fmean(number(record, "score") for record in records)
    if len(records) == 1 and _right_or_wrong(records[0]):
        scores = _scores(records[0], "scores")
        low, high = wilson(scores.count(1.0), len(scores))
    else:
        errors = [number(record, "standard_error") for record in records]
        half = Z * math.sqrt(math.fsum(error**2 for error in errors)) / len(records)
        low, high = mean - half, mean + half
    return Estimate(100 * mean, 100 * low, 100 * high)


def draw_curve(axis: Axes, points: Mapping[float, Estimate], look: Look) -> None:
    """Draw estimates with their intervals, from left to right."""
    places = sorted(points)
    errors = zip(*(points[place].error_bars() for place in places), strict=True)
    values = [points[place].value for place in places]
    axis.errorbar(places, values, yerr=list(errors), elinewidth=0.6, **look.line())


def percent_axis(axes: Sequence[Axes]) -> None:
    """Begin panels that share an axis of percent at 0, with 100 within them."""
    axes[0].set_ylim(0, max(105.0, axes[0].get_ylim()[1]))


def leading(records: Sequence[Record]) -> list[str]:
    """Return the policies to be named: what keeps everything, MaskKV, then the best by their mean over all cells."""
    cells_of: dict[str, list[Record]] = {}
    for record in records:
        cells_of.setdefault(text(record, "policy_name"), []).append(record)

    def rank(name: str) -> tuple[bool, bool, float]:
        own = cells_of[name]
        mean = fmean(number(record, "score") for record in own)
        return all(record["budget"] is not None for record in own), name != "maskkv", -mean

    return sorted(cells_of, key=rank)[:MOST_LABELLED]


def over_tasks(records: Iterable[Record], key: Callable[[Record], Key], tasks: int) -> dict[Key, Estimate]:
    """Return the estimate over the tasks for each key, leaving out keys that not all of the tasks were measured for."""
    grouped: dict[Key, list[Record]] = {}
    for record in records:
        grouped.setdefault(key(record), []).append(record)
    return {each: estimate(some) for each, some in grouped.items() if len(some) == tasks}


def task_names(records: Iterable[Record]) -> list[str]:
    """Return the tasks in the order in which they come."""
    return list(dict.fromkeys(text(record, "task") for record in records))


def label(record: Record) -> str:
    """Name what a cell measured; InputError unless it has a policy's name and a valid budget."""
    return labels.label(text(record, "policy_name"), whole(record, "budget"), record.get("kv_dtype"))


def setting(records: Sequence[Record]) -> str:
    """Say in one line what was measured: model and prompt lengths."""
    lengths = {number(record, "length") for record in records if record.get("length") is not None}
    model = str(records[0].get("model", "unnamed model"))
    return f"{model}, prompts of {lengths.pop():,.0f} tokens" if len(lengths) == 1 else model


def sampled(records: Sequence[Record], drawn: str = "Error bars and bands") -> str:
    """Say what the estimates stand on: documents, and what is drawn around an estimate."""
    numbers = sorted({number(record, "n") for record in records if record.get("n") is not None})
    few, many = (f"{each:,.0f}" for each in (numbers[0], numbers[-1])) if numbers else ("", "")
    n = f"n = {few if few == many else f'{few} to {many}'} documents per task. " if numbers else ""
    return f"{n}{drawn}: 95 % intervals"


def _ratio(records: Sequence[Record]) -> tuple[float, float]:
    pairs = [(_scores(record, "scores"), _scores(record, REFERENCE)) for record in records]
    if any(len(own) != len(other) for own, other in pairs):
        raise InputError("a cell and its reference have different numbers of scores: measure them on the same -n")
    return pooled_retention(pairs)


def _scores(record: Record, name: str) -> list[float]:
    scores: list[float] = grid(record, name, 1).tolist()
    if max(map(abs, scores)) > LARGEST:
        raise InputError(f"a record's field {name} holds {max(scores, key=abs):g}: expected scores from 0 to 1")
    return scores


def _right_or_wrong(record: Record) -> bool:
    return "scores" in record and set(_scores(record, "scores")) <= {0.0, 1.0}
