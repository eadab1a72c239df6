"""A pretended CUDA device, for a machine that has none: what runs on it mixes no devices and asks the host for little.

A tensor on it is a wrapper that says `cuda:0` around a tensor in host memory, which the arithmetic is done on. So every
branch that the package takes on CUDA is taken (but for Triton's kernels: it is pretended that there is no Triton), and
numbers come out as on the CPU. Every operation is watched:

- `mixed`: it was given tensors of both devices, where torch would raise;
- `syncs`: the host waits for the device: it reads a value (`item`, `nonzero`, a boolean index, a copy to the host), or
  copies something to the device without `non_blocking`;
- `copies`: something is copied from the host to the device at all. With `non_blocking` that is no sync, but wrong in a
  CUDA graph, which would be replayed with the numbers that it was recorded with;
- `launches`: kernels started, by an estimate: one for an operation that computes, more where torch is known to need
  more, none for views and for memory that is not filled.

CUDA graphs are those of `tests.emulated_graphs`: they raise where one of their operations syncs or copies.

What it cannot see: streams, memory, time, how a kernel rounds, and whether a library of CUDA's takes what it is given.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from maskkv.decoding.replay import capture_stream
from maskkv.models.transformer import Transformer
from maskkv.ops import fused, ragged
from tests.emulated_graphs import Graph, Stream, tensors_of

CUDA = torch.device("cuda:0")

LAUNCHES = {
    "sort": 4,
    "topk": 3,
    "isin": 4,
    "nonzero": 4,
    "_unique2": 6,
    "bincount": 3,
    "multinomial": 12,
} | dict.fromkeys("empty empty_like new_empty empty_strided new_empty_strided _local_scalar_dense".split(), 0)
"""What torch starts for an operation, where that is not one kernel; about."""


@dataclass
class Counts:
    """What happened on the device; keys name the operation and the deepest line of the package on the stack."""

    mixed: Counter[str] = field(default_factory=Counter)
    syncs: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    launches: Counter[str] = field(default_factory=Counter)
    graphs: Counter[str] = field(default_factory=Counter)
    """How many CUDA graphs were `captured`, `replayed` and `dropped`, and nothing of where."""

    def since(self, before: Counts) -> Counts:
        """Return what has been added to an earlier `deepcopy`."""
        return Counts(*(getattr(self, name) - getattr(before, name) for name in self.__dataclass_fields__))


class OnDevice(Tensor):
    """A tensor on the pretended device, around the one in host memory that holds its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        # To torch itself it lies on a device without memory, which every build has; and none is of inference mode only.
        with torch.inference_mode(mode=False):
            made = Tensor._make_wrapper_subclass(cls, inner.shape, device="meta", **layout)
        made.inner = inner
        return made

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} on a device that is no longer pretended")

    def __repr__(self) -> str:
        return f"OnDevice({self.dtype}, {tuple(self.shape)})"

    def __getitem__(self, key: Any) -> Tensor:
        return super().__getitem__(torch.tensor(key, device=CUDA) if isinstance(key, list) else key)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.inner.untyped_storage()

    def data_ptr(self) -> int:
        return self.inner.data_ptr()


@dataclass(frozen=True)
class Operation:
    """What torch says of an operation."""

    name: str
    is_compound: bool
    is_pointwise: bool
    writes: bool
    reads: bool
    """Whether the host has to know a value to go on."""
    launches: int

    @classmethod
    @cache
    def of(cls, func: Any) -> Operation:
        name, schema, tags = func._schema.name.split("::")[1], func._schema, func.tags
        compound = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
        alias = schema.returns[0].alias_info if schema.returns else None
        return cls(
            name,
            # Attention would be taken to pieces that CUDA does not know.
            compound and name != "scaled_dot_product_attention",
            torch.Tag.pointwise in tags,
            schema.is_mutable,
            torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags,
            LAUNCHES.get(name, 1) if alias is None or alias.is_write else 0,
        )


