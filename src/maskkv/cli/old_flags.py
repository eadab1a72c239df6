"""Flags under the names that they had before: hidden, and answered with a notice."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from maskkv.cli import terminal
from maskkv.errors import InputError
from maskkv.renamed import RENAMED


def hidden(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    """Yield a parameter for a flag's old name, if it had one."""
    for old, new in RENAMED.items():
        if new == parameter.name:
            kind = parameter.annotation.__origin__
            yield parameter.replace(name=old, annotation=Annotated[kind, typer.Option(hidden=True)])


def take(given: dict[str, Any]) -> None:
    """Put values that came under an old name under the new one, and say so."""
    for old, new in RENAMED.items():
        value = given.pop(old, None)
        if value is None:
            continue
        spelled = f"--{new.replace('_', '-')}"
        if given[new] is not None:
            raise InputError(f"--{old} and {spelled} are the same: give {spelled}")
        terminal.note(f"--{old} is called {spelled} now; the old name goes with 0.2.0")
        given[new] = value
