"""`maskkv bench`: what responses cost under several policies, side by side."""

from __future__ import annotations

import sys

from maskkv import records
from maskkv.bench.options import BenchOptions
from maskkv.cli import streams, terminal
from maskkv.cli.flags import flagged


@flagged
def bench(*, options: BenchOptions) -> None:
    """Compare policies by speed and memory, beside what this machine could do.

    No cache, dLLM-Cache (full) and MaskKV take turns in one process, on a random model or a checkpoint, at every
    prompt length and batch size. Prints tables; --json-out, or what a pipe leads to, gets one line of JSON.
    """
    from rich.console import Console

    from maskkv.bench.compare import compare
    from maskkv.bench.report import show

    if options.json_out is not None:
        records.prepare_file(options.json_out)
    with terminal.waiting("making the model") as say:
        record = compare(options, say)
    with streams.written():
        show(record, Console(markup=False))
    if not sys.stdout.isatty():
        terminal.put_json(record)
    if options.json_out is not None:
        records.append(options.json_out, record)
