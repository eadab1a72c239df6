"""Model families, one file each; the file's name is the family's name."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol, runtime_checkable

from maskkv.errors import CheckpointError
from maskkv.models import fields
from maskkv.models.config import ModelConfig
from maskkv.models.fields import Raw
from maskkv.models.published import Names
from maskkv.printable import brief


@runtime_checkable
class Family(Protocol):
    """What a family's file holds."""

    MODEL_TYPES: tuple[str, ...]
    """What a `config.json` of the family has for its `model_type`, or among its `architectures`, which come first."""

    MASK_TOKEN: str | None
    """What tokenizers call the mask token, in families whose published configs do not say its id; else None."""

    def read_config(self, raw: Raw) -> ModelConfig:
        """Read the family's `config.json`; one that names no mask token is given its id as `mask_token_id`."""
        ...

    def weight_names(self, config: ModelConfig) -> Names:
        """Return the published tensor, or tensors, of each parameter of the transformer."""
        ...


def names() -> list[str]:
    """List the families that come with maskkv."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def named(name: str) -> Family:
    """Return the family of that name, one of `names()`."""
    family: Family = importlib.import_module(f"{__name__}.{name}")
    return family


def read_config(raw: Raw) -> ModelConfig:
    """Read a `config.json` by the rules of the family that one of its `architectures`, or its `model_type`, names.

    LLaDA-MoE's published config has LLaDA's `model_type`.

    Raises:
        CheckpointError: No family has that type, or its family refuses the config.
    """
    return _of(raw).read_config(raw)


def mask_token(raw: Raw) -> str | None:
    """Return what the tokenizer calls the mask token where a `config.json` leaves its id to that, and else None.

    Raises:
        CheckpointError: No family has the config's type.
    """
    return None if fields.given(raw, "mask_token_id") else _of(raw).MASK_TOKEN


def _of(raw: Raw) -> Family:
    found = [named(name) for name in names()]
    architectures = raw.get("architectures")
    for kind in (*(architectures if isinstance(architectures, list) else ()), raw.get("model_type")):
        for family in found:
            if kind in family.MODEL_TYPES:
                return family
    supported = ", ".join(repr(kind) for family in found for kind in family.MODEL_TYPES)
    raise CheckpointError(f"config.json: model_type is {brief(repr(raw.get('model_type')))}; supported: {supported}")


def weight_names(config: ModelConfig) -> Names:
    """Return the published tensor, or tensors, of each parameter of the transformer."""
    return named(config.family).weight_names(config)
