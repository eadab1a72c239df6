"""What this machine has for maskkv, and whether it computes right: findings that `maskkv doctor` prints.

Nothing is imported before it is looked at, torch included: what cannot be imported is a finding too.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import maskkv
from maskkv.errors import InputError, MaskKVError

if TYPE_CHECKING:
    import torch

    from maskkv.api import LanguageModel
    from maskkv.bench.gpu.verdicts import Found

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "huggingface_hub")

EXTRAS = {
    "serve": ("the HTTP server, `maskkv serve`", ("fastapi", "prometheus-client", "pydantic-settings", "uvicorn")),
    "plot": ("figures from records, `maskkv plot`", ("matplotlib",)),
    "lm-eval": ("lm-evaluation-harness, `maskkv eval lm-eval`", ("lm-eval",)),
    "quantize": ("weights in 8 or 4 bits, `--quantize int8`", ("torchao",)),
    "ray": ("a cluster, `maskkv serve --replicas`, `maskkv eval --ray`", ("ray", "protobuf")),
}
"""By the name of the extra: what it is for, and the libraries that it brings."""


@dataclass(frozen=True)
class Finding:
    """Say what was looked at, what was found, and whether that is as it should be (None: not there, nor needed)."""

    about: str
    found: str
    ok: bool | None = True


def guarded(about: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Pass findings on; if looking raises, that is the last one."""
    try:
        yield from findings
    except Exception as error:
        yield Finding(about, _reason(error), ok=False)


def _reason(error: Exception) -> str:
    """Return an error's first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, MaskKVError):
        return lines[0]
    return ": ".join([type(error).__name__, *lines[:1]])


def machine(device: str) -> Iterator[Finding]:
    """Report versions, extras, memory and devices, and try the one that a model would be put on."""
    yield from versions()
    yield from extras()
    yield from guarded("cpu", processor())
    yield from guarded("cuda", cards())
    yield from guarded("device", tried(device))


def versions() -> Iterator[Finding]:
    """Report Python and the libraries that maskkv cannot do without."""
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Finding("maskkv", maskkv.__version__)
    for library in LIBRARIES:
        version = _version(library)
        yield Finding(library, version or "not installed: pip install maskkv brings it", ok=version is not None)


def extras() -> Iterator[Finding]:
    """Report what can be installed beside, and how."""
    for name, (purpose, libraries) in EXTRAS.items():
        missing = [library for library in libraries if _version(library) is None]
        found = f"for {purpose}: pip install 'maskkv[{name}]'" if missing else purpose
        yield Finding(f"maskkv[{name}]", found, ok=None if missing else True)


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> Iterator[Finding]:
    """Report the CPU's threads and memory, and what it multiplies."""
    import torch

    cpu = torch.device("cpu")
    yield Finding("cpu", f"{os.cpu_count()} cores, threads in use: {torch.get_num_threads()}")
    yield Finding("memory", f"{_room(cpu)}, and for evicted pairs that wait (evicted=host)")
    yield from _products(cpu)


def cards() -> Iterator[Finding]:
    """Report the CUDA devices, or why there are none."""
    import torch

    from maskkv.bench.gpu.device import driver

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    built = torch.version.cuda
    if not available:
        why = "this torch is built without it" if built is None else f"torch, built for {built}, finds no device"
        told = f" ({str(said[0].message).splitlines()[0]})" if said else ""
        yield Finding("cuda", f"none, {why}: the CPU computes{told}")
        return
    yield Finding("cuda", f"torch is built for {built}, driver {driver() or 'unknown'}")
    for number in range(torch.cuda.device_count()):
        card = torch.device("cuda", number)
        yield from guarded(str(card), _card(card))


def _card(card: torch.device) -> Iterator[Finding]:
    import torch

    major, minor = torch.cuda.get_device_capability(card)
    total = torch.cuda.mem_get_info(card)[1]
    name = f"{torch.cuda.get_device_name(card)}, compute capability {major}.{minor}"
    yield Finding(str(card), f"{name}, {total / 1e9:,.1f} GB, {_room(card)}")


def _room(device: torch.device) -> str:
    """Say how much may be taken, by the rule that refuses what needs more."""
    from maskkv import memory

    return f"{memory.available(device) / 1e9:,.1f} GB free for weights and responses"


