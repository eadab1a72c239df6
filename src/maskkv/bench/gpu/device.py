"""What only a CUDA device knows: its peak memory, its driver, its unused memory."""

from __future__ import annotations

import gc
import shutil
import subprocess
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Peak:
    """Watch peak memory; None on a CPU, whose allocator does not count."""

    device: torch.device

    @classmethod
    def watch(cls, device: torch.device) -> Peak:
        """Reset the peak to what is allocated now."""
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        return cls(device)

    def taken(self) -> dict[str, int | None]:
        """Return the most bytes that tensors took, and that the allocator held, since the reset."""
        on_cuda = self.device.type == "cuda"
        return {
            "peak_allocated": torch.cuda.max_memory_allocated(self.device) if on_cuda else None,
            "peak_reserved": torch.cuda.max_memory_reserved(self.device) if on_cuda else None,
        }


def free_unused(device: torch.device) -> None:
    """Return memory that no tensor uses to the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def name_of(device: torch.device) -> str:
    """Return the card's name, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def driver() -> str | None:
    """Return the driver's version; None where nvidia-smi does not tell it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    ask = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=10).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    return told[0] if told else None
