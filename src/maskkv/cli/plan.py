"""`maskkv plan`: what fits, before anything is loaded."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from maskkv.cli import terminal
from maskkv.cli.capacity import CapacityFlags
from maskkv.cli.flags import Json, PolicyFlags, flagged
from maskkv.errors import InputError
from maskkv.generation import Generation

if TYPE_CHECKING:
    from maskkv.plan import Shape, Workload

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip


@dataclass(frozen=True)
class ShapeFlags:
    """Say which model is meant; only its `config.json` is read."""

    model: Annotated[str | None, typer.Option(metavar="ID", help="Hub id or local folder.")] = None
    shape: Annotated[
        str | None,
        typer.Option(
            help="Instead of a model: llada-8b, dream-7b, qwen3-0.6b, llada-moe, llada2-mini, sdar-1.7b, sdar-8b, mid, "
            "mid-blocks, mini or tiny."
        ),
    ] = None
    dtype: Annotated[
        str,
        typer.Option(
            help="What is computed in: bfloat16, float16 or float32 (which other commands' auto takes on a CPU that "
            "would emulate the checkpoint's own)."
        ),
    ] = "bfloat16"
    kv_dtype: Annotated[
        str, typer.Option(help="What kept prompt pairs are stored in: auto (the model's dtype), int8 or fp8.")
    ] = "auto"
    quantize: Annotated[
        str | None,
        typer.Option(
            metavar="DTYPE", help="What the layers' weights are stored in on a GPU: int8 or int4; default: dtype."
        ),
    ] = None
    tensor_parallel: Annotated[
        int, typer.Option(help="Split the model over this many devices; bytes are those of one.")
    ] = 1

    @property
    def computed_in(self) -> str:
        """Return the dtype's full name."""
        from maskkv.checkpoints import weights

        return str(weights.DTYPES[self.dtype]).removeprefix("torch.")

    def read(self) -> tuple[str, Shape]:
        """Return the model's name and what decides its memory; default: the bundled dLLM."""
        from maskkv import mini
        from maskkv.bench.shapes import shape
        from maskkv.checkpoints import configs, weights
        from maskkv.checks import check_kv_dtype, check_parts, check_quantize
        from maskkv.plan import Shape

        check_kv_dtype(self.kv_dtype)
        check_quantize(self.quantize)
        check_parts(self.tensor_parallel, compiled=False)
        if self.model is not None and self.shape is not None:
            raise InputError("--model and --shape both name a model: give one of them")
        if self.dtype not in weights.DTYPES:
            raise InputError(f"--dtype {self.dtype}: expected one of {', '.join(weights.DTYPES)}")
        if self.shape is not None:
            name, config = self.shape, shape(self.shape)
        elif self.model is not None:
            name, config = self.model, weights.config_of(self.model)
        else:
            name, config = "bundled", configs.read(mini.folder())
        return name, Shape(config, weights.DTYPES[self.dtype].itemsize, quantize=self.quantize)


@flagged
def plan(  # noqa: PLR0913 (each group of flags by itself)
    *,
    prompt_length: Annotated[int, typer.Option(help="Tokens of the prompt.")] = 32_768,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="What the device has, as in 24GB or 22GiB; tells what fits.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Sequences that run together.")] = 1,
    model: ShapeFlags,
    policy: PolicyFlags,
    generation: Generation,
    load: CapacityFlags,
    as_json: Json = False,
) -> None:
    """Predict the memory that a response takes, from the model's shape alone.

    Nothing is loaded. Counted are the bytes of tensors: a driver's context, an allocator's slack and what kernels use
    inside come on top, some hundred megabytes on a GPU. Evicted pairs that wait in host memory (evicted=host) are
    counted by themselves: --memory is the device's.

    With --rate it is simulated how many copies of a server keep requests from waiting. What a step takes is read from
    records of `maskkv bench` (--pace): nothing is assumed.
    """
    from maskkv.decoding.fitting import for_model
    from maskkv.models import sizes
    from maskkv.models.part import Part
    from maskkv.plan import LONGEST, Workload

    for name, value in (("prompt-length", prompt_length), ("batch-size", batch_size)):
        if not 1 <= value <= LONGEST:
            raise InputError(f"--{name} {value}: expected a number from 1 to {LONGEST:,}")
    size = None if memory is None else _size(memory)
    with terminal.waiting(f"looking up {model.model or 'the model'}"):
        name, whole = model.read()
    shape = replace(whole, config=Part(0, model.tensor_parallel).config(whole.config))
    chosen = policy.chosen()
    for_model(generation, chosen, shape.config)
    work = Workload(prompt_length, generation, chosen, policy.budget_for(chosen), model.kv_dtype)
    if load.rate is not None:
        load.answer(name, shape, model.computed_in, work, size, as_json=as_json)
        return
    found = {
        "model": name,
        "dtype": model.computed_in,
        "quantize": model.quantize,
        "tensor_parallel": model.tensor_parallel,
        "parameters": sizes.parameters(whole.config),
        "active_parameters": sizes.active_parameters(whole.config) if whole.config.experts else None,
        **_record(shape, work, batch_size, size),
    }
    if as_json:
        terminal.put_json(found)
        return
    _show(found)


