"""A folder's `config.json`, completed by its tokenizer where the mask token stands there alone."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from maskkv.checkpoints import tokenizer_files
from maskkv.errors import CheckpointError
from maskkv.models import families
from maskkv.models.config import ModelConfig
from maskkv.models.fields import Raw, read_json


def read(folder: Path) -> ModelConfig:
    """Read a folder's config, of whichever family it is.

    Raises:
        CheckpointError: There is none, it is not one of a supported family, or nothing says which token is the mask.
    """
    raw = _raw(folder)
    token = _left_to_tokenizer(folder, raw)
    asks = token is not None and tokenizer_files.present(folder)
    tokenizer = tokenizer_files.read(folder)[0] if asks else None
    try:
        return families.read_config(completed(raw, token, tokenizer))
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from None


def completed(raw: Raw, mask: str | None, tokenizer: Tokenizer | None) -> Raw:
    """Return a config with the id of the token that the tokenizer calls `mask`; as it is where there is none."""
    number = None if mask is None or tokenizer is None else tokenizer.token_to_id(mask)
    return raw if number is None else {**raw, "mask_token_id": number}


def needs_tokenizer(folder: Path) -> bool:
    """Tell whether the config leaves it to the tokenizer which token is the mask.

    Raises:
        CheckpointError: There is no config, or it is not one of a supported family.
    """
    return _left_to_tokenizer(folder, _raw(folder)) is not None


def _raw(folder: Path) -> dict[str, object]:
    raw = read_json(folder / "config.json")
    if raw is None:
        raise CheckpointError(f"{folder} has no config.json; a checkpoint needs one beside its safetensors")
    return raw


def _left_to_tokenizer(folder: Path, raw: dict[str, object]) -> str | None:
    try:
        return families.mask_token(raw)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from None
