"""The dtype that a model is computed in."""

from __future__ import annotations

import torch

from maskkv import memory
from maskkv.models.config import ModelConfig
from maskkv.ops.linear import multiplies
from maskkv.plan import Shape

_SHARE = 0.75
"""Of the memory that is free, what weights may take that are made wider than their file holds them."""


def auto(config: ModelConfig, stored: torch.dtype, device: torch.device) -> torch.dtype:
    """Return the dtype for weights that a file holds as `stored` where nobody asks for one: the file's own.

    A CPU that would emulate its products computes in fp32 instead, if the weights take at most three quarters of the
    free memory then: the rest is for responses.
    """
    if device.type != "cpu" or multiplies(device, stored) is not False:
        return stored
    wide = Shape(config, torch.float32.itemsize).weight_bytes
    return torch.float32 if wide <= _SHARE * memory.available(device) else stored
