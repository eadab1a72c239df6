"""Triton kernels that round where the plain torch code does, each behind a function of tensors.

Tensors lie on one CUDA device, or anywhere under TRITON_INTERPRET=1. Nothing here waits for the device or reads a
value from it, so a CUDA graph may record all of it. Arithmetic is in fp32; a narrower dtype only rounds its results.
"""

from maskkv.ops.kernels.drift import LONGEST, least, moved
from maskkv.ops.kernels.rows import join, rms_norm, rotate, scatter, swiglu
from maskkv.ops.kernels.votes import HEAD_DIMS, column_mass, column_peak, log_sum_exp

__all__ = [
    "HEAD_DIMS",
    "LONGEST",
    "column_mass",
    "column_peak",
    "join",
    "least",
    "log_sum_exp",
    "moved",
    "rms_norm",
    "rotate",
    "scatter",
    "swiglu",
]
