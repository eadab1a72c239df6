"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from maskkv.cli import streams
from maskkv.printable import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.table import Table

PATIENCE = 2.0
"""Seconds that may pass in silence, before a line on standard error says what takes so long."""
BETWEEN = 4.0
"""Seconds from one such line to the next."""


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


def show(shown: RenderableType, *, stderr: bool = False) -> None:
    """Print a table, as a result or as a note; its title may be wider than the table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    with streams.told() if stderr else streams.written():
        if isinstance(shown, Table) and shown.title is not None:
            console.print(_Printable(Text(str(shown.title), style="bold")))
            shown.title = None
        console.print(_Printable(shown))


def table(*headings: str, title: str | None = None) -> Table:
    """Start a table without lines, which reads well wherever it is copied to."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, title=title)
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made


@contextmanager
def _reported(say: Callable[[], str]) -> Generator[None, None, None]:
    """Where there is no terminal, say now and then what is going on and for how long."""
    done, start = Event(), time.monotonic()

    def report() -> None:
        pause = PATIENCE
        while not done.wait(pause):
            note(f"{say()}, {time.monotonic() - start:.0f} s")
            pause = BETWEEN

    reporter = Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()


@contextmanager
def waiting(what: str) -> Generator[Callable[[str], None], None, None]:
    """Show that something takes its time, and give the function that says what does now."""
    if not sys.stderr.isatty():
        told = [what]
        with _reported(lambda: told[-1]):
            yield told.append
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(printable(what))

        def say(what: str) -> None:
            shown.update(task, description=printable(what))

        yield say


@runtime_checkable
class Advance(Protocol):
    """Move a progress bar."""

    def __call__(self, done: int, what: str | None = None, total: int | None = None) -> None:
        """Say how much is done, perhaps what that is, and perhaps of how much."""
        ...


@contextmanager
def progress(what: str, total: int) -> Generator[Advance, None, None]:
    """Show a bar on a terminal, elsewhere a line now and then, and give the function that moves it."""
    if not sys.stderr.isatty():
        state = _State(what, total)
        with _reported(state.said):
            yield state.advance
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)

        def advance(done: int, what: str | None = None, total: int | None = None) -> None:
            bar.update(task, completed=done, description=what, total=total)

        yield advance


@dataclass
class _State:
    """Remember how far something is."""

    what: str
    total: int
    done: int = 0

    def advance(self, done: int, what: str | None = None, total: int | None = None) -> None:
        """Take in how far it is now."""
        self.done, self.what, self.total = done, what or self.what, total or self.total

    def said(self) -> str:
        """Say it."""
        return f"{self.what}: {self.done:,} of {self.total:,}"
