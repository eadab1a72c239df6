"""`maskkv sample`: a generated document with its question."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from maskkv.cli import terminal
from maskkv.cli.flags import Json, flagged
from maskkv.errors import InputError

if TYPE_CHECKING:
    from maskkv.mini.tasks import Sample


@flagged
def sample(
    task: Annotated[str | None, typer.Argument(help="One of those that --list shows.")] = None,
    *,
    length: Annotated[int, typer.Option(min=1, max=1 << 24, help="Tokens of the whole prompt, at most.")] = 1024,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed gives the same document; below 1000000000: never trained on.")
    ] = 0,
    list_: Annotated[bool, typer.Option("--list", help="List the tasks instead.")] = False,
    as_json: Json = False,
) -> None:
    """Print a generated document with its question.

    `maskkv generate --file` reads it. The expected answer goes to standard error.
    """
    if list_:
        _list(as_json)
        return
    made = make(task, length, seed)
    if as_json:
        terminal.put_json(asdict(made))
    else:
        terminal.put(made.content)
        terminal.note(f"expected answer: {made.answer}")


def make(task: str | None, length: int, seed: int) -> Sample:
    """Make a sample; InputError if there is no such task or no room for it."""
    from maskkv.mini import tasks

    known = f"expected one of {', '.join(tasks.TASKS)}"
    if task is None:
        raise InputError(f"there is no TASK: {known}")
    if task not in tasks.TASKS:
        raise InputError(f"unknown task {task!r}: {known}")
    try:
        return tasks.sample(task, length, seed)
    except ValueError as error:
        raise InputError(str(error)) from None


def _list(as_json: bool) -> None:
    from maskkv.mini import tasks

    if as_json:
        terminal.put_json({name: task.about for name, task in tasks.CATALOGUE.items()})
        return
    table = terminal.table("task", "gen_length", "what it asks for")
    for name, task in tasks.CATALOGUE.items():
        table.add_row(name, str(task.gen_length), task.about)
    terminal.show(table)
