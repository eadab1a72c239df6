"""What this machine can do: the rate of a matrix product and of a copy, and the time that a step takes at least."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from maskkv.models.transformer import Transformer

_SIDE = 2048
_COPIED = 1 << 28
_TRIES = 5


@dataclass(frozen=True)
class Machine:
    """Hold measured rates: operations per second of a large matrix product, bytes read and written by a copy."""

    flops_per_s: float
    bytes_per_s: float

    @classmethod
    def measure(cls, device: torch.device, dtype: torch.dtype) -> Machine:
        """Time both, the best of a few tries."""
        a, b = (torch.ones((_SIDE, _SIDE), device=device, dtype=dtype) for _ in range(2))
        source = torch.zeros(_COPIED, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        product = _least(lambda: a @ b, device)
        copy = _least(lambda: target.copy_(source), device)
        return cls(2 * _SIDE**3 / product, 2 * _COPIED / copy)

    def floor(self, flops: int, moved: int) -> float:
        """Return the seconds that so many operations and bytes take at least, if they overlap perfectly."""
        return max(flops / self.flops_per_s, moved / self.bytes_per_s)


def moved_bytes(model: Transformer, rows: int, sequences: int, cache_bytes: int, *, whole: bool) -> int:
    """Count the bytes that a step must read or write: weights once a pass, and what lies between the layers.

    A pass over `rows` rows (`whole`) writes and reads the stream and a layer's pairs in every layer, and runs once per
    sequence; a step in between reads the pairs of all sequences once.
    """
    weights = sum(weight.nbytes for weight in model.parameters()) - model.embed.weight.nbytes
    if not whole:
        return weights + sequences * cache_bytes
    config = model.config
    numbers = config.hidden_size + 2 * config.num_kv_heads * config.head_dim
    return sequences * (weights + 2 * config.num_layers * rows * numbers * model.dtype.itemsize)


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _least(run: Callable[[], object], device: torch.device) -> float:
    spent = []
    for _ in range(_TRIES):
        synchronize(device)
        start = time.perf_counter()
        run()
        synchronize(device)
        spent.append(time.perf_counter() - start)
    return min(spent)
