"""Sums over processes, and whatever else they exchange while a model runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from maskkv.models.part import Part

_PATIENCE = timedelta(minutes=10)
"""How long a process waits for what another one adds: the whole pass of the longest prompt takes less."""


class Group:
    """Sum, gather and share tensors with the other processes, by gloo from host memory and by NCCL on CUDA."""

    def __init__(self, part: Part, device: torch.device, store: Path) -> None:
        self.rank, self.count = part.rank, part.count
        self.alive = True
        backend = "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
            backend = "cpu:gloo,cuda:nccl"
        rendezvous = dist.FileStore(str(store), part.count)  # type: ignore[attr-defined]
        with _on_loopback():
            dist.init_process_group(backend, store=rendezvous, rank=part.rank, world_size=part.count, timeout=_PATIENCE)
            dist.barrier()

    def add_up(self, own: Tensor) -> Tensor:
        """Return the sum of the processes' tensors; `own` is written over."""
        with self._meeting():
            dist.all_reduce(own)
        return own

    def gather(self, own: Tensor) -> Tensor:
        """Return the tensors of all processes, one behind the other along the first axis; all have one shape."""
        # gloo knows no bool.
        sent = (own.view(torch.uint8) if own.dtype == torch.bool else own).contiguous()
        every = sent.new_empty((self.count * len(sent), *sent.shape[1:]))
        with self._meeting():
            dist.all_gather(list(every.chunk(self.count)), sent)
        return every.view(own.dtype)

    def total(self, own: int) -> int:
        """Return the sum of the processes' numbers."""
        return int(self.add_up(torch.tensor(own)))

    def agreed(self, own: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors of the first process; they are in host memory, and of the same shapes everywhere."""
        sizes = [each.nbytes for each in own]
        joined = torch.cat([each.contiguous().view(-1).view(torch.uint8) for each in own])
        with self._meeting():
            dist.broadcast(joined, 0)
        parts = joined.split(sizes)
        return [part.clone().view(each.dtype).view(each.shape) for part, each in zip(parts, own, strict=True)]

    def _meeting(self) -> AbstractContextManager[None]:
        raise NotImplementedError


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Have gloo listen on the loopback only: by itself it takes the address of the host's name, which others reach.

    It knows no other way to be told. What it listens on it does not ask again.
    """
    name, before = "GLOO_SOCKET_IFNAME", os.environ.get("GLOO_SOCKET_IFNAME")
    loopback = next((each for _, each in socket.if_nameindex() if each in ("lo", "lo0")), None)
    if loopback is not None:
        os.environ[name] = loopback
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
