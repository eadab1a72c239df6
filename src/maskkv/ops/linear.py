"""Matrix products by weights that lie in memory the way the device reads them fastest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from maskkv.ops.ranks import ALONE, Ranks

_ROWS = 16
"""For about so many rows a weight is laid out: those of a step between refreshes. Longer passes read it as fast."""

GROUP = 64
"""Weights of an output that share a scale and an offset where they are stored in 4 bits."""

_TILE = 1024
"""Inputs to a multiple of which torchao fills weights in 4 bits up on CUDA; on a CPU it does not."""


def is_plain(weight: Tensor) -> bool:
    """Tell whether a weight is numbers in a row, and no class that stores them in another way."""
    return type(weight.detach()) is Tensor


def stored_bytes(kind: str | None, outputs: int, inputs: int, itemsize: int) -> int:
    """Return the bytes of a weight on a GPU, stored as it is (None), in 8 or in 4 bits; numbers have `itemsize`.

    Beside 8 bits each output has a scale in fp32. In 4 bits a row is filled up to what the tensor cores' products take,
    and each group has a scale and an offset.
    """
    if kind == "int8":
        return outputs * (inputs + torch.float32.itemsize)
    if kind == "int4":
        filled = -(-inputs // _TILE) * _TILE
        return outputs * (filled // 2 + filled // GROUP * 2 * itemsize)
    return outputs * inputs * itemsize


def multiplies(device: torch.device, dtype: torch.dtype) -> bool | None:
    """Tell whether a device has instructions for matrix products in a dtype; None where that is not known.

    Without them products are emulated, and take a multiple of the time that they take in fp32.
    """
    if dtype == torch.float32:
        return True
    if device.type == "cuda":
        return dtype == torch.float16 or torch.cuda.get_device_capability(device) >= (8, 0)
    if not _has_onednn():
        return None
    onednn: Any = torch.ops.mkldnn
    if dtype == torch.float16:
        return bool(onednn._is_mkldnn_fp16_supported())
    # With AVX-512 alone oneDNN takes bf16 too, and emulates it.
    emulated = torch.cpu._is_avx512_supported() and not torch.cpu._is_avx512_bf16_supported()
    return bool(onednn._is_mkldnn_bf16_supported()) and not emulated


def _has_onednn() -> bool:
    """Tell whether this is an x86 CPU and torch has oneDNN for it."""
    return torch.backends.cpu.get_cpu_capability().startswith("AVX") and torch.backends.mkldnn.is_available()


def can_pack(weight: Tensor) -> bool:
    """Tell whether a weight can be laid out: a plain one on an x86 CPU, in a dtype that it multiplies natively."""
    known = weight.dtype in (torch.float32, torch.bfloat16, torch.float16)
    plain = is_plain(weight) and weight.is_cpu
    return known and plain and _has_onednn() and bool(multiplies(weight.device, weight.dtype))


class PackedLinear(nn.Linear):
    """Hold a linear map's weight and a second copy of it, laid out for oneDNN; only the copy is computed with.

    What a row becomes does not depend on how many rows are computed beside it, to the last bit. The weight must
    neither be changed afterwards nor moved to another device or dtype, and there are no gradients.
    """

    @classmethod
    def of(cls, linear: nn.Linear) -> PackedLinear:
        """Pack a linear map, sharing its weight and bias."""
        with torch.device("meta"):
            packed = cls(linear.in_features, linear.out_features, bias=linear.bias is not None)
        packed.weight, packed.bias = linear.weight, linear.bias
        packed._laid_out = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS)
        return packed.train(linear.training)

    def forward(self, input: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Return `x Wᵀ + b`."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(input, self._laid_out, self.bias, "none", [], "")
        return product


class SummedLinear(nn.Linear):
    """Hold one part of a linear map that is split by its inputs: what the parts make of a row is added up."""

    ranks: Ranks = ALONE

    @classmethod
    def of(cls, linear: nn.Linear, ranks: Ranks) -> SummedLinear:
        """Take a map without bias, sharing its weight."""
        with torch.device("meta"):
            summed = cls(linear.in_features, linear.out_features, bias=False)
        summed.weight, summed.ranks = linear.weight, ranks
        return summed.train(linear.training)

    def forward(self, input: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Return the sum of all parts' `x Wᵀ`."""
        return self.ranks.add_up(F.linear(input, self.weight))


@dataclass(frozen=True)
class Joined:
    """Hold linear maps of one input as one: a GPU reads a large matrix faster than two that are half as large.

    The maps' own weights and biases are views of it: they must be neither replaced nor moved afterwards, and there are
    no gradients.
    """

    weight: Float[Tensor, "outputs inputs"]
    bias: Float[Tensor, " outputs"] | None
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, linears: Sequence[nn.Linear]) -> Joined:
        """Lay the maps below each other."""
        sizes = tuple(linear.out_features for linear in linears)
        weight = torch.cat([linear.weight.detach() for linear in linears])
        for linear, own in zip(linears, weight.split(sizes), strict=True):
            linear.weight = nn.Parameter(own, requires_grad=False)
        biases: list[Tensor | None] = [linear.bias for linear in linears]
        given = [each.detach() for each in biases if each is not None]
        if not given:
            return cls(weight, None, sizes)
        bias = torch.cat(given)
        for linear, own in zip(linears, bias.split(sizes), strict=True):
            linear.bias = nn.Parameter(own, requires_grad=False)
        return cls(weight, bias, sizes)

    def __call__(self, x: Float[Tensor, "rows inputs"]) -> tuple[Float[Tensor, "rows _"], ...]:
        """Return what each map makes of the rows, views of one tensor."""
        return F.linear(x, self.weight, self.bias).split(self.sizes, dim=-1)
