"""`python -m maskkv.bench`, which is `maskkv bench`: what responses cost under several policies, side by side."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from maskkv import memory, policies
from maskkv.bench.machine import Machine
from maskkv.bench.measure import Case, Cost, Task, Timing, cost, timing
from maskkv.bench.report import show, summary
from maskkv.bench.shapes import SHAPES, parameter_count, random_model, random_tokens, shape
from maskkv.budget import Budget, pairs_of, read_budget
from maskkv.cache import measure_importance
from maskkv.checkpoints import weights
from maskkv.checkpoints.weights import DTYPES
from maskkv.checks import KV_DTYPES
from maskkv.errors import InputError, MaskKVError
from maskkv.eviction.profile import LayerProfile
from maskkv.generation import Generation
from maskkv.models.stretch import notice
from maskkv.models.transformer import Transformer
from maskkv.plan import Shape, Workload
from maskkv.printable import printable
from maskkv.records import append, environment, prepare_file

DEFAULTS: dict[str, list[Any]] = {
    "prompt_length": [4096],
    "batch_size": [1],
    "budget": ["64", "256"],
    "policy": ["none", "full", "maskkv"],
}
"""Of the options that may be repeated."""


def parser() -> argparse.ArgumentParser:
    """Describe the options."""
    options = argparse.ArgumentParser(
        prog="python -m maskkv.bench",
        description="Compare policies by speed and memory, on random weights or a checkpoint; ends in a line of JSON.",
    )
    add = options.add_argument
    add("--shape", choices=sorted(SHAPES), help="shape of a model with random weights (default: mid)")
    add("--model", help="instead of a shape: hub id or local folder")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    add("--dtype", choices=sorted(DTYPES), help="default: as `maskkv.load` takes; float32 for random weights on a CPU")
    add("--prompt-length", type=int, action="append", help="tokens of the prompt; repeatable (default: 4096)")
    add("--batch-size", type=int, action="append", help="sequences that run together; repeatable (default: 1)")
    add("--gen-length", type=int, default=64, help="tokens of the response, a multiple of 8 (default: 64)")
    add("--policy", action="append", help="beside none; repeatable (default: full maskkv)")
    add("--budget", action="append", help="pairs per KV head and layer, or 5%% of each length (default: 64 256)")
    add("--prompt-interval", type=int, help="steps from one prompt refresh to the next (default: 50)")
    add("--min-confidence", type=float, help="read the prompt again when no candidate is this sure")
    add("--value-drift", type=float, help="read the prompt again once the values have moved this far")
    add("--kv-dtype", default="auto", choices=KV_DTYPES, help="what kept pairs are stored in (default: auto)")
    add("--compile", action="store_true", help="compile the layers")
    add("--repeats", type=int, default=3, help="measurements of every policy (default: 3)")
    add("--none-steps", type=int, default=2, help="steps of `none` to time per repeat, all alike (default: 2)")
    add("--seed", type=int, default=0, help="of weights and prompts (default: 0)")
    add("--json-out", type=Path, help="append the JSON line to this file too")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    options = parser().parse_args(arguments)
    try:
        check(options)
        record = run(options)
        show(record, Console(markup=False))
        print(json.dumps(record))
        if options.json_out is not None:
            append(options.json_out, record)
    except MaskKVError as error:
        print(f"maskkv: error: {printable(str(error))}", file=sys.stderr)
        return 2
    return 0


def check(options: argparse.Namespace) -> None:
    """Raise InputError for what cannot be benchmarked; fill in the lists' defaults."""
    for name, default in DEFAULTS.items():
        setattr(options, name, list(dict.fromkeys(getattr(options, name) or default)))
    options.budget = [_budget(each) for each in options.budget]
    for name in ("prompt_length", "batch_size", "repeats", "none_steps"):
        value = getattr(options, name)
        least = min(value) if isinstance(value, list) else value
        if least < 1:
            raise InputError(f"--{name.replace('_', '-')} {least}: expected at least 1")
    if options.seed < 0:
        raise InputError(f"--seed {options.seed}: expected at least 0")
    if options.model is not None and options.shape is not None:
        raise InputError("--model and --shape both name a model: give one of them")
    if options.json_out is not None:
        prepare_file(options.json_out)


