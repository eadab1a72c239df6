"""The widest numbers that a device has: float64, but float32 on Apple's GPUs (`mps`)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def widest(device: torch.device) -> torch.dtype:
    """Return the dtype of the widest numbers that a device has."""
    return torch.float32 if device.type == "mps" else torch.float64


def wide(tensor: Tensor) -> Float[Tensor, ...]:
    """Return a tensor's numbers as wide as its device has them."""
    return tensor.to(widest(tensor.device))
