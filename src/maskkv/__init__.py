"""Diffusion language models under a KV budget: MaskKV cache eviction for LLaDA and Dream."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskkv.api import LanguageModel, load
    from maskkv.borrowed import from_transformers
    from maskkv.cache import Prefix
    from maskkv.decoding.engine import Engine, Step
    from maskkv.errors import CheckpointError, DeviceLostError, InputError, MaskKVError, ProfileError
    from maskkv.eviction.policy import Policy
    from maskkv.generation import Generation
    from maskkv.result import Result

try:
    __version__ = version("maskkv")
except PackageNotFoundError:  # It runs from a working tree that nobody installed.
    __version__ = "0+tree"

__all__ = [
    "CheckpointError",
    "DeviceLostError",
    "Engine",
    "Generation",
    "InputError",
    "LanguageModel",
    "MaskKVError",
    "Policy",
    "Prefix",
    "ProfileError",
    "Result",
    "Step",
    "__version__",
    "from_transformers",
    "load",
]

_HOMES = {
    "maskkv.api": ("LanguageModel", "load"),
    "maskkv.borrowed": ("from_transformers",),
    "maskkv.cache": ("Prefix",),
    "maskkv.decoding.engine": ("Engine", "Step"),
    "maskkv.errors": ("CheckpointError", "DeviceLostError", "InputError", "MaskKVError", "ProfileError"),
    "maskkv.eviction.policy": ("Policy",),
    "maskkv.generation": ("Generation",),
    "maskkv.result": ("Result",),
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `maskkv --help` need not wait for torch."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'maskkv' has no attribute {name!r}")
