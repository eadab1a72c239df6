"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from maskkv.cli import streams
from maskkv.printable import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.table import Table


def put(text: str) -> None:
    """Print a result; a terminal gets it without what could steer it, a file or a pipe as it is."""
    with streams.written():
        print(printable(text) if sys.stdout.isatty() else text, flush=True)


def put_json(value: object) -> None:
    """Print a result as a line of JSON, in ASCII: that is the same in every encoding, and steers no terminal."""
    put(json.dumps(value))


def note(text: str) -> None:
    """Tell the user something that is not the result."""
    with streams.told():
        print(printable(text), file=sys.stderr, flush=True)


class _Printable:
    """Print something without what could steer a terminal."""

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._shown, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def show(table: RenderableType, *, stderr: bool = False) -> None:
    """Print a table, as a result or as a note."""
    from rich.console import Console

    with streams.told() if stderr else streams.written():
        Console(stderr=stderr, highlight=False, markup=False, emoji=False).print(_Printable(table))


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
    from rich.text import Text

    if not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status(Text(printable(what))):
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

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)

        def advance(done: int, what: str | None = None, total: int | None = None) -> None:
            bar.update(task, completed=done, description=what, total=total)

        yield advance
