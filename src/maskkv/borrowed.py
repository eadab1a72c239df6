"""A language model whose weights are those of a model that transformers has loaded."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from maskkv import mixing
from maskkv.api import LanguageModel
from maskkv.budget import DEFAULT_BUDGET, Budget, check_budget
from maskkv.checkpoints import folders, in_memory, profiles, quantizing, tokenizer_files, weights
from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.loading import Loading
from maskkv.text.tokenizer import Text

_GIVEN = ("model", "device", "dtype", "tensor_parallel")
"""What the loaded model settles itself, or cannot have."""


def from_transformers(
    model: object,
    tokenizer: object = None,
    *,
    policy: str | Policy = "maskkv",
    budget: Budget = DEFAULT_BUDGET,
    evicted: str | None = None,
    **options: Any,
) -> LanguageModel:
    """Answer with a model that transformers has loaded, in its own memory: its weights are shared and not copied.

    They must not change, nor be moved, as long as it answers. `tokenizer` is a PreTrainedTokenizerFast, or the folder
    or hub id of its files; without one token ids are answered only. `options` are those of `load` that are left:
    `rope_scale`, `profile`, `kv_dtype`, `quantize` (whose weights are new memory) and `compile`. Weights are not laid
    out anew for the device as `load` does where there is room, so that steps may take longer.

    Raises:
        CheckpointError: The model is not one of a supported family, whole and plain, or the tokenizer has no fast one.
        ProfileError: The profile is malformed or belongs to another model.
        InputError: It is no model of transformers, or an option is unknown or out of range.
    """
    known = [field.name for field in fields(Loading) if field.name not in _GIVEN]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise InputError(f"from_transformers: unknown option {unknown[0]}; supported: {', '.join(known)}")
    asked = Loading(**options)
    resolved = mixing.resolve(policy) if isinstance(policy, str) else mixing.given(policy)
    check_budget(budget)
    mixing.mix(resolved, evicted=evicted)
    files = None if tokenizer is None else _files(tokenizer)
    shared = in_memory.share(model, None if files is None else files[0])
    text = None if files is None else Text(*files, shared.config.thinking)
    profile = profiles.find(asked.profile, shared.config.num_layers, partial(weights.fingerprint, shared))
    quantizing.quantize(shared, asked.quantize)
    if asked.compile:
        shared.compile_rows()
    dtype = str(shared.dtype).removeprefix("torch.")
    loading = Loading(_name(model), str(shared.device), dtype, **options)
    return LanguageModel(
        shared, text, policy=resolved, budget=budget, evicted=evicted, profile=profile, loading=loading
    )


def _files(tokenizer: object) -> tokenizer_files.TokenizerFiles:
    if isinstance(tokenizer, str | Path):
        return tokenizer_files.read(folders.resolve(tokenizer))
    return tokenizer_files.held(tokenizer)


def _name(model: object) -> str:
    """Return where the model came from, as transformers noted it, or else what its class is called."""
    return str(getattr(model, "name_or_path", "") or type(model).__name__)