def _record(shape: Shape, work: Workload, batch_size: int, memory: int | None) -> dict[str, object]:
    from maskkv.models.stretch import stretch
    from maskkv.plan import longest_prompt

    need = shape.need(work, batch_size)
    found: dict[str, object] = {
        "prompt_length": work.prompt_length,
        "gen_length": work.generation.gen_length,
        "policy": work.policy.name,
        "budget": work.pairs,
        "batch_size": batch_size,
        "trained_length": shape.config.trained_length,
        "rope_scale": stretch(shape.config, work.prompt_length + work.generation.gen_length),
        "weight_bytes": shape.weight_bytes,
        "held_bytes": batch_size * need.held,
        "reading_bytes": need.reading,
        "peak_bytes": shape.peak(work, batch_size),
        "host_bytes": batch_size * need.host,
    }
    if memory is not None:

        def peak(length: int) -> int:
            return shape.peak(replace(work, prompt_length=length), batch_size)

        found |= {
            "memory_bytes": memory,
            "fits": shape.peak(work, batch_size) <= memory,
            "longest_prompt": longest_prompt(peak, memory),
        }
    return found


def _show(found: dict[str, object]) -> None:
    budget = "" if found["budget"] is None else f" {found['budget']}"
    active = "" if found["active_parameters"] is None else f" ({found['active_parameters']:,} active for a token)"
    stored = "" if found["quantize"] is None else f", the layers' in {found['quantize']}"
    parts = "" if found["tensor_parallel"] == 1 else f", on each of {found['tensor_parallel']} devices"
    terminal.note(
        f"{found['model']}, {found['parameters']:,} parameters{active} in {found['dtype']}{stored}{parts}; "
        f"{found['batch_size']} x "
        f"{found['prompt_length']:,} prompt tokens and {found['gen_length']:,} of response; {found['policy']}{budget}"
    )
    table = terminal.table("what", "bytes")
    for label, field in (
        ("weights", "weight_bytes"),
        ("held between steps", "held_bytes"),
        ("while a prompt is read, besides", "reading_bytes"),
        ("peak", "peak_bytes"),
        ("beside it, in host memory", "host_bytes"),
    ):
        if field != "host_bytes" or found[field]:
            table.add_row(label, decimal(int(str(found[field]))))
    trained = int(str(found["trained_length"]))
    if int(str(found["prompt_length"])) + int(str(found["gen_length"])) > trained:
        scale = float(str(found["rope_scale"]))
        how = f"stretched, RoPE's theta × {scale:g}" if scale > 1 else "the last are new to the model"
        table.add_row(f"positions, trained for {trained:,}", how)
    terminal.show(table)
    if "memory_bytes" in found:
        verdict = "fits" if found["fits"] else "does not fit"
        size = decimal(int(str(found["memory_bytes"])))
        terminal.put(f"{verdict} in {size}; the longest prompt that does: {found['longest_prompt']:,} tokens")


def _size(text: str) -> int:
    """Read a number of bytes: 24GB, 22.5 GiB, 1000000.

    >>> _size("1.5 kB"), _size("2KiB")
    (1500, 2048)
    """
    spelt = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if spelt is None or spelt[2].upper() not in _UNITS:
        raise InputError(f"--memory {text}: expected a size like 24GB or 22GiB")
    size = float(spelt[1]) * _UNITS[spelt[2].upper()]
    if not 1 <= size < math.inf:
        raise InputError(f"--memory {text}: expected at least one byte")
    return int(size)
