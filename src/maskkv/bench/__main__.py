"""`python -m maskkv.bench`: steps per second, bytes and operations of `none`, `full` and `maskkv` on a random model."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from maskkv.bench.measure import Case, Cost, Task, Timing, cost, timing
from maskkv.bench.report import show, summary
from maskkv.bench.shapes import SHAPES, parameter_count, random_model, shape
from maskkv.engine import measure_importance
from maskkv.errors import InputError, MaskKVError
from maskkv.eviction.profile import LayerProfile
from maskkv.generation import Generation
from maskkv.records import append, environment


def parser() -> argparse.ArgumentParser:
    """Describe the options."""
    options = argparse.ArgumentParser(
        prog="python -m maskkv.bench",
        description="Compare the policies none, full and maskkv on a random model; ends with one line of JSON.",
    )
    add = options.add_argument
    add("--shape", choices=sorted(SHAPES), default="mid", help="shape of the model (default: mid)")
    add("--prompt-length", type=int, default=4096, help="tokens of the prompt (default: 4096)")
    add("--gen-length", type=int, default=64, help="tokens of the response, a multiple of 8 (default: 64)")
    add("--budget", type=int, action="append", help="pairs per KV head and layer; repeatable (default: 64 256)")
    add("--repeats", type=int, default=3, help="measurements of every policy (default: 3)")
    add("--none-steps", type=int, default=2, help="steps of `none` to time per repeat, all alike (default: 2)")
    add("--seed", type=int, default=0, help="of weights and prompt (default: 0)")
    add("--json-out", type=Path, help="append the JSON line to this file too")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    options = parser().parse_args(arguments)
    try:
        check(options)
        record = run(options)
        if options.json_out is not None:
            append(options.json_out, record)
    except MaskKVError as error:
        print(f"maskkv: error: {error}", file=sys.stderr)
        return 2
    show(record, Console())
    print(json.dumps(record))
    return 0


def check(options: argparse.Namespace) -> None:
    """Raise InputError for numbers that cannot be benchmarked."""
    for name in ("prompt_length", "repeats", "none_steps", *(["budget"] if options.budget else [])):
        value = min(options.budget) if name == "budget" else getattr(options, name)
        if value < 1:
            raise InputError(f"--{name.replace('_', '-')} {value}: expected at least 1")
    if options.seed < 0:
        raise InputError(f"--seed {options.seed}: expected at least 0")
    if options.json_out is not None and options.json_out.is_dir():
        raise InputError(f"--json-out {options.json_out}: this is a folder, expected a file")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every case and return the record."""
    task = set_up(options)
    budgets = dict.fromkeys(options.budget or (64, 256))
    cases = [Case("none"), Case("full"), *(Case("maskkv", budget) for budget in budgets)]
    costs, timings = measure(task, cases, options.repeats, options.none_steps)
    num_steps = task.generation.num_steps
    return {
        "benchmark": "policies",
        "environment": environment(),
        "shape": options.shape,
        "parameters": parameter_count(task.model),
        "dtype": str(task.model.dtype).removeprefix("torch."),
        "seed": options.seed,
        "prompt_length": options.prompt_length,
        "gen_length": options.gen_length,
        "block_length": task.generation.block_length,
        "prompt_interval": task.generation.prompt_interval,
        "response_interval": task.generation.response_interval,
        "transfer_ratio": task.generation.transfer_ratio,
        "repeats": options.repeats,
        "cases": [summary(case, costs[case], timings[case], timings[cases[0]], num_steps) for case in cases],
    }


def set_up(options: argparse.Namespace) -> Task:
    """Make the model, its profile (from another prompt than the one measured) and the prompt."""
    generation = Generation(gen_length=options.gen_length, stop_at_eos=False)
    config = shape(options.shape)
    model = random_model(config, options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    prompt, other = torch.randint(config.mask_id, (2, options.prompt_length), generator=generator)
    importance = measure_importance(model, other, model.rotation(torch.arange(len(other))))
    profile = LayerProfile(
        options.shape, f"random {options.seed}", 1, len(other), importance, (0.0,) * config.num_layers
    )
    return Task(model, profile, prompt.tolist(), generation)


def measure(
    task: Task, cases: Sequence[Case], repeats: int, none_steps: int
) -> tuple[dict[Case, Cost], dict[Case, list[Timing]]]:
    """Count each case once, which warms it up too, then time all of them in turn, repeat by repeat."""
    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("")

        def say(what: str, case: Case) -> None:
            progress.update(bar, description=f"{what}: {case.label}")

        costs, timings = {}, {case: list[Timing]() for case in cases}
        for case in cases:
            say("counting", case)
            costs[case] = cost(task, case)
        whole = task.generation.num_steps
        for repeat in range(repeats):
            # Back and forth, so that a machine that slows down or speeds up favours nobody.
            for case in cases if repeat % 2 == 0 else reversed(cases):
                say(f"repeat {repeat + 1} of {repeats}", case)
                timings[case].append(timing(task, case, whole if case.cached else min(none_steps, whole)))
    return costs, timings


if __name__ == "__main__":
    sys.exit(main())
