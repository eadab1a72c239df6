"""`python -m maskkv.bench.live`: CPU time of the steps between prompt refreshes, of many sequences together."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial

import torch

from maskkv.bench.shapes import SHAPES, random_model, shape
from maskkv.bench.timed import TimedStep, timed_steps
from maskkv.checkpoints.weights import DTYPES
from maskkv.checks import KV_DTYPES
from maskkv.decoding.engine import Engine
from maskkv.generation import Generation
from maskkv.models.transformer import Transformer
from maskkv.policies import named

BUDGETS = (4, 8, 16, 24, 32, 64, 128, None)
"""None stands for the policy `full`."""


def steps(
    model: Transformer, sequences: int, prompt_length: int, generation: Generation, kv_dtype: str, most: int
) -> list[TimedStep]:
    """Answer one prompt in many sequences under mixed budgets, and time the steps after the first."""
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(model.config.mask_id - 8, (prompt_length,), generator=generator).tolist()
    engine = Engine(model)
    for index in range(sequences):
        budget = BUDGETS[index % len(BUDGETS)]
        engine.add(prompt, generation, named("full" if budget is None else "maskkv"), budget, kv_dtype=kv_dtype)
    engine.step()
    return timed_steps(engine, model.device, most)


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
        "--compile", action="store_true", help="compile the layers, and run once before the run that counts"
    )
    given = parser.parse_args(arguments)
    model = random_model(shape(given.shape), 0, DTYPES[given.dtype])
    generation = Generation(gen_length=given.gen_length, stop_at_eos=False)
    run = partial(steps, model, given.sequences, given.prompt_length, generation, given.kv_dtype, given.steps)
    if given.compile:
        model.compile_rows()
        run()
    else:
        model.pack_weights()
    spent: dict[str, list[float]] = {}
    for each in run():
        spent.setdefault(each.kind, []).append(each.cpu_seconds)
    figures = {
        f"{name}_{what}_cpu_ms": round(1000 * value, 2)
        for name, each in spent.items()
        for what, value in (("least", min(each)), ("mean", sum(each) / len(each)))
    }
    print(json.dumps({**vars(given), "threads": torch.get_num_threads(), **figures}))


if __name__ == "__main__":
    main()