def _budget(text: str) -> Budget:
    try:
        return read_budget(text)
    except InputError as error:
        raise InputError(f"--{error}") from None


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every case at every length and batch size, and return the record."""
    generation = schedule(options)
    model = make(options, generation, list(choose(options, max(options.prompt_length))))
    if options.compile:
        model.compile_rows()
    else:
        model.pack_weights()
    said = notice(model.config, max(options.prompt_length) + options.gen_length)
    if said is not None:
        print(f"maskkv: {said}", file=sys.stderr)
    machine = Machine.measure(model.device, model.dtype)
    named = printable(options.model or f"random {options.shape or 'mid'}")
    return {
        "benchmark": "policies",
        "environment": environment(),
        "name": named,
        "shape": None if options.model else options.shape or "mid",
        "model": options.model,
        "device": str(model.device),
        "parameters": parameter_count(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "kv_dtype": options.kv_dtype,
        "compile": options.compile,
        "seed": options.seed,
        "gen_length": options.gen_length,
        "schedule": asdict(generation),
        "repeats": options.repeats,
        "machine": asdict(machine),
        "runs": measured(options, model, machine),
    }


def schedule(options: argparse.Namespace) -> Generation:
    """Return how responses are made; they do not stop early, so that all take equally many steps."""
    given = {name: getattr(options, name) for name in ("prompt_interval", "min_confidence", "value_drift")}
    chosen = {name: value for name, value in given.items() if value is not None}
    return Generation(gen_length=options.gen_length, stop_at_eos=False, **chosen)


def choose(options: argparse.Namespace, length: int) -> Iterator[Case]:
    """Yield `none`, which everything is compared with, and the other policies, each at every budget if it has one.

    Those that need the layers' importance for a prompt of this length come twice: with a layer profile, and as for a
    user who has none.
    """
    yield Case("none")
    for name in options.policy:
        if name == "none":
            continue
        policy = policies.named(name)
        pairs = dict.fromkeys(pairs_of(each, length) for each in options.budget)
        for budget in pairs if policy.scorer is not None else [None]:
            yield Case(name, budget)
            if policy.needs_importance(budget, length):
                yield Case(name, budget, profiled=False)


def make(options: argparse.Namespace, generation: Generation, cases: Sequence[Case]) -> Transformer:
    """Load the checkpoint, or make the random model; neither before it is known to fit.

    Raises:
        InputError: It would not fit into memory.
    """
    config = shape(options.shape or "mid") if options.model is None else weights.config_of(options.model)
    device = weights.device_of(options.device)
    if options.model is not None:
        dtype = weights.dtype_of(options.model, device, options.dtype or "auto")
    else:
        dtype = DTYPES[options.dtype or ("float32" if device.type == "cpu" else "bfloat16")]
    needed = max(
        Shape(config, dtype.itemsize).peak(
            Workload(length, generation, policies.named(case.policy), case.budget, options.kv_dtype), batch
        )
        for length, batch, case in product(options.prompt_length, options.batch_size, cases)
    )
    free = memory.available(device)
    if needed > free:
        raise InputError(
            f"this takes about {needed / 1e9:,.1f} GB and {free / 1e9:,.1f} GB are free: a shorter --prompt-length, a "
            "smaller --batch-size or --dtype bfloat16 needs less; `maskkv plan` tells what fits"
        )
    if options.model is not None:
        return weights.load(options.model, device, options.dtype or "auto")
    return random_model(config, options.seed, dtype, device)


def measured(options: argparse.Namespace, model: Transformer, machine: Machine) -> list[dict[str, Any]]:
    """Return a run per prompt length and batch size."""
    runs = []
    for length, batch in product(options.prompt_length, options.batch_size):
        cases = list(choose(options, length))
        task = set_up(options, model, length, batch)
        costs, timings = measure(task, cases, options.repeats, options.none_steps)
        steps = task.generation.num_steps
        runs.append(
            {
                "prompt_length": length,
                "batch_size": batch,
                "cases": [
                    summary(case, costs[case], timings[case], references(timings), steps, machine) for case in cases
                ],
            }
        )
    return runs


def references(timings: dict[Case, list[Timing]]) -> dict[str, list[Timing]]:
    """Return the timings of what the other cases are compared with."""
    return {case.policy: timings[case] for case in (Case("none"), Case("full")) if case in timings}


def set_up(options: argparse.Namespace, model: Transformer, length: int, batch: int) -> Task:
    """Draw prompts, and measure the layers on another one of at most 1,024 tokens."""
    generator = torch.Generator().manual_seed(options.seed)
    prompts = [random_tokens(model.config, length, generator) for _ in range(batch)]
    other = torch.tensor(random_tokens(model.config, min(length, 1024), generator), device=model.device)
    importance = measure_importance(model, other, model.rotation(torch.arange(len(other), device=model.device)))
    profile = LayerProfile("bench", f"random {options.seed}", 1, len(other), importance, (0.0,) * len(importance))
    return Task(model, profile, prompts, schedule(options), options.kv_dtype)


def measure(
    task: Task, cases: Sequence[Case], repeats: int, none_steps: int
) -> tuple[dict[Case, Cost], dict[Case, list[Timing]]]:
    """Count each case once, which warms it up too, then time all of them in turn, repeat by repeat."""
    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("")

        def say(what: str, case: Case) -> None:
            progress.update(bar, description=f"{len(task.prompts[0]):,} tokens, {what}: {case.label}")

        costs, timings = {}, {case: list[Timing]() for case in cases}
        for case in cases:
            say("counting", case)
            costs[case] = cost(task, case)
        for repeat in range(repeats):
            # Back and forth, so that a machine that slows down or speeds up favours nobody.
            for case in cases if repeat % 2 == 0 else reversed(cases):
                say(f"repeat {repeat + 1} of {repeats}", case)
                timings[case].append(timing(task, case, None if case.cached else none_steps))
    return costs, timings


if __name__ == "__main__":
    sys.exit(main())
