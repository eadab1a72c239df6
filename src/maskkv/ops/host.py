"""Many small tensors brought to the host in one copy: each would make it wait for the device by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def on_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors in host memory, each with its own dtype and shape, exactly (whole numbers below 2⁵³)."""
    if all(each.is_cpu for each in tensors):
        return list(tensors)
    by_dtype: dict[torch.dtype, list[int]] = {}
    for index, each in enumerate(tensors):
        by_dtype.setdefault(each.dtype, []).append(index)
    joined = [torch.cat([tensors[index].flatten() for index in own]).double() for own in by_dtype.values()]
    order = [index for own in by_dtype.values() for index in own]
    parts = torch.cat(joined).cpu().split([tensors[index].numel() for index in order])
    found = {
        index: part.to(tensors[index].dtype).view(tensors[index].shape)
        for index, part in zip(order, parts, strict=True)
    }
    return [found[index] for index in range(len(tensors))]
