"""Compare policies: the model, every prompt length and batch size, every case, and the record of what they cost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from typing import Any

import torch

from maskkv import memory, mixing
from maskkv.bench.machine import Machine
from maskkv.bench.measure import Case, Comparison, Cost, Timing, cost, timing
from maskkv.bench.options import BenchOptions
from maskkv.bench.report import summary
from maskkv.bench.shapes import parameter_count, random_model, random_tokens, shape
from maskkv.budget import pairs_of
from maskkv.checkpoints import folders, weights
from maskkv.decoding import reference
from maskkv.errors import InputError
from maskkv.eviction.profile import LayerProfile
from maskkv.loading import Loading
from maskkv.models.config import ModelConfig
from maskkv.models.part import Part
from maskkv.models.stretch import notice
from maskkv.models.transformer import Transformer
from maskkv.parallel.splitting import split
from maskkv.placing import place
from maskkv.plan import Shape, Workload
from maskkv.printable import printable
from maskkv.records import environment

DEFAULT_SHAPE = "mid"
Tell = Callable[[str], None]


def compare(options: BenchOptions, tell: Tell = lambda what: None) -> dict[str, Any]:
    """Measure every case at every prompt length and batch size, and return the record; `tell` hears what is done now.

    Raises:
        CheckpointError: The checkpoint is broken.
        InputError: There is no such shape, model, device, dtype or policy, or it would not fit into memory.
    """
    longest = max(options.prompt_length)
    model = load(options, list(cases(options, longest)))
    if options.compile:
        model.compile_rows()
    else:
        model.pack_weights()
    stretched = notice(model.config, longest + options.gen_length)
    if stretched is not None:
        print(f"maskkv: {stretched}", file=sys.stderr)
    tell("measuring this machine")
    machine = Machine.measure(model.device, model.dtype)
    shape_name = None if options.model else options.shape or DEFAULT_SHAPE
    return {
        "benchmark": "policies",
        "environment": environment(),
        "name": printable(options.model or f"random {shape_name}"),
        "shape": shape_name,
        "model": options.model,
        "device": str(model.device),
        "parameters": parameter_count(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "kv_dtype": options.kv_dtype,
        "compile": options.compile,
        "tensor_parallel": options.tensor_parallel,
        "seed": options.seed,
        "gen_length": options.gen_length,
        "schedule": asdict(options.generation),
        "repeats": options.repeats,
        "machine": asdict(machine),
        "runs": [
            run(options, model, machine, (length, batch), tell)
            for length, batch in product(dict.fromkeys(options.prompt_length), dict.fromkeys(options.batch_size))
        ],
    }


def cases(options: BenchOptions, length: int) -> Iterator[Case]:
    """Yield `none`, which everything is compared with, then each other policy at every budget, if it takes one.

    A policy that needs the layers' importance for a prompt of this length comes twice: with a layer profile and
    without.
    """
    yield Case("none")
    for name in dict.fromkeys(options.policy):
        if name == "none":
            continue
        policy = mixing.resolve(name)
        pairs = dict.fromkeys(pairs_of(each, length) for each in options.budgets)
        for budget in pairs if policy.can_evict else [None]:
            yield Case(name, budget)
            if policy.needs_importance(budget, length):
                yield Case(name, budget, profiled=False)


def load(options: BenchOptions, cases: Sequence[Case]) -> Transformer:
    """Load the checkpoint or make the random model, once it is known that all cases fit into memory."""
    if options.dtype not in ("auto", *weights.DTYPES):
        raise InputError(f"--dtype {options.dtype}: expected one of auto, {', '.join(weights.DTYPES)}")
    device = weights.device_of(options.device)
    if options.model is None:
        config = shape(options.shape or DEFAULT_SHAPE)
        auto = torch.float32 if device.type == "cpu" else torch.bfloat16
        dtype = auto if options.dtype == "auto" else weights.DTYPES[options.dtype]
    else:
        config = weights.config_of(options.model)
        dtype = weights.dtype_of(options.model, device, options.dtype)
    parts = options.tensor_parallel
    _check_memory(options, cases, Shape(Part(0, parts).config(config), dtype.itemsize), device)
    if options.model is None:
        make = partial(_random_part, config, options.seed, dtype)
        return make(Part(), device) if parts == 1 else split(make, parts, device)
    if parts == 1:
        return weights.load(options.model, device, options.dtype)
    return place(
        folders.resolve(options.model), Loading(None, options.device, options.dtype, tensor_parallel=parts)
    ).model


def _random_part(config: ModelConfig, seed: int, dtype: torch.dtype, part: Part, device: torch.device) -> Transformer:
    """Make random weights for one part: the others' have the same numbers."""
    return random_model(part.config(config), seed, dtype, device)


def _check_memory(options: BenchOptions, cases: Sequence[Case], model: Shape, device: torch.device) -> None:
    needed = max(
        model.peak(
            Workload(length, options.generation, mixing.resolve(case.policy), case.budget, options.kv_dtype), batch
        )
        for length, batch, case in product(options.prompt_length, options.batch_size, cases)
    )
    free = memory.available(device)
    if needed > free:
        raise InputError(
            f"this takes about {needed / 1e9:,.1f} GB and {free / 1e9:,.1f} GB are free: a shorter --prompt-length, a "
            "smaller --batch-size or --dtype bfloat16 needs less; `maskkv plan` tells what fits"
        )


def run(
    options: BenchOptions, model: Transformer, machine: Machine, sizes: tuple[int, int], tell: Tell
) -> dict[str, Any]:
    """Return the record of one prompt length and batch size."""
    length, batch = sizes
    compared = list(cases(options, length))
    comparison = set_up(options, model, length, batch)
    costs, timings = measure(comparison, compared, options, tell)
    references = {each.policy: timings[each] for each in (Case("none"), Case("full")) if each in timings}
    steps = options.generation.num_steps
    return {
        "prompt_length": length,
        "batch_size": batch,
        "cases": [summary(each, costs[each], timings[each], references, steps, machine) for each in compared],
    }


def set_up(options: BenchOptions, model: Transformer, length: int, batch: int) -> Comparison:
    """Draw prompts, and measure the layers' importance on another one of at most 1,024 tokens."""
    generator = torch.Generator().manual_seed(options.seed)
    prompts = [random_tokens(model.config, length, generator) for _ in range(batch)]
    other = random_tokens(model.config, min(length, 1024), generator)
    importance = reference.importance(model, other, 1.0)
    profile = LayerProfile("bench", f"random {options.seed}", 1, len(other), importance, (0.0,) * len(importance))
    return Comparison(model, profile, prompts, options.generation, options.kv_dtype)


def measure(
    comparison: Comparison, cases: Sequence[Case], options: BenchOptions, tell: Tell
) -> tuple[dict[Case, Cost], dict[Case, list[Timing]]]:
    """Count each case once, which warms it up too, then time all of them in turn, repeat by repeat."""
    repeats = options.repeats

    def say(what: str, case: Case) -> None:
        tell(f"{len(comparison.prompts[0]):,} tokens, {what}: {case.label}")

    costs, timings = {}, {case: list[Timing]() for case in cases}
    for case in cases:
        say("counting", case)
        costs[case] = cost(comparison, case)
    for repeat in range(repeats):
        # Back and forth, so that a machine that slows down or speeds up favours nobody.
        for case in cases if repeat % 2 == 0 else reversed(cases):
            say(f"repeat {repeat + 1} of {repeats}", case)
            timings[case].append(timing(comparison, case, None if case.cached else options.none_steps))
    return costs, timings
