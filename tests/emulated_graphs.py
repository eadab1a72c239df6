"""CUDA graphs for the pretended device: operations are recorded without effect, and run again when they are replayed.

What a graph computes lies where it lay when it was recorded, and before every replay it is no number: what is not
computed by the graph itself, or was computed once for all and read back by the host, does not get through. Its memory
belongs to a pool; torch takes no pool whose graphs are all gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor


def tensors_of(tree: Any) -> list[Tensor]:
    """List the tensors in nested lists, tuples and dictionaries."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return [tensor for each in tree for tensor in tensors_of(each)]
    return [tree] if isinstance(tree, Tensor) else []


class Graph:
    """Record the operations on a device, and run them again."""

    pools: ClassVar[Counter[object]] = Counter()
    """How many graphs live in each pool that there ever was."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._recorded: list[tuple[Callable[[], Any], list[Tensor]]] = []
        self._pool: object = None
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def capture_begin(self, pool: object, capture_error_mode: str) -> None:
        assert capture_error_mode == "thread_local"
        assert pool not in self.pools or self.pools[pool] > 0, "torch does not take a pool whose graphs are all gone"
        self._pool = pool
        self.pools[pool] += 1
        self._device.graph = self

    def record(self, func: Any, run: Callable[[], Any], args: Any) -> Any:
        """Run an operation once, to know what it returns; what it writes to is put right in the end."""
        for each, own in zip(args, func._schema.arguments, strict=False):
            if own.is_write and id(each) not in self._before:
                self._before[id(each)] = (each, each.clone())
        out = run()
        is_new = all(each.alias_info is None for each in func._schema.returns)
        self._recorded.append((run, tensors_of(out) if is_new else []))
        return out

    def capture_end(self) -> None:
        self._device.graph = None
        self._device.counts.graphs["captured"] += 1
        # The latest first: views overlap.
        for each, before in reversed(self._before.values()):
            each.copy_(before)
        self._forget()

    def replay(self) -> None:
        self._device.counts.graphs["replayed"] += 1
        self._forget()
        for run, new in self._recorded:
            for own, out in zip(new, tensors_of(run()), strict=bool(new)):
                own.copy_(out)

    def _forget(self) -> None:
        """Leave no number of an earlier run in what the graph computes."""
        for own in (each for _, new in self._recorded for each in new if each.is_floating_point()):
            own.fill_(torch.nan)

    def __del__(self) -> None:
        if self._pool is not None:
            self._device.counts.graphs["dropped"] += 1
            self.pools[self._pool] -= 1


class Stream(torch.cuda.Stream):
    """Keep an order that is kept anyway."""

    def __new__(cls, device: torch.device | None = None) -> Stream:
        return object.__new__(cls)

    def __init__(self, device: torch.device | None = None) -> None:
        pass

    def wait_stream(self, stream: torch.cuda.Stream) -> None:
        pass
