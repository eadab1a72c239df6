"""Records side by side: tasks down, policies and budgets across."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from maskkv.eval.cells import REFERENCES, scores
from maskkv.json_lines import Record
from maskkv.labels import label
from maskkv.statistics import retention, standard_error

WIDEST = 9
"""Policies with budgets that fit beside each other; of more, the tables show policies down and budgets across."""


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


def tables(records: Sequence[Record]) -> list[Table]:
    """Lay out scores, and what is retained of each reference policy that is among the records."""
    names = {str(record["policy_name"]) for record in records}
    references = [name for name in REFERENCES if name in names and len(names) > 1]
    columns = list(dict.fromkeys(map(column, records)))
    costs = [cost_table(records)] if any(record.get("mean_recalled") for record in records) else []
    if any("depth" in record for record in records):
        grids = [grid_table([record for record in records if column(record) == name]) for name in columns]
        return [*grids[:WIDEST], summary_table(records), *[summary_table(records, name) for name in references], *costs]
    if len(columns) <= WIDEST:
        scored = [score_table(records), *[retention_table(records, name) for name in references]] if records else []
        return [*scored, *costs]
    return [summary_table(records), *[summary_table(records, name) for name in references], *costs]


def score_table(records: Sequence[Record]) -> Table:
    """Lay out mean scores in percent with their standard errors, one row per task, and the mean over the tasks last."""
    columns, tasks, cells = _grid(records)
    rows = [[task, *[_score(cells.get((task, name))) for name in columns]] for task in tasks]
    means = [_mean([cells.get((task, name)) for task in tasks]) for name in columns]
    return Table(
        _title(records, f"{_metric(records)}, % ± standard error"), ["task", *columns], [*rows, ["mean", *means]]
    )


def retention_table(records: Sequence[Record], reference: str) -> Table:
    """Lay out scores relative to the policy `reference` on the same examples, in percent with their standard error."""
    columns, tasks, cells = _grid(records)
    rows = []
    for task in tasks:
        base = cells.get((task, reference))
        rows.append([task, *[_retained(cells.get((task, name)), base) for name in columns]])
    return Table(_title(records, f"% of {reference}'s score ± standard error"), ["task", *columns], rows)


def summary_table(records: Sequence[Record], reference: str | None = None) -> Table:
    """Lay out means over the tasks in percent, policies down and budgets across, or their ratio to a reference's."""
    columns, tasks, cells = _grid(records)
    means = {name: _mean_score([cells.get((task, name)) for task in tasks]) for name in columns}
    base = 1.0 if reference is None else means.get(reference)
    named = {column(record): record for record in records}
    budgets = sorted({budget for record in records if isinstance(budget := record["budget"], int)})
    rows = []
    for policy in dict.fromkeys(str(record["policy_name"]) for record in records):
        own = {record["budget"]: means[name] for name, record in named.items() if record["policy_name"] == policy}
        rows.append([policy, *[_relative(own.get(budget), base) for budget in (None, *budgets)]])
    what = f"mean {_metric(records)} over the tasks, %" if reference is None else f"% of {reference}'s mean score"
    return Table(_title(records, what), ["policy", "no budget", *map(str, budgets)], rows)


def cost_table(records: Sequence[Record]) -> Table:
    """Lay out what an answer costs on average: passes, pairs that came back, and bytes at its end.

    `recalled` counts over all layers and KV heads.
    """
    named: dict[str, list[Record]] = {}
    for record in records:
        named.setdefault(column(record), []).append(record)
    fields = ("mean_steps", "mean_prompt_passes", "mean_recalled", "mean_cache_bytes", "mean_host_bytes")
    forms = ("{:.1f}", "{:.1f}", "{:,.0f}", "{:,.0f}", "{:,.0f}")
    rows = []
    for name, own in named.items():
        found = [[number for each in own if isinstance(number := each.get(field), int | float)] for field in fields]
        means = [form.format(fmean(some)) if some else "–" for form, some in zip(forms, found, strict=True)]
        rows.append([name, *means])
    header = ["policy", "passes", "over the prompt", "recalled", "cache bytes", "in host memory"]
    return Table(_title(records, "what an answer takes"), header, rows)


def grid_table(records: Sequence[Record]) -> Table:
    """Lay out one policy's and budget's mean scores in percent, depths down and lengths across."""
    scored = {(record["depth"], record["length"]): record for record in records}
    depths, lengths = (sorted({int(str(place[axis])) for place in scored}) for axis in (0, 1))
    rows = [[f"{depth} %", *[_mean([scored.get((depth, length))]) for length in lengths]] for depth in depths]
    title = (
        f"{column(records[0])}: {_metric(records)}, %; depth down, length in tokens across, n = {_counts(records)} each"
    )
    return Table(title, ["depth", *map(str, lengths)], rows)


def column(record: Record) -> str:
    """Return what the column is called that a record belongs to."""
    return label(record["policy_name"], record["budget"], record.get("kv_dtype"))


def percent(record: Record) -> str:
    """Return a record's mean score in percent with its standard error."""
    own = scores(record)
    return _with_error(fmean(own), standard_error(own), len(own))


def _grid(records: Sequence[Record]) -> tuple[list[str], list[str], dict[tuple[str, str], Record]]:
    places = [name for name in ("length", "depth") if len({str(record.get(name)) for record in records}) > 1]
    named = [(" ".join(str(record.get(name)) for name in ("task", *places)), record) for record in records]
    columns = list(dict.fromkeys(map(column, records)))
    tasks = list(dict.fromkeys(task for task, _ in named))
    return columns, tasks, {(task, column(record)): record for task, record in named}


def _title(records: Sequence[Record], what: str) -> str:
    lengths = _listed(record["length"] for record in records if "length" in record)
    prompts = f"prompts of {lengths} tokens, " if lengths else ""
    return f"{what}; {prompts}n = {_counts(records)} per task"


def _counts(records: Sequence[Record]) -> str:
    return _listed(record["n"] for record in records)


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, sorted({int(str(value)) for value in values})))


def _metric(records: Sequence[Record]) -> str:
    found = {str(record.get("metric", "exact match")) for record in records}
    return found.pop() if len(found) == 1 else "score"


def _score(record: Record | None) -> str:
    return "–" if record is None else percent(record)


def _mean(records: Sequence[Record | None]) -> str:
    return _relative(_mean_score(records), 1.0)


def _mean_score(records: Sequence[Record | None]) -> float | None:
    means = [fmean(own) for record in records if record is not None and (own := scores(record))]
    return fmean(means) if means and len(means) == len(records) else None


def _relative(mean: float | None, base: float | None) -> str:
    return "–" if mean is None or not base else f"{100 * mean / base:.1f}"


def _retained(record: Record | None, base: Record | None) -> str:
    if record is None or base is None:
        return "–"
    ratio, error = retention(scores(record), scores(base))
    return "–" if math.isnan(ratio) else _with_error(ratio, error, len(scores(record)))


def _with_error(share: float, error: float, n: int) -> str:
    """Write a share in percent; a single example has no error."""
    return f"{100 * share:.1f} ± {100 * error:.1f}" if n > 1 else f"{100 * share:.1f} ± –"
