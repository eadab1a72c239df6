"""`maskkv bench`: what responses cost under several policies, side by side."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from maskkv.cli.flags import flagged


@dataclass(frozen=True)
class BenchFlags:
    """The options of `python -m maskkv.bench`, whose defaults hold where nothing is given."""

    shape: Annotated[
        str | None, typer.Option(help="Random weights: mid, mini, tiny, llada-8b or dream-7b; default: mid.")
    ] = None
    model: Annotated[str | None, typer.Option(metavar="ID", help="Instead of a shape: hub id or local folder.")] = None
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N; default: auto.")] = None
    dtype: Annotated[
        str | None,
        typer.Option(help="Default: a checkpoint's as other commands' auto; float32 for random weights on a CPU."),
    ] = None
    prompt_length: Annotated[
        list[int] | None, typer.Option(help="Tokens of the prompt; repeatable; default: 4096.")
    ] = None
    batch_size: Annotated[
        list[int] | None, typer.Option(help="Sequences that run together; repeatable; default: 1.")
    ] = None
    gen_length: Annotated[int | None, typer.Option(help="Tokens of the response; default: 64.")] = None
    policy: Annotated[list[str] | None, typer.Option(help="Beside none; repeatable; default: full and maskkv.")] = None
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PAIRS|PERCENT",
            help="Pairs per KV head and layer, or a part of each prompt length, as in 5%, rounded up; repeatable; "
            "default: 64 and 256.",
        ),
    ] = None
    prompt_interval: Annotated[int | None, typer.Option(help="Steps between prompt refreshes; default: 50.")] = None
    min_confidence: Annotated[
        float | None, typer.Option(help="Read the prompt again when no candidate is this sure.")
    ] = None
    value_drift: Annotated[
        float | None, typer.Option(help="Read the prompt again once the response's values have moved this far.")
    ] = None
    kv_dtype: Annotated[
        str | None, typer.Option(help="What kept pairs are stored in: auto, int8 or fp8; default: auto.")
    ] = None
    compile: Annotated[bool, typer.Option("--compile", help="Compile what the layers do to each row.")] = False
    repeats: Annotated[int | None, typer.Option(help="Measurements of every policy; default: 3.")] = None
    none_steps: Annotated[int | None, typer.Option(help="Steps of none to time per repeat; default: 2.")] = None
    seed: Annotated[int | None, typer.Option(help="Seed of weights and prompts; default: 0.")] = None
    json_out: Annotated[Path | None, typer.Option(metavar="FILE", help="Append the JSON line to this file.")] = None

    def arguments(self) -> list[str]:
        """Return the arguments that say the same to `python -m maskkv.bench`."""
        words = []
        for field in fields(self):
            given = getattr(self, field.name)
            flag = f"--{field.name.replace('_', '-')}"
            for value in given if isinstance(given, list) else [given]:
                if value is True:
                    words.append(flag)
                elif value is not None and value is not False:
                    words.append(f"{flag}={value}")
        return words


@flagged
def bench(*, options: BenchFlags) -> None:
    """Compare policies by speed and memory, beside what this machine could do.

    No cache, dLLM-Cache (full) and MaskKV take turns in one process, on a random model or a checkpoint, at every
    prompt length and batch size. Prints tables and ends with one line of JSON.
    """
    from maskkv import policies
    from maskkv.bench.__main__ import main
    from maskkv.bench.shapes import shape
    from maskkv.checkpoints import weights
    from maskkv.checks import check_kv_dtype
    from maskkv.errors import InputError

    if options.shape is not None:
        shape(options.shape)
    if options.dtype is not None and options.dtype not in weights.DTYPES:
        raise InputError(f"--dtype {options.dtype}: expected one of {', '.join(weights.DTYPES)}")
    check_kv_dtype(options.kv_dtype or "auto")
    for name in options.policy or ():
        policies.named(name)
    raise typer.Exit(main(options.arguments()))
