"""What single choices are worth: CUDA graphs, 8-bit pairs, response refreshes, joined projections, backends, votes."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from maskkv.bench.gpu.clock import EAGER, PARTIAL, RESPONSE, Pace, captured, milliseconds, on_device
from maskkv.bench.gpu.subject import Fields, Setup, Subject
from maskkv.bench.timed import timed_steps
from maskkv.ops.attention import attention_mass

_COPIES = 6
_BACKENDS = {
    "default": None,
    "cudnn": [SDPBackend.CUDNN_ATTENTION],
    "flash": [SDPBackend.FLASH_ATTENTION],
}


def choices(subject: Subject) -> Iterator[Fields]:
    """Measure each choice beside its alternative, in turn and twice."""
    length = 8 * subject.unit
    base = Setup(length, subject.generation(response_interval=2))
    needed = 2 * subject.pass_s(length) + 40 * subject.step_s
    pairs = {
        "cuda_graphs": {"on": base, "off": replace(base, graphs=False)},
        "kv_dtype": {"auto": base, "int8": replace(base, kv_dtype="int8")},
    }
    for name, setups in pairs.items():
        yield {"option": name, **(subject.skipped(2 * needed) or _in_turn(subject, setups))}
    yield {"option": "response_interval", **(subject.skipped(needed) or _intervals(subject, base))}
    yield {"option": "joined projections", **(subject.skipped(1.0) or _joined(subject))}
    for multiple in (8, 32):
        length = multiple * subject.unit
        fields = {"prompt_length": length}
        skipped = subject.skipped(6 * subject.pass_s(length))
        if skipped:
            yield {"option": "backend", **fields, **skipped}
            continue
        refresh = _backends(subject, length)
        yield {"option": "backend", **fields, "refresh_ms": refresh, "over_default": _over(refresh)}
        yield {"option": "votes", **fields, **_votes(subject, length, min(refresh["default"] or [float("nan")]))}


def _in_turn(subject: Subject, setups: dict[str, Setup]) -> Fields:
    """Time both kinds of step of each setup, twice; the ratio is of the faster ones, to the first setup."""
    found: dict[str, dict[str, list[float]]] = {name: {PARTIAL: [], RESPONSE: []} for name in setups}
    for _ in range(2):
        for name, setup in setups.items():
            pace = _pace(subject, setup)
            for kind, own in found[name].items():
                own.append(milliseconds(pace.steady[kind]))
    first, second = found.values()
    return {
        "step_ms": found,
        "second_over_first": {kind: round(min(second[kind]) / min(first[kind]), 4) for kind in first},
    }


def _pace(subject: Subject, setup: Setup) -> Pace:
    return Pace.of(timed_steps(subject.open(setup), subject.device, 1 + 2 * (EAGER + 3)))


def _intervals(subject: Subject, setup: Setup) -> Fields:
    """Compare the mean step when every step refreshes the response with one refresh in five."""
    found: dict[str, list[float]] = {"1": [], "5": []}
    for _ in range(2):
        pace = _pace(subject, setup)
        for interval, own in found.items():
            own.append(milliseconds(pace.mean_step(int(interval))))
    return {"mean_step_ms": found, "one_over_five": round(min(found["1"]) / min(found["5"]), 4)}


def _backends(subject: Subject, length: int) -> dict[str, list[float] | None]:
    """Time a prompt refresh with each kernel of attention; None where this device or build lacks it."""
    found: dict[str, list[float] | None] = {name: [] for name in _BACKENDS}
    for _ in range(2):
        for name, backends in _BACKENDS.items():
            own = found[name]
            if own is None:
                continue
            try:
                # torch warns of each reason why a kernel cannot be used.
                with warnings.catch_warnings(action="ignore"), _choosing(backends):
                    (refresh,) = timed_steps(subject.open(Setup(length, subject.generation())), subject.device, 1)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                found[name] = None
            else:
                own.append(milliseconds(refresh.seconds))
    return found


def _choosing(backends: list[SDPBackend] | None) -> contextlib.AbstractContextManager[object]:
    return contextlib.nullcontext() if backends is None else sdpa_kernel(backends)


def _over(times: dict[str, list[float] | None]) -> dict[str, float | None]:
    first = times["default"]
    return {name: round(min(own) / min(first), 4) if own and first else None for name, own in times.items()}


@torch.no_grad()
def _joined(subject: Subject) -> Fields:
    """Time two matrices that read the same rows: as two products, and as one product with both joined."""
    config, device = subject.config, subject.device
    heads = (config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim)
    found: Fields = {}
    for name, outputs in (("gate and up", (config.mlp_size, config.mlp_size)), ("q and k", heads)):
        # More copies than the device's cache can hold, as in a step, which reads each weight once.
        both = [
            torch.randn((sum(outputs), config.hidden_size), device=device).to(subject.dtype)
            for _ in range(_COPIES if subject.on_cuda else 1)
        ]
        apart = [own for each in both for own in each.split(outputs)]
        for rows in (subject.gen_length // 4, subject.gen_length):
            x = torch.randn((rows, config.hidden_size), device=device).to(subject.dtype)
            one, two = (on_device(captured(partial(_products, x, own), device), device) for own in (both, apart))
            found[f"{name}, {rows} rows"] = {
                "apart_ms": milliseconds(two / len(both)),
                "joined_ms": milliseconds(one / len(both)),
                "joined_over_apart": round(one / two, 4),
            }
    return found


def _products(x: Tensor, weights: list[Tensor]) -> None:
    for weight in weights:
        F.linear(x, weight)


@torch.no_grad()
def _votes(subject: Subject, length: int, refresh_ms: float) -> Fields:
    """Time the votes of one layer, which every layer takes in a prompt refresh."""
    config, device = subject.config, subject.device
    rows = length + subject.gen_length
    keys = torch.randn((rows, config.num_kv_heads, config.head_dim), device=device, dtype=subject.dtype)
    queries = torch.randn((subject.gen_length, config.num_heads, config.head_dim), device=device, dtype=subject.dtype)
    layer_ms = milliseconds(on_device(lambda: attention_mass(queries, keys), device))
    return {
        "layer_ms": layer_ms,
        "refresh_ms": refresh_ms,
        "share": round(layer_ms * config.num_layers / refresh_ms, 4),
    }
