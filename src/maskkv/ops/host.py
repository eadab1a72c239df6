"""What goes to host memory: many small tensors in one copy, and vectors that wait there until some are wanted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.ops.quantised import Quantised
from maskkv.ops.wide import wide


def on_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors in host memory, each with its own dtype and shape.

    They are exact: of whole numbers those below 2⁵³ (2²⁴ from mps).
    """
    if all(each.is_cpu for each in tensors):
        return list(tensors)
    by_dtype: dict[torch.dtype, list[int]] = {}
    for index, each in enumerate(tensors):
        by_dtype.setdefault(each.dtype, []).append(index)
    joined = [wide(torch.cat([tensors[index].flatten() for index in own])) for own in by_dtype.values()]
    order = [index for own in by_dtype.values() for index in own]
    parts = torch.cat(joined).cpu().split([tensors[index].numel() for index in order])
    found = {
        index: part.to(tensors[index].dtype).view(tensors[index].shape)
        for index, part in zip(order, parts, strict=True)
    }
    return [found[index] for index in range(len(tensors))]


class HostVectors:
    """Keep vectors in host memory, exactly (`auto`) or in 8 bits; it is pinned if they come from a GPU."""

    def __init__(self, vectors: Float[Tensor, "vectors head_dim"], dtype: str) -> None:
        self._dtype, self._kind = vectors.dtype, dtype
        self._parts = [_kept_here(each) for each in self._stored(vectors)]

    def copy_(self, vectors: Float[Tensor, "vectors head_dim"]) -> None:
        """Take as many other vectors, in the same memory."""
        for own, other in zip(self._parts, self._stored(vectors), strict=True):
            own.copy_(other, non_blocking=True)

    @property
    def nbytes(self) -> int:
        """Return the bytes of host memory."""
        return sum(each.nbytes for each in self._parts)

    def take(self, chosen: Int[Tensor, " chosen"], device: torch.device) -> Float[Tensor, "chosen head_dim"]:
        """Bring some vectors to a device; `chosen` lies there."""
        # The copy of `chosen` waits for the device, and with it for copies to this memory that are under way.
        here = chosen.cpu()
        return self._numbers([each.index_select(0, here).to(device, non_blocking=True) for each in self._parts])

    def all(self, device: torch.device) -> Float[Tensor, "vectors head_dim"]:
        """Bring all vectors to a device."""
        return self._numbers([each.to(device, non_blocking=True) for each in self._parts])

    def _stored(self, vectors: Tensor) -> list[Tensor]:
        if self._kind == "auto":
            return [vectors]
        quantised = Quantised.of(vectors, self._kind)
        return [quantised.codes, quantised.scales]

    def _numbers(self, parts: list[Tensor]) -> Tensor:
        return parts[0] if self._kind == "auto" else Quantised(parts[0], parts[1]).all(self._dtype)


class DeviceVectors:
    """Keep vectors where they are, exactly."""

    def __init__(self, vectors: Float[Tensor, "vectors head_dim"]) -> None:
        self._vectors = vectors

    def copy_(self, vectors: Float[Tensor, "vectors head_dim"]) -> None:
        """Take as many other vectors, in the same memory."""
        self._vectors.copy_(vectors)

    @property
    def nbytes(self) -> int:
        """Return the bytes of the vectors."""
        return self._vectors.nbytes

    def take(self, chosen: Int[Tensor, " chosen"], device: torch.device) -> Float[Tensor, "chosen head_dim"]:
        """Return some vectors."""
        return self._vectors.index_select(0, chosen)

    def all(self, device: torch.device) -> Float[Tensor, "vectors head_dim"]:
        """Return all vectors."""
        return self._vectors


def _kept_here(tensor: Tensor) -> Tensor:
    if tensor.is_cpu:
        return tensor
    here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
    return here.copy_(tensor, non_blocking=True)
