"""Weights in 8 or 4 bits, by torchao."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from maskkv.checks import check_quantize
from maskkv.errors import InputError
from maskkv.models.transformer import Transformer
from maskkv.ops.linear import GROUP, is_plain

_TENSOR_CORES = (8, 0)
"""Compute capability from which there are torch's products with weights in 4 bits."""


def quantize(model: Transformer, kind: str | None) -> None:
    """Store the weights of the layers in 8 or 4 bits (`int8`, `int4`), in place; None does nothing.

    A scale goes with each output (`int8`), or a scale and an offset with each 64 weights of one (`int4`). Embedding,
    head and the matrices that choose experts stay as they are.

    Raises:
        InputError: There is no such kind, or torchao, this device or the model is not made for it.
    """
    if check_quantize(kind) is None:
        return
    if kind == "int4":
        _check_groups(model)
    config = _int8() if kind == "int8" else _int4(model.device, model.dtype)
    from torchao.quantization import quantize_  # type: ignore[import-untyped]

    quantize_(model.layers, config, _stored)


def _stored(module: nn.Module, name: str) -> bool:
    # Which experts a row is sent to does not depend on how these are stored.
    return isinstance(module, nn.Linear) and not name.endswith("router")


def quantization(model: Transformer) -> str | None:
    """Return what `quantize` was given, None for a model that it did not see."""
    stored: list[Any] = [weight for weight in model.parameters() if not is_plain(weight)]
    if not stored:
        return None
    return "int8" if stored[0].qdata.dtype == torch.int8 else "int4"


def numbers(weight: Tensor) -> list[Tensor]:
    """Return plain tensors that tell a weight from any other of its shape and kind.

    Of one in 4 bits these are its packed bits and its scales, as its device keeps them.
    """
    if is_plain(weight):
        return [weight]
    stored: Any = weight
    return [weight.dequantize()] if stored.qdata.dtype == torch.int8 else [stored.qdata, stored.scale_and_zero]


def _int8() -> object:
    with _importing("int8"):
        from torchao.quantization import Int8WeightOnlyConfig
    return Int8WeightOnlyConfig()


def _int4(device: torch.device, dtype: torch.dtype) -> object:
    """Return torchao's description of weights in 4 bits as the device reads them."""
    cores = device.type == "cuda" and torch.cuda.get_device_capability(device) >= _TENSOR_CORES
    if device.type != "cpu" and not cores:
        raise InputError(
            f"quantize int4 is not for {device}: it needs a CPU, or a CUDA device of compute capability 8.0 or more; "
            "int8 runs on either"
        )
    if dtype != torch.bfloat16:
        # On CUDA there is no other product; on a CPU those in other dtypes take 50 times as long.
        name = str(dtype).removeprefix("torch.")
        raise InputError(f"quantize int4 computes in bfloat16, and the model is in {name}: give it dtype bfloat16")
    if not cores:
        with _importing("int4"):
            from torchao.prototype.quantization.int4 import (  # type: ignore[import-untyped]
                PrototypeInt4WeightOnlyConfig,
            )
        return PrototypeInt4WeightOnlyConfig(group_size=GROUP, set_inductor_config=False)
    with _importing("int4"):
        from torchao.quantization import Int4WeightOnlyConfig
        from torchao.quantization.quantize_.workflows import Int4PackingFormat  # type: ignore[import-untyped]
    return Int4WeightOnlyConfig(
        group_size=GROUP, int4_packing_format=Int4PackingFormat.TILE_PACKED_TO_4D, set_inductor_config=False
    )


def _check_groups(model: Transformer) -> None:
    """Refuse widths that are no whole number of groups: torchao would leave such weights as they are."""
    stored = [each for name, each in model.layers.named_modules() if _stored(each, name)]
    odd = {each.in_features for each in stored if isinstance(each, nn.Linear) and each.in_features % GROUP}
    if odd:
        raise InputError(
            f"quantize int4 needs widths that are multiples of {GROUP}, and this model has {min(odd)}; int8 takes any"
        )


@contextmanager
def _importing(kind: str) -> Iterator[None]:
    """Import from torchao, which logs meanwhile about kernels that are not used here; refuse if it cannot be."""
    silenced = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    except ImportError:
        newer = "" if kind == "int8" else " (0.18 or newer)"
        raise InputError(f"quantize {kind} needs torchao{newer}: pip install -U 'maskkv[quantize]'") from None
    finally:
        logging.disable(silenced)
