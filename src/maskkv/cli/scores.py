"""Records of scores as tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from maskkv.cli import terminal

if TYPE_CHECKING:
    from maskkv.eval.table import Table
    from maskkv.json_lines import Record


def show(found: Sequence[Record], *, markdown: bool) -> None:
    """Print all tables that records make, in Markdown if wanted."""
    from maskkv.eval import table

    for each in table.tables(found):
        _show(each, markdown)


def _show(table: Table, markdown: bool) -> None:
    if markdown:
        terminal.put(f"{table.title}\n\n{table.markdown()}\n")
        return
    shown = terminal.table(*table.header, title=table.title)
    for row in table.rows:
        shown.add_row(*row)
    terminal.show(shown)