def _products(device: torch.device) -> Iterator[Finding]:
    import torch

    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        about = f"{_name(dtype)} on {device}"
        yield from guarded(about, _product(about, device, dtype))


def _product(about: str, device: torch.device, dtype: torch.dtype) -> Iterator[Finding]:
    """Multiply, and say whether the device does so itself and what `--dtype auto` makes of that."""
    import torch

    from maskkv.ops.linear import multiplies

    product = torch.ones(16, 16, device=device, dtype=dtype) @ torch.ones(16, 16, device=device, dtype=dtype)
    if not bool((product == 16).all()):
        yield Finding(about, "multiplies wrongly", ok=False)
        return
    how = {
        True: "multiplies natively",
        False: "multiplies, but emulates it",
        None: "multiplies; whether natively is not known",
    }[multiplies(device, dtype)]
    wide = device.type == "cpu" and multiplies(device, dtype) is False
    taken = ": --dtype auto computes in float32 instead, if memory allows" if wide else ""
    yield Finding(about, how + taken)


def tried(device: str) -> Iterator[Finding]:
    """Run the project's kernels and tiny models on the device of that name, if it is a CUDA device."""
    import torch

    from maskkv.checkpoints import weights

    try:
        place = weights.device_of(device)
    except InputError:  # The model, which cannot be put there, says so.
        return
    if place.type != "cuda":
        return
    from maskkv.bench.gpu import kernel_checks, model_checks

    card = torch.device("cuda", place.index or 0)
    yield from _products(card)
    yield from guarded("triton", _triton(card))
    for about, check in (
        ("variable-length attention", kernel_checks.segments),
        ("kernels for votes", kernel_checks.votes),
        ("kernels by row", kernel_checks.rows),
        ("kernel for the choice of rows", kernel_checks.least),
        ("tokens as on the CPU", model_checks.tokens),
        ("CUDA graphs", model_checks.graphs),
    ):
        yield from guarded(about, _verdict(about, check(card)))


def coming_back(llm: LanguageModel) -> Finding:
    """Let evicted pairs come back: with room for all the answer is that of a full cache, with little room few stay."""
    from maskkv import mixing, policies
    from maskkv.generation import Generation

    prompt, budget = range(32), 4
    made = Generation(gen_length=8, steps=4, stop_at_eos=False)
    host = mixing.mix(policies.named("maskkv"), evicted="host")
    full = llm.generate_ids(prompt, made, policy="full", budget=None)
    whole = llm.generate_ids(prompt, made, policy=host, budget=len(prompt))
    little = llm.generate_ids(prompt, made, policy=host, budget=budget)
    config = llm.model.config
    kept = sum(len(positions) for layer in little.kept for positions in layer)
    expected = budget * config.num_kv_heads * config.num_layers
    about = "pairs that come back"
    if whole.tokens != full.tokens:
        return Finding(about, "with a budget of the whole prompt the tokens are not those of a full cache", ok=False)
    if kept != expected:
        return Finding(about, f"{kept} pairs are held; expected: {expected}", ok=False)
    return Finding(about, f"{little.recalled} in 4 steps, and {little.host_bytes:,} bytes wait in host memory")


def _triton(card: torch.device) -> Iterator[Finding]:
    """Say what computes votes, rows and their choice."""
    import torch

    from maskkv.ops.fused import fused

    with torch.no_grad():
        usable = fused(torch.empty(1, device=card))
    if not usable:
        yield Finding("triton", "instead of its kernels plain torch runs, which is slower: pip install triton", ok=None)
        return
    import triton

    yield Finding("triton", f"{triton.__version__}, its kernels run")


def _verdict(about: str, found: Found) -> Iterator[Finding]:
    """Sum up a check's verdicts: what was right, or the first that was not."""
    verdicts = list(found)
    failed = [f"{name}: {verdict.detail}" for name, verdict in verdicts if not verdict.passed]
    if failed:
        yield Finding(about, f"{len(failed)} of {len(verdicts)} comparisons fail, {failed[0]}", ok=False)
        return
    kinds = dict.fromkeys(name.partition(",")[0] for name, _ in verdicts)
    yield Finding(about, f"{', '.join(kinds)}: right in {len(verdicts)} comparisons")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
