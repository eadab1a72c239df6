"""What a request takes beside the weights, told from its shape before anything of it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from maskkv.models.transformer import Transformer
from maskkv.server.orders import Order

_SHARE = 0.9
_FP32 = 4


@dataclass(frozen=True)
class Need:
    """Say how many bytes a request holds between steps, and how many more while its prompt is read.

    Prompts are read one after the other: of several requests the first numbers add up, of the second the largest
    counts.
    """

    held: int
    reading: int

    @property
    def alone(self) -> int:
        """Return what the request takes if no other runs."""
        return self.held + self.reading


def need(order: Order, model: Transformer) -> Need:
    """Estimate what an order takes; an upper bound but for what kernels use inside."""
    return Need(_held(order, model), _reading(order, model) + _sampling(order, model))


def _held(order: Order, model: Transformer) -> int:
    """Count kept pairs, and the live rows' pairs and outputs."""
    if not order.policy.cached:
        return 0
    config, itemsize = model.config, model.dtype.itemsize
    evictable = len(order.prompt) - config.lookback
    evicts = order.policy.scorer is not None and order.budget is not None
    kept = min(evictable, order.budget) if evicts and order.budget is not None else evictable
    live = config.lookback + order.generation.gen_length
    pairs = 2 * config.num_kv_heads * config.head_dim * (kept + live)
    outputs = 2 * config.hidden_size * live
    branches = 2 if order.generation.cfg_scale else 1
    return branches * config.num_layers * (pairs + outputs) * itemsize


def _reading(order: Order, model: Transformer) -> int:
    """Count a pass over all rows: the residual stream twice, one layer's pairs and votes, a chunk of the rest."""
    config, itemsize = model.config, model.dtype.itemsize
    rows = len(order.prompt) + order.generation.gen_length
    chunk = min(rows, model.chunk_rows)
    stream = 2 * rows * config.hidden_size * itemsize
    rotation = 2 * rows * config.head_dim * _FP32
    pairs = 2 * rows * config.num_kv_heads * config.head_dim * itemsize
    votes = 3 * rows * config.num_heads * _FP32
    token_wise = chunk * (3 * config.hidden_size * _FP32 + 3 * config.mlp_size * itemsize)
    return stream + rotation + pairs + votes + token_wise


def _sampling(order: Order, model: Transformer) -> int:
    """Count the logits of a block, in the model's numbers and several times in wider ones."""
    wide = 4 * _FP32 if order.generation.temperature == 0 else 4 * _FP32 + 4 * 8
    return order.generation.block_length * model.config.vocab_size * (model.dtype.itemsize + wide)


def available(device: torch.device) -> int:
    """Return nine tenths of the bytes that are free on the model's device now."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _free_here()
    return int(_SHARE * free)


def _free_here() -> int:
    """Return what this process may still take: of the machine, and of its control group if that has less."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    told = Path("/proc/meminfo")
    if told.exists():
        lines = dict(line.split(":", 1) for line in told.read_text(encoding="ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        most = int((group / "memory.max").read_text(encoding="ascii"))
        return min(free, most - int((group / "memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):  # There is no control group, or it has no limit.
        return free
