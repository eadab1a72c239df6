"""`maskkv plot`: a figure from records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskkv.cli import terminal
from maskkv.cli.flags import flagged
from maskkv.errors import InputError


@flagged
def plot(
    figure: Annotated[str | None, typer.Argument(help="One of those that --list shows.")] = None,
    *,
    source: Annotated[Path, typer.Option("--from", metavar="DIR_OR_FILE", help="Where the JSONL records lie.")] = Path(
        "results"
    ),
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A name that ends in .png or .svg, or without an ending (both); default: FIGURE."
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="Take only records like this, as in length=1024; may be repeated."),
    ] = None,
    retention: Annotated[
        str | None,
        typer.Option(metavar="POLICY", help="Draw scores in percent of this policy's, on the same documents."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the figures instead.")] = False,
) -> None:
    """Draw a figure from records.

    Nothing is measured here: `maskkv eval`, `maskkv eval observe` and `maskkv bench` write the records.
    """
    from maskkv import plots

    if list_:
        table = terminal.table("figure", "what it shows")
        for name, about in plots.FIGURES.items():
            table.add_row(name, about)
        terminal.show(table)
        return
    if figure is None:
        raise InputError(f"there is no FIGURE: expected one of {', '.join(plots.FIGURES)}")
    with terminal.waiting(f"drawing {figure}"):
        written = plots.write(figure, source, out or Path(figure), where or [], retention)
    for file in written:
        terminal.note(f"wrote {file}")
