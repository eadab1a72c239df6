"""Scores of measured cells, or what they retain of a reference policy's, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from maskkv import labels
from maskkv.errors import InputError
from maskkv.json_lines import Record
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


def draw_curve(axis: Axes, points: Mapping[float, Estimate], look: Look) -> Line2D:
    """Draw estimates with their intervals, from left to right, and return what stands for them in a legend."""
    places = sorted(points)
    errors = zip(*(points[place].error_bars() for place in places), strict=True)
    values = [points[place].value for place in places]
    axis.errorbar(places, values, yerr=list(errors), elinewidth=0.6, **look.line())
    return Line2D([], [], **look.line())


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
    """Say in one line what was measured: model, prompt lengths, documents."""
    parts = [str(records[0].get("model", "unnamed model"))]
    for field, form in (("length", "prompts of {} tokens"), ("n", "n = {}")):
        values = {str(record[field]) for record in records if record.get(field) is not None}
        if len(values) == 1:
            parts.append(form.format(*values))
    return ", ".join([*parts, "95 % intervals"])


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
