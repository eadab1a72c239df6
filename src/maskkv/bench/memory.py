"""The bytes of tensors alive, and their peak, counted storage by storage: the same on every device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Allocation:
    """Describe a storage by the operation that made it and the shape it was made in."""

    operation: str
    shape: tuple[int, ...]
    nbytes: int


class LiveBytes(TorchDispatchMode):
    """Count the bytes of the storages that are made inside the context and alive, and their peak.

    A storage counts once, however many views it has, from the operation that makes it until it is freed. Tensors
    that were there before (weights, say) count only if given as `baseline`. What the count cannot see: buffers that
    a fused kernel (attention, a matrix product, a sort) allocates and frees inside one operation, what the
    allocator rounds up or keeps, tensors that wrap memory of others (numpy arrays, mapped files), other threads.

    >>> with LiveBytes() as live:
    ...     tenth = (torch.zeros(1000) + 1)[:100]
    >>> live.now, live.peak
    (4000, 8000)
    """

    def __init__(self, baseline: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        """Bytes alive; what is freed after the context is taken off too."""
        self.peak = 0
        """The most bytes that were alive at once, inputs and outputs of an operation included."""
        self._alive: dict[int, Allocation] = {}
        self._watches: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        for tensor in baseline:
            self._count(tensor, "baseline")

    def reset_peak(self) -> None:
        """Let the peak start again from what is alive now."""
        self.peak = self.now

    def alive(self) -> list[Allocation]:
        """Return what is counted and alive, the largest first."""
        return sorted(self._alive.values(), key=lambda each: -each.nbytes)

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the operation, and count the storages that it returns and was not given."""
        kwargs = kwargs or {}
        # A composite operation is run as its parts, or what it frees before it returns would go unseen.
        with self:
            out = func.decompose(*args, **kwargs)
        if out is not NotImplemented:
            return out
        out = func(*args, **kwargs)
        given = {_key(each) for each in _tensors((args, kwargs))}
        for each in _tensors(out):
            if _key(each) in self._alive or _key(each) not in given:
                self._count(each, str(func))
        return out

    def _count(self, tensor: Tensor, operation: str) -> None:
        """Count the tensor's storage, or its new size if it is counted already (`resize_` and the like)."""
        storage, key = tensor.untyped_storage(), _key(tensor)
        before = self._alive.get(key)
        if before is None:
            self._watches[key] = weakref.ref(storage, self._freed(key))
            before = Allocation(operation, tuple(tensor.shape), 0)
        elif before.nbytes == storage.nbytes():
            return
        self._alive[key] = Allocation(before.operation, before.shape, storage.nbytes())
        self.now += storage.nbytes() - before.nbytes
        self.peak = max(self.peak, self.now)

    def _freed(self, key: int) -> Callable[[object], None]:
        def take_off(_: object) -> None:
            del self._watches[key]
            self.now -= self._alive.pop(key).nbytes

        return take_off


def _tensors(tree: object) -> Iterator[Tensor]:
    """Yield the tensors that have a storage, which packed weights do not."""
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor) and leaf.layout is torch.strided:
            yield leaf


def _key(tensor: Tensor) -> int:
    """Identify the tensor's storage while it is alive."""
    return tensor.untyped_storage()._cdata
