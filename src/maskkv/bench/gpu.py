"""`python -m maskkv.bench.gpu`: check and time LLaDA-8B's shape on a GPU in one call; ends with one line of JSON.

Random weights are made on the device. Checked: the variable-length kernel against a plain softmax, and the measured
peak against `maskkv plan`. Timed: no cache, dLLM-Cache and MaskKV over prompt lengths, MaskKV beyond, the prompt read
again by doubt or drift instead of by the clock, and many sequences beside one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from maskkv import memory
from maskkv.bench import __main__ as bench
from maskkv.bench.machine import Machine
from maskkv.bench.measure import Case
from maskkv.bench.shapes import SHAPES, random_model, shape
from maskkv.checkpoint import DTYPES
from maskkv.errors import InputError, MaskKVError
from maskkv.models.transformer import Transformer
from maskkv.ops.segments import PackedAttention
from maskkv.plan import Shape, Workload
from maskkv.policies import named
from maskkv.records import append, environment

PART = 1024


@dataclass(frozen=True)
class Part:
    """Name a measurement and the options of `maskkv bench` that make it."""

    name: str
    options: tuple[str, ...]


def parts(unit: int, sequences: int) -> list[Part]:
    """Return what is measured; `unit` is what prompt lengths are multiples of, `sequences` how many run together."""

    def lengths(*multiples: int) -> tuple[str, ...]:
        return tuple(f"--prompt-length={multiple * unit}" for multiple in multiples)

    each = ("--none-steps=1", "--budget=256", "--repeats=2")
    return [
        Part("side by side", (*lengths(1, 2, 4, 8, 16, 32), *each)),
        Part("beyond", (*lengths(64, 128), "--policy=maskkv", "--budget=256", "--none-steps=1", "--repeats=1")),
        Part("doubt", (*lengths(32), "--policy=maskkv", "--doubt=0.5", *each)),
        Part("drift", (*lengths(32), "--policy=maskkv", "--drift=0.5", *each)),
        Part(
            "together",
            (*lengths(8), "--policy=maskkv", *each, "--batch-size=1", f"--batch-size={sequences}"),
        ),
    ]


def kernel_error(device: torch.device, dtype: torch.dtype, seed: int) -> float:
    """Return the largest difference between the variable-length kernel and a softmax in fp32, on random segments."""
    generator = torch.Generator().manual_seed(seed)
    counts, kv_heads, heads, head_dim = [64, 16, 33], 4, 8, 128
    lengths = torch.randint(1, 400, (len(counts) * kv_heads,), generator=generator).tolist()
    queries = torch.randn((sum(counts), heads, head_dim), generator=generator).to(device, dtype)
    keys, values = (torch.randn((sum(lengths), head_dim), generator=generator).to(device, dtype) for _ in range(2))
    read = PackedAttention(lengths, counts, heads, device)(queries, keys, values)
    worst = 0.0
    row, pair = 0, 0
    for sequence, count in enumerate(counts):
        for head in range(kv_heads):
            length = lengths[sequence * kv_heads + head]
            own = slice(head * heads // kv_heads, (head + 1) * heads // kv_heads)
            asked = queries[row : row + count, own].float()
            held, told = keys[pair : pair + length].float(), values[pair : pair + length].float()
            expected = (asked @ held.T * head_dim**-0.5).softmax(-1) @ told
            worst = max(worst, float((read[row : row + count, own].float() - expected).abs().max()))
            pair += length
        row += count
    return worst


def peaks(model: Transformer, unit: int) -> list[dict[str, Any]]:
    """Return the measured peak of a prompt refresh beside the planned one, weights included (CUDA only)."""
    found = []
    for multiple in (1, 8, 32):
        options = bench.parser().parse_args([f"--prompt-length={multiple * unit}", "--budget=256"])
        bench.check(options)
        task = bench.set_up(options, model, multiple * unit, 1)
        work = Workload(multiple * unit, task.generation, named("maskkv"), 256)
        torch.cuda.reset_peak_memory_stats(model.device)
        task.open(Case("maskkv", 256), task.generation).step()
        measured, planned = memory.peak(model.device), Shape.of(model).peak(work)
        found.append(
            {"prompt_length": multiple * unit, "measured": measured, "planned": planned, "ratio": measured / planned}
        )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Check and measure; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m maskkv.bench.gpu", description=__doc__)
    parser.add_argument("--shape", default="llada-8b", choices=sorted(SHAPES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=sorted(DTYPES))
    parser.add_argument("--unit", type=int, default=PART, help="prompt lengths are multiples of it (default: 1024)")
    parser.add_argument("--sequences", type=int, default=32, help="how many run together (default: 32)")
    parser.add_argument("--gen-length", type=int, default=64)
    parser.add_argument("--part", action="append", help="only this part; repeatable")
    parser.add_argument("--json-out", type=Path, help="append the JSON line to this file too")
    given = parser.parse_args(arguments)
    try:
        record = measure(given)
        if given.json_out is not None:
            append(given.json_out, record)
    except MaskKVError as error:
        print(f"maskkv: error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(record))
    return 0


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Make the model, check it, and measure every part."""
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no CUDA device here: --device cpu --shape tiny --unit 8 tries the script out")
    on_cuda, dtype = device.type == "cuda", DTYPES[given.dtype]
    model = random_model(shape(given.shape), 0, dtype, device)
    machine = Machine.measure(device, dtype)
    record: dict[str, Any] = {
        "benchmark": "gpu",
        "environment": environment(),
        "device": torch.cuda.get_device_name(device) if on_cuda else str(device),
        "shape": given.shape,
        "dtype": given.dtype,
        "gen_length": given.gen_length,
        "machine": asdict(machine),
        "kernel_error": kernel_error(device, dtype, 0) if on_cuda else None,
        "peaks": peaks(model, given.unit) if on_cuda else None,
        "parts": {},
    }
    for part in parts(given.unit, given.sequences):
        if given.part is None or part.name in given.part:
            options = bench.parser().parse_args([*part.options, f"--gen-length={given.gen_length}"])
            bench.check(options)
            record["parts"][part.name] = bench.measured(options, model, machine)
            print(f"{part.name}: done", file=sys.stderr, flush=True)
    return record


if __name__ == "__main__":
    sys.exit(main())
