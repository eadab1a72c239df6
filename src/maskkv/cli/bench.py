"""`maskkv bench`: what steps cost on a random model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from maskkv.cli.flags import flagged


@dataclass(frozen=True)
class BenchFlags:
    """The options of `python -m maskkv.bench`, whose defaults hold where nothing is given."""

    shape: Annotated[str | None, typer.Option(help="mid, mini or tiny; default: mid.")] = None
    prompt_length: Annotated[int | None, typer.Option(help="Tokens of the prompt; default: 4096.")] = None
    gen_length: Annotated[int | None, typer.Option(help="Tokens of the response; default: 64.")] = None
    budget: Annotated[
        list[int] | None, typer.Option(help="Pairs per KV head and layer; repeatable; default: 64 and 256.")
    ] = None
    repeats: Annotated[int | None, typer.Option(help="Measurements of every policy; default: 3.")] = None
    none_steps: Annotated[int | None, typer.Option(help="Steps of none to time per repeat; default: 2.")] = None
    seed: Annotated[int | None, typer.Option(help="Seed of weights and prompt; default: 0.")] = None
    json_out: Annotated[Path | None, typer.Option(metavar="FILE", help="Append the JSON line to this file.")] = None

    def arguments(self) -> list[str]:
        """Return the arguments that say the same to `python -m maskkv.bench`."""
        words = []
        for field in fields(self):
            given = getattr(self, field.name)
            for value in given if isinstance(given, list) else [given]:
                if value is not None:
                    words.append(f"--{field.name.replace('_', '-')}={value}")
        return words


@flagged
def bench(*, options: BenchFlags) -> None:
    """Compare policies by speed and memory on a random model.

    Prints a table and ends with one line of JSON.
    """
    from maskkv.bench.__main__ import main
    from maskkv.bench.shapes import shape

    if options.shape is not None:
        shape(options.shape)
    raise typer.Exit(main(options.arguments()))
