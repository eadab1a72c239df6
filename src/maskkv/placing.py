"""Put the model that `Loading` names on its device, or the parts of it on several, with its layer profile."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import torch

from maskkv.checkpoints import profiles, quantizing, weights
from maskkv.eviction.profile import LayerProfile
from maskkv.loading import Loading
from maskkv.models.part import Part
from maskkv.models.transformer import Transformer
from maskkv.parallel.splitting import split


class Placed(NamedTuple):
    """Hold a model, or the first part of one, its layer profile, and what tells its fingerprint."""

    model: Transformer
    profile: LayerProfile | None
    fingerprint: Callable[[], str]
    """That of a model that is split is of the weights as they are in the files, which are read for it."""


def place(folder: Path, loading: Loading) -> Placed:
    """Load a checkpoint's weights as `loading` says, and find the layer profile that goes with them.

    Raises:
        CheckpointError: The folder's files cannot be used.
        ProfileError: The profile is malformed or belongs to another model.
        InputError: There is no such device, too few of them, or the model does not split so.
    """
    return _whole(folder, loading) if loading.tensor_parallel == 1 else _parts(folder, loading)


def _whole(folder: Path, loading: Loading) -> Placed:
    model = weights.load(folder, device=loading.device, dtype=loading.dtype)
    # A profile belongs to the weights as they are in the files.
    profile = profiles.find(loading.profile, model.config.num_layers, partial(weights.fingerprint, model))
    quantizing.quantize(model, loading.quantize)
    if loading.compile:
        model.compile_rows()
    else:
        model.pack_weights()
    return Placed(model, profile, partial(weights.fingerprint, model))


def _parts(folder: Path, loading: Loading) -> Placed:
    device, parts = weights.device_of(loading.device), loading.tensor_parallel
    Part(0, parts).config(weights.config_of(folder))  # refused before a process starts
    # All in one dtype: what `auto` chooses may depend on the memory that is free.
    dtype = weights.dtype_of(folder, device, loading.dtype)
    model = split(partial(_part, folder, dtype, loading.quantize), parts, device)

    @cache
    def fingerprint() -> str:
        return weights.fingerprint(weights.load(folder, "cpu", dtype))

    return Placed(model, profiles.find(loading.profile, model.config.num_layers, fingerprint), fingerprint)


def _part(folder: Path, dtype: torch.dtype, quantize: str | None, part: Part, device: torch.device) -> Transformer:
    model = weights.load(folder, device, dtype, part)
    quantizing.quantize(model, quantize)
    if device.type == "cuda":
        model.pack_weights()
    return model