class Device(TorchDispatchMode):
    """Run every operation on the tensors inside, and count what a device would have been asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()
        self.graph: Graph | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Host memory is not pinned for a device that is not there.
        kwargs, operation = {**(kwargs or {})}, Operation.of(func)
        kwargs.pop("pin_memory", None)
        if operation.is_compound:
            # In inference mode, operations that are made of others arrive whole.
            with self:
                return func.decompose(*args, **kwargs)
        tensors = tensors_of((args, kwargs))
        there = [each for each in tensors if isinstance(each, OnDevice)]
        asked = kwargs.get("device")
        to_device = bool(there) if asked is None else torch.device(asked).type in ("cuda", "meta")
        if operation.name == "copy_":
            to_device = isinstance(args[0], OnDevice)
        if not there and not to_device:
            return func(*args, **kwargs)
        self._count(operation, args, kwargs, tensors, to_device)
        args, kwargs = _mapped(lambda each: each.inner if isinstance(each, OnDevice) else each, (args, kwargs))
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        run = partial(varlen_attn if operation.name == "_varlen_attn" else func, *args, **kwargs)
        out = run() if self.graph is None else self.graph.record(func, run, args)
        known = {id(each.inner): each for each in there}
        wrap = OnDevice if to_device else _itself
        # An operation that writes returns what it was given.
        return _mapped(lambda each: known[id(each)] if id(each) in known else wrap(each), out)

    def _count(self, operation: Operation, args: Any, kwargs: Any, tensors: list[Tensor], to_device: bool) -> None:
        name, mixed = operation.name, False
        if name in ("copy_", "_to_copy"):
            from_device = isinstance(args[name == "copy_"], OnDevice)
            blocking = not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
            copied = to_device and not from_device
            syncs = from_device != to_device and (blocking or from_device)
        else:
            indices = args[1] if name in ("index", "index_put_", "_index_put_impl_") else []
            host = [each for each in tensors if not isinstance(each, OnDevice)]
            # A number of the host's may be added to anything.
            host = [each for each in host if each.dim() > 0 or not operation.is_pointwise]
            moved = [each for each in host if isinstance(args[0], OnDevice) and any(each is own for own in indices)]
            if kwargs.get("device") is None:
                # Elsewhere a tensor is only asked for its shape.
                mixed = len(host) > len(moved) or (operation.writes and not isinstance(args[0], OnDevice))
            by_mask = any(each is not None and each.dtype == torch.bool for each in indices)
            # An index of the host's is copied, and the host waits.
            copied = bool(moved)
            syncs = copied + (by_mask if indices else operation.reads)
            if name == "multinomial":
                syncs = 2  # The probabilities are checked.
        spot = f"{name} @ {_spot()}"
        assert self.graph is None or not (syncs or copied), f"{spot} needs the host while a graph is captured"
        for counter, count in zip(vars(self.counts).values(), (mixed, syncs, copied, operation.launches), strict=False):
            if count:
                counter[spot] += int(count)


def _itself(each: Tensor) -> Tensor:
    return each


def _mapped(change: Callable[[Tensor], Tensor], tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {name: _mapped(change, each) for name, each in tree.items()}
    return type(tree)(_mapped(change, each) for each in tree) if isinstance(tree, (list, tuple)) else tree


def _spot() -> str:
    frame = sys._getframe()
    while frame is not None and "/maskkv/" not in frame.f_code.co_filename:
        frame = frame.f_back
    return "elsewhere" if frame is None else f"{frame.f_code.co_filename.split('/maskkv/')[1]}:{frame.f_lineno}"


def varlen_attn(
    query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int, max_k: int, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Do what the variable-length kernel does, segment by segment, and check what it demands."""
    assert query.dtype == key.dtype == value.dtype
    assert query.dtype in ragged.HALF
    assert query.stride(-1) == key.stride(-1) == value.stride(-1) == 1
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert max_q == cu_seq_q.diff().max()
    assert max_k >= cu_seq_k.diff().max()
    assert (int(cu_seq_q[-1]), int(cu_seq_k[-1])) == (len(query), len(key))
    read, sums = torch.empty_like(query), query.new_empty(query.shape[1::-1], dtype=torch.float32)
    for index in range(len(cu_seq_q) - 1):
        rows, pairs = (slice(int(ends[index]), int(ends[index + 1])) for ends in (cu_seq_q, cu_seq_k))
        scores = torch.einsum("rhd,phd->hrp", query[rows].float(), key[pairs].float()) * query.shape[-1] ** -0.5
        read[rows] = torch.einsum("hrp,phd->rhd", scores.softmax(-1), value[pairs].float()).to(query.dtype)
        sums[:, rows] = scores.logsumexp(-1)
    return read, sums, query.new_zeros(2, dtype=torch.uint64)


class Generator(torch.Generator):
    """Draws on the pretended device what a generator of the CPU draws."""

    def __new__(cls, device: Any = "cpu") -> torch.Generator:
        there = torch.device(device).type == "cuda"
        return super().__new__(cls) if there else torch._C.Generator(device)

    device = property(lambda self: CUDA)


_tensor = torch.tensor


def _made(data: Any, *, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
    made = _tensor(data, dtype=dtype)
    return made if device is None else made.to(device)


@contextmanager
def pretended() -> Iterator[Counts]:
    """Pretend that there is a CUDA device, and count what is done on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch, "tensor", _made)
        patch.setattr(torch, "Generator", Generator)
        patch.setattr(fused, "_has_triton", lambda: False)
        device = Device()
        patch.setattr(torch.cuda, "CUDAGraph", partial(Graph, device))
        patch.setattr(torch.cuda, "graph_pool_handle", object)
        patch.setattr(torch.cuda, "Stream", Stream)
        patch.setattr(torch.cuda, "stream", nullcontext)
        patch.setattr(torch.cuda, "current_stream", Stream)
        # A stream is kept for good: neither a real one nor a pretended one may stay.
        capture_stream.cache_clear()
        try:
            with device:
                yield device.counts
        finally:
            capture_stream.cache_clear()


def moved(model: Transformer) -> Transformer:
    """Return a copy of a model on the pretended device."""
    copied = deepcopy(model)
    for module in copied.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = OnDevice(parameter.detach())
    return copied
