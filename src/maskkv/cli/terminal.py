"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def put(text: str) -> None:
    """Print a result."""
    print(text, flush=True)


def note(text: str) -> None:
    """Tell the user something that is not the result."""
    print(text, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Replace what could steer a terminal, or change the order of what is read, by U+FFFD; a tab by a blank."""
    return "".join(
        letter if letter == "\n" or unicodedata.category(letter)[0] != "C" else "\ufffd"
        for letter in text.replace("\r\n", "\n").replace("\t", " ")
    )


def show(table: RenderableType, *, stderr: bool = False) -> None:
    """Print a table, as a result or as a note."""
    from rich.console import Console

    Console(stderr=stderr, highlight=False, markup=False, emoji=False).print(table)


def table(*headings: str, title: str | None = None) -> Table:
    """Start a table without lines, which reads well wherever it is copied to."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made


@contextmanager
def waiting(what: str) -> Generator[None, None, None]:
    """Show on a terminal that something takes its time."""
    from rich.console import Console

    if not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status(what):
        yield


@runtime_checkable
class Advance(Protocol):
    """Move a progress bar."""

    def __call__(self, done: int, what: str | None = None, total: int | None = None) -> None:
        """Say how much is done, perhaps what that is, and perhaps of how much."""
        ...


@contextmanager
def progress(what: str, total: int) -> Generator[Advance, None, None]:
    """Show a bar on a terminal and give the function that moves it; the bar goes at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)

        def advance(done: int, what: str | None = None, total: int | None = None) -> None:
            bar.update(task, completed=done, description=what, total=total)

        yield advance
