"""Time the steps between prompt refreshes with many sequences side by side: `python -m maskkv.bench.live`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from maskkv.bench.measure import kind
from maskkv.bench.shapes import SHAPES, random_model, shape
from maskkv.checkpoints.weights import DTYPES
from maskkv.checks import KV_DTYPES
from maskkv.decoding.engine import Engine
from maskkv.generation import Generation
from maskkv.models.transformer import Transformer
from maskkv.policies import named

BUDGETS = (4, 8, 16, 24, 32, 64, 128, None)
"""None stands for the policy `full`."""


@dataclass(frozen=True)
class Crowd:
    """Say how many sequences answer one prompt side by side, under mixed budgets and in phase."""

    sequences: int
    prompt_length: int
    generation: Generation
    kv_dtype: str = "auto"


def cpu_seconds(model: Transformer, crowd: Crowd, steps: int) -> dict[str, list[float]]:
    """Return the CPU time of each step after the first, by what it recomputes."""
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(model.config.mask_id - 8, (crowd.prompt_length,), generator=generator).tolist()
    engine = Engine(model)
    for index in range(crowd.sequences):
        budget = BUDGETS[index % len(BUDGETS)]
        policy = named("full" if budget is None else "maskkv")
        engine.add(prompt, crowd.generation, policy, budget, kv_dtype=crowd.kv_dtype)
    engine.step()
    spent: dict[str, list[float]] = {}
    for _ in range(steps):
        start = time.process_time()
        done = engine.step()
        spent.setdefault(kind(done[0].refresh), []).append(time.process_time() - start)
    return spent


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the least and the mean CPU time of each kind of step, as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m maskkv.bench.live", description=__doc__)
    parser.add_argument("--shape", default="mini", choices=sorted(SHAPES))
    parser.add_argument("--dtype", default="float32", choices=sorted(DTYPES))
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--prompt-length", type=int, default=200)
    parser.add_argument("--gen-length", type=int, default=24)
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--kv-dtype", default="auto", choices=KV_DTYPES)
    parser.add_argument(
        "--compile", action="store_true", help="compile the layers, and run a crowd before the one that counts"
    )
    given = parser.parse_args(arguments)
    model = random_model(shape(given.shape), 0, DTYPES[given.dtype])
    generation = Generation(gen_length=given.gen_length, stop_at_eos=False)
    crowd = Crowd(given.sequences, given.prompt_length, generation, given.kv_dtype)
    if given.compile:
        model.compile_rows()
        cpu_seconds(model, crowd, given.steps)
    else:
        model.pack_weights()
    spent = cpu_seconds(model, crowd, given.steps)
    figures = {
        f"{name}_{what}_cpu_ms": round(1000 * value, 2)
        for name, each in spent.items()
        for what, value in (("least", min(each)), ("mean", sum(each) / len(each)))
    }
    print(json.dumps({**vars(given), "threads": torch.get_num_threads(), **figures}))


if __name__ == "__main__":
    main()
