"""`maskkv eval`: score policies and budgets on generated documents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskkv.cli import terminal
from maskkv.cli.flags import DEFAULT_BUDGET, ModelFlags, flagged
from maskkv.errors import InputError

if TYPE_CHECKING:
    from maskkv.eval.cells import Cell
    from maskkv.eval.table import Table

ALL = "mini"
"""The name that stands for all of the bundled tasks."""


@dataclass(frozen=True)
class GridFlags:
    """Say which documents are asked about, under which policies and budgets."""

    policy: Annotated[list[str] | None, typer.Option(help="May be repeated; default: maskkv.")] = None
    budget: Annotated[list[int] | None, typer.Option(help=f"May be repeated; default: {DEFAULT_BUDGET}.")] = None
    n: Annotated[int, typer.Option("-n", help="Documents per task.")] = 200
    length: Annotated[int, typer.Option(help="Tokens of each prompt, at most.")] = 1024
    first_seed: Annotated[int, typer.Option(help="Seed of the first document.")] = 0

    def cells(self, tasks: list[str]) -> list[Cell]:
        """List what to measure: tasks × policies × budgets, one cell for a policy that evicts nothing."""
        from maskkv import mini
        from maskkv.eval.cells import Cell
        from maskkv.policies import named

        budgets = self.budget or [DEFAULT_BUDGET]
        for budget in budgets:
            if budget < 1:
                raise InputError(f"budget {budget}: expected at least 1 pair per KV head and layer")
        names = [name for task in tasks for name in (mini.TASKS if task == ALL else (task,))]
        chosen = [
            (policy, budget)
            for policy in map(named, dict.fromkeys(self.policy or ["maskkv"]))
            for budget in ([None] if policy.scorer is None else dict.fromkeys(budgets))
        ]
        return [
            Cell(task, self.length, policy, budget, self.n, self.first_seed)
            for task in dict.fromkeys(names)
            for policy, budget in chosen
        ]


@flagged
def evaluate(
    tasks: Annotated[list[str], typer.Argument(metavar="TASK...", help="`mini` (all of them), or names of tasks.")],
    *,
    grid: GridFlags,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Records go to DIR/mini.jsonl.")] = Path("results"),
    jobs: Annotated[int, typer.Option(min=1, help="Processes that measure side by side.")] = 1,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables in Markdown.")] = False,
    model: ModelFlags,
) -> None:
    """Measure exact match of every task under every policy and budget.

    Cells that DIR holds already are not measured again, so an interrupted run goes on where it stopped.
    """
    from maskkv.eval import runs, table

    cells = grid.cells(tasks)
    source = runs.Source(
        model.model, model.device, model.dtype, model.rope_scale, None if model.profile is None else str(model.profile)
    )
    with terminal.progress("measuring", len(cells)) as advance:
        seen: list[dict[str, object]] = []

        def show(record: dict[str, object]) -> None:
            seen.append(record)
            advance(len(seen), f"{record['task']}, {table.label(record)}: {table.percent(record)}")

        measured = runs.run(cells, source, out / "mini.jsonl", jobs, show)
    tables = [table.score_table(measured)]
    names = {str(record["policy_name"]) for record in measured}
    tables += [table.retention_table(measured, name) for name in ("none", "full") if name in names and len(names) > 1]
    for each in tables:
        _print(each, markdown)


def _print(table: Table, markdown: bool) -> None:
    if markdown:
        terminal.put(f"{table.title}\n\n{table.markdown()}\n")
        return
    shown = terminal.table(*table.header, title=table.title)
    for row in table.rows:
        shown.add_row(*row)
    terminal.show(shown)
