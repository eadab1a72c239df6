"""Matrix products by weights that lie in memory the way oneDNN reads them fastest, for x86 CPUs."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

_ROWS = 16
"""For about so many rows a weight is laid out: those of a step between refreshes. Longer passes read it as fast."""


def can_pack(weight: Tensor) -> bool:
    """Tell whether a weight can be laid out: a plain one on an x86 CPU, in a dtype that oneDNN has a product for."""
    plain = type(weight.detach()) is Tensor and weight.is_cpu
    x86 = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    if not plain or not x86 or not torch.backends.mkldnn.is_available():
        return False
    onednn: Any = torch.ops.mkldnn
    if weight.dtype == torch.bfloat16:
        return bool(onednn._is_mkldnn_bf16_supported())
    if weight.dtype == torch.float16:
        return bool(onednn._is_mkldnn_fp16_supported())
    return weight.dtype == torch.float32


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
