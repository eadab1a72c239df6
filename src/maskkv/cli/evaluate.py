"""`maskkv eval`: score policies and budgets on generated documents."""

from __future__ import annotations

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


@flagged
def evaluate(
    tasks: Annotated[list[str], typer.Argument(metavar="TASK...", help="`mini` (all of them), or names of tasks.")],
    *,
    policies: Annotated[list[str] | None, typer.Option("--policy", help="May be repeated; default: maskkv.")] = None,
    budgets: Annotated[
        list[int] | None, typer.Option("--budget", help=f"May be repeated; default: {DEFAULT_BUDGET}.")
    ] = None,
    n: Annotated[int, typer.Option("-n", help="Documents per task.")] = 200,
    length: Annotated[int, typer.Option(help="Tokens of each prompt, at most.")] = 1024,
    first_seed: Annotated[int, typer.Option(help="Seed of the first document.")] = 0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Records go to DIR/mini.jsonl.")] = Path("results"),
    jobs: Annotated[int, typer.Option(min=1, help="Processes that measure side by side.")] = 1,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables in Markdown.")] = False,
    model: ModelFlags,
) -> None:
    """Measure exact match of every task under every policy and budget.

    Cells that DIR holds already are not measured again, so an interrupted run goes on where it stopped.
    """
    from maskkv.eval import runs, table

    cells = _cells(tasks, policies or ["maskkv"], budgets or [DEFAULT_BUDGET], n, length, first_seed)
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


def _cells(
    tasks: list[str], policies: list[str], budgets: list[int], n: int, length: int, first_seed: int
) -> list[Cell]:
    """List the cells to measure: tasks × policies × budgets, one cell for a policy that evicts nothing."""
    from maskkv import mini
    from maskkv.eval.cells import Cell
    from maskkv.policies import named

    for budget in budgets:
        if budget < 1:
            raise InputError(f"budget {budget}: expected at least 1 pair per KV head and layer")
    names = [name for task in tasks for name in (mini.TASKS if task == ALL else (task,))]
    chosen = [
        (policy, budget)
        for policy in map(named, dict.fromkeys(policies))
        for budget in ([None] if policy.scorer is None else dict.fromkeys(budgets))
    ]
    return [
        Cell(task, length, policy, budget, n, first_seed) for task in dict.fromkeys(names) for policy, budget in chosen
    ]


def _print(table: Table, markdown: bool) -> None:
    if markdown:
        terminal.put(f"{table.title}\n\n{table.markdown()}\n")
        return
    shown = terminal.table(*table.header, title=table.title)
    for row in table.rows:
        shown.add_row(*row)
    terminal.show(shown)
