"""Bytes of a device: how many are free for a response, and how many were taken at most."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import torch

_SHARE = 0.9


def available(device: torch.device) -> int:
    """Return nine tenths of the bytes that are free on a device now."""
    return int(_SHARE * (_free_on_cuda(device) if device.type == "cuda" else _free_here()))


def peak(device: torch.device) -> int:
    """Return the device's peak since it was last reset (CUDA), or this process's largest resident size ever (CPU)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def _free_on_cuda(device: torch.device) -> int:
    """Return what the driver has, and what PyTorch has from it and does not use."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


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
