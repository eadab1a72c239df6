"""Records side by side: tasks down, policies and budgets across."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from maskkv.eval.retention import retention

Record = dict[str, object]


@dataclass(frozen=True)
class Table:
    """Hold the cells of a table as text; the first column names the rows."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """Return the table in Markdown, figures aligned to the right."""
        rule = ["---", *["---:"] * (len(self.header) - 1)]
        return "\n".join("| " + " | ".join(row) + " |" for row in (self.header, rule, *self.rows))


def score_table(records: Sequence[Record]) -> Table:
    """Lay out exact match in percent with its standard error, one row per task, and the mean over the tasks last."""
    columns, tasks, cells = _grid(records)
    rows = [[task, *[_score(cells.get((task, column))) for column in columns]] for task in tasks]
    means = [_mean([cells.get((task, column)) for task in tasks]) for column in columns]
    return Table(_title(records, "exact match, % ± standard error"), ["task", *columns], [*rows, ["mean", *means]])


def retention_table(records: Sequence[Record], reference: str) -> Table:
    """Lay out scores relative to the policy `reference` on the same documents, in percent with their standard error."""
    columns, tasks, cells = _grid(records)
    rows = []
    for task in tasks:
        base = cells.get((task, reference))
        rows.append([task, *[_retained(cells.get((task, column)), base) for column in columns]])
    return Table(_title(records, f"% of {reference}'s score ± standard error"), ["task", *columns], rows)


def label(record: Record) -> str:
    """Return a record's column: the policy's name, with the budget if it has one."""
    budget = record["budget"]
    return str(record["policy_name"]) if budget is None else f"{record['policy_name']} {budget}"


def percent(record: Record) -> str:
    """Return a record's mean score in percent with its standard error."""
    scores = _scores(record)
    mean = math.fsum(scores) / len(scores)
    return f"{100 * mean:.1f} ± {100 * math.sqrt(mean * (1 - mean) / len(scores)):.1f}"


def _grid(records: Sequence[Record]) -> tuple[list[str], list[str], dict[tuple[str, str], Record]]:
    columns = list(dict.fromkeys(label(record) for record in records))
    tasks = list(dict.fromkeys(str(record["task"]) for record in records))
    return columns, tasks, {(str(record["task"]), label(record)): record for record in records}


def _title(records: Sequence[Record], what: str) -> str:
    lengths = sorted({str(record["length"]) for record in records})
    counts = sorted({str(record["n"]) for record in records})
    return f"{what}; prompts of {', '.join(lengths)} tokens, n = {', '.join(counts)} per task"


def _scores(record: Record) -> list[float]:
    scores = record["scores"]
    assert isinstance(scores, list)
    return [float(score) for score in scores]


def _score(record: Record | None) -> str:
    return "–" if record is None else percent(record)


def _mean(records: Sequence[Record | None]) -> str:
    means = [math.fsum(_scores(record)) / len(_scores(record)) for record in records if record is not None]
    return f"{100 * math.fsum(means) / len(means):.1f}" if len(means) == len(records) else "–"


def _retained(record: Record | None, base: Record | None) -> str:
    if record is None or base is None:
        return "–"
    ratio, error = retention(_scores(record), _scores(base))
    return "–" if math.isnan(ratio) else f"{100 * ratio:.1f} ± {100 * error:.1f}"
