"""What this machine can do: its rates of a matrix product and of a copy, and the least time of a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from maskkv.bench.timed import spent
from maskkv.models.sizes import idle_parameters
from maskkv.models.transformer import Transformer

_SIDE = 2048
_COPIED = 1 << 28
_TRIES = 5


@dataclass(frozen=True)
class Machine:
    """Hold measured rates: operations per second of a large matrix product, bytes per second of a copy, both ways."""

    flops_per_s: float
    bytes_per_s: float

    @classmethod
    def measure(cls, device: torch.device, dtype: torch.dtype) -> Machine:
        """Time both; the best of five tries counts."""
        a, b = (torch.ones((_SIDE, _SIDE), device=device, dtype=dtype) for _ in range(2))
        source = torch.zeros(_COPIED, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        product = min(spent(lambda: a @ b, device) for _ in range(_TRIES))
        copy = min(spent(lambda: target.copy_(source), device) for _ in range(_TRIES))
        return cls(2 * _SIDE**3 / product, 2 * _COPIED / copy)

    def floor(self, flops: int, moved: int) -> float:
        """Return the least seconds for these operations and bytes, if they overlap perfectly."""
        return max(flops / self.flops_per_s, moved / self.bytes_per_s)


def moved_bytes(model: Transformer, rows: int, sequences: int, cache_bytes: int, *, whole: bool) -> int:
    """Return the least bytes that a step reads and writes: the weights once per pass, and activations or pairs.

    A pass over all `rows` (`whole`) runs once per sequence; each of its layers writes and reads the residual stream
    and its own pairs. A step between prompt refreshes reads the kept pairs of all sequences once.
    """
    weights = sum(weight.nbytes for weight in model.parameters()) - model.embed.weight.nbytes
    # The least is read if all rows are sent to the same experts.
    weights -= idle_parameters(model.config) * model.dtype.itemsize
    if not whole:
        return weights + sequences * cache_bytes
    config = model.config
    numbers = config.hidden_size + 2 * config.num_kv_heads * config.head_dim
    return sequences * (weights + 2 * config.num_layers * rows * numbers * model.dtype.itemsize)
