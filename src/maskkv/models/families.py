"""Which family a checkpoint belongs to."""

from __future__ import annotations

from typing import Protocol

from maskkv.errors import CheckpointError
from maskkv.models import dream, illada, llada
from maskkv.models.config import ModelConfig
from maskkv.models.fields import Raw
from maskkv.printable import brief


class Family(Protocol):
    """What a family's module offers."""

    MODEL_TYPES: tuple[str, ...]

    def read_config(self, raw: Raw) -> ModelConfig:
        """Read the family's `config.json`."""
        ...

    def weight_names(self, config: ModelConfig) -> dict[str, str]:
        """Return the published tensor name of each of our parameters."""
        ...


FAMILIES: dict[str, Family] = {"llada": llada, "illada": illada, "dream": dream}
"""Each family's module by its name, which is also `ModelConfig.family`."""


def read_config(raw: Raw) -> ModelConfig:
    """Read a `config.json` by the rules of the family that its `model_type` names.

    Raises:
        CheckpointError: no family here has that type, or the family refuses the config.
    """
    for family in FAMILIES.values():
        if raw.get("model_type") in family.MODEL_TYPES:
            return family.read_config(raw)
    supported = ", ".join(repr(name) for family in FAMILIES.values() for name in family.MODEL_TYPES)
    raise CheckpointError(f"config.json: model_type is {brief(repr(raw.get('model_type')))}; supported: {supported}")


def weight_names(config: ModelConfig) -> dict[str, str]:
    """Return the published tensor name of each of our parameters."""
    return FAMILIES[config.family].weight_names(config)
