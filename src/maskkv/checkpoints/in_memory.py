"""A model that another library has loaded, in place of files: its config, and its tensors by their published names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from tokenizers import Tokenizer
from torch import Tensor

from maskkv.checkpoints import configs, shards, weights
from maskkv.checkpoints.layout import Layout
from maskkv.checks import quoted
from maskkv.errors import CheckpointError, InputError
from maskkv.models import families
from maskkv.models.fields import Raw
from maskkv.models.transformer import Transformer
from maskkv.ops.linear import is_plain
from maskkv.printable import brief


class Config(Protocol):
    """The config of a model of `transformers`."""

    def to_dict(self) -> Raw:
        """Return what its `config.json` would hold."""
        ...


@runtime_checkable
class Loaded(Protocol):
    """What is needed of a model of `transformers`."""

    config: Config

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return its tensors by their names."""
        ...


def share(loaded: object, tokenizer: Tokenizer | None = None) -> Transformer:
    """Make a model of a loaded one's weights, in their own memory, dtype and device: eval mode, no gradients.

    A tensor that is a part of a parameter, one expert of several, is copied, and so is one that stays in fp32 here and
    is in another dtype. A mask token that the config leaves out is asked of the tokenizer.

    Raises:
        CheckpointError: It is not a model of a supported family, whole, finite and unquantised, on one device.
        InputError: It is no model of `transformers`, or maskkv knows no such device.
    """
    if not isinstance(loaded, Loaded) or not callable(getattr(loaded.config, "to_dict", None)):
        raise InputError(f"model {quoted(loaded)}: expected a loaded model of transformers, with config and state_dict")
    name, raw = type(loaded).__name__, loaded.config.to_dict()
    _require_plain_config(name, raw)
    try:
        config = families.read_config(configs.completed(raw, families.mask_token(raw), tokenizer))
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from None
    model = weights.empty(config)
    layout = Layout.of(model)
    tensors = loaded.state_dict()
    _check(name, layout, tensors)
    parameters = layout.read(lambda each: shards.finite(each, _in_place(tensors[each], each, layout)))
    if config.tied_head:
        parameters["head.weight"] = parameters["embed.weight"]
    model.load_state_dict(parameters, assign=True)
    return model.requires_grad_(False).eval()


def _require_plain_config(name: str, raw: Raw) -> None:
    asked = raw.get("quantization_config")
    if asked is not None:
        method = asked.get("quant_method") if isinstance(asked, Mapping) else None
        raise CheckpointError(
            f"{name} is quantised by {brief(method or 'another library')}: expected plain weights; load it without "
            "quantization_config, and give quantize='int8' or 'int4' here"
        )


def _check(name: str, layout: Layout, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not the layout's, whole, plain, and all of one device and dtype."""
    for each, tensor in tensors.items():
        if tensor.is_meta:
            raise CheckpointError(
                f"{name}: {brief(each)} is on the meta device, without numbers: load the model whole, on one device"
            )
        if not is_plain(tensor):
            library = type(tensor.detach()).__module__.partition(".")[0]
            raise CheckpointError(
                f"{name}: {brief(each)} is stored by {library}, as {type(tensor).__name__}: expected a plain tensor"
            )
    headers = {each: shards.Header(tuple(tensor.shape), shards.spelt(tensor.dtype)) for each, tensor in tensors.items()}
    shards.check(name, layout.published(), headers, layout.optional)
    embedding = layout.holding("embed.weight")[0]
    device, dtype = tensors[embedding].device, tensors[embedding].dtype
    weights.device_of(device)
    for each in layout.published():
        found = tensors[each]
        if found.device != device:
            raise CheckpointError(f"{name}: {each} is on {found.device}, {embedding} on {device}: expected one device")
        if found.dtype != dtype and each not in layout.exact:
            raise CheckpointError(
                f"{name}: {each} is in {_plain(found.dtype)}, {embedding} in {_plain(dtype)}: expected one dtype, as "
                "after model.to(torch.bfloat16)"
            )


def _in_place(tensor: Tensor, published: str, layout: Layout) -> Tensor:
    return tensor.to(layout.dtype_of(published, tensor.dtype))


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
